"""Detection: finds the boxes, landmarks and scores of faces in pictures. `create_detector` loads a detector."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from ...catalogue import Inventory, inventory_of
from ...errors import FaceRestoreError, ModelFileError, OptionError
from ...faces.face import Face

logger = logging.getLogger(__name__)

FILES: dict[str, str] = {
    "retinaface-resnet50": "detection_Resnet50_Final.pth",
    "retinaface-mobilenet": "detection_mobilenet0.25_Final.pth",
    "yunet": "face_detection_yunet_2023mar.onnx",
}
"""The usual name of each detector's file."""
SUFFIXES = (".pth", ".pt", ".ckpt", ".safetensors")
"""Suffixes by which a detector's name is recognised as the path of a RetinaFace file."""


class Detector(Protocol):
    """Finds faces.

    Attributes:
        name: its name in reports and options.
    """

    name: str

    def detect(self, images: Sequence[NDArray[np.uint8]], confidence: float) -> list[list[Face]]:
        """Find the faces of pictures.

        Args:
            images: H×W×3 uint8 RGB, of any sizes.
            confidence: least score, 0 to 1.

        Returns:
            For each picture its faces, best score first, numbered 0, in pixels of the picture.
        """
        ...


def create_detector(name: str, models: Inventory | Sequence[Path] = (), device: str | torch.device = "cpu") -> Detector:
    """Load a detector. `lite`'s second stage checks the faces of every other one (see `verified`).

    Args:
        name: "auto" (the best that is installed), "retinaface-resnet50", "retinaface-mobilenet", "yunet", "lite", or
            the path of a RetinaFace file (.pth, .pt, .ckpt, .safetensors).
        models: an inventory, or folders that are searched in this order, with their sub-folders. Files are recognised
            by their tensors, not their names.
        device: device to run on ("yunet" always runs on the CPU).

    Raises:
        OptionError: the name is not known.
        ModelFileError: the detector's file is missing or damaged.
        FaceRestoreError: a package that it needs cannot be imported.
    """
    if name == "auto":
        return _best(inventory_of(models), device)
    if name == "lite" or name in FILES:
        return _named(name, inventory_of(models), device)
    if name.lower().endswith(SUFFIXES):
        from .retinaface import load_retinaface
        from .verified import verified

        return verified(load_retinaface(Path(name), Path(name).name, device), device)
    raise OptionError(
        f"detector {name!r} is not known; choose one of auto, {', '.join(FILES)}, lite, or the path of a RetinaFace "
        f"file ({', '.join(SUFFIXES)})."
    )


def find_files(models: Inventory | Sequence[Path]) -> dict[str, Path]:
    """The file of each installed detector, by the detector's name.

    If a detector is not installed, a file that has the usual name of its file is included: loading it raises an error
    that says what is wrong with it.
    """
    there = inventory_of(models)
    found = {name: misfit.path for name, misfit in there.misfits("detector").items()} | there.installed("detector")
    return {name: path for name, path in found.items() if name in FILES}


def _best(there: Inventory, device: str | torch.device) -> Detector:
    files = find_files(there)
    for name in ("retinaface-resnet50", "retinaface-mobilenet"):
        if name not in files:
            continue
        try:
            return _named(name, there, device)
        except FaceRestoreError as error:
            logger.warning("detector %s cannot be used, trying the next: %s", name, error)
    return _named("lite", there, device)


def _named(name: str, there: Inventory, device: str | torch.device) -> Detector:
    if name == "lite":
        from .lite import load_lite

        return load_lite(device)
    path = find_files(there).get(name)
    if path is None:
        looked = ", ".join(str(folder) for folder in there.folders) or "no folder was given"
        raise ModelFileError(
            f"detector {name}: {FILES[name]} is not installed (looked in: {looked}); put it into one of these folders, "
            "or choose the detector lite." + "".join(f" {sentence}" for sentence in there.closed)
        )
    from .verified import verified

    return verified(load_detector(name, path, device), device)


def load_detector(name: str, path: Path, device: str | torch.device = "cpu") -> Detector:
    """Load a detector from its file. Its faces are not checked.

    Args:
        name: a key of `FILES`.
        path: the file.
        device: device to run on ("yunet" always runs on the CPU).

    Raises:
        ModelFileError: the file is missing, damaged or of another network.
        FaceRestoreError: a package that it needs cannot be imported.
    """
    if name == "yunet":
        from .yunet import YuNetDetector

        return YuNetDetector(path)
    from .retinaface import MOBILENET, RESNET50, load_retinaface

    return load_retinaface(path, name, device, kind=RESNET50 if name == "retinaface-resnet50" else MOBILENET)
