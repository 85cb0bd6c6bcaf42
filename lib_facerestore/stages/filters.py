"""Filters on float pictures that several stages use."""

from __future__ import annotations

from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

FloatImage = NDArray[np.float32]
Values = TypeVar("Values", float, FloatImage)


def gaussian(image: FloatImage, sigma: float) -> FloatImage:
    """Gaussian blur of H×W or H×W×C floats, with `sigma` in pixels; a wide kernel is applied to a reduced copy."""
    if sigma <= 0.05:
        return image.copy()
    height, width = image.shape[:2]
    k = max(1, int(sigma / 2.5))
    small = image
    if k > 1:
        small = np.asarray(
            cv2.resize(image, (max(width // k, 1), max(height // k, 1)), interpolation=cv2.INTER_AREA), np.float32
        )
    small = np.asarray(cv2.GaussianBlur(small, (0, 0), sigma / k, borderType=cv2.BORDER_REPLICATE), np.float32)
    if k > 1:
        small = np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
    return small.reshape(image.shape)


def smoothstep(x: Values) -> Values:
    """3t² − 2t³ of what is cut to 0 … 1."""
    t: Values = np.clip(x, 0.0, 1.0)
    return t * t * (3 - 2 * t)


def square_of(crop: FloatImage, side: int) -> FloatImage:
    """A crop (S×S×3, RGB) resized to side×side, without aliasing, as input for a parser.

    Raises:
        InputError: the crop is not square RGB.
    """
    if crop.ndim != 3 or crop.shape[2] != 3 or crop.shape[0] != crop.shape[1]:
        raise InputError(f"crop: a square RGB crop is needed for parsing, got shape {crop.shape}")
    crop = np.asarray(crop, np.float32)
    if crop.shape[0] == side:
        return crop
    method = cv2.INTER_AREA if crop.shape[0] > side else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(crop, (side, side), interpolation=method), np.float32)
