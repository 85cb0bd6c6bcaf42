"""Pasting a restored face back: its detail and grain, and the blending into the picture.

All pictures are RGB; float pictures are in [0, 1].
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError
from ..faces import alignment, warping
from ..faces.alignment import PixelBox
from .denoise import without_noise
from .filters import FloatImage, gaussian, smoothstep
from .grain import grain as grain_like
from .masks import FACE_SHARE
from .surroundings import Surroundings, look_around, mask_box

Grain: TypeAlias = float | Literal["auto"]
"""The option `grain`."""

# Side of the crop in pixels of the picture, divided by that in pixels of its own: up to the first value the restored
# crop replaces everything, from the second on the picture's details above the crop's resolution are kept. Below 1 these
# are what the filters lose.
_NO_BAND, _WHOLE_BAND = 0.4, 0.7
# Amplitude of the picture's details above the resolution of the crop, divided by that of the crop's own finest details:
# at most the first in blurred pictures, at least the second in sharp ones.
_BLURRED, _SHARP = 0.17, 0.25
# Changes of fewer levels (of 255) than the first do not improve a sharp, clean picture; from the second on they may.
# Measured with `lite` on pictures of JPEG quality 90 and better.
_NOTHING, _SOMETHING = 1.2, 3.5


def mix_detail(restored: FloatImage, original: FloatImage, detail: float) -> FloatImage:
    """Replace a fraction of the restored crop's high frequencies by those of the original.

    Frequencies are divided by a Gaussian whose sigma is 1.5 % of the face's side.

    Args:
        restored: size×size×3 float32.
        original: size×size×3 float32.
        detail: the fraction, 0 to 1.

    Returns:
        size×size×3 float32.
    """
    if detail == 0:
        return restored
    sigma = 0.015 * FACE_SHARE * restored.shape[0]
    difference = original - restored
    return np.asarray(restored + np.float32(detail) * (difference - gaussian(difference, sigma)), np.float32)


@dataclass(frozen=True)
class Layer:
    """What a restored face does to a picture that no face was pasted into yet.

    Attributes:
        box: the part of the picture.
        change: what is added to it, h×w×3 float32; in levels from 0 to 1.
        alpha: opacity, h×w float32 in [0, 1]; where it is 0, so is the change.
    """

    box: PixelBox
    change: FloatImage
    alpha: FloatImage


def _substance(change: FloatImage, original: FloatImage, finer: FloatImage, inside: FloatImage) -> FloatImage:
    """Fraction of a restorer's change that is worth making, in each pixel of a crop: size×size×1.

    A restorer changes every picture a little, also one that is sharp at the crop's resolution. Where the picture has
    details that the crop is too small for, it is sharp, and a change of less than about two levels is such an error.

    Args:
        change: size×size×3, restored crop less original crop.
        original: size×size×3, the original crop.
        finer: H×W×3, the picture less what the crop shows of it.
        inside: H×W, opacity of the mask in the picture, at visibility 1.
    """
    here = inside > 0.5
    if not here.any():
        return np.ones((len(change), len(change), 1), np.float32)
    middle = np.s_[len(change) // 4 : -len(change) // 4, len(change) // 4 : -len(change) // 4]
    next_octave = (original - gaussian(original, 1.0)).mean(axis=2)[middle]
    above = float(np.square(finer.mean(axis=2)[here]).mean())
    ratio = math.sqrt(above / max(float(np.square(next_octave).mean()), 1e-9))
    sharp = float(smoothstep((ratio - _BLURRED) / (_SHARP - _BLURRED)))
    if sharp == 0:
        return np.ones((len(change), len(change), 1), np.float32)
    strength = np.sqrt(gaussian(np.square(change).mean(axis=2), len(change) / 64)).astype(np.float32)
    kept = smoothstep((strength * np.float32(255) - _NOTHING) / (_SOMETHING - _NOTHING))
    return np.asarray(1 - np.float32(sharp) * (1 - kept), np.float32)[..., None]


def layer(
    image: NDArray[Any],
    restored: FloatImage,
    original: FloatImage,
    mask: FloatImage,
    matrix: ArrayLike,
    visibility: float = 1.0,
    detail: float = 0.0,
    grain: Grain = 0.0,
    surroundings: Surroundings | None = None,
) -> Layer | None:
    """What the restored crop does to the picture, which is not changed.

    The opacity is mask × visibility. Pixels with opacity 0 stay bit-identical; the others are rounded to the nearest
    level. If the face is not much smaller than the crop, only the *change* by the restoration is added, so that details
    finer than the crop's resolution remain. The transition is smooth, from 0.4 to 0.7 times the crop's size. If noise
    or JPEG blocks are measured in the picture, these details are cleaned of them first.

    Args:
        image: H×W×3 uint8, uint16, or float32 in [0, 1], before any face was pasted into it.
        restored: size×size×3 float32 in [0, 1].
        original: the crop before restoration, size×size×3 float32 in [0, 1].
        mask: size×size, from `build_mask`.
        matrix: 2×3, picture → crop.
        visibility: factor of the opacity, 0 to 1.
        detail: as for `mix_detail`.
        grain: how much of the picture's noise the face gets, 0 to 1. "auto" is 1 if the noise looks like the grain of
            film or print, else 0 (see `Surroundings.film`). What is kept or added of it is not cleaned off.
        surroundings: what `look_around` found in the picture before any face was pasted; None looks now.

    Returns:
        The layer; None if it changes nothing.

    Raises:
        InputError: the shapes or types do not fit, or a restored value is not finite.
    """
    _check(image, restored, original, mask)
    m = np.asarray(matrix, np.float64)
    box = mask_box(mask, m, image.shape)
    if visibility == 0 or box is None:
        return None
    x0, y0, x1, y1 = box
    to_crop = alignment.compose(m, [[1.0, 0.0, x0], [0.0, 1.0, y0]])
    whole = np.clip(warping.warp(mask, to_crop, x1 - x0, y1 - y0, "zero", smooth=True), 0.0, 1.0)
    alpha = whole * np.float32(visibility)
    alpha[alpha < 1e-4] = 0.0
    rows, columns = np.flatnonzero(alpha.any(axis=1)), np.flatnonzero(alpha.any(axis=0))
    if len(rows) == 0:
        return None

    found = surroundings or look_around(image, mask, m)
    assert found is not None  # the mask is in the picture
    amount = found.film if grain == "auto" else grain
    before = warping.to_float(image[y0:y1, x0:x1])
    # Fraction of the details above the resolution of the crop that is kept.
    band = float(smoothstep((1.0 / alignment.scale_of(m) - _NO_BAND) / (_WHOLE_BAND - _NO_BAND)))
    # The change is W(restored) - (1 - band) * picture - band * W(original), where the warp W is linear.
    wanted = mix_detail(restored, original, detail)
    if band > 0:
        difference = wanted - original
        if found.damaged < 1:
            finer = before - warping.warp(original, to_crop, x1 - x0, y1 - y0)
            substance = _substance(difference, original, finer, whole)
            difference *= np.float32(found.damaged) + np.float32(1 - found.damaged) * substance
        wanted = difference + np.float32(1 - band) * original
    change = warping.warp(wanted, to_crop, x1 - x0, y1 - y0) - np.float32(1.0 - band) * before
    if band > 0:
        unwanted = found.variance * np.float32((1 - amount) ** 2)
        change += np.float32(band) * _cleaning(before, unwanted, to_crop, len(mask))
    made = np.zeros_like(change)
    if amount > 0:
        after = np.clip(before + change * whole[..., None], 0.0, 1.0)
        made = grain_like(before, after, whole, alpha, found.around, amount, _seed(m))
    change *= alpha[..., None]
    change += made
    part = np.s_[int(rows[0]) : int(rows[-1]) + 1, int(columns[0]) : int(columns[-1]) + 1]
    inside = (x0 + part[1].start, y0 + part[0].start, x0 + part[1].stop, y0 + part[0].stop)
    return Layer(inside, change[part], alpha[part])


def apply(image: NDArray[Any], layers: Sequence[Layer]) -> list[bool]:
    """Add the layers of overlapping faces to the picture, in place, so that each pixel is changed once.

    The opacity there is the highest of theirs, and the restored pixel the mean of theirs, weighted by opacity. So two
    restorations of the same pixels do not add up, as they would if the second were pasted into the result of the first,
    and the order of the faces does not matter.

    Args:
        image: H×W×3 uint8, uint16, or float32 in [0, 1]; writable; as it was for `layer`.
        layers: from `layer`.

    Returns:
        For each layer, whether any pixel of its face has changed: changes of less than half a level are rounded off.
    """
    ordered = sorted(layers, key=lambda one: (one.box, float(one.change.sum())))  # so that sums are rounded alike
    # One box after the other, so that a long row of faces needs no more memory than its largest face. All are computed
    # before the first is written: boxes overlap.
    results = [_together(image, one.box, ordered) for one in ordered]
    seen = set()
    for one, (after, _) in zip(ordered, results, strict=True):
        x0, y0, x1, y1 = one.box
        if (np.any(after != image[y0:y1, x0:x1], axis=2) & (one.alpha > 0)).any():
            seen.add(id(one))
    for one, (after, inside) in zip(ordered, results, strict=True):
        x0, y0, x1, y1 = one.box
        np.copyto(image[y0:y1, x0:x1], after, where=inside[..., None])
    return [id(one) in seen for one in layers]


def _together(image: NDArray[Any], box: PixelBox, layers: Sequence[Layer]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """A part of the picture with all layers on it, and which pixels (h×w) they cover."""
    x0, y0, x1, y1 = box
    before = warping.to_float(image[y0:y1, x0:x1])
    change, total = np.zeros_like(before), np.zeros(before.shape[:2], np.float32)
    highest = np.zeros_like(total)
    for one in layers:
        left, top = max(one.box[0], x0), max(one.box[1], y0)
        right, bottom = min(one.box[2], x1), min(one.box[3], y1)
        if left >= right or top >= bottom:
            continue
        here = np.s_[top - y0 : bottom - y0, left - x0 : right - x0]
        there = np.s_[top - one.box[1] : bottom - one.box[1], left - one.box[0] : right - one.box[0]]
        change[here] += one.change[there]
        total[here] += one.alpha[there]
        np.maximum(highest[here], one.alpha[there], out=highest[here])
    share = np.divide(highest, total, out=np.zeros_like(total), where=total > 0)  # 1 where there is one face
    return _to_depth(before + change * share[..., None], image.dtype), total > 0


def _cleaning(before: FloatImage, variance: FloatImage, to_crop: NDArray[np.float64], size: int) -> FloatImage:
    """What removes noise from a part of the picture (H×W×3), as far as it is finer than the crop can show.

    Args:
        before: H×W×3.
        variance: 3×8×8, of what to remove, as for `without_noise`.
        to_crop: 2×3, the part → crop.
        size: side of the crop.
    """
    if not variance.any():
        return np.zeros_like(before)
    height, width = before.shape[:2]
    change = without_noise(before, variance) - before
    in_crop = warping.warp(change, alignment.invert_affine(to_crop), size, size, "zero")
    return change - warping.warp(in_crop, to_crop, width, height, "zero")


def _seed(matrix: NDArray[np.float64]) -> int:
    """A seed for the grain, so that the same face always gets the same."""
    digest = hashlib.sha256(np.round(matrix * 1000).astype("<i8").tobytes()).digest()
    return int.from_bytes(digest[:8], "little")


def _check(image: NDArray[Any], restored: FloatImage, original: FloatImage, mask: FloatImage) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype not in (np.uint8, np.uint16, np.float32):
        raise InputError(f"picture: H×W×3 of uint8, uint16 or float32 is needed, got {image.shape} {image.dtype}")
    size = mask.shape[0]
    if mask.shape != (size, size) or restored.shape != (size, size, 3) or original.shape != (size, size, 3):
        raise InputError(
            f"paste: crops and mask must be of one square size, got {restored.shape}, {original.shape}, {mask.shape}"
        )
    if not np.isfinite(restored).all():
        raise InputError("paste: the restored face holds values that are not finite; restore it in float32")


def _to_depth(pixels: FloatImage, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Convert floats to the picture's type: clipped to [0, 1], and rounded to the nearest level."""
    if dtype.kind == "f":
        return np.clip(pixels, 0.0, 1.0).astype(dtype)
    top = np.iinfo(dtype).max
    return np.rint(np.clip(pixels, 0.0, 1.0) * np.float32(top)).astype(dtype)
