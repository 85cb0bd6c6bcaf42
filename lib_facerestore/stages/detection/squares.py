"""Turned squares of a picture, as the second and the third stage of the built-in detector see it."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ...faces import alignment, warping

CAST = 2.0
"""A square whose channels' means differ by more than this factor is looked at in grey."""
DULL = 0.11
"""Standard deviation of such a square up to which its contrast is raised; most have 0.13 to 0.23."""
NOISY = 0.3
"""So large are a noisy square's second differences in the median, as a share of the standard deviation."""


def square_matrix(centre: NDArray[Any], side: float, angle: float, mirrored: bool, pixels: int) -> NDArray[np.float64]:
    """The 2×3 matrix that maps pixels of a rotated square to pixels of the picture.

    Args:
        centre: (x, y) of the square's centre in the picture.
        side: side of the square in pixels of the picture.
        angle: rotation of the square in radians; positive moves its top to the right.
        mirrored: whether the square shows the picture mirrored.
        pixels: side of the square in its own pixels.
    """
    step = side / pixels
    c, s = step * math.cos(angle), step * math.sin(angle)
    across = np.array([-c, -s] if mirrored else [c, s])
    linear = np.stack([across, [-s, c]], 1)
    return np.column_stack([linear, np.asarray(centre, np.float64) - linear.sum(1) * (pixels - 1) / 2])


def cut_squares(image: NDArray[np.uint8], matrices: NDArray[np.float64], pixels: int) -> NDArray[np.float32]:
    """Squares of a picture, N×pixels×pixels×3 float32 in [0, 1]; those in light of one colour are made grey.

    Large squares are cut from a reduced copy: to read all pixels of a large area again for every square takes far
    longer than the network does.
    """
    copies: dict[int, tuple[NDArray[np.uint8], NDArray[np.float64]]] = {}
    result = np.empty((len(matrices), pixels, pixels, 3), np.float32)
    for number, matrix in enumerate(matrices):
        level = max(0, math.floor(math.log2(max(alignment.scale_of(matrix), 1.0))) - 1)  # leaves 2 to 4 to the warp
        if level not in copies:
            copies[level] = _reduced(image, 2**level)
        copy, to_copy = copies[level]
        result[number] = warping.warp(copy, alignment.compose(to_copy, matrix), pixels, pixels, "edge")
    means = result.mean((1, 2)) + np.float32(0.01)
    for number in np.flatnonzero(means.max(1) > CAST * means.min(1)).tolist():
        result[number] = _in_grey(result[number])[..., None]
    return result


def _reduced(image: NDArray[np.uint8], factor: int) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """The picture reduced by about `factor`, and the 2×3 matrix from its pixels to the copy's."""
    height, width = image.shape[:2]
    size = (max(1, round(width / factor)), max(1, round(height / factor)))
    copy = image if factor == 1 else cv2.resize(np.ascontiguousarray(image), size, interpolation=cv2.INTER_AREA)
    x, y = copy.shape[1] / width, copy.shape[0] / height
    return np.asarray(copy, np.uint8), np.array([[x, 0, x / 2 - 0.5], [0, y, y / 2 - 0.5]], np.float64)


def _in_grey(square: NDArray[np.float32]) -> NDArray[np.float32]:
    """A square (S×S×3, 0 to 1) in grey (S×S); a dull one is made as bright, rich in contrast and sharp as others are.

    Light of one colour may leave little contrast, and two dark channels with much noise.
    """
    grey = np.asarray(square.mean(2), np.float32)
    if float(grey.std()) > DULL:
        return grey
    steps = np.abs(np.diff(grey, 2, axis=1))
    spread = max(float(grey.std()), 0.02)
    if float(np.median(steps)) > NOISY * spread:
        grey = np.asarray(cv2.GaussianBlur(grey, (0, 0), 1.2), np.float32)
    else:
        grey = 2 * grey - np.asarray(cv2.GaussianBlur(grey, (0, 0), 3), np.float32)
    return np.clip((grey - grey.mean()) * (0.22 / max(float(grey.std()), 0.02)) + 0.45, 0, 1)
