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

import math
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from ...faces import alignment, warping
from .postprocess import Detections, boxes_of_ellipses

SIDE = 96
"""Side of the network's input in pixels."""
CONTEXT = 1.6
"""Side of the square in the first run, divided by the longer side of the proposal."""
CLOSE = 1.3
"""The same for the two runs on the upright face."""
STEP = math.pi / 4
"""The square of the first run is turned by a multiple of this, in radians, after the proposal's landmarks."""
MOST_TURNED = 32
"""Most doubtful proposals that are looked at from other angles, the best ones: a page of text has hundreds."""
DOUBTFUL = 2.0
"""If the logit of the first run is below this, other angles are tried."""
AT = 3.0
"""The mean logit of the three runs that gives a score of 0.5: almost all faces have 5 and more, damaged ones too."""
AGREED = 0.02
"""Landmarks of the plain and the mirrored run that are farther apart on average than this share of the box's side"""
DISAGREE = 40.0
"""lower the logit, by this for each box's side."""
HOPELESS = -2.0
"""Below this logit a face that is far from the middle is not looked at again,"""
MOVED = 0.5
"""and far means that proposal and face overlap by less than this (intersection over union)."""
CAST = 2.0
"""A square whose channels' means differ by more than this factor is looked at in grey."""
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
        cells = (torch.arange(side // 4) + 0.5) / (side // 4) - 0.5
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
    least: float = 0.0,
    any_angle: bool = True,
) -> Detections:
    """Compute new scores, boxes and landmarks for proposals.

    Args:
        network: a `RefinerNet`, or a module with the same input and output, on `device` and in eval mode.
        image: H×W×3 uint8 RGB.
        found: proposals in pixels of the picture.
        device: device of the network.
        least: proposals whose score is below this after the first run are left out.
        any_angle: whether doubtful proposals are looked at from other angles too.

    Returns:
        One detection for each other proposal, in the same order. Its score is the refiner's, times the square root of
        the proposal's: the first stage has less to say than the second. Boxes are those of the ellipse in the box of
        the upright face, turned as the face is.
    """
    if not len(found.scores):
        return found
    first = judge(network, image, found, device, any_angle)
    kept = _share(first[0] - AT) * np.sqrt(found.scores) >= least
    logits, boxes, points = examine(network, image, first, kept, device)
    scores = _share(logits - AT) * np.sqrt(found.scores[kept])
    return Detections(boxes.astype(np.float32), scores.astype(np.float32), points.astype(np.float32))


def examine(
    network: nn.Module, image: NDArray[np.uint8], first: _Answer, kept: NDArray[np.bool_], device: torch.device
) -> _Answer:
    """The two runs on faces turned upright, plain and mirrored.

    Args:
        network: as in `refine`.
        image: H×W×3 uint8 RGB.
        first: from `judge`, of N proposals.
        kept: N booleans, whether a proposal is examined.
        device: device of the network.

    Returns:
        Of the K proposals that are kept: logits (K), means of all three runs, lower where the last two disagree; boxes
        (K×4, of the ellipse in the box of the upright face, turned as the face is) and landmarks (K×5×2) in pixels of
        the picture.
    """
    logits, boxes, points = (part[kept] for part in first)
    if not len(logits):
        return logits, boxes, points
    angles = upright(points)
    second, *placed = _look(network, image, boxes, angles, CLOSE, False, device)
    third, *mirrored = _look(network, image, boxes, angles, CLOSE, True, device)
    boxes, points = ((one + two) / 2 for one, two in zip(placed, mirrored, strict=True))
    apart = np.linalg.norm(placed[1] - mirrored[1], axis=2).mean(1) / np.maximum(
        (boxes[:, 2:] - boxes[:, :2]).max(1), 1
    )
    # On a face the plain and the mirrored look agree; on anything else they rarely do.
    logits = (logits + second + third) / 3 - DISAGREE * np.maximum(apart - AGREED, 0)
    boxes = boxes_of_ellipses((boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2, angles)
    return logits, boxes, points


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
    for eighths in ((2, 4, 6), (1, 3, 5, 7)) if any_angle else ():
        doubtful = np.flatnonzero(logits < DOUBTFUL)
        doubtful = doubtful[np.argsort(-found.scores[doubtful], kind="stable")[:MOST_TURNED]]
        if not len(doubtful):
            break
        which = np.tile(doubtful, len(eighths))
        others = angles[which] + np.repeat(eighths, len(doubtful)) * STEP
        _keep_surest(answer, which, _look(network, image, found.boxes[which], others, CONTEXT, False, device))
    moved = np.flatnonzero((logits > HOPELESS) & (_overlaps(found.boxes, boxes) < MOVED))
    if len(moved):
        _keep_surest(answer, moved, _look(network, image, boxes[moved], upright(points[moved]), CONTEXT, False, device))
    return answer


def _keep_surest(answer: _Answer, which: NDArray[np.int64], others: _Answer) -> None:
    """Put others' answers, of the proposals numbered `which`, in the places of less sure ones, in place."""
    for row, number in enumerate(which.tolist()):
        if others[0][row] > answer[0][number]:
            for whole, other in zip(answer, others, strict=True):
                whole[number] = other[row]


def _overlaps(ones: NDArray[Any], others: NDArray[Any]) -> NDArray[np.float64]:
    """Intersection over union of each of N boxes (N×4) with the other box of its row."""
    common = np.maximum(np.minimum(ones[:, 2:], others[:, 2:]) - np.maximum(ones[:, :2], others[:, :2]), 0).prod(1)
    areas = (np.maximum(each[:, 2:] - each[:, :2], 0).prod(1) for each in (ones, others))
    return np.asarray(common / np.maximum(sum(areas) - common, 1e-6), np.float64)


def _share(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """The probabilities of logits."""
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -30, 30))), np.float64)


def upright(points: NDArray[Any]) -> NDArray[np.float64]:
    """Roll of faces with landmarks N×5×2: N angles in radians, positive if the face leans to the image's right.

    The angle is that of the line from the middle of the eyes to the middle of the mouth. The line between the eyes
    would not do for profiles.
    """
    down = points[:, 3:].mean(1) - points[:, :2].mean(1)
    return np.arctan2(-down[:, 0], down[:, 1]).astype(np.float64)


def square_matrix(centre: NDArray[Any], side: float, angle: float, mirrored: bool, pixels: int) -> NDArray[np.float64]:
    """The 2×3 matrix that maps pixels of a rotated square to pixels of the picture.

    Args:
        centre: (x, y) of the square's centre in the picture.
        side: side of the square in pixels of the picture.
        angle: rotation of the square in radians; positive moves its top to the right.
        mirrored: whether the square shows the picture mirrored.
        pixels: side of the square in its own pixels.
    """
    step = side / pixels
    c, s = step * math.cos(angle), step * math.sin(angle)
    across = np.array([-c, -s] if mirrored else [c, s])
    linear = np.stack([across, [-s, c]], 1)
    return np.column_stack([linear, np.asarray(centre, np.float64) - linear.sum(1) * (pixels - 1) / 2])


def _squares(image: NDArray[np.uint8], matrices: NDArray[np.float64], pixels: int) -> NDArray[np.float32]:
    """The squares of a picture, N×pixels×pixels×3 float32 in [0, 1].

    Large squares are cut from a reduced copy: to read all pixels of a large area again for every square takes far
    longer than the network does.
    """
    copies: dict[int, tuple[NDArray[np.uint8], NDArray[np.float64]]] = {}
    result = np.empty((len(matrices), pixels, pixels, 3), np.float32)
    for number, matrix in enumerate(matrices):
        level = max(0, math.floor(math.log2(max(alignment.scale_of(matrix), 1.0))) - 1)  # leaves 2 to 4 to the warp
        if level not in copies:
            copies[level] = _reduced(image, 2**level)
        copy, to_copy = copies[level]
        result[number] = warping.warp(copy, alignment.compose(to_copy, matrix), pixels, pixels, "edge")
    return result


def _reduced(image: NDArray[np.uint8], factor: int) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """The picture reduced by about `factor`, and the 2×3 matrix from its pixels to the copy's."""
    height, width = image.shape[:2]
    size = (max(1, round(width / factor)), max(1, round(height / factor)))
    copy = image if factor == 1 else cv2.resize(np.ascontiguousarray(image), size, interpolation=cv2.INTER_AREA)
    x, y = copy.shape[1] / width, copy.shape[0] / height
    return np.asarray(copy, np.uint8), np.array([[x, 0, x / 2 - 0.5], [0, y, y / 2 - 0.5]], np.float64)


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
    squares = _squares(image, matrices, pixels)
    means = squares.mean((1, 2)) + np.float32(0.01)
    cast = means.max(1) > CAST * means.min(1)
    squares[cast] = squares[cast].mean(3, keepdims=True)  # light of one colour; the networks know grey faces
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
        Face logits (N), and boxes (N×4) and landmarks (N×5×2) in pixels of the picture.
    """
    boxes = boxes.astype(np.float64)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    sides = np.clip((boxes[:, 2:] - boxes[:, :2]).max(1), 4.0, 4.0 * max(image.shape[:2])) * context
    output, matrices = look(network, image, (centres, sides, angles), mirrored, SIDE, device)
    linear = matrices[:, :, :2] * SIDE
    corners, points = output[:, 1:5].reshape(-1, 2, 2), output[:, 5:].reshape(-1, 5, 2)
    points = points @ linear.transpose(0, 2, 1) + centres[:, None]
    middle = (corners.mean(1)[:, None] @ linear.transpose(0, 2, 1))[:, 0] + centres
    half = (corners[:, 1] - corners[:, 0]) / 2 * sides[:, None]
    return output[:, 0], np.concatenate([middle - half, middle + half], 1), points[:, MIRRORED] if mirrored else points
