"""`lite`: the detector that is part of the package. It has three networks:

1. RetinaFace on MobileNet-0.25 proposes faces (`mobilenet`, trained with `tools/train_lite_detector.py`);
2. a small network checks and refines each proposal (`refine`, `tools/train_lite_refiner.py`);
3. another one improves the landmarks of the remaining faces (`landmark_net`, `tools/train_lite_landmarks.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ...catalogue import weights_path
from ...faces.face import Face
from ...networks.checkpoint_files import read_state
from ...networks.strict import fill
from .landmark_net import LandmarkNet, place
from .postprocess import Detections, suppress
from .refine import RefinerNet, refine
from .retinaface import MOBILENET, RetinaFaceDetector, load_retinaface

NAME = "lite"
WEIGHTS = "lite_detector.safetensors"
REFINER_WEIGHTS = "lite_refiner.safetensors"
LANDMARK_WEIGHTS = "lite_landmarks.safetensors"
SEEN = 0.4
"""A face of whose box less than this share is in the picture is left out."""
HOPE = 0.03
"""A proposal that reaches this share of the confidence after the second stage's first run gets the other two."""


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
        self.name = name
        self.proposer = proposer
        self.refiner = refiner.eval().to(proposer.device)
        self.landmarks = landmarks.eval().to(proposer.device)

    def detect(self, images: Sequence[NDArray[np.uint8]], confidence: float = 0.5) -> list[list[Face]]:
        """See `Detector.detect`. Boxes end at the picture's border; landmarks may lie outside of it.

        Raises:
            InputError: a picture is not H×W×3 uint8, or has no pixels.
        """
        # A score is the second stage's, times the square root of the first one's: a proposal below the confidence's
        # square cannot reach it.
        floor = confidence**2
        proposed = self.proposer.propose(images, floor, careful=True)
        found = [
            self._refined(image, proposals, confidence, again)
            for image, (proposals, again) in zip(images, proposed, strict=True)
        ]
        missed = [n for n, (_, again) in enumerate(proposed) if not again and not len(found[n].scores)]
        second = self.proposer.look_carefully([images[n] for n in missed], floor)
        for number, proposals in zip(missed, second, strict=True):
            every = suppress(Detections.join([proposed[number][0], proposals]), inside=2.0)
            found[number] = self._refined(images[number], every, confidence, any_angle=True)
        return [self._placed(image, faces).faces() for image, faces in zip(images, found, strict=True)]

    def _refined(
        self, image: NDArray[np.uint8], proposals: Detections, confidence: float, any_angle: bool
    ) -> Detections:
        found = refine(self.refiner, image, proposals, self.proposer.device, HOPE * confidence, any_angle)
        found = found.pick(np.isfinite(found.boxes).all(1) & (found.scores >= confidence))
        return suppress(found.pick(_seen(found.boxes, image) >= SEEN))

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
    with torch.inference_mode(False), torch.no_grad():  # parameters created in inference mode could not be moved
        refiner, landmarks = RefinerNet(), LandmarkNet()
        for network, file in ((refiner, REFINER_WEIGHTS), (landmarks, LANDMARK_WEIGHTS)):
            path = weights_path(file)
            fill(network, read_state(path), type(network).__name__, str(path))
        return refiner.eval().to(device), landmarks.eval().to(device)
