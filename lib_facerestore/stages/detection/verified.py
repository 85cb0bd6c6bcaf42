"""A detector whose faces are checked by the second stage of `lite`.

A RetinaFace at a confidence of 0.5 also takes hands, leaves, hair and flowers for faces. `lite`'s second stage was
trained on such mistakes. It drops what is surely no face; boxes and scores of the others stay as the detector gave
them. The landmarks of a face that lies on a side or stands on its head are replaced where the detector took it for an
upright one.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ...errors import ModelFileError
from ...faces.face import Face
from . import Detector
from .landmark_net import place
from .lite import load_checks
from .postprocess import Detections
from .reach import ReducingDetector
from .refine import examine, judge
from .stopping import Stop, StoppableDetector
from .verdict import agreed_logits

logger = logging.getLogger(__name__)

LEAST = 1.0
"""A face to which the second stage gives a lower logit, at every angle, is dropped; almost all have 5 and more."""
SURE = 3.0
"""Only from this logit on, the second stage's landmarks may replace the detector's."""
APART = 0.25
"""Landmarks that are farther apart on average than this share of the box's longer side are those of different faces."""


class VerifiedDetector:
    """A `Detector` around another one.

    Args:
        base: the detector that finds the faces.
        refiner: second stage of `lite`: a `RefinerNet`, or a module with the same input and output.
        landmarks: its third stage: a `LandmarkNet`, or a module with the same input and output.
        device: device for both stages.
    """

    def __init__(
        self, base: Detector, refiner: nn.Module, landmarks: nn.Module, device: str | torch.device = "cpu"
    ) -> None:
        self.name = base.name
        self.least = base.least if isinstance(base, ReducingDetector) else 0.0
        self.base = base
        self.device = torch.device(device)
        self.refiner = refiner.eval().to(self.device)
        self.landmarks = landmarks.eval().to(self.device)

    def detect(self, images: Sequence[NDArray[np.uint8]], confidence: float = 0.5) -> list[list[Face]]:
        """See `Detector.detect`.

        Raises:
            InputError: a picture is not H×W×3 uint8, or has no pixels.
        """
        found = self.base.detect(images, confidence)
        return [self._checked(image, faces) for image, faces in zip(images, found, strict=True)]

    def detect_until(
        self, images: Sequence[NDArray[np.uint8]], confidence: float, stop: Stop
    ) -> list[list[Face]] | None:
        """See `StoppableDetector.detect_until`. Raises what `detect` raises."""
        if not isinstance(self.base, StoppableDetector):
            return self.detect(images, confidence)
        found = self.base.detect_until(images, confidence, stop)
        if found is None:
            return None
        return [self._checked(image, faces) for image, faces in zip(images, found, strict=True)]

    def finest(self, image: NDArray[Any], faces: Sequence[Face]) -> float:
        """See `ReducingDetector.finest`; 1 for a detector that does not say it."""
        return self.base.finest(image, faces) if isinstance(self.base, ReducingDetector) else 1.0

    def _checked(self, image: NDArray[np.uint8], faces: list[Face]) -> list[Face]:
        if not faces:
            return []
        proposals = Detections.of(faces)
        first = judge(self.refiner, image, proposals, self.device)
        seen = examine(self.refiner, image, first, np.ones(len(faces), bool), proposals.scores, self.device)
        logits, points = agreed_logits(seen), seen.points
        kept = ~(logits < LEAST)  # without a verdict, the face stays
        if seen.broken.any():
            logger.warning(
                "%s: %d faces are not checked: not finite in lite's second stage", self.name, seen.broken.sum()
            )
        apart = np.linalg.norm(points - proposals.landmarks, axis=2).mean(1) > APART * proposals.sides
        turned = np.flatnonzero((logits >= SURE) & apart)
        result = dict(enumerate(faces))
        places = place(self.landmarks, image, points[turned], self.device)
        result |= {n: replace(faces[n], landmarks=better) for n, better in zip(turned.tolist(), places, strict=True)}
        if not kept.all():
            logger.debug("%s: %d of %d faces are none", self.name, int((~kept).sum()), len(faces))
        return [result[number] for number in np.flatnonzero(kept).tolist()]


def verified(base: Detector, device: str | torch.device = "cpu") -> Detector:
    """The detector, its faces checked; without the weights of `lite`, the detector as it is, and a warning."""
    try:
        refiner, landmarks = load_checks(device)
    except ModelFileError as error:
        logger.warning("detector %s: its faces are not checked by lite's second stage: %s", base.name, error)
        return base
    return VerifiedDetector(base, refiner, landmarks, device)
