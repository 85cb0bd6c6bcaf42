"""Colours of a restored crop: brought to those of the original.

All pictures are RGB, float32 in [0, 1].
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .filters import FloatImage, gaussian, smoothstep

# RGB → luma Y and colour differences Cb and Cr in [-0.5, 0.5], one a row (ITU-R BT.601).
_YCC = np.array(
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]],
    np.float32,
)
_RGB = np.linalg.inv(_YCC.astype(np.float64)).astype(np.float32)

# Colours are compared on copies of this many pixels a side, blurred by a Gaussian of this sigma, so that neither noise
# nor the blur of a tiny face counts as a difference of colour.
_GRID, _BLUR = 64, 2.5
# A pixel that differs from the fit by 3 robust standard deviations shows something else in the two crops. The standard
# deviation is at least 0.012 in each colour, a visible difference.
_CUT, _LEAST_DEVIATION = 3.0, 0.012
_STEPS = 8
# The largest gain of contrast, and the largest correction beyond the fit.
_GAINS, _MOST = (0.75, 1.3), 0.05
# How wide the Gaussian of that correction is, as a fraction of the crop's side.
_LOW_BAND = 1 / 18


def match_color(restored: FloatImage, original: FloatImage, mask: FloatImage) -> FloatImage:
    """Give the restored crop the original's colours; texture and edges stay restored, what was removed stays removed.

    In each colour, a gain, a shift and a linear ramp of the restored crop are fitted to the original by iterated
    weighted least squares with Tukey's biweight, which starts from the median difference. So whatever is in one crop
    only (a hand, sunglasses or a stain that the network took away, parts that it made up) does not count. What remains
    of the difference in the other pixels is smoothed, limited and added, so that colour and brightness do not jump at
    the mask's edge. If the original has almost no colour, its chroma is used unchanged, so that grey stays grey.

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
    ours, theirs, share = _reduced(restored), _reduced(original), np.maximum(_small(weight), 0).astype(np.float64)
    gain, shift, trust = _fit(ours, theirs, share)
    rest = np.clip(theirs - ours * gain - shift, -_MOST, _MOST)
    shift = shift + _low_band(rest, share * trust)
    wide = cv2.resize(shift.astype(np.float32), (size, size), interpolation=cv2.INTER_LINEAR)
    result = restored * gain.astype(np.float32) + wide
    grey = _greyness(theirs, share)
    if grey > 0:
        result = _mixed(result, _YCC)
        result[..., 1:] += np.float32(grey) * (_mixed(original, _YCC)[..., 1:] - result[..., 1:])
        result = _mixed(result, _RGB)
    return np.asarray(np.clip(result, 0.0, 1.0), np.float32)


def _mixed(image: FloatImage, matrix: FloatImage) -> FloatImage:
    """Apply a 3×3 matrix to the channels of H×W×3."""
    return np.asarray(cv2.transform(np.asarray(image, np.float32), matrix), np.float32)


def _small(image: FloatImage) -> FloatImage:
    return np.asarray(cv2.resize(image, (_GRID, _GRID), interpolation=cv2.INTER_AREA), np.float32)


def _reduced(image: FloatImage) -> NDArray[np.float64]:
    """The crop as it is compared: 64×64×3, blurred."""
    return gaussian(np.ascontiguousarray(_small(np.asarray(image, np.float32))), _BLUR).astype(np.float64)


def _fit(
    ours: NDArray[np.float64], theirs: NDArray[np.float64], share: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Gain (3) and shift (64×64×3) that bring our colours to theirs, and the trust in each pixel (64×64, 0 to 1).

    Args:
        ours: 64×64×3.
        theirs: 64×64×3.
        share: 64×64, the mask.
    """
    inside = share > 0.3 * float(share.max())
    middle = (share[..., None] * ours).sum(axis=(0, 1)) / share.sum()
    line = (np.arange(_GRID) + 0.5) / _GRID * 2 - 1
    y, x = np.broadcast_arrays(line[:, None], line)
    difference = theirs - ours
    gain, shift = np.ones(3), np.broadcast_to(np.median(difference[inside], axis=0), ours.shape)
    trust = _trust(difference - shift, inside)
    for _ in range(_STEPS):
        weights = (share * trust).ravel()
        # A little weight on "no ramp, no gain" keeps the fit still where few pixels are trusted.
        prior = np.diag([0.0, 2e-3, 2e-3, 1.5e-4]) * weights.sum()
        shift = np.empty_like(ours)
        for channel in range(3):
            terms = np.stack([np.ones_like(x), x, y, ours[..., channel] - middle[channel]], axis=-1).reshape(-1, 4)
            normal = terms.T @ (terms * weights[:, None]) + prior + 1e-9 * np.eye(4)
            found = np.linalg.solve(normal, terms.T @ (weights * difference[..., channel].ravel()))
            gain[channel] = np.clip(1 + found[3], *_GAINS)
            shift[..., channel] = found[0] + found[1] * x + found[2] * y + (1 - gain[channel]) * middle[channel]
        trust = _trust(theirs - ours * gain - shift, inside)
    return gain, shift, trust


def _trust(rest: NDArray[np.float64], inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Tukey's biweight of each pixel (64×64, 0 to 1) for what the fit leaves (64×64×3)."""
    distance = np.sqrt(np.square(rest).sum(axis=2))
    deviation = max(1.4826 * float(np.median(distance[inside])), _LEAST_DEVIATION)
    return np.asarray(np.square(1 - np.minimum(distance / (_CUT * deviation), 1.0) ** 2), np.float64)


def _low_band(difference: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gaussian average of a difference (64×64×3) over the trusted pixels; it tends to 0 far from them.

    The second pass corrects the error at the mask's edge, where only one side is averaged.
    """
    sigma = _GRID * _LOW_BAND
    share = weight[..., None].astype(np.float32)
    wanted = difference.astype(np.float32)
    near = gaussian(np.ascontiguousarray(share[..., 0]), sigma)[..., None] + np.float32(0.02)
    total = np.zeros_like(wanted)
    for _ in range(2):
        total += gaussian(np.ascontiguousarray(share * (wanted - total)), sigma) / near
    return total.astype(np.float64)


def _greyness(theirs: NDArray[np.float64], share: NDArray[np.float64]) -> float:
    """1 for a black-and-white original, 0 for a coloured one. A scan of a grey print has a chroma of about 0.01."""
    chroma = np.square(theirs @ _YCC[1:].T.astype(np.float64)).sum(axis=2)
    level = math.sqrt(float((share * chroma).sum() / share.sum()))
    return 1.0 - float(smoothstep((level - 0.012) / 0.02))
