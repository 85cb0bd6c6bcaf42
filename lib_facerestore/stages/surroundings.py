"""`Surroundings`: noise, grain and JPEG blocks in and around a face, measured before any face is pasted."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..faces import alignment, warping
from ..faces.alignment import PixelBox
from .filters import FloatImage, smoothstep
from .grain import coarse_share
from .noise import NO_NOISE, Noise, block_level, measure_noise

# The part that is looked at is larger than the mask by this factor, and at least this many pixels wide and high.
_WIDER = 1.5
_LEAST_SIDE = 320
_LEAST = 0.6


@dataclass(frozen=True)
class Surroundings:
    """What is wrong with, or typical of, the part of a picture around a face.

    Attributes:
        noise: the noise of the whole part.
        around: the noise outside of the face's mask; that of the whole part if almost nothing is outside.
        blocks: strength of JPEG blocks, see `block_level`.
    """

    noise: Noise
    around: Noise
    blocks: float

    @property
    def variance(self) -> FloatImage:
        """3×8×8, variance of the DCT coefficients of all that should be removed; 0 for a clean picture."""
        certainty = self.noise.certainty
        variance = np.maximum(self.noise.dct * np.float32(certainty**2), np.float32(self.blocks**2))
        # What would change no pixel by a level is not worth the time.
        return np.asarray(variance * (255 * math.sqrt(float(variance.max())) > _LEAST), np.float32)

    def without_patches(self, grain: bool) -> Surroundings:
        """A copy that needs little memory, for many faces; only with `grain` can it tell what grain looks like."""
        noise = dataclasses.replace(self.noise, patches=NO_NOISE.patches)
        around = self.around if grain else dataclasses.replace(self.around, patches=NO_NOISE.patches)
        return Surroundings(noise, around, self.blocks)

    @property
    def damaged(self) -> float:
        """How sure it is that the picture is noisy or has JPEG blocks, 0 to 1."""
        return max(self.noise.certainty, float(smoothstep(self.blocks * 255 / 2)))

    @property
    def film(self) -> float:
        """How much the noise looks like the grain of film or print, 0 to 1; noise in JPEG blocks does not."""
        return coarse_share(self.around) * float(1 - smoothstep((self.blocks * 255 - 1) / 3))


def look_around(image: NDArray[Any], mask: FloatImage, matrix: ArrayLike) -> Surroundings | None:
    """Measure the part of a picture around a face.

    Args:
        image: H×W×3 uint8, uint16, or float32 in [0, 1].
        mask: size×size, from `build_mask`.
        matrix: 2×3, picture → crop.

    Returns:
        None if no pixel of the mask is in the picture.
    """
    m = np.asarray(matrix, np.float64)
    box = mask_box(mask, m, image.shape)
    if box is None:
        return None
    x0, y0, x1, y1 = _wider(box, int(image.shape[0]), int(image.shape[1]))
    part = warping.to_float(image[y0:y1, x0:x1])
    to_crop = alignment.compose(m, [[1.0, 0.0, x0], [0.0, 1.0, y0]])
    alpha = warping.warp(mask, to_crop, x1 - x0, y1 - y0, "zero", smooth=True)
    noise = measure_noise(part, np.ones(alpha.shape, bool))
    around = measure_noise(part, alpha < 0.02)
    return Surroundings(noise, around if len(around.patches) else noise, block_level(part))


def mask_box(mask: FloatImage, matrix: NDArray[np.float64], shape: Sequence[int]) -> PixelBox | None:
    """The part of a picture that a mask can change, including the filters' reach; None if there is none.

    Args:
        mask: size×size.
        matrix: 2×3, picture → crop.
        shape: height and width of the picture.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if len(rows) == 0:
        return None
    reach = 1.0 + 2.0 * alignment.scale_of(matrix)
    rectangle = (columns[0] - reach, rows[0] - reach, columns[-1] + reach, rows[-1] + reach)
    box = alignment.clip_box(alignment.box_of(alignment.invert_affine(matrix), rectangle), int(shape[0]), int(shape[1]))
    return box if box[2] > box[0] and box[3] > box[1] else None


def _wider(box: PixelBox, height: int, width: int) -> PixelBox:
    """A box around the same middle, larger by a factor or of the least side, inside the picture."""
    grown = []
    for low, high in ((box[0], box[2]), (box[1], box[3])):
        more = int(max((high - low) * (_WIDER - 1), _LEAST_SIDE - (high - low)) / 2)
        grown += [low - more, high + more]
    return alignment.clip_box((grown[0], grown[2], grown[1], grown[3]), height, width)
