"""The detector that comes with the package: RetinaFace on MobileNet-0.25 with weights of our own.

They were trained from random weights by ``tools/train_lite_detector.py``. May import `retinaface`.
"""

from __future__ import annotations

from importlib import resources

import torch

from lib_facerestore.detection.retinaface import MOBILENET, RetinaFaceDetector, load_retinaface

NAME = "lite"
WEIGHTS = "lite_detector.safetensors"


def load_lite(device: str | torch.device = "cpu") -> RetinaFaceDetector:
    """The shipped detector.

    Raises:
        ModelFileError: the package was installed without its weights.
        FaceRestoreError: facexlib cannot be imported.
    """
    with resources.as_file(resources.files("lib_facerestore") / "weights" / WEIGHTS) as path:
        return load_retinaface(path, NAME, device, kind=MOBILENET)
