"""The detector that comes with the package, in three stages, all with weights of our own.

RetinaFace on MobileNet-0.25 proposes (trained from random weights by ``tools/train_lite_detector.py``), a small
network takes a closer look at each proposal (`refine`, ``tools/train_lite_refiner.py``), and another places the
landmarks of the faces that are left (`landmark_net`, ``tools/train_lite_landmarks.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import resources

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import nn

from ...errors import ModelFileError
from ...faces.face import Face
from .landmark_net import LandmarkNet, place
from .postprocess import Found, suppress
from .refine import RefinerNet, refine
from .retinaface import MOBILENET, RetinaFaceDetector, load_retinaface

NAME = "lite"
WEIGHTS = "lite_detector.safetensors"
REFINER_WEIGHTS = "lite_refiner.safetensors"
LANDMARK_WEIGHTS = "lite_landmarks.safetensors"


class LiteDetector:
    """A `Detector`: proposals of a first stage, each looked at again by a refiner.

    Args:
        proposer: the first stage.
        refiner: a `RefinerNet`, or what computes the same shapes.
        landmarks: a `LandmarkNet`, or what computes the same shapes.
        name: what it is called in reports.
    """

    def __init__(
        self, proposer: RetinaFaceDetector, refiner: nn.Module, landmarks: nn.Module, name: str = NAME
    ) -> None:
        self.name = name
        self.proposer = proposer
        self.refiner = refiner.eval().to(proposer.device)
        self.landmarks = landmarks.eval().to(proposer.device)

    def detect(self, images: Sequence[NDArray[np.uint8]], confidence: float = 0.5) -> list[list[Face]]:
        """Faces of each picture (H×W×3 uint8 RGB), best score first, numbered 0, in pixels of the picture.

        Raises:
            InputError: a picture is not H×W×3 uint8, or has no pixels.
        """
        # A face's score is the product of both stages', so a proposal below the confidence cannot reach it.
        proposals = self.proposer.detect(images, confidence)
        results = []
        for image, faces in zip(images, proposals, strict=True):
            found = refine(self.refiner, image, _found(faces), self.proposer.device)
            sound = np.isfinite(found.boxes).all(1) & (found.scores >= confidence)
            found = suppress(found.pick(sound))
            points = place(self.landmarks, image, found.landmarks, self.proposer.device)
            results.append(Found(found.boxes, found.scores, points).faces())
        return results


def _found(faces: Sequence[Face]) -> Found:
    if not faces:
        return Found.nothing()
    return Found(
        np.array([face.box for face in faces], np.float32),
        np.array([face.score for face in faces], np.float32),
        np.stack([face.landmarks for face in faces]),
    )


def load_lite(device: str | torch.device = "cpu") -> LiteDetector:
    """The shipped detector.

    Raises:
        ModelFileError: the package was installed without its weights.
    """
    with resources.as_file(resources.files("lib_facerestore") / "weights" / WEIGHTS) as path:
        proposer = load_retinaface(path, NAME, device, kind=MOBILENET)
    return LiteDetector(proposer, _filled(RefinerNet, REFINER_WEIGHTS), _filled(LandmarkNet, LANDMARK_WEIGHTS))


def _filled(build: Callable[[], nn.Module], name: str) -> nn.Module:
    """A network with the weights that the package ships under this name."""
    try:
        state = safetensors.torch.load((resources.files("lib_facerestore") / "weights" / name).read_bytes())
    except (OSError, safetensors.SafetensorError) as error:
        raise ModelFileError(
            f"{name}: the package's own weights cannot be read ({error}); install lib_facerestore again."
        ) from error
    with torch.inference_mode(False), torch.no_grad():
        network = build()
        # Batch counters are not shipped: they say nothing once training is over.
        counters = {key: value for key, value in network.state_dict().items() if key.endswith("batches_tracked")}
        network.load_state_dict(counters | {key: value.float() for key, value in state.items()})
    return network
