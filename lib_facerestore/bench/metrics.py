"""Measures of image quality: how near a result is to the truth, and what a paste leaves behind.

Pictures are H×W×3 uint8 RGB; regions are H×W bool. CIEDE2000 is scikit-image's.
"""

from __future__ import annotations

import importlib
import itertools
import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import FaceRestoreError
from ..stages.filters import gaussian
from ..wording import pip_install

Pixels = NDArray[np.uint8]
Region = NDArray[np.bool_]
FloatImage = NDArray[np.float32]

SAME = 100.0
"""Decibels that an identical picture counts as in a mean."""
WORST = 100.0
"""Largest factor that is told for a band of noise; it may be without limit where all noise is lost."""
BANDS = (0.7, 1.4, 2.8, 5.6)
"""Widths (sigma in pixels) of the Gaussians between which noise is divided into bands, the finest first."""
_PIECE, _PIECES = 16, (8, 48)
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def psnr(image: ArrayLike, truth: ArrayLike, where: Region | None = None) -> float | None:
    """Peak signal-to-noise ratio in dB, of a range of 255.

    Args:
        image: H×W×3, 0 to 255.
        truth: the same.
        where: the pixels that count; None means all.

    Returns:
        Decibels, at most `SAME`; None if the pictures are identical there, or no pixel counts.
    """
    difference = np.asarray(image, np.float32) - np.asarray(truth, np.float32)
    counted = difference if where is None else difference[where]
    error = float(np.mean(counted.astype(np.float64) ** 2)) if counted.size else 0.0
    return None if error == 0 else min(SAME, 10 * math.log10(255**2 / error))


def color_module() -> Any:
    """scikit-image's module of colour. Raises FaceRestoreError if the package is missing."""
    try:
        return importlib.import_module("skimage.color")
    except ImportError as error:
        raise FaceRestoreError(
            "bench --quality: colour differences need the package scikit-image; install it with "
            f"`{pip_install('scikit-image')}`."
        ) from error


def to_lab(pixels: NDArray[Any]) -> NDArray[np.float64]:
    """CIE L*a*b* (D65) of sRGB values, uint8 or floats from 0 to 255; the last axis holds the channels."""
    return np.asarray(color_module().rgb2lab(np.asarray(pixels, np.float64) / 255), np.float64)


def delta_e(one: NDArray[np.float64], two: NDArray[np.float64]) -> NDArray[np.float64]:
    """Colour difference CIEDE2000 of L*a*b* values."""
    return np.asarray(color_module().deltaE_ciede2000(one, two), np.float64)


def low_band_delta_e(image: Pixels, truth: Pixels, where: Region, sigma: float) -> float:
    """Mean CIEDE2000 of what is left after a Gaussian blur inside a region: a shift of colour, not of texture.

    Args:
        image: the result.
        truth: what it should be.
        where: the region; pixels outside of it do not enter the blur.
        sigma: width of the blur in pixels.
    """
    rows, columns = _bounds(where, 0)
    inside = where[rows, columns]
    weight = inside.astype(np.float32)
    share = np.maximum(gaussian(weight, sigma), 1e-4)[..., None]
    low = [
        gaussian(part[rows, columns].astype(np.float32) * weight[..., None], sigma) / share for part in (image, truth)
    ]
    return float(delta_e(to_lab(low[0][inside]), to_lab(low[1][inside])).mean())


def _bounds(where: Region, margin: int) -> tuple[slice, slice]:
    """Rows and columns that hold the region and `margin` pixels around it."""
    rows, columns = np.flatnonzero(where.any(axis=1)), np.flatnonzero(where.any(axis=0))
    if not len(rows):
        return slice(0, 0), slice(0, 0)
    return (
        slice(max(int(rows[0]) - margin, 0), int(rows[-1]) + margin + 1),
        slice(max(int(columns[0]) - margin, 0), int(columns[-1]) + margin + 1),
    )


def seam_delta_e(result: Pixels, sources: Sequence[Pixels], alpha: FloatImage) -> float:
    """The colour step along a mask's outline that neither of the two blended pictures has there.

    Around the outline (opacity 0.5), colours are averaged over short pieces of it at each whole distance, so that noise
    cancels and a seam stays. A step is the CIEDE2000 of two neighbouring distances; what the larger step of the sources
    leaves of it is the seam. The largest of each piece counts, and the mean over the pieces is returned.

    Args:
        result: the picture after the paste.
        sources: the pictures that were blended: the one before, and the pasted one.
        alpha: H×W opacity of the paste, 0 to 1.

    Returns:
        0 if there is no seam; for a hard edge between two flat colours, their difference.
    """
    inside = alpha >= 0.5
    if not inside.any() or inside.all():
        return 0.0
    rows, columns = _bounds(alpha > 0.01, 4)
    inside, soft = inside[rows, columns], alpha[rows, columns]
    within = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    beyond = cv2.distanceTransform((~inside).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    steps = np.where(inside, np.ceil(within) - 1, -np.ceil(beyond)).astype(np.int64)  # 0 just inside, -1 just outside
    rim = (soft > 0.02) & (soft < 0.98)
    reach = int(np.abs(steps[rim]).max()) + 2 if rim.any() else 2
    y, x = np.nonzero(inside)
    at_y, at_x = np.mgrid[0 : inside.shape[0], 0 : inside.shape[1]]
    angle = np.arctan2(at_y - y.mean(), at_x - x.mean())
    pieces = int(np.clip((steps == 0).sum() / _PIECE, *_PIECES))  # of an outline, about as many pixels each
    sector = np.minimum((angle + np.pi) / (2 * np.pi) * pieces, pieces - 1).astype(np.int64)
    near = (steps >= -reach) & (steps < reach)
    cell = (sector * (2 * reach) + steps + reach)[near]
    count = np.bincount(cell, minlength=pieces * 2 * reach)
    jumps = []
    for picture in (result, *sources):
        lab = to_lab(picture[rows, columns][near])
        total = np.stack([np.bincount(cell, lab[:, k], pieces * 2 * reach) for k in range(3)], axis=-1)
        profile = (total / np.maximum(count, 1)[:, None]).reshape(pieces, 2 * reach, 3)
        jumps.append(delta_e(profile[:, 1:], profile[:, :-1]))
    seen = (count >= 3).reshape(pieces, 2 * reach)
    known = seen[:, 1:] & seen[:, :-1]
    beyond_sources = np.where(known, np.maximum(jumps[0] - np.maximum.reduce(jumps[1:]), 0.0), 0.0)
    judged = known.any(axis=1)
    return float(beyond_sources.max(axis=1)[judged].mean()) if judged.any() else 0.0


def band_powers(residual: FloatImage, where: Region) -> NDArray[np.float64]:
    """Power of noise by bands of frequency, the finest first.

    Args:
        residual: H×W, noise.
        where: the pixels that count.

    Returns:
        The mean square of the difference of each two neighbouring blurs; the first is no blur.
    """
    blurs = [np.asarray(residual, np.float32), *(gaussian(np.asarray(residual, np.float32), s) for s in BANDS)]
    return np.array([float(np.mean((fine - coarse)[where] ** 2)) for fine, coarse in itertools.pairwise(blurs)])


def _power(residual: FloatImage, where: Region) -> float:
    """Power of noise in all bands together: the mean square without what the widest blur keeps."""
    return float(np.mean((residual - gaussian(residual, BANDS[-1]))[where] ** 2))


def grain_ratios(result: Pixels, before: Pixels, truth: Pixels, inside: Region, outside: Region) -> tuple[float, float]:
    """Noise in a pasted face divided by the noise around it: in power, and in the band that deviates most.

    A picture's noise may differ by place (dark, clipped or compressed parts have less); so both are divided by the
    noise that was in the same place before the paste.

    Args:
        result: the picture after the paste.
        before: the picture with noise.
        truth: the picture without noise.
        inside: pixels of the pasted face.
        outside: pixels around it.

    Returns:
        The ratio of power, and by which factor, from 1 to `WORST`, the band that deviates most has too much or too
        little. Bands with less than a tenth of the noise's power do not count.
    """
    after, noisy = (((part.astype(np.float32) - truth) @ _LUMA).astype(np.float32) for part in (result, before))
    here, there = band_powers(after, inside), band_powers(after, outside)
    was_here, was_there = band_powers(noisy, inside), band_powers(noisy, outside)
    floor = 1e-6
    ratios = (here + floor) / (was_here + floor) / ((there + floor) / (was_there + floor))
    powers = [_power(part, where) + floor for part in (after, noisy) for where in (inside, outside)]
    total = powers[0] / powers[1] / (powers[2] / powers[3])
    counted = ratios[was_here >= 0.1 * was_here.sum()]
    return float(total), min(WORST, float(np.exp(np.abs(np.log(counted)).max())))


def landmark_shift(found: ArrayLike, truth: ArrayLike) -> float:
    """Mean distance of landmarks (5×2) to the true ones, as a share of the true distance of the eyes."""
    points, expected = np.asarray(found, np.float64), np.asarray(truth, np.float64)
    eyes = max(float(np.hypot(*(expected[1] - expected[0]))), 1.0)
    return float(np.hypot(*(points - expected).T).mean() / eyes)


def changed_outside(result: Pixels, before: Pixels, box: Sequence[float], grow: float = 1.5) -> int:
    """How many pixels differ outside of a box (x0, y0, x1, y1) that is enlarged around its centre."""
    changed = (result != before).any(axis=2)
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    half_x, half_y = grow * (box[2] - box[0]) / 2, grow * (box[3] - box[1]) / 2
    top, left = max(math.floor(y - half_y), 0), max(math.floor(x - half_x), 0)
    changed[top : max(math.ceil(y + half_y), 0), left : max(math.ceil(x + half_x), 0)] = False
    return int(changed.sum())


def overlap(one: Sequence[float], two: Sequence[float]) -> float:
    """Intersection over union of two boxes (x0, y0, x1, y1)."""
    width = min(one[2], two[2]) - max(one[0], two[0])
    height = min(one[3], two[3]) - max(one[1], two[1])
    common = max(width, 0.0) * max(height, 0.0)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, two))
    return common / (areas - common)
