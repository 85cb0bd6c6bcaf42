"""`lite`: the detector that is part of the package. It has three networks:

1. RetinaFace on MobileNet-0.25 proposes faces (`mobilenet`, trained with `tools/train_lite_detector.py`);
2. a small network checks and refines each proposal (`refine`, `tools/train_lite_refiner.py`);
3. another one improves the landmarks of the remaining faces (`landmark_net`, `tools/train_lite_landmarks.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ...catalogue import weights_path
from ...faces.face import Face
from ...networks.building import building
from ...networks.checkpoint_files import read_state
from ...networks.strict import fill
from .landmark_net import LandmarkNet, place
from .postprocess import Detections, suppress
from .reach import LEAST_OF_LITE
from .refine import RefinerNet, confirm, examined, scored
from .retinaface import MOBILENET, RetinaFaceDetector, load_retinaface
from .stopping import Stop, Stopped, ask
from .verdict import Seen

NAME = "lite"
WEIGHTS = "lite_detector.safetensors"
REFINER_WEIGHTS = "lite_refiner.safetensors"
LANDMARK_WEIGHTS = "lite_landmarks.safetensors"
SEEN = 0.4
"""A face of whose box less than this share is in the picture is left out."""
POOREST = 0.1
"""Proposals below this share of the confidence are of no use,"""
MOST = 64
"""and of those below the confidence's square, so many are looked at, where no sure face is found otherwise."""
SURE = 0.8
"""Score of a sure face."""
DENIED = -2.0
"""A face that is not sure is dropped if one more look gives it a lower logit."""


class LiteDetector:
    """A `Detector` of three stages: proposals, refinement, landmarks.

    Args:
        proposer: first stage.
        refiner: second stage: a `RefinerNet`, or a module with the same input and output.
        landmarks: third stage: a `LandmarkNet`, or a module with the same input and output.
        name: its name in reports.
    """

    def __init__(
        self, proposer: RetinaFaceDetector, refiner: nn.Module, landmarks: nn.Module, name: str = NAME
    ) -> None:
        self.name, self.least = name, LEAST_OF_LITE
        self.proposer = proposer
        self.refiner = refiner.eval().to(proposer.device)
        self.landmarks = landmarks.eval().to(proposer.device)

    def detect(self, images: Sequence[NDArray[np.uint8]], confidence: float = 0.5) -> list[list[Face]]:
        """See `Detector.detect`. Boxes end at the picture's border; landmarks may lie outside of it.

        Raises:
            InputError: a picture is not H×W×3 uint8, or has no pixels.
        """
        return self._detect(images, confidence, None)

    def detect_until(
        self, images: Sequence[NDArray[np.uint8]], confidence: float, stop: Stop
    ) -> list[list[Face]] | None:
        """See `StoppableDetector.detect_until`. Raises what `detect` raises."""
        try:
            return self._detect(images, confidence, stop)
        except Stopped:
            return None

    def finest(self, image: NDArray[Any], faces: Sequence[Face]) -> float:
        """See `ReducingDetector.finest`."""
        return self.proposer.finest(image, faces)

    def _detect(self, images: Sequence[NDArray[np.uint8]], confidence: float, stop: Stop | None) -> list[list[Face]]:
        proposed = self.proposer.propose(images, confidence**2, True, stop, POOREST * confidence)
        found = [
            self._confirmed(image, self._kept(image, self._look(image, proposals, again, confidence, stop), confidence))
            for image, (proposals, again) in zip(images, proposed, strict=True)
        ]
        return [self._placed(image, faces).faces() for image, faces in zip(images, found, strict=True)]

    def examined(self, image: NDArray[np.uint8], confidence: float) -> Seen:
        """What the second stage sees in a picture (H×W×3 uint8 RGB), of all that it looks at."""
        ((proposals, again),) = self.proposer.propose([image], confidence**2, True, poorest=POOREST * confidence)
        return self._look(image, proposals, again, confidence, None)

    def _look(
        self,
        image: NDArray[np.uint8],
        proposals: Detections,
        again: bool,
        confidence: float,
        stop: Stop | None,
    ) -> Seen:
        """What the second stage sees in a picture.

        Of the proposals, those of at least the confidence's square are looked at. If none turns out to be a sure face,
        the best of the others are looked at too; and if that was not done before, from every angle.

        Args:
            image: H×W×3 uint8 RGB.
            proposals: the first stage's, best score first.
            again: whether that one has looked carefully (see `RetinaFaceDetector.propose`).
            confidence: least score of a face.
            stop: called before each of the looks.

        Raises:
            Stopped: `stop` returned true.
        """
        ask(stop)
        count = int((proposals.scores >= confidence**2).sum())
        seen = self._examined(image, proposals.pick(np.arange(count)), again)
        if self._kept(image, seen, confidence).scores.max(initial=0) >= SURE:
            return seen
        ask(stop)
        if again:
            others = proposals.pick(np.arange(count, min(count + MOST, len(proposals.scores))))
            return Seen.join([seen, self._examined(image, others, False)])
        (more,) = self.proposer.look_carefully([image], confidence**2, stop, POOREST * confidence)
        every = suppress(Detections.join([proposals, more]), inside=2.0)
        count = int((every.scores >= confidence**2).sum()) + MOST
        return self._examined(image, every.pick(np.arange(min(count, len(every.scores)))), True)

    def _examined(self, image: NDArray[np.uint8], proposals: Detections, any_angle: bool) -> Seen:
        return examined(self.refiner, image, proposals, self.proposer.device, any_angle)

    def _kept(self, image: NDArray[np.uint8], seen: Seen, confidence: float) -> Detections:
        found = scored(seen, image)
        found = found.pick(np.isfinite(found.boxes).all(1) & (found.scores >= confidence))
        return suppress(found.pick(_seen(found.boxes, image) >= SEEN))

    def _confirmed(self, image: NDArray[np.uint8], found: Detections) -> Detections:
        """The faces without those that are not sure and that another look denies."""
        doubtful = np.flatnonzero(found.scores < SURE)
        if not len(doubtful):
            return found
        denied = confirm(self.refiner, image, found.pick(doubtful), self.proposer.device) < DENIED
        return found.pick(np.setdiff1d(np.arange(len(found.scores)), doubtful[denied]))

    def _placed(self, image: NDArray[np.uint8], found: Detections) -> Detections:
        points = place(self.landmarks, image, found.landmarks, self.proposer.device)
        height, width = image.shape[:2]
        boxes = np.clip(found.boxes, 0, np.array([width, height, width, height], np.float32))
        return Detections(boxes, found.scores, points)


def _seen(boxes: NDArray[np.float32], image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Which share of each box (N×4) is in the picture."""
    height, width = image.shape[:2]
    inside = np.clip(boxes, 0, np.array([width, height, width, height], np.float32))
    areas = (np.maximum(each[:, 2:] - each[:, :2], 0).prod(1) for each in (inside, boxes))
    seen, whole = areas
    return np.asarray(seen / np.maximum(whole, 1e-6), np.float32)


def load_lite(device: str | torch.device = "cpu") -> LiteDetector:
    """Load the built-in detector.

    Raises:
        ModelFileError: the package was installed without its weights, or they are damaged.
    """
    proposer = load_retinaface(weights_path(WEIGHTS), NAME, device, kind=MOBILENET)
    return LiteDetector(proposer, *load_checks(device))


def load_checks(device: str | torch.device = "cpu") -> tuple[RefinerNet, LandmarkNet]:
    """Load the second and the third stage, in eval mode.

    Raises:
        ModelFileError: the package was installed without their weights, or they are damaged.
    """
    with building():
        refiner, landmarks = RefinerNet().float(), LandmarkNet().float()
        for network, file in ((refiner, REFINER_WEIGHTS), (landmarks, LANDMARK_WEIGHTS)):
            path = weights_path(file)
            fill(network, read_state(path), type(network).__name__, str(path))
        return refiner.eval().to(device), landmarks.eval().to(device)
