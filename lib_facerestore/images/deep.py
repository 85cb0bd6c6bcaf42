"""Pixels that OpenCV decodes: those of 16 bits and several channels, for which Pillow has no mode."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .metadata import upright


def decode_by_opencv(data: bytes, depth: int = 16) -> NDArray[Any]:
    """Values of a PNG, TIFF or BMP: H×W, H×W×3 RGB or H×W×4 RGBA, uint16 or, with a `depth` of 8, uint8.

    Raises:
        ValueError: they cannot be decoded.
    """
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # it prints lines of its sources for damaged data
    try:
        values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ValueError(f"the {depth}-bit pixels cannot be decoded: {error.err}") from error
    finally:
        cv2.utils.logging.setLogLevel(level)
    if values is None or values.dtype.itemsize * 8 != depth:
        raise ValueError(f"the {depth}-bit pixels cannot be decoded")
    if values.ndim == 3:
        values = values[:, :, 0] if values.shape[2] == 1 else values[:, :, [2, 1, 0, 3][: values.shape[2]]]
    return np.ascontiguousarray(values)


def deep_fields(values: NDArray[Any], grey: bool, orientation: int) -> dict[str, Any]:
    """The fields pixels, alpha and mode of a `Picture`.

    Args:
        values: uint16 H×W, H×W×3 RGB or H×W×4 RGBA, as stored.
        grey: whether the colours are grey.
        orientation: EXIF orientation, 1 to 8, which is applied.
    """
    values = upright(values, orientation)
    if values.ndim == 2:
        return {"pixels": np.repeat(values[:, :, None], 3, axis=2), "mode": "I;16"}
    pixels = np.ascontiguousarray(values[:, :, :3])
    if values.shape[2] == 3:
        return {"pixels": pixels, "mode": "I;16" if grey else "RGB;16"}
    alpha = np.ascontiguousarray(values[:, :, 3])
    return {"pixels": pixels, "alpha": alpha, "mode": "LA;16" if grey else "RGBA;16"}
