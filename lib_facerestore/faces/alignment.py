"""Geometry of a face: five-point templates, the similarity transform, and what follows from a matrix.

Convention in the whole package: coordinates are (x, y) in pixels, and an integer coordinate is the *centre* of a pixel.
A picture W pixels wide covers -0.5 … W - 0.5. Scaling a crop by k maps a coordinate x to (x + 0.5) * k - 0.5, so crops
of different sizes show the same area. Matrices are 2×3 float64, and map picture → crop unless stated otherwise.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError

if TYPE_CHECKING:
    from .face import Face

logger = logging.getLogger(__name__)

PixelBox = tuple[int, int, int, int]
"""A rectangle of pixels, (x0, y0, x1, y1); x1 and y1 are excluded."""

# Left eye, right eye, nose, left and right mouth corner (image left first) in a 512 px crop: the mean FFHQ face, as in
# facexlib.
_FFHQ_512 = (
    (192.98138, 239.94708),
    (318.90277, 240.19360),
    (256.63416, 314.01935),
    (201.26117, 371.41043),
    (313.08905, 371.15118),
)
# ArcFace's reference points in a crop of 96×112 px. GPEN was trained with them too.
_ARCFACE_96X112 = (
    (30.29460, 51.69630),
    (65.53180, 51.50140),
    (48.02520, 71.73660),
    (33.54930, 92.36550),
    (62.72990, 92.20410),
)

# A landmark is left out of the fit if the error without it is below this fraction of the error with all five ...
_OUTLIER_GAIN = 0.4
# ... and the error with all five is above this fraction of the template's spread.
_OUTLIER_ERROR = 0.1
# Side of an aligned crop divided by the longer side of the detector's box: the median on the sample photographs (1st to
# 99th percentile: 1.21 to 1.59). Below it, the position of the box's centre in the crop, as fractions of its side.
_CROP_OVER_BOX = 1.37
_BOX_CENTRE = (0.5, 0.553)
# Landmarks are wrong if the side of their crop, divided by that of the box's crop, is outside this range.
_PLAUSIBLE = (0.3, 3.5)


def ffhq_template(size: int) -> NDArray[np.float64]:
    """Landmarks (5×2, pixels) of an FFHQ-aligned crop of `size` pixels, the template of most families."""
    return (np.asarray(_FFHQ_512, np.float64) + 0.5) * (size / 512.0) - 0.5


def gpen_template(size: int) -> NDArray[np.float64]:
    """Landmarks (5×2, pixels) of GPEN's crop of `size` pixels.

    They are ArcFace's 96×112 reference points, made square, with a quarter of padding on each side.
    """
    square = np.asarray(_ARCFACE_96X112, np.float64) + np.array([8.0, 0.0])
    padded = square + 0.25 * 112.0
    return (padded + 0.5) * (size / 168.0) - 0.5


def arcface_template(size: int) -> NDArray[np.float64]:
    """Landmarks (5×2, pixels) of FaceFusion's "arcface_128" crop, scaled to `size` pixels.

    They are ArcFace's 96×112 reference points, centred horizontally in 128 px.
    """
    return (np.asarray(_ARCFACE_96X112, np.float64) + np.array([16.5, 0.5])) * (size / 128.0) - 0.5


def _fit(src: NDArray[np.float64], dst: NDArray[np.float64]) -> NDArray[np.float64]:
    """Least-squares similarity. With points as complex numbers it is q = a·p + t, which cannot mirror."""
    p = src[:, 0] + 1j * src[:, 1]
    q = dst[:, 0] + 1j * dst[:, 1]
    pm, qm = p.mean(), q.mean()
    pc, qc = p - pm, q - qm
    a = np.vdot(pc, qc) / np.vdot(pc, pc).real
    t = qm - a * pm
    return np.array([[a.real, -a.imag, t.real], [a.imag, a.real, t.imag]], np.float64)


def _rms(matrix: NDArray[np.float64], src: NDArray[np.float64], dst: NDArray[np.float64]) -> float:
    """Root mean square distance of the transformed `src` to `dst`."""
    return float(np.sqrt(((apply_affine(matrix, src) - dst) ** 2).sum(axis=1).mean()))


def _spread(points: NDArray[np.float64]) -> float:
    """Root mean square distance of the points to their mean."""
    return float(np.sqrt(((points - points.mean(axis=0)) ** 2).sum(axis=1).mean()))


def similarity(src: ArrayLike, dst: ArrayLike) -> NDArray[np.float64]:
    """Rotation, uniform scale and shift that map `src` as close as possible to `dst`.

    Closed-form least squares (Umeyama, IEEE PAMI 1991, without reflection). A single point that is clearly wrong is
    left out: the error is more than a tenth of the spread, and much smaller without the point. In a profile all points
    deviate a little, so none is left out, which keeps the fit stable.

    Args:
        src: N×2 with N ≥ 2.
        dst: N×2.

    Returns:
        2×3 float64 matrix.

    Raises:
        InputError: the shapes do not fit, a point is not finite, or all points of `src` coincide.
    """
    p, q = np.asarray(src, np.float64), np.asarray(dst, np.float64)
    if p.ndim != 2 or p.shape != q.shape or p.shape[1] != 2 or len(p) < 2:
        raise InputError(f"landmarks: two arrays of the same shape (N, 2) are needed, got {p.shape} and {q.shape}")
    if not (np.isfinite(p).all() and np.isfinite(q).all()):
        raise InputError("landmarks: there is a value that is not a finite number; detect the face again")
    if _spread(p) <= 1e-6 * (1.0 + float(np.abs(p).max())):
        raise InputError("landmarks: all points coincide, so they give no size or angle; detect the face again")
    matrix = _fit(p, q)
    error = _rms(matrix, p, q)
    if len(p) < 4 or error <= _OUTLIER_ERROR * _spread(q):
        return matrix
    best = matrix
    limit = _OUTLIER_GAIN * error
    for i in range(len(p)):
        rest = np.arange(len(p)) != i
        if _spread(p[rest]) < 1e-3 * _spread(p):
            continue
        candidate = _fit(p[rest], q[rest])
        error = _rms(candidate, p[rest], q[rest])
        if error < limit:
            best, limit = candidate, error
    if not np.isfinite(best).all() or scale_of(best) <= 0.0:
        raise InputError("landmarks: no transform fits them; detect the face again")
    return best


def box_transform(box: Sequence[float], size: int) -> NDArray[np.float64]:
    """Matrix of an upright crop around a box, placed as an FFHQ-aligned crop of an average face would be.

    Args:
        box: (x0, y0, x1, y1) in pixels of the picture.
        size: side of the crop in pixels.

    Returns:
        2×3 float64 matrix, picture → crop.

    Raises:
        InputError: a value of the box is not finite.
    """
    x0, y0, x1, y1 = (float(v) for v in box)
    if not all(math.isfinite(v) for v in (x0, y0, x1, y1)):
        raise InputError("face: the box holds a value that is not a finite number; detect the face again")
    side = max(x1 - x0, y1 - y0, 1.0) * _CROP_OVER_BOX
    k = size / side
    cx, cy = (x0 + x1) / 2, (y0 + y1) / 2
    return np.array(
        [[k, 0.0, _BOX_CENTRE[0] * size - 0.5 - k * cx], [0.0, k, _BOX_CENTRE[1] * size - 0.5 - k * cy]], np.float64
    )


def face_transform(face: Face, size: int, template: ArrayLike | None = None) -> NDArray[np.float64]:
    """Matrix of a face's aligned crop.

    If the landmarks coincide, or imply a size that contradicts the box, it is the upright crop of `box_transform`.

    Args:
        face: its landmarks and box are used.
        size: side of the crop in pixels.
        template: 5×2, where the landmarks should be in the crop; None means `ffhq_template(size)`.

    Returns:
        2×3 float64 matrix, picture → crop.

    Raises:
        InputError: a value of the box is not finite.
    """
    target = ffhq_template(size) if template is None else np.asarray(template, np.float64)
    fallback = box_transform(face.box, size)
    try:
        matrix = similarity(face.landmarks, target)
    except InputError as error:
        logger.info("%s; the crop is computed from the box instead", error)
        return fallback
    ratio = scale_of(fallback) / max(scale_of(matrix), 1e-12)
    if not _PLAUSIBLE[0] <= ratio <= _PLAUSIBLE[1]:
        logger.info("a face is %.2f times as large by its landmarks as by its box; the crop uses the box", ratio)
        return fallback
    return matrix


def scale_of(matrix: ArrayLike) -> float:
    """Scale factor of a 2×3 similarity: crop pixels for each picture pixel (below 1 the crop is smaller)."""
    m = np.asarray(matrix, np.float64)
    return float(math.sqrt(abs(m[0, 0] * m[1, 1] - m[0, 1] * m[1, 0])))


def invert_affine(matrix: ArrayLike) -> NDArray[np.float64]:
    """Inverse of a 2×3 affine matrix, 2×3 float64. Raises InputError if it cannot be inverted."""
    m = np.asarray(matrix, np.float64)
    a, b, c, d = m[0, 0], m[0, 1], m[1, 0], m[1, 1]
    det = a * d - b * c
    if m.shape != (2, 3) or not np.isfinite(m).all() or det == 0.0:
        raise InputError("transform: a finite, invertible 2×3 matrix is needed")
    linear = np.array([[d, -b], [-c, a]]) / det
    return np.concatenate([linear, -linear @ m[:, 2:]], axis=1)


def compose(outer: ArrayLike, inner: ArrayLike) -> NDArray[np.float64]:
    """The 2×3 matrix that applies `inner`, then `outer` (both 2×3)."""
    a = np.vstack([np.asarray(outer, np.float64), (0.0, 0.0, 1.0)])
    b = np.vstack([np.asarray(inner, np.float64), (0.0, 0.0, 1.0)])
    return (a @ b)[:2]


def apply_affine(matrix: ArrayLike, points: ArrayLike) -> NDArray[np.float64]:
    """Transform points (N×2) by a 2×3 matrix; returns N×2 float64."""
    m = np.asarray(matrix, np.float64)
    return np.asarray(points, np.float64) @ m[:, :2].T + m[:, 2]


def box_of(matrix: ArrayLike, rectangle: Sequence[float]) -> PixelBox:
    """Smallest pixel box that covers a transformed rectangle.

    Args:
        matrix: 2×3, source → destination.
        rectangle: (x0, y0, x1, y1) in source coordinates, its edges included.
    """
    x0, y0, x1, y1 = rectangle
    corners = apply_affine(matrix, [(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
    low, high = np.floor(corners.min(axis=0)), np.ceil(corners.max(axis=0)) + 1
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def clip_box(box: Sequence[int], height: int, width: int) -> PixelBox:
    """The part of `box` that is inside a picture. If there is none, x1 == x0 or y1 == y0."""
    x0, y0 = min(max(box[0], 0), width), min(max(box[1], 0), height)
    return x0, y0, max(min(box[2], width), x0), max(min(box[3], height), y0)
