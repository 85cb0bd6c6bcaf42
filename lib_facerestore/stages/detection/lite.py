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
        """See `Detector.detect`.

        Raises:
            InputError: a picture is not H×W×3 uint8, or has no pixels.
        """
        # The score is the product of both stages' scores, so a proposal below the confidence can be dropped now.
        proposals = self.proposer.detect(images, confidence)
        results = []
        for image, faces in zip(images, proposals, strict=True):
            found = refine(self.refiner, image, _detections(faces), self.proposer.device)
            sound = np.isfinite(found.boxes).all(1) & (found.scores >= confidence)
            found = suppress(found.pick(sound))
            points = place(self.landmarks, image, found.landmarks, self.proposer.device)
            results.append(Detections(found.boxes, found.scores, points).faces())
        return results


def _detections(faces: Sequence[Face]) -> Detections:
    if not faces:
        return Detections.nothing()
    return Detections(
        np.array([face.box for face in faces], np.float32),
        np.array([face.score for face in faces], np.float32),
        np.stack([face.landmarks for face in faces]),
    )


def load_lite(device: str | torch.device = "cpu") -> LiteDetector:
    """Load the built-in detector.

    Raises:
        ModelFileError: the package was installed without its weights, or they are damaged.
    """
    proposer = load_retinaface(weights_path(WEIGHTS), NAME, device, kind=MOBILENET)
    with torch.inference_mode(False), torch.no_grad():  # parameters created in inference mode could not be moved
        refiner, landmarks = RefinerNet(), LandmarkNet()
        for network, file in ((refiner, REFINER_WEIGHTS), (landmarks, LANDMARK_WEIGHTS)):
            path = weights_path(file)
            fill(network, read_state(path), type(network).__name__, str(path))
    return LiteDetector(proposer, refiner, landmarks)
