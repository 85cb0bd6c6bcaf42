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
# Hair begins with an edge. A forehead that the parser calls hair begins without one: from the skin to what is beyond
# the parser's border, the colours change by less than `_STEP` (a distance in L*a*b*; at the contrast `_CONTRAST`, a
# standard deviation of L*). Each unit less or more counts as much as `_BY_STEP` in the logarithm, all together at most
# what the limits say. Below the eyes, where parsers take the shady side of a face for hair, an edge says little.
_STEP, _BY_STEP, _LARGEST_STEP = 13.5, 1.0, 20.0
_CONTRAST, _LEAST_CONTRAST = 23.5, 5.0
_LIMITS, _LIMITS_BELOW = (-4.0, 1.0), (-0.5, 0.0)
# On both sides of the border, strips at this distance from it (in pixels) are compared. A pixel beyond is compared with
# the skin that a blur of `_PAIR` pixels reaches, and what is found counts wherever a blur of `_ALONG` pixels reaches.
_STRIP_FROM, _STRIP_TO, _PAIR, _ALONG = 2, 7, 4.0, 25.0
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
    the ellipse. Both are smoothed histograms, which give a likelihood ratio for each pixel. A fringe may have the
    colours of skin in the shade; but where it begins, the colours change, which counts against it.

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
        lab = np.asarray(cv2.cvtColor(small_crop, cv2.COLOR_RGB2LAB), np.float32)
        ratio = gaussian(_log_ratio(lab, skin, others), _SMOOTH)
        step = _colour_step(lab, np.isin(small, _SKIN), hair | ((small == 0) & wide & covers_known), wide)
        low, high = (np.where(below_eyes, *both) for both in zip(_LIMITS_BELOW, _LIMITS, strict=True))
        ratio += np.clip(_BY_STEP * (_STEP - step), low, high).astype(np.float32)
        for prior, where in zip(_PRIOR, (wide, rim, inner), strict=True):
            ratio += np.float32(prior) * gaussian(where.astype(np.float32), _RISE)
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


def _log_ratio(lab: FloatImage, skin: NDArray[np.bool_], others: NDArray[np.bool_]) -> FloatImage:
    """Logarithm of how much more often each pixel's colour is skin than something else, from two samples of each."""
    at = np.clip((lab - _LOW) / (_HIGH - _LOW) * _STEPS, 0, _STEPS - 1).astype(np.int64)
    cell = (at[..., 0] * _STEPS + at[..., 1]) * _STEPS + at[..., 2]
    ratio = (_density(cell[skin])[cell] + _RARE) / (_density(cell[others])[cell] + _RARE)
    return np.asarray(np.log(ratio), np.float32)


def _colour_step(
    lab: FloatImage, skin: NDArray[np.bool_], beside: NDArray[np.bool_], head: NDArray[np.bool_]
) -> FloatImage:
    """How far the colours on the two sides of the border between skin and what is beside it differ; see `_STEP`.

    Each pixel gets the mean over the nearest parts of the border; 0 if there is none. It is divided by the
    contrast in and around the face (`head`), so that it is the same in a dark or faded picture.
    """
    contrast = max(float(lab[head, 0].std()), _LEAST_CONTRAST) / _CONTRAST
    lab = gaussian(lab, 0.7)
    inside = skin & _within_strip(beside)
    total, share = gaussian(lab * inside[..., None], _PAIR), gaussian(inside.astype(np.float32), _PAIR)
    step = np.linalg.norm(lab - total / np.maximum(share, 1e-6)[..., None], axis=2)
    strip = (beside & _within_strip(skin) & (share > 0.02)).astype(np.float32)
    step = np.minimum(step / np.float32(contrast), _LARGEST_STEP) * strip
    # The wider blurs decide only where the narrower ones do not reach.
    blurs = [(1 / wider**3, _ALONG * wider) for wider in (1, 2, 4)]
    value, weight = (sum(by * gaussian(image, width) for by, width in blurs) for image in (step, strip))
    return np.asarray(value / np.maximum(weight, 1e-9), np.float32)


def _within_strip(of: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """What is near to an area, but not right beside it, where colours are mixed."""
    away = cv2.distanceTransform((~of).astype(np.uint8), cv2.DIST_L2, 5)
    return np.asarray((away >= _STRIP_FROM) & (away <= _STRIP_TO))


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
