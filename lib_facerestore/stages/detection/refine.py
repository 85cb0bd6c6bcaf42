"""Second stage of the built-in detector: a small network checks and refines each face that the first stage proposes.

The network's input is a square around the proposal. It predicts whether this is a face that is roughly upright, and its
box and landmarks (as MTCNN's output network; Zhang et al., IEEE Signal Processing Letters 2016). It runs three times:
on the proposal, then on the face rotated upright and cropped closer, plain and mirrored. Where the first run is
doubtful, it is repeated with the square turned otherwise, and the surest answer counts (in the manner of Shi et al.,
"Real-Time Rotation-Invariant Face Detection with Progressive Calibration Networks", CVPR 2018). Since all faces have
the same size and angle, landmarks are more precise than those of a single-stage detector of this size. A landmark is
the centre of gravity of a heat map (soft-argmax; Sun et al., "Integral Human Pose Regression", ECCV 2018, equation 2).
Trained with `tools/train_lite_refiner.py`.
"""

from __future__ import annotations

import logging
import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from . import verdict
from .postprocess import Detections, boxes_of_ellipses
from .squares import cut_squares, square_matrix
from .verdict import Seen

logger = logging.getLogger(__name__)

SIDE = 96
"""Side of the network's input in pixels."""
CONTEXT = 1.6
"""Side of the square in the first run, divided by the longer side of the proposal."""
CLOSE = 1.3
"""The same for the two runs on the upright face."""
STEP = math.pi / 4
"""The square of the first run is turned by a multiple of this, in radians, after the proposal's landmarks."""
CLEAR = 0.7
"""A doubtful proposal with at least this score is looked at from other angles in any case."""
MOST_TURNED = 32
"""Most doubtful proposals that are looked at from other angles, the best ones: a page of text has hundreds."""
DOUBTFUL = 2.0
"""If the logit of the first run is below this, the square is turned by quarters,"""
SLIGHT = -4.0
"""and if the surest one is then above this, by the angles between."""
HOPELESS = -2.0
"""At this logit of the first run or below it, a proposal is not looked at again."""
MOVED = 0.5
"""A face is far from the square's middle if it and the proposal overlap by less than this (intersection over union)."""
MIRRORED = (1, 0, 2, 4, 3)
"""Indices of the five landmarks in a mirrored picture."""

_Answer = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


class Features(nn.Module):
    """Base class of the networks of the second and third stage: an hourglass network, and soft-argmax.

    Args:
        side: side of the input in pixels, a multiple of 16.
        widths: channels at 1/2, 1/4, 1/8 and 1/16 of the side.
    """

    def __init__(self, side: int, widths: tuple[int, int, int, int]) -> None:
        super().__init__()
        half, quarter, eighth, trunk = widths
        self.stem = layer(3, half, 2)
        self.down_quarter = nn.Sequential(layer(half, quarter, 2), Residual(quarter))
        self.down_eighth = nn.Sequential(layer(quarter, eighth, 2), Residual(eighth), Residual(eighth))
        self.down_trunk = nn.Sequential(layer(eighth, trunk, 2), Residual(trunk), Residual(trunk))
        self.to_eighth = nn.Conv2d(trunk, eighth, 1)
        self.up_eighth = Residual(eighth)
        self.to_quarter = nn.Conv2d(eighth, quarter, 1)
        self.up_quarter = Residual(quarter)
        cells = (torch.arange(side // 4, dtype=torch.float32) + 0.5) / (side // 4) - 0.5
        self.register_buffer("cells", cells, persistent=False)

    def features(self, squares: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Features at 1/4 and at 1/16 of the side (B×C×h×w each), from B×3×side×side."""
        quarter = self.down_quarter(self.stem(squares))
        eighth = self.down_eighth(quarter)
        trunk = self.down_trunk(eighth)
        eighth = self.up_eighth(eighth + functional.interpolate(self.to_eighth(trunk), scale_factor=2.0))
        return self.up_quarter(quarter + functional.interpolate(self.to_quarter(eighth), scale_factor=2.0)), trunk

    def centres(self, maps: torch.Tensor) -> torch.Tensor:
        """Centres of gravity (soft-argmax) of heat maps.

        Args:
            maps: B×K×side/4×side/4, before the softmax.

        Returns:
            B×K×2, (x, y) relative to the square's centre, as fractions of its side.
        """
        heat = maps.flatten(2).softmax(2).unflatten(2, maps.shape[2:])
        return torch.stack([heat.sum(2) @ self.cells, heat.sum(3) @ self.cells], 2)


class RefinerNet(Features):
    """Maps squares B×3×96×96, RGB in [-1, 1], to B×15: face logit, box (x0, y0, x1, y1) and five landmarks (x, y).

    Coordinates are relative to the square's centre, as fractions of its side.
    """

    def __init__(self, widths: tuple[int, int, int, int] = (16, 40, 80, 128)) -> None:
        super().__init__(SIDE, widths)
        _, quarter, _, trunk = widths
        self.maps = nn.Sequential(layer(quarter, quarter, 1), nn.Conv2d(quarter, 5, 1))
        self.hidden = nn.Linear(trunk * (SIDE // 16) ** 2, 128)
        self.output = nn.Linear(128, 15)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, squares: torch.Tensor) -> torch.Tensor:
        quarter, trunk = self.features(squares)
        rest = self.output(functional.relu(self.hidden(trunk.flatten(1))))
        # The fully connected layer corrects the heat maps, for points that are hidden or outside the square.
        return torch.cat([rest[:, :5], self.centres(self.maps(quarter)).flatten(1) + rest[:, 5:]], 1)


class Residual(nn.Module):
    """Residual block of two 3×3 convolutions: B×channels×H×W → the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = layer(channels, channels, 1)
        self.second = nn.Sequential(nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu(x + self.second(self.first(x)))


def layer(before: int, after: int, stride: int) -> nn.Sequential:
    """3×3 convolution from `before` to `after` channels, batch normalisation and rectifier."""
    return nn.Sequential(nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU())


def refine(
    network: nn.Module,
    image: NDArray[np.uint8],
    found: Detections,
    device: torch.device,
    any_angle: bool = True,
) -> Detections:
    """Compute new scores, boxes and landmarks for proposals: those of `examined`, scored as in `verdict`."""
    return scored(examined(network, image, found, device, any_angle), image)


def scored(seen: Seen, image: NDArray[np.uint8]) -> Detections:
    """What was seen of proposals in an image (H×W×3 uint8 RGB), with the scores of `verdict`."""
    scores = verdict.scores(seen, image).astype(np.float32)
    return Detections(seen.boxes.astype(np.float32), scores, seen.points.astype(np.float32))


def examined(
    network: nn.Module,
    image: NDArray[np.uint8],
    found: Detections,
    device: torch.device,
    any_angle: bool = True,
) -> Seen:
    """Look at proposals three times.

    Args:
        network: a `RefinerNet`, or a module with the same input and output, on `device` and in eval mode.
        image: H×W×3 uint8 RGB.
        found: proposals in pixels of the picture.
        device: device of the network.
        any_angle: whether all doubtful proposals are looked at from other angles, not the `CLEAR` ones only.

    Returns:
        What is seen of each proposal that is not `HOPELESS` after the first run, in the same order. Where the network
        gives numbers that are not finite, box and landmarks are the proposal's, logits are NaN, and a warning says so.
    """
    if not len(found.scores):
        return Seen(np.zeros(0), np.zeros((0, 3)), np.zeros(0), np.zeros((0, 4)), np.zeros((0, 5, 2)))
    first = judge(network, image, found, device, any_angle)
    kept = ~(first[0] <= HOPELESS)
    seen = examine(network, image, first, kept, found.scores, device)
    if not (broken := seen.broken).any():
        return seen
    logger.warning(
        "%d of %d proposals: not finite in the second stage; the first one's are kept", broken.sum(), len(kept)
    )
    seen.boxes[broken], seen.points[broken] = found.boxes[kept][broken], found.landmarks[kept][broken]
    seen.logits[broken] = np.nan
    return seen


def examine(
    network: nn.Module,
    image: NDArray[np.uint8],
    first: _Answer,
    kept: NDArray[np.bool_],
    scores: NDArray[Any],
    device: torch.device,
) -> Seen:
    """The two runs on faces turned upright, plain and mirrored.

    Args:
        network: as in `refine`.
        image: H×W×3 uint8 RGB.
        first: from `judge`, of N proposals.
        kept: N booleans, whether a proposal is examined.
        scores: N scores of the first stage.
        device: device of the network.

    Returns:
        Of the K proposals that are kept: boxes are those of the ellipse in the box of the upright face, turned as the
        face is. Where `first` is not finite, nothing is.
    """
    logits, boxes, points = (part[kept] for part in first)
    count = len(logits)
    runs = np.column_stack([logits, np.full((count, 2), np.nan)])
    places, marks, apart = np.full((count, 4), np.nan), np.full((count, 5, 2), np.nan), np.full(count, np.nan)
    sound = np.isfinite(logits)
    if sound.any():
        boxes, angles = boxes[sound], upright(points[sound])
        runs[sound, 1], *placed = _look(network, image, boxes, angles, CLOSE, False, device)
        runs[sound, 2], *mirrored = _look(network, image, boxes, angles, CLOSE, True, device)
        boxes, marks[sound] = ((one + two) / 2 for one, two in zip(placed, mirrored, strict=True))
        longer = np.maximum((boxes[:, 2:] - boxes[:, :2]).max(1), 1)
        apart[sound] = np.linalg.norm(placed[1] - mirrored[1], axis=2).mean(1) / longer
        places[sound] = boxes_of_ellipses((boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2, angles)
    return Seen(scores[kept].astype(np.float64), runs, apart, places, marks)


def confirm(
    network: nn.Module, image: NDArray[np.uint8], found: Detections, device: torch.device
) -> NDArray[np.float64]:
    """The mean logits (N) of two more runs on N refined faces, plain and mirrored, in wider squares than before."""
    angles = upright(found.landmarks)
    runs = [_look(network, image, found.boxes, angles, CONTEXT, mirrored, device)[0] for mirrored in (False, True)]
    _tell_broken(np.concatenate(runs))
    return np.asarray(np.mean(runs, axis=0), np.float64)


def judge(
    network: nn.Module, image: NDArray[np.uint8], found: Detections, device: torch.device, any_angle: bool = True
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """The first run on N proposals: at the angle of their landmarks, and where that is doubtful, at others.

    Where the face is seen far from the middle of the square, there is another run with the square on the face.

    Args:
        network: as in `refine`.
        image: H×W×3 uint8 RGB.
        found: proposals in pixels of the picture, N > 0.
        device: device of the network.
        any_angle: as in `refine`.

    Returns:
        Of the surest angle: face logits (N), boxes (N×4, of the face turned upright about the box's centre) and
        landmarks (N×5×2) in pixels of the picture.
    """
    angles = STEP * np.round(np.nan_to_num(upright(found.landmarks)) / STEP)
    logits, boxes, points = _look(network, image, found.boxes, angles, CONTEXT, False, device)
    answer = logits, boxes, points
    # The network knows faces that lean by 45°: what is none after quarter turns is none halfway between them.
    for eighths, least in ((2, 4, 6), -np.inf), ((1, 3, 5, 7), SLIGHT):
        doubtful = np.flatnonzero((logits < DOUBTFUL) & (logits > least) & (any_angle | (found.scores >= CLEAR)))
        doubtful = doubtful[np.argsort(-found.scores[doubtful], kind="stable")[:MOST_TURNED]]
        if not len(doubtful):
            break
        which = np.tile(doubtful, len(eighths))
        others = angles[which] + np.repeat(eighths, len(doubtful)) * STEP
        turned = _look(network, image, found.boxes[which], others, CONTEXT, False, device)
        _tell_broken(turned[0])
        _keep_surest(answer, which, turned, -np.inf if any_angle else DOUBTFUL)
    moved = np.flatnonzero((logits > HOPELESS) & (_overlaps(found.boxes, boxes) < MOVED))
    if len(moved):
        centred = _look(network, image, boxes[moved], upright(points[moved]), CONTEXT, False, device)
        _tell_broken(centred[0])
        _keep_surest(answer, moved, centred)
    return answer


def _tell_broken(logits: NDArray[Any]) -> None:
    """Warn of further looks whose answers do not count, so that faces may be lost."""
    broken = int((~np.isfinite(logits)).sum())
    if broken:
        logger.warning("%d of %d more looks at proposals: not finite in the second stage", broken, len(logits))


def _keep_surest(answer: _Answer, which: NDArray[np.int64], others: _Answer, least: float = -np.inf) -> None:
    """Put others' answers, of the proposals numbered `which`, in the places of less sure ones, in place.

    Only logits above `least` count.
    """
    for row, number in enumerate(which.tolist()):
        if others[0][row] > max(answer[0][number], least):
            for whole, other in zip(answer, others, strict=True):
                whole[number] = other[row]


def _overlaps(ones: NDArray[Any], others: NDArray[Any]) -> NDArray[np.float64]:
    """Intersection over union of each of N boxes (N×4) with the other box of its row."""
    common = np.maximum(np.minimum(ones[:, 2:], others[:, 2:]) - np.maximum(ones[:, :2], others[:, :2]), 0).prod(1)
    areas = (np.maximum(each[:, 2:] - each[:, :2], 0).prod(1) for each in (ones, others))
    return np.asarray(common / np.maximum(sum(areas) - common, 1e-6), np.float64)


def upright(points: NDArray[Any]) -> NDArray[np.float64]:
    """Roll of faces with landmarks N×5×2: N angles in radians, positive if the face leans to the image's right.

    The angle is that of the line from the middle of the eyes to the middle of the mouth. The line between the eyes
    would not do for profiles.
    """
    down = points[:, 3:].mean(1) - points[:, :2].mean(1)
    return np.arctan2(-down[:, 0], down[:, 1]).astype(np.float64)


def look(
    network: nn.Module,
    image: NDArray[np.uint8],
    where: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]],
    mirrored: bool,
    pixels: int,
    device: torch.device,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Run a network on rotated squares of a picture.

    Args:
        network: takes B×3×pixels×pixels RGB in [-1, 1]; on `device` and in eval mode.
        image: H×W×3 uint8 RGB.
        where: centres (N×2), sides (N) and angles (N) of the squares, as in `square_matrix`.
        mirrored: whether the squares are mirrored.
        pixels: side of the network's input in pixels.
        device: device of the network.

    Returns:
        The network's output (N×…), and the matrices (N×2×3) from pixels of the squares to pixels of the picture.
    """
    cuts = zip(where[0], where[1].tolist(), where[2].tolist(), strict=True)
    matrices = np.stack([square_matrix(centre, side, angle, mirrored, pixels) for centre, side, angle in cuts])
    squares = cut_squares(image, matrices, pixels)
    batch = torch.from_numpy(squares.transpose(0, 3, 1, 2)) * 2 - 1
    with torch.inference_mode():
        answers = [network(part.to(device)).float().cpu() for part in batch.split(64)]
    return torch.cat(answers).numpy().astype(np.float64), matrices


def _look(
    network: nn.Module,
    image: NDArray[np.uint8],
    boxes: NDArray[Any],
    angles: NDArray[np.float64],
    context: float,
    mirrored: bool,
    device: torch.device,
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Run a `RefinerNet` on the squares around N boxes.

    Returns:
        Face logits (N), and boxes (N×4) and landmarks (N×5×2) in pixels of the picture. Where the network's output is
        not finite, all are NaN.
    """
    boxes = boxes.astype(np.float64)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    sides = np.clip((boxes[:, 2:] - boxes[:, :2]).max(1), 4.0, 4.0 * max(image.shape[:2])) * context
    output, matrices = look(network, image, (centres, sides, angles), mirrored, SIDE, device)
    output[~np.isfinite(output).all(1)] = np.nan
    linear = matrices[:, :, :2] * SIDE
    corners, points = output[:, 1:5].reshape(-1, 2, 2), output[:, 5:].reshape(-1, 5, 2)
    points = points @ linear.transpose(0, 2, 1) + centres[:, None]
    middle = (corners.mean(1)[:, None] @ linear.transpose(0, 2, 1))[:, 0] + centres
    half = (corners[:, 1] - corners[:, 0]) / 2 * sides[:, None]
    return output[:, 0], np.concatenate([middle - half, middle + half], 1), points[:, MIRRORED] if mirrored else points
