"""Corrects a parser's labels by colour: what it calls hair or background in the middle of a face, but looks like skin.

Parsers often take a bald or high forehead for hair, and lose parts of faces that are seen from the side.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import parsing
from .filters import FloatImage, gaussian

_SIDE = 128
# Colours are counted in this many steps of L*, a* and b* each; `_SPREAD` is the blur of the counts in steps.
_STEPS, _SPREAD = 32, 1.3
_LOW, _HIGH = np.array([0.0, -64.0, -64.0], np.float32), np.array([100.0, 64.0, 64.0], np.float32)
# Least pixels (of 128×128) of which colours are learnt.
_FEW = 60
# How much more likely skin is than something else, as a logarithm, before the colour is looked at: far outside, and
# what the three ellipses add, from the widest to the innermost. The steps are softened by a blur of `_RISE` pixels.
_OUTSIDE, _PRIOR, _RISE = -1.5, (0.9, 0.9, 0.7), 6.0
# A colour that one of the two never has is this rare, as a share of all its pixels in a step.
_RARE = 2e-4
_SMOOTH = 1.5
# A print of one ink has colours that follow from the brightness: what they deviate by, in L*a*b*, is less than this.
# In portraits it is 5 and more. Brightness alone does not tell skin from hair.
_COLOURLESS = 3.0
# Above the eyes, hair inside the ellipse scaled by this factor may be forehead.
_WIDE = 1.25
# Background inside the ellipse scaled by this factor may be skin; further out it may be the neck.
_INNER = 0.9
# Half the width of the strip in which there are beards, in distances between eyes and mouth; the largest hole that is
# filled, as a fraction of the crop.
_STRIP, _HOLE = 0.45, 0.005
# What is nearer to a hand or microphone than this fraction of the crop's side is not touched: it may be a part of it.
_NEAR_COVER = 0.08


def with_missed_skin(
    labels: NDArray[np.uint8], crop: FloatImage, landmarks: ArrayLike, covers_known: bool
) -> NDArray[np.uint8]:
    """Label as skin what is inside the face's ellipse, next to the face, and more like its skin than like its hair.

    The colours of skin are those of the pixels labelled so, the others those of hair, hats and background outside of
    the ellipse. Both are smoothed histograms, which give a likelihood ratio for each pixel.

    Args:
        labels: size×size, from a parser, with numbers of `parsing.CLASSES`.
        crop: size×size×3 float32 RGB in [0, 1], the same face.
        landmarks: 5×2, in pixels of the crop.
        covers_known: whether the parser labels hands and other things in front of the face as cloth. If not, they may
            be labelled background, and background is not changed.

    Returns:
        The labels; they are changed in hair, hat and background only.

    Raises:
        InputError: all landmarks coincide.
    """
    size = len(labels)
    points = (np.asarray(landmarks, np.float64) + 0.5) * (_SIDE / size) - 0.5
    small = np.asarray(cv2.resize(labels, (_SIDE, _SIDE), interpolation=cv2.INTER_NEAREST), np.uint8)
    wide, rim, inner = (parsing.ellipse_mask(points, _SIDE, grow) > 0.5 for grow in (_WIDE, 1.0, _INNER))
    face, hair = parsing.face_mask(small) > 0, np.isin(small, _HAIR)
    free = ~_near_cover(small)
    skin, others = np.isin(small, _SKIN) & rim, (hair | (small == 0)) & ~wide
    below_eyes, beard = _below_eyes(points)
    beside = (small == 0) & inner & covers_known
    doubtful = free & ((hair & (rim | (wide & ~below_eyes))) | beside)
    found = free & hair & rim & beard
    if not doubtful.any():
        return labels
    small_crop = np.asarray(cv2.resize(crop, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA), np.float32)
    if min(skin.sum(), others.sum()) >= _FEW and _colour(small_crop[skin | others]) >= _COLOURLESS:
        ratio = gaussian(_log_ratio(small_crop, skin, others), _SMOOTH)
        for step, where in zip(_PRIOR, (wide, rim, inner), strict=True):
            ratio += np.float32(step) * gaussian(where.astype(np.float32), _RISE)
        found |= doubtful & (ratio + _OUTSIDE > 0)
    whole = face | found
    _, parts = cv2.connectedComponents(whole.astype(np.uint8), connectivity=4)
    whole &= np.isin(parts, np.unique(parts[face]))
    found = (whole | _holes(whole, rim & free & (hair | beside))) & ~face
    large = cv2.resize(found.astype(np.float32), (size, size), interpolation=cv2.INTER_LINEAR) > 0.5
    return np.where(large & np.isin(labels, (0, *_HAIR) if covers_known else _HAIR), np.uint8(1), labels)


_HAIR, _SKIN, _COVER = (17, 18), (1, 10), 16


def _colour(pixels: FloatImage) -> float:
    """How far the colours of pixels (N×3) are from a function of their brightness: a deviation in L*a*b*."""
    light, *colours = cv2.cvtColor(pixels[None], cv2.COLOR_RGB2LAB)[0].T.astype(np.float64)
    powers = np.stack([np.ones_like(light), light, light**2], axis=1)
    rest = [colour - powers @ np.linalg.lstsq(powers, colour, rcond=None)[0] for colour in colours]
    return float(np.sqrt(np.mean(np.square(rest)) * len(rest)))


def _log_ratio(crop: FloatImage, skin: NDArray[np.bool_], others: NDArray[np.bool_]) -> FloatImage:
    """Logarithm of how much more often each pixel's colour is skin than something else, from two samples of each."""
    lab = cv2.cvtColor(crop, cv2.COLOR_RGB2LAB)
    at = np.clip((lab - _LOW) / (_HIGH - _LOW) * _STEPS, 0, _STEPS - 1).astype(np.int64)
    cell = (at[..., 0] * _STEPS + at[..., 1]) * _STEPS + at[..., 2]
    ratio = (_density(cell[skin])[cell] + _RARE) / (_density(cell[others])[cell] + _RARE)
    return np.asarray(np.log(ratio), np.float32)


def _below_eyes(points: NDArray[np.float64]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """What is below the eyes, and a strip below the mouth, in which hair is a beard."""
    eyes, mouth = points[:2].mean(axis=0), points[3:].mean(axis=0)
    length = max(float(np.hypot(*(mouth - eyes))), 1e-6)
    down = (mouth - eyes) / length
    y, x = np.mgrid[0:_SIDE, 0:_SIDE] - mouth[::-1, None, None]
    below = x * down[0] + y * down[1]
    return below > -length, (np.abs(x * down[1] - y * down[0]) < _STRIP * length) & (below > 0)


def _holes(whole: NDArray[np.bool_], where: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Small pieces that the face encloses."""
    _, parts, stats, _ = cv2.connectedComponentsWithStats((~whole).astype(np.uint8), connectivity=8)
    small = stats[:, cv2.CC_STAT_AREA] < _HOLE * _SIDE**2
    small[0] = False
    enclosed = small & ~np.isin(np.arange(len(small)), parts[~where & ~whole])
    return np.asarray(enclosed[parts])


def _near_cover(labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """What is near to something in front of the face."""
    cover = (labels == _COVER).astype(np.uint8)
    if not cover.any():
        return cover > 0
    return np.asarray(cv2.distanceTransform(1 - cover, cv2.DIST_L2, 3) < _NEAR_COVER * len(labels))


def _density(cells: NDArray[np.int64]) -> FloatImage:
    """Smoothed share of each colour."""
    count = np.bincount(cells, minlength=_STEPS**3).astype(np.float32).reshape(_STEPS, _STEPS, _STEPS)
    at = np.arange(_STEPS)
    kernel = np.exp(-0.5 * np.square((at[:, None] - at) / _SPREAD)).astype(np.float32)
    kernel /= kernel.sum(axis=0).max()
    for _ in range(3):  # each product blurs one axis, and makes the next one the first
        count = np.tensordot(count, kernel, (0, 0)).astype(np.float32)
    return count.ravel() / np.float32(len(cells))
