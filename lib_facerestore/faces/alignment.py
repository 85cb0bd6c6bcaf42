"""Geometry of a face: five-point templates, the similarity transform, the aligned crop, and resampling.

Convention in the whole package: coordinates are (x, y) in pixels, and an integer coordinate is the *centre* of a pixel.
A picture W pixels wide covers -0.5 … W - 0.5. Scaling a crop by k maps a coordinate x to (x + 0.5) * k - 0.5, so crops
of different sizes show the same area. Matrices are 2×3 float64, and map picture → crop unless stated otherwise.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError

if TYPE_CHECKING:
    from .face import Face

logger = logging.getLogger(__name__)

PixelBox = tuple[int, int, int, int]
"""A rectangle of pixels, (x0, y0, x1, y1); x1 and y1 are excluded."""
Border = Literal["reflect", "edge", "zero"]
"""What fills the area outside a picture: its mirror image, its outermost pixels, or 0."""

_BORDERS: dict[str, int] = {
    "reflect": cv2.BORDER_REFLECT_101,
    "edge": cv2.BORDER_REPLICATE,
    "zero": cv2.BORDER_CONSTANT,
}

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
# If a warp needs more pixels of a picture than this, they are averaged first, a few rows at a time, to save memory.
_DIRECT_AREA = 2**24


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


def to_float(image: NDArray[Any]) -> NDArray[np.float32]:
    """Pixels as float32: uint8 divided by 255, uint16 divided by 65535, floats with their values.

    Raises:
        InputError: the pixels have another type.
    """
    if image.dtype == np.uint8:
        return image.astype(np.float32) * np.float32(1 / 255)
    if image.dtype == np.uint16:
        return image.astype(np.float32) * np.float32(1 / 65535)
    if image.dtype.kind == "f":
        return image.astype(np.float32)
    raise InputError(f"picture: pixels of type {image.dtype} cannot be used; give uint8, uint16 or float32 in [0, 1]")


def _take(image: NDArray[Any], box: Sequence[int], border: Border) -> NDArray[np.float32]:
    """The box's pixels as float32 in [0, 1]; pixels outside the picture are filled by the border rule."""
    x0, y0, x1, y1 = box
    height, width = image.shape[:2]
    if x0 >= 0 and y0 >= 0 and x1 <= width and y1 <= height:
        return to_float(image[y0:y1, x0:x1])
    columns, rows = _indices(x0, x1, width, border), _indices(y0, y1, height, border)
    part = to_float(image[rows.clip(0, height - 1)[:, None], columns.clip(0, width - 1)[None, :]])
    if border == "zero":
        part[(rows < 0) | (rows >= height)] = 0.0
        part[:, (columns < 0) | (columns >= width)] = 0.0
    return part


def _indices(start: int, stop: int, length: int, border: Border) -> NDArray[np.int64]:
    """Indices of the pixels that fill the positions `start` to `stop` (excluded) of an axis of `length` pixels.

    "reflect" mirrors at the first and last pixel without repeating them, as often as necessary. For other borders the
    indices may be outside the axis, but by no more than stop - start.
    """
    count = stop - start
    if border != "reflect":
        return np.arange(count) + min(max(start, -count), length)
    if length == 1:
        return np.zeros(count, np.int64)
    period = 2 * length - 2
    folded = (np.arange(count) + start % period) % period
    return np.where(folded < length, folded, period - folded)


def warp(
    image: NDArray[Any],
    matrix: ArrayLike,
    width: int,
    height: int,
    border: Border = "reflect",
    smooth: bool = False,
) -> NDArray[np.float32]:
    """Resample a picture by an affine matrix.

    Only the part of the picture that the output shows is read. A reduction is low-pass filtered first (see `_reducer`),
    to avoid aliasing; a large one begins with the mean of k×k pixels. Enlargements are bicubic.

    Args:
        image: H×W or H×W×C with C from 1 to 4: uint8, uint16, or floats in [0, 1].
        matrix: 2×3, *output* → picture pixels.
        width: width of the output in pixels.
        height: height of the output in pixels.
        border: what fills the area outside the picture.
        smooth: use a Gaussian filter and bilinear sampling instead, which never leave the input's range (for masks).

    Returns:
        height×width or height×width×C float32 in [0, 1]. Unless `smooth` is set, values overshoot a little at edges.

    Raises:
        InputError: the pixels have another type.
    """
    m = np.asarray(matrix, np.float64)
    ratio = scale_of(m)
    k = max(1, int(ratio / 2 + 1e-6))  # the filter still reduces by 2 to 4, because a plain mean would alias
    kernel = _gaussian(ratio / k) if smooth else _reducer(ratio / k)
    reach = len(kernel) // 2
    pad = k * (4 + reach)
    x0, y0, x1, y1 = box_of(m, (-0.5, -0.5, width - 0.5, height - 0.5))
    x0, y0, x1, y1 = x0 - pad, y0 - pad, x1 + pad, y1 + pad
    columns, rows = -(-(x1 - x0) // k), -(-(y1 - y0) // k)
    if k > 1 and columns * k * rows * k > _DIRECT_AREA:
        part, to_part = _reduced(image, (x0, y0, x1, y1), k)
        return warp(part, compose(to_part, m), width, height, border, smooth)
    part = _take(image, (x0, y0, x0 + columns * k, y0 + rows * k), border)
    if k > 1:
        part = np.asarray(cv2.resize(part, (columns, rows), interpolation=cv2.INTER_AREA), np.float32)
    if reach:
        part = np.asarray(cv2.sepFilter2D(part, cv2.CV_32F, kernel, kernel, borderType=_BORDERS[border]), np.float32)
    to_part = np.array([[1 / k, 0.0, -(x0 + (k - 1) / 2) / k], [0.0, 1 / k, -(y0 + (k - 1) / 2) / k]])
    flags = (cv2.INTER_LINEAR if smooth else cv2.INTER_CUBIC) | cv2.WARP_INVERSE_MAP
    result = cv2.warpAffine(part, compose(to_part, m), (width, height), flags=flags, borderMode=_BORDERS[border])
    return np.asarray(result, np.float32)


def _reduced(image: NDArray[Any], box: PixelBox, k: int) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """The box's part of the picture, reduced by about k, and the matrix picture → reduced part.

    Along an axis on which the box extends beyond the picture, the whole picture is reduced, so that a mirror image of
    the result is correct to half a reduced pixel. The picture is read a few rows at a time, so that the memory needed
    depends on the size of the result, not of the box.
    """
    height, width = image.shape[:2]
    left, right = (box[0], box[2]) if box[0] >= 0 and box[2] <= width else (0, width)
    top, bottom = (box[1], box[3]) if box[1] >= 0 and box[3] <= height else (0, height)
    columns, rows = -(-(right - left) // k), -(-(bottom - top) // k)
    step = max(1, _DIRECT_AREA // (4 * (right - left)))
    bands = []
    for row in range(top, bottom, step):
        band = to_float(image[row : min(row + step, bottom), left:right])
        bands.append(cv2.resize(band, (columns, len(band)), interpolation=cv2.INTER_AREA))
    part = np.asarray(cv2.resize(np.concatenate(bands), (columns, rows), interpolation=cv2.INTER_AREA), np.float32)
    # A single reduced pixel counts as k pixels wide: the mirror image around it has the same value.
    x = columns / (right - left) if columns > 1 else 1 / k
    y = rows / (bottom - top) if rows > 1 else 1 / k
    return part, np.array([[x, 0.0, (0.5 - left) * x - 0.5], [0.0, y, (0.5 - top) * y - 0.5]])


def _reducer(ratio: float) -> NDArray[np.float32]:
    """Low-pass kernel for a reduction by `ratio`: Lanczos with two lobes (Duchon 1979), 1/1.15 times as wide as usual.

    Compared with a Gaussian of half the ratio: a clean face of the sample photographs, cropped and pasted back, is 4 to
    6 dB closer to the original. A checkerboard still becomes a flat grey.
    """
    width = ratio / 1.15
    if width <= 1.0:
        return np.ones(1, np.float32)
    at = np.arange(-math.ceil(2 * width), math.ceil(2 * width) + 1) / width
    kernel = np.sinc(at) * np.sinc(at / 2) * (np.abs(at) < 2)
    return np.asarray(kernel / kernel.sum(), np.float32)


def _gaussian(ratio: float) -> NDArray[np.float32]:
    """Gaussian kernel for a reduction by `ratio`, without negative weights."""
    sigma = 0.5 * math.sqrt(max(ratio * ratio - 1.0, 0.0))
    if sigma <= 0.05:
        return np.ones(1, np.float32)
    at = np.arange(-math.ceil(3 * sigma), math.ceil(3 * sigma) + 1) / sigma
    kernel = np.exp(-0.5 * at * at)
    return np.asarray(kernel / kernel.sum(), np.float32)


def crop_face(image: NDArray[Any], matrix: ArrayLike, size: int, border: Border = "reflect") -> NDArray[np.float32]:
    """Cut an aligned face out of a picture. Only the face's part of the picture is read; see `warp`.

    Args:
        image: H×W×C with C from 1 to 4: uint8, uint16, or floats in [0, 1].
        matrix: 2×3, picture → crop.
        size: side of the crop in pixels.
        border: what fills the area outside the picture.

    Returns:
        size×size×C float32 in [0, 1].

    Raises:
        InputError: the picture has another shape or type, or the matrix cannot be inverted.
    """
    if image.ndim != 3 or not 1 <= image.shape[2] <= 4 or 0 in image.shape:
        raise InputError(f"picture: an array height × width × channels is needed, got shape {image.shape}")
    crop = warp(image, invert_affine(matrix), size, size, border)
    crop = crop.reshape(size, size, image.shape[2])
    return np.clip(crop, 0.0, 1.0, out=crop)
