"""How much noise a picture has, of which spectrum, and how visible its JPEG blocks are.

Everything is measured in the flattest patches. Real noise is nearly the same in all of them; the texture of a clean
picture is not, which is how the two are told apart.

Pictures are H×W×3 float32, RGB in [0, 1]. Their channels are rotated to `OPPONENT` colours first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .filters import FloatImage, smoothstep

SIDE = 16
"""Side of a patch in pixels."""
BLOCK = 8
"""Side of a DCT block in pixels, as in JPEG."""

# RGB → brightness, red minus blue, and green minus both, one a row; orthonormal, so that white noise stays white.
OPPONENT = np.array([[3**-0.5] * 3, [2**-0.5, 0, -(2**-0.5)], [6**-0.5, -2 * 6**-0.5, 6**-0.5]], np.float32)


def dct_matrix() -> FloatImage:
    """The orthonormal 8×8 matrix D of the type II DCT: the coefficients of a block b are D·b·Dᵀ."""
    k = np.arange(BLOCK)
    matrix = np.sqrt(2 / BLOCK) * np.cos(np.pi * (2 * k + 1) * k[:, None] / (2 * BLOCK))
    matrix[0] /= math.sqrt(2)
    return np.asarray(matrix, np.float32)


_DCT = dct_matrix()
_ORDER = np.add.outer(np.arange(BLOCK), np.arange(BLOCK))
_MOST_PATCHES = 1600
_FEWEST_PATCHES = 12
# Patches with at most this many times the activity of the flattest tenth are flat too. Of pure white noise these are
# nearly all patches, of clean photographs about 15 %.
_AS_FLAT = 1.6
# Pixels near black and white are clipped, and show less noise than there is.
_DARKEST, _BRIGHTEST = 0.06, 0.94


@dataclass(frozen=True)
class Noise:
    """The noise of a part of a picture.

    Attributes:
        patches: N×3×16×16 float32, the flat patches in opponent colours, without their mean and slope.
        dct: 3×8×8 float32, variance of the DCT coefficients of 8×8 blocks, in opponent colours.
        level: standard deviation of the finer half of the brightness's spectrum, as a fraction of white.
        share: fraction of all patches that are as flat as the flattest; near 1 if all that is to be seen is noise.
    """

    patches: FloatImage
    dct: FloatImage
    level: float
    share: float

    @property
    def certainty(self) -> float:
        """0 if what was measured may be the texture of a clean picture, 1 if it is noise."""
        return float(smoothstep((self.level * 255 - 2.0) / 2.0) * smoothstep((self.share - 0.17) / 0.1))


NO_NOISE = Noise(np.zeros((0, 3, SIDE, SIDE), np.float32), np.zeros((3, BLOCK, BLOCK), np.float32), 0.0, 0.0)


def measure_noise(image: FloatImage, where: NDArray[np.bool_]) -> Noise:
    """Measure the noise of a part of a picture.

    Args:
        image: H×W×3.
        where: H×W, the pixels to use.

    Returns:
        The noise; `NO_NOISE` if there are too few patches that are neither black nor white.
    """
    patches = _patches(image, _places(image, where))
    if len(patches) < _FEWEST_PATCHES:
        return NO_NOISE
    power = _dct_power(patches)
    flat = _flattest(power)
    dct = _without_structure(power[flat].mean(axis=(0, 1, 2)))
    level = math.sqrt(float(dct[0][(_ORDER >= 4)].mean()))
    # A few patches are always taken for flat. In a small picture they would be a large share of all.
    share = float(flat.mean()) * min(1.0, len(patches) / (6 * _FEWEST_PATCHES))
    return Noise(patches[flat], dct, level, share)


def flat_pairs(before: FloatImage, after: FloatImage, where: NDArray[np.bool_]) -> tuple[FloatImage, FloatImage]:
    """The flat patches of a part of a picture, and the same places in the picture after a change.

    Args:
        before: H×W×3.
        after: H×W×3.
        where: H×W, the pixels to use.

    Returns:
        Two arrays as `Noise.patches`; they are empty if there are too few patches.
    """
    places = _places(before, where)
    patches = _patches(before, places)
    if len(patches) < _FEWEST_PATCHES:
        return NO_NOISE.patches, NO_NOISE.patches
    flat = _flattest(_dct_power(patches))
    return patches[flat], _patches(after, places[flat])


def _dct_power(patches: FloatImage) -> FloatImage:
    """Squared DCT coefficients of the four blocks of each patch: N×2×2×3×8×8."""
    blocks = patches.reshape(-1, 3, 2, BLOCK, 2, BLOCK).transpose(0, 2, 4, 1, 3, 5)
    return np.asarray(np.square(_DCT @ blocks @ _DCT.T), np.float32)


def _flattest(power: FloatImage) -> NDArray[np.bool_]:
    """Which of the patches are flat, by the power of their finer coefficients; see `_AS_FLAT`."""
    activity = (power[:, :, :, 0] * (_ORDER >= 3)).sum(axis=(1, 2, 3, 4))
    limit = max(float(np.quantile(activity, 0.1)) * _AS_FLAT, float(np.sort(activity)[_FEWEST_PATCHES - 1]))
    return np.asarray(activity <= limit)


def _places(image: FloatImage, where: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Upper left corners (N×2, row and column) of patches in a part of a picture, neither black nor white."""
    height, width = where.shape
    if height < SIDE or width < SIDE:
        return np.zeros((0, 2), np.int64)
    step = max(SIDE // 2, int(math.sqrt(height * width / _MOST_PATCHES)))
    usable = where.astype(np.uint8)
    whole = cv2.erode(usable, np.ones((SIDE, SIDE), np.uint8), anchor=(0, 0), borderType=cv2.BORDER_REPLICATE)
    mean = cv2.boxFilter(image.mean(axis=2), -1, (SIDE, SIDE), anchor=(0, 0), borderType=cv2.BORDER_REPLICATE)
    good = (whole > 0) & (mean > _DARKEST) & (mean < _BRIGHTEST)
    return np.argwhere(good[: height - SIDE + 1 : step, : width - SIDE + 1 : step]) * step


def _patches(image: FloatImage, places: NDArray[np.int64]) -> FloatImage:
    """N×3×16×16 patches at some places in opponent colours, without their mean and slope."""
    if len(places) == 0:
        return NO_NOISE.patches
    windows = np.lib.stride_tricks.sliding_window_view(image, (SIDE, SIDE), axis=(0, 1))
    found = windows[places[:, 0], places[:, 1]]  # N×3×16×16, a copy
    found = (OPPONENT @ found.reshape(len(found), 3, -1)).reshape(found.shape)
    slope = np.arange(SIDE, dtype=np.float32) - (SIDE - 1) / 2
    slope /= np.sqrt(SIDE * (slope * slope).sum())
    found -= found.mean(axis=(2, 3), keepdims=True)
    found -= (found.sum(axis=2) @ slope)[..., None, None] * slope
    found -= (found.sum(axis=3) @ slope)[..., None, None] * slope[:, None]
    return np.asarray(found, np.float32)


def _without_structure(power: FloatImage) -> FloatImage:
    """Power of DCT coefficients (3×8×8) with that of the coarse ones limited to what the finer ones let expect.

    Coarse coefficients of flat patches hold shading besides noise. The amplitude of noise is a smooth function of the
    order u + v, so it is extrapolated from the orders 4 to 7, with at most a factor of 2 for two orders.
    """
    result = power.copy()
    for colour in result:
        middle, fine = (math.sqrt(float(colour[(a <= _ORDER) & (a + 1 >= _ORDER)].mean())) for a in (4, 6))
        ratio = float(np.clip(middle / max(fine, 1e-6), 1.0, 2.0))
        limit = middle * ratio ** ((4.5 - _ORDER) / 2)
        coarse = _ORDER < 4
        colour[coarse] = np.minimum(colour[coarse], np.square(limit[coarse]))
        colour[0, 0] = 0.0
    return np.asarray(result, np.float32)


def block_level(image: FloatImage) -> float:
    """How strong the noise of JPEG's quantisation is, as a standard deviation, by the steps at the edges of its blocks.

    The steps between neighbouring pixels are averaged for each position in a grid of 8 pixels. One position of the
    eight that stands out is the edge of the blocks. The factor was fitted on photographs of qualities 20 to 90: it
    gives the level at which the filter of `denoise` comes closest to the picture before its compression.

    Args:
        image: H×W×3.

    Returns:
        A fraction of white; 0 without blocks: below about quality 80 they are found.
    """
    brightness = np.ascontiguousarray(image @ np.full(3, 255 / 3, np.float32))
    found = []
    for axis in (0, 1):
        steps = np.minimum(np.abs(np.diff(brightness, axis=axis)), 12.0).mean(axis=1 - axis)
        if len(steps) < 8 * BLOCK:
            return 0.0
        profile = np.array([steps[start::BLOCK].mean() for start in range(BLOCK)])
        edge = int(profile.argmax())
        others = np.delete(profile, edge)
        stands_out = profile[edge] - others.mean() > 4 * others.std()
        found.append(float(profile[edge] - others.mean()) if stands_out else 0.0)
    return max(4.0 * (min(found) - 0.5), 0.0) / 255
