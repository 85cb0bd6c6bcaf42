"""The detector YuNet (Wu et al., 2023), run by OpenCV on the CPU, one picture at a time, from its .onnx file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ...catalogue.fingerprints import format_of
from ...errors import ModelFileError
from ...faces.face import Face
from .pieces import first_look, first_scale
from .postprocess import Detections, suppress
from .reach import LEAST

LONG_SIDE = 640
"""Longest side of the network's input in pixels; larger pictures are reduced."""


class YuNetDetector:
    """A `Detector` around ``cv2.FaceDetectorYN``.

    Args:
        path: the .onnx file.

    Raises:
        ModelFileError: this OpenCV has no FaceDetectorYN, or the file is unreadable or damaged.
    """

    name = "yunet"
    least = LEAST  # a RetinaFace's, since YuNet's own was not measured

    def __init__(self, path: Path) -> None:
        create = getattr(cv2, "FaceDetectorYN_create", None)
        if create is None:
            raise ModelFileError(
                f"{path}: OpenCV {cv2.__version__} has no FaceDetectorYN; install opencv-python 4.8 or newer, or "
                "choose another detector."
            )
        try:
            self._network = create(str(path), "", (LONG_SIDE, LONG_SIDE), 0.5, 0.3, 5000)
        except cv2.error as error:
            format_of(path)  # raises an error of its own for an unreadable file
            raise ModelFileError(
                f"{path}: damaged, or not a file that OpenCV can load ({error.err}); get it again."
            ) from error

    def detect(self, images: Sequence[NDArray[np.uint8]], confidence: float = 0.5) -> list[list[Face]]:
        """See `Detector.detect`."""
        self._network.setScoreThreshold(float(confidence))
        return [self._one(image) for image in images]

    def finest(self, image: NDArray[Any], faces: Sequence[Face]) -> float:
        """See `ReducingDetector.finest`."""
        return first_scale(image, LONG_SIDE)

    def _one(self, image: NDArray[np.uint8]) -> list[Face]:
        piece = first_look(image, LONG_SIDE)
        self._network.setInputSize((piece.pixels.shape[1], piece.pixels.shape[0]))
        _, rows = self._network.detect(np.ascontiguousarray(piece.pixels[:, :, ::-1]))
        if rows is None or not len(rows):
            return []
        # Rows: x, y, width, height, five points (image left first, as OpenCV's documentation lists them), score.
        rows = np.asarray(rows, np.float32)
        boxes = np.concatenate((rows[:, :2], rows[:, :2] + rows[:, 2:4]), 1)
        found = Detections(boxes, rows[:, 14], rows[:, 4:14].reshape(-1, 5, 2))
        return suppress(found.moved(piece.scale, (0.0, 0.0))).faces()
