"""Turns RetinaFace's raw output into faces: priors, decoding, and suppression of duplicates.

Boxes have SSD's centre-size encoding (Liu et al., ECCV 2016) with variances 0.1 and 0.2. Landmarks are offsets from the
prior's centre in tenths of its side (Deng et al., CVPR 2020). Coordinates are in pixels.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...faces.face import Face
from ...system import facexlib_import

STRIDES: tuple[int, ...] = (8, 16, 32)
PRIOR_SIDES: tuple[tuple[int, ...], ...] = ((16, 32), (64, 128), (256, 512))
VARIANCES: tuple[float, float] = (0.1, 0.2)
SAME = 0.65
"""Landmarks of two detections are averaged if their intersection over union is above this."""
AGREE = 0.25
"""They are not if they are farther apart on average than this share of the box's longer side."""
MOST = 3000
"""Most detections of one input before suppression; only a confidence near 0 yields as many."""


@functools.lru_cache(maxsize=32)
def prior_boxes(height: int, width: int) -> torch.Tensor:
    """The priors (reference squares) for an input of this size in pixels.

    Returns:
        N×3 float32 (centre x, centre y, side) in pixels, in the order of the network's output: by stride (8, 16, 32),
        row, column and side. The tensor is cached, so callers must not change it.
    """
    levels = []
    for stride, sides in zip(STRIDES, PRIOR_SIDES, strict=True):
        ys = (torch.arange(math.ceil(height / stride), dtype=torch.float32, device="cpu") + 0.5) * stride
        xs = (torch.arange(math.ceil(width / stride), dtype=torch.float32, device="cpu") + 0.5) * stride
        grid = torch.cartesian_prod(ys, xs, torch.tensor(sides, dtype=torch.float32, device="cpu"))
        levels.append(grid[:, [1, 0, 2]])
    return torch.cat(levels)


def decode_boxes(offsets: torch.Tensor, priors: torch.Tensor) -> torch.Tensor:
    """Boxes (…×N×4: x0, y0, x1, y1 in pixels) from box offsets (…×N×4) and priors (N×3, from `prior_boxes`)."""
    side = priors[:, 2:3]
    centre = priors[:, :2] + offsets[..., :2] * (VARIANCES[0] * side)
    half = torch.exp(offsets[..., 2:] * VARIANCES[1]) * (side / 2)
    return torch.cat((centre - half, centre + half), dim=-1)


def decode_landmarks(offsets: torch.Tensor, priors: torch.Tensor) -> torch.Tensor:
    """Landmarks (…×N×5×2: x, y in pixels) from landmark offsets (…×N×10) and priors (N×3, from `prior_boxes`)."""
    points = offsets.reshape(*offsets.shape[:-1], 5, 2)
    return priors[:, None, :2] + points * (VARIANCES[0] * priors[:, None, 2:3])


@dataclass(frozen=True)
class Detections:
    """Boxes, scores and landmarks of the N detections in one picture.

    Attributes:
        boxes: N×4 float32 (x0, y0, x1, y1) in pixels.
        scores: N float32, 0 to 1.
        landmarks: N×5×2 float32 (x, y) in pixels.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    landmarks: NDArray[np.float32]

    @staticmethod
    def nothing() -> Detections:
        """No detections (N = 0)."""
        return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros((0, 5, 2), np.float32))

    @staticmethod
    def join(parts: Sequence[Detections]) -> Detections:
        """All detections of the parts, in their order."""
        if not parts:
            return Detections.nothing()
        return Detections(
            np.concatenate([part.boxes for part in parts]),
            np.concatenate([part.scores for part in parts]),
            np.concatenate([part.landmarks for part in parts]),
        )

    @staticmethod
    def of(faces: Sequence[Face]) -> Detections:
        """The boxes, scores and landmarks of faces."""
        if not faces:
            return Detections.nothing()
        return Detections(
            np.array([face.box for face in faces], np.float32),
            np.array([face.score for face in faces], np.float32),
            np.stack([face.landmarks for face in faces]).astype(np.float32),
        )

    @property
    def sides(self) -> NDArray[np.float32]:
        """The longer side of each box in pixels, N float32."""
        return np.maximum(self.boxes[:, 2] - self.boxes[:, 0], self.boxes[:, 3] - self.boxes[:, 1])

    def pick(self, which: NDArray[Any]) -> Detections:
        """The detections that an array of indices or booleans selects."""
        return Detections(self.boxes[which], self.scores[which], self.landmarks[which])

    def moved(self, scale: tuple[float, float], shift: tuple[float, float]) -> Detections:
        """Convert from pixels of a piece to pixels of the picture.

        Args:
            scale: `Piece.scale`, by which coordinates are divided.
            shift: `Piece.corner`, which is added before.
        """
        points = (self.landmarks + np.asarray(shift, np.float32)) / np.asarray(scale, np.float32)
        boxes = (self.boxes + np.asarray(shift * 2, np.float32)) / np.asarray(scale * 2, np.float32)
        return Detections(boxes.astype(np.float32), self.scores, points.astype(np.float32))

    def turned_back(self, eighths: int, turned: tuple[int, int], size: tuple[int, int]) -> Detections:
        """Convert from pixels of a picture that was turned about its middle to pixels of the picture.

        Args:
            eighths: by how many times 45° the picture was turned counterclockwise.
            turned: width and height of the turned picture.
            size: width and height of the picture before.

        Returns:
            Detections whose boxes are those of the ellipses in the boxes, turned.
        """
        angle = eighths * math.pi / 4
        c, s = math.cos(angle), math.sin(angle)
        back = np.array([[c, -s], [s, c]])
        centre, middle = np.array(turned) / 2, np.array(size) / 2
        points = (self.landmarks - centre) @ back.T + middle
        places = ((self.boxes[:, :2] + self.boxes[:, 2:]) / 2 - centre) @ back.T + middle
        boxes = boxes_of_ellipses(places, (self.boxes[:, 2:] - self.boxes[:, :2]) / 2, np.full(len(places), -angle))
        return Detections(boxes.astype(np.float32), self.scores, points.astype(np.float32))

    def faces(self) -> list[Face]:
        """The detections as faces numbered 0, in order, except those that are empty or not finite."""
        sound = (self.boxes[:, 2:] > self.boxes[:, :2]).all(1) & np.isfinite(self.boxes).all(1)
        sound &= np.isfinite(self.landmarks).all((1, 2))
        return [
            Face(0, (float(box[0]), float(box[1]), float(box[2]), float(box[3])), points, float(score))
            for box, points, score in zip(
                self.boxes[sound], self.landmarks[sound], np.clip(self.scores[sound], 0, 1), strict=True
            )
        ]


def decode(
    boxes: torch.Tensor, scores: torch.Tensor, landmarks: torch.Tensor, priors: torch.Tensor, confidence: float
) -> Detections:
    """Decode the network's output for one input.

    Args:
        boxes: N×4 box offsets.
        scores: N face probabilities.
        landmarks: N×10 landmark offsets.
        priors: N×3, from `prior_boxes` for the input's size.
        confidence: least score, 0 to 1.

    Returns:
        Detections with at least this score, at most the best `MOST`, before suppression of duplicates.
    """
    kept = torch.nonzero(scores >= confidence)[:, 0]
    if not len(kept):
        return Detections.nothing()
    if len(kept) > MOST:
        kept = kept[torch.topk(scores[kept], MOST).indices.sort().values]
    priors = priors.to(boxes.device)[kept]
    return Detections(
        decode_boxes(boxes[kept].float(), priors).cpu().numpy(),
        scores[kept].float().cpu().numpy(),
        decode_landmarks(landmarks[kept].float(), priors).cpu().numpy(),
    )


def boxes_of_ellipses(
    centres: NDArray[np.float64], half: NDArray[Any], angles: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The boxes (N×4) of ellipses with centres N×2 and half axes N×2, turned by angles (N) in radians."""
    c, s = np.cos(angles), np.sin(angles)
    reach = np.stack([np.hypot(half[:, 0] * c, half[:, 1] * s), np.hypot(half[:, 0] * s, half[:, 1] * c)], 1)
    return np.concatenate([centres - reach, centres + reach], 1)


def suppress(found: Detections, iou: float = 0.4, inside: float = 0.8, apart: float = 0.12) -> Detections:
    """Keep one detection for each face.

    The landmarks of a face are the mean over the detections that overlap by `SAME`, weighted by the fourth power of
    their scores. This is more stable than the landmarks of the best detection alone.

    Args:
        found: detections, in which a face may occur more than once.
        iou: a detection is dropped if a better one overlaps it by more than this (intersection over union),
        inside: or if the two share more than this fraction of the smaller box (above 1: never),
        apart: or if their landmarks are closer on average than this, as a fraction of the smaller box's longer side.

    Returns:
        The remaining detections, best score first.
    """
    if not len(found.scores):
        return found
    kept = facexlib_import.nms(torch.from_numpy(found.boxes), torch.from_numpy(found.scores), iou).numpy()
    found = Detections(found.boxes[kept], found.scores[kept], _mean_landmarks(found, kept))
    area = np.maximum(found.boxes[:, 2:] - found.boxes[:, :2], 0).prod(1)
    sides, middles = found.sides, found.landmarks.mean(1)
    survivors, count = np.zeros(len(area), np.int64), 0
    for number, box in enumerate(found.boxes):
        if count:
            better = survivors[:count]
            common = np.minimum(found.boxes[better, 2:], box[2:]) - np.maximum(found.boxes[better, :2], box[:2])
            covered = np.maximum(common, 0).prod(1) / np.maximum(np.minimum(area[better], area[number]), 1e-6)
            if (covered > inside).any():
                continue
            near = apart * np.minimum(sides[better], sides[number])
            # The middles of landmarks are never farther apart than the landmarks are on average, and sooner computed.
            close = (np.abs(middles[better] - middles[number]) < near[:, None]).all(1)
            distance = np.linalg.norm(found.landmarks[better[close]] - found.landmarks[number], axis=2).mean(1)
            if (distance < near[close]).any():
                continue
        survivors[count] = number
        count += 1
    return found.pick(survivors[:count])


def _mean_landmarks(found: Detections, kept: NDArray[Any]) -> NDArray[np.float32]:
    """Landmarks (K×5×2) of the detections `kept` (K indices): weighted means over each face's detections."""
    area = np.maximum(found.boxes[:, 2:] - found.boxes[:, :2], 0).prod(1)
    means, sides = found.landmarks[kept].copy(), found.sides
    for row, number in enumerate(kept):
        box = found.boxes[number]
        common = np.minimum(found.boxes[:, 2:], box[2:]) - np.maximum(found.boxes[:, :2], box[:2])
        shared = np.maximum(common, 0).prod(1)
        same = np.flatnonzero(shared > SAME * (area + area[number] - shared))
        # Landmarks of a face that was taken for one that stands on its head would spoil the mean.
        distance = np.linalg.norm(found.landmarks[same] - found.landmarks[number], axis=2).mean(1)
        same = same[distance < AGREE * sides[number]]
        if len(same) > 1:
            weight = found.scores[same] ** 4
            means[row] = (found.landmarks[same] * weight[:, None, None]).sum(0) / max(float(weight.sum()), 1e-12)
    return means
