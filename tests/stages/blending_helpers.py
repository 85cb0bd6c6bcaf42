"""Crops, pictures and labels for the tests of blending."""

from __future__ import annotations

import math

import cv2
import numpy as np

from lib_facerestore.faces import alignment
from lib_facerestore.stages import masks, parsing

SIZE = 256
TEMPLATE = alignment.ffhq_template(SIZE)


def placed(scale: float, x: float, y: float, degrees: float = 0.0) -> np.ndarray:
    """Matrix picture → crop for a crop whose pixels are `scale` picture pixels wide, centred at (x, y)."""
    c, s = scale * math.cos(math.radians(degrees)), scale * math.sin(math.radians(degrees))
    linear = np.array([[c, -s], [s, c]])
    shift = np.array([x, y]) - linear @ np.full(2, (SIZE - 1) / 2)
    return alignment.invert_affine(np.concatenate([linear, shift[:, None]], axis=1))


def smooth_picture(height: int, width: int, seed: int = 0, noise: float = 0.0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    coarse = generator.random((6, 6, 3), np.float32) * 0.6 + 0.2
    picture = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    picture += generator.standard_normal(picture.shape, np.float32) * noise
    return np.clip(picture, 0, 1)


def to_uint8(picture: np.ndarray) -> np.ndarray:
    return np.rint(picture * 255).astype(np.uint8)


def labels_with(*areas: tuple[int, tuple[slice, slice]]) -> np.ndarray:
    labels = np.zeros((SIZE, SIZE), np.uint8)
    labels[parsing.ellipse_mask(TEMPLATE, SIZE) > 0.5] = 1
    for number, where in areas:
        labels[where] = number
    return labels


MASK = masks.build_mask(SIZE, TEMPLATE)
