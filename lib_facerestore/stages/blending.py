"""Pasting a restored face back: its colour, detail and grain, and the blending into the picture.

All pictures are RGB; float pictures are in [0, 1].
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError
from ..faces import alignment, warping
from ..faces.alignment import PixelBox
from .filters import FloatImage, gaussian, smoothstep
from .masks import FACE_SHARE

# RGB → luma Y and colour differences Cb and Cr in [-0.5, 0.5], one a row (ITU-R BT.601).
_YCC = np.array(
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]],
    np.float32,
)
_RGB = np.linalg.inv(_YCC.astype(np.float64)).astype(np.float32)


# ------------------------------------------------------------------------------------------------------------ colour
def match_color(restored: FloatImage, original: FloatImage, mask: FloatImage) -> FloatImage:
    """Give the restored crop the original's colours; texture and edges stay restored.

    Inside the mask, the mean and standard deviation of each YCbCr channel are matched first (Reinhard et al., "Color
    Transfer between Images", 2001; the gain is limited). Then the remaining low-frequency difference is added, averaged
    over the mask only, so that colour and brightness do not jump at its edge. If the original has almost no colour, its
    chroma is used unchanged, so that grey stays grey.

    Args:
        restored: size×size×3 float32 in [0, 1].
        original: size×size×3 float32 in [0, 1].
        mask: size×size, from `build_mask`.

    Returns:
        size×size×3 float32 in [0, 1].

    Raises:
        InputError: the sizes differ.
    """
    if restored.shape != original.shape or restored.shape[:2] != mask.shape:
        raise InputError(f"colour: shapes differ: {restored.shape}, {original.shape}, mask {mask.shape}")
    weight = np.asarray(mask, np.float32)
    if float(weight.sum()) < 16.0:
        return restored.copy()
    size = restored.shape[0]
    ours, theirs = _mixed(restored, _YCC), _mixed(original, _YCC)
    ours_mean, ours_std, _ = _statistics(ours, weight)
    theirs_mean, theirs_std, chroma = _statistics(theirs, weight)
    gain = np.clip((theirs_std + 1e-3) / (ours_std + 1e-3), (0.8, 0.6, 0.6), (1.25, 1.5, 1.5))
    result = ours * gain.astype(np.float32) + (theirs_mean - ours_mean * gain).astype(np.float32)
    result += _low_band(theirs - result, weight, size / 12)
    # A scan of a black-and-white print has a chroma of about 0.01.
    grey = 1.0 - float(smoothstep((chroma - 0.012) / 0.02))
    if grey > 0:
        result[..., 1:] += np.float32(grey) * (theirs[..., 1:] - result[..., 1:])
    return np.asarray(np.clip(_mixed(result, _RGB), 0.0, 1.0), np.float32)


def _mixed(image: FloatImage, matrix: FloatImage) -> FloatImage:
    """Apply a 3×3 matrix to the channels of H×W×3."""
    return np.asarray(cv2.transform(np.asarray(image, np.float32), matrix), np.float32)


def _statistics(ycc: FloatImage, weight: FloatImage) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Mean and standard deviation of each channel, and root mean square of the chroma, weighted by the mask.

    They are taken of a copy of at most 64×64 pixels, so that noise and texture do not count as contrast.
    """
    side = min(64, ycc.shape[0])
    small = cv2.resize(ycc, (side, side), interpolation=cv2.INTER_AREA).astype(np.float64)
    share = cv2.resize(weight, (side, side), interpolation=cv2.INTER_AREA).astype(np.float64)[..., None]
    share /= share.sum()
    mean = (share * small).sum(axis=(0, 1))
    deviation = np.sqrt((share * (small - mean) ** 2).sum(axis=(0, 1)))
    return mean, deviation, math.sqrt(float((share * small[..., 1:] ** 2).sum()))


def _low_band(difference: FloatImage, weight: FloatImage, sigma: float) -> FloatImage:
    """Gaussian average of a difference (size×size×3) over the mask only, computed on a reduced copy.

    The second pass corrects the error at the mask's edge, where only one side is averaged.
    """
    size = weight.shape[0]
    k = max(1, int(sigma / 2.5))
    side = (max(size // k, 1),) * 2
    stacked = np.ascontiguousarray(np.dstack([difference * weight[..., None], weight]), np.float32)
    small = np.asarray(cv2.resize(stacked, side, interpolation=cv2.INTER_AREA), np.float32)
    wanted, share = small[..., :3], small[..., 3:]
    share_low = gaussian(share, sigma * side[0] / size) + np.float32(1e-4)
    total = np.zeros_like(wanted)
    for _ in range(2):
        total += gaussian(np.ascontiguousarray(wanted - share * total), sigma * side[0] / size) / share_low
    return np.asarray(cv2.resize(total, (size, size), interpolation=cv2.INTER_LINEAR), np.float32)


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


# ------------------------------------------------------------------------------------------------------------- grain
_NOISE_KERNEL = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32) / 6


def noise_covariance(image: FloatImage, where: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Covariance of the noise of a picture's channels.

    After Immerkær, "Fast Noise Variance Estimation", 1996: the response of a difference of Laplacians to pure noise has
    the noise's standard deviation. So that edges do not count, only the flatter half of the pixels is used, and
    responses are clipped at three robust standard deviations (median of the absolute values / 0.6745).

    Args:
        image: H×W×3 float32 in [0, 1].
        where: H×W, the pixels to use.

    Returns:
        3×3 float64; zeros if there are fewer than 64 usable pixels.
    """
    if int(where.sum()) < 64:
        return np.zeros((3, 3))
    response = cv2.filter2D(image, cv2.CV_32F, _NOISE_KERNEL, borderType=cv2.BORDER_REFLECT_101)
    luma = gaussian(np.ascontiguousarray(image @ _YCC[0]), 1.5)
    slope = np.hypot(cv2.Sobel(luma, cv2.CV_32F, 1, 0), cv2.Sobel(luma, cv2.CV_32F, 0, 1))
    # Clipped pixels have no noise and would lower the estimate.
    usable = where & (image.min(axis=2) > 0.01) & (image.max(axis=2) < 0.99)
    if int(usable.sum()) < 64:
        return np.zeros((3, 3))
    usable &= slope <= np.median(slope[usable])
    samples = response[usable].astype(np.float64)
    sigma = np.median(np.abs(samples), axis=0) / 0.6745
    samples = np.clip(samples, -3 * sigma, 3 * sigma)
    spread = samples.std(axis=0)
    correlation = (samples - samples.mean(axis=0)).T @ (samples - samples.mean(axis=0)) / len(samples)
    norm = np.outer(spread, spread)
    correlation = np.divide(correlation, norm, out=np.eye(3), where=norm > 0)
    return np.asarray(correlation * np.outer(sigma, sigma), np.float64)


def _grain(
    before: FloatImage, after: FloatImage, alpha: FloatImage, matrix: NDArray[np.float64], amount: float
) -> FloatImage:
    """Noise (H×W×3) that raises the pasted face's noise level to that of the picture around it.

    Args:
        before: H×W×3, the picture before the paste.
        after: H×W×3, the picture after the paste.
        alpha: H×W, opacity of the paste.
        matrix: 2×3, picture → crop; it is the seed, so that the same face always gets the same noise.
        amount: factor of the noise, 0 to 1.
    """
    around = alpha < 0.02
    if int(around.sum()) < 400:
        around = np.ones_like(around)
    wanted = noise_covariance(before, around)
    present = noise_covariance(after, alpha > 0.5)
    values, vectors = np.linalg.eigh(wanted - present)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    digest = hashlib.sha256(np.round(matrix * 1000).astype("<i8").tobytes()).digest()
    generator = np.random.default_rng(int.from_bytes(digest[:8], "little"))
    noise = generator.standard_normal(before.shape, dtype=np.float32) @ root.T.astype(np.float32)
    # The picture's own noise remains with the factor 1 - alpha; this adds the missing variance.
    return np.asarray(noise * (np.sqrt(alpha * (2 - alpha)) * np.float32(amount))[..., None], np.float32)


# ------------------------------------------------------------------------------------------------------------- paste
def paste(
    image: NDArray[Any],
    restored: FloatImage,
    original: FloatImage,
    mask: FloatImage,
    matrix: ArrayLike,
    visibility: float = 1.0,
    detail: float = 0.0,
    grain: float = 0.0,
) -> PixelBox:
    """Blend the restored crop into the picture, in place.

    The opacity is mask × visibility. Pixels with opacity 0 stay bit-identical; the others are rounded to the nearest
    level. If the face is larger than the crop, only the *change* by the restoration is added, so that details finer
    than the crop's resolution remain. The transition is smooth, from 1 to 1.5 times the crop's size.

    Args:
        image: H×W×3 uint8, uint16, or float32 in [0, 1]; writable.
        restored: size×size×3 float32 in [0, 1].
        original: the crop before restoration, size×size×3 float32 in [0, 1].
        mask: size×size, from `build_mask`.
        matrix: 2×3, picture → crop.
        visibility: factor of the opacity, 0 to 1.
        detail: as for `mix_detail`.
        grain: how much of the picture's noise is added, 0 to 1; it is measured by `noise_covariance`.

    Returns:
        The box of the changed pixels; (0, 0, 0, 0) if there are none.

    Raises:
        InputError: the shapes or types do not fit, or a restored value is not finite.
    """
    _check(image, restored, original, mask)
    m = np.asarray(matrix, np.float64)
    box = _mask_box(mask, m, image.shape)
    if visibility == 0 or box is None:
        return 0, 0, 0, 0
    x0, y0, x1, y1 = box
    to_crop = alignment.compose(m, [[1.0, 0.0, x0], [0.0, 1.0, y0]])
    alpha = np.clip(warping.warp(mask, to_crop, x1 - x0, y1 - y0, "zero", smooth=True), 0.0, 1.0) * visibility
    alpha[alpha < 1e-4] = 0.0
    rows, columns = np.flatnonzero(alpha.any(axis=1)), np.flatnonzero(alpha.any(axis=0))
    if len(rows) == 0:
        return 0, 0, 0, 0

    region = image[y0:y1, x0:x1]
    before = warping.to_float(region)
    # Fraction of the picture's details above the crop's resolution that is kept.
    band = float(smoothstep((1.0 / alignment.scale_of(m) - 1.0) / 0.5))
    # The change is W(restored) - (1 - band) * picture - band * W(original), where the warp W is linear.
    wanted = mix_detail(restored, original, detail)
    if band > 0:
        wanted = wanted - np.float32(band) * original
    change = warping.warp(wanted, to_crop, x1 - x0, y1 - y0) - np.float32(1.0 - band) * before
    after = before + alpha[..., None] * change
    if grain > 0:
        after += _grain(before, np.clip(after, 0.0, 1.0), alpha, m, grain)
    np.copyto(region, _to_depth(after, image.dtype), where=(alpha > 0)[..., None])
    return x0 + int(columns[0]), y0 + int(rows[0]), x0 + int(columns[-1]) + 1, y0 + int(rows[-1]) + 1


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


def _mask_box(mask: FloatImage, matrix: NDArray[np.float64], shape: Sequence[int]) -> PixelBox | None:
    """The part of the picture that the mask can change, including the filters' reach; None if there is none."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if len(rows) == 0:
        return None
    reach = 1.0 + 2.0 * alignment.scale_of(matrix)
    rectangle = (columns[0] - reach, rows[0] - reach, columns[-1] + reach, rows[-1] + reach)
    box = alignment.clip_box(alignment.box_of(alignment.invert_affine(matrix), rectangle), int(shape[0]), int(shape[1]))
    return box if box[2] > box[0] and box[3] > box[1] else None


def _to_depth(pixels: FloatImage, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Convert floats to the picture's type: clipped to [0, 1], and rounded to the nearest level."""
    if dtype.kind == "f":
        return np.clip(pixels, 0.0, 1.0).astype(dtype)
    top = np.iinfo(dtype).max
    return np.rint(np.clip(pixels, 0.0, 1.0) * np.float32(top)).astype(dtype)
