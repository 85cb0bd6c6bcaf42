"""Geometry of a face: five-point templates, the similarity transform, the aligned crop, and resampling.

Convention, everywhere in the package: coordinates are (x, y) in pixels and an integer coordinate is the *centre* of a
pixel, so a picture W wide covers -0.5 … W - 0.5. A matrix `M` is 2×3, float64 and maps picture → crop. Changing the
crop's size therefore scales coordinates as (x + 0.5) * k - 0.5, and crops of different sizes show the same area.
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
"""Pixels of a picture: x0, y0, x1, y1; the ends are excluded."""
Border = Literal["reflect", "edge", "zero"]
"""What shows outside of a picture: its mirror image, its outermost pixels, or 0."""

_BORDERS: dict[str, int] = {
    "reflect": cv2.BORDER_REFLECT_101,
    "edge": cv2.BORDER_REPLICATE,
    "zero": cv2.BORDER_CONSTANT,
}

# Left eye, right eye, nose, left and right mouth corner (image left first) in a 512 crop:
# the mean FFHQ face as facexlib has it.
_FFHQ_512 = (
    (192.98138, 239.94708),
    (318.90277, 240.19360),
    (256.63416, 314.01935),
    (201.26117, 371.41043),
    (313.08905, 371.15118),
)
# The ArcFace reference points in a 96×112 picture, which GPEN was trained with.
_ARCFACE_96X112 = (
    (30.29460, 51.69630),
    (65.53180, 51.50140),
    (48.02520, 71.73660),
    (33.54930, 92.36550),
    (62.72990, 92.20410),
)

# A landmark is left out of the fit when the rest fits better than this share of the error of all five ...
_OUTLIER_GAIN = 0.4
# ... and all five together miss by more than this share of the template's spread.
_OUTLIER_ERROR = 0.1
# Median side of an aligned crop over the longer side of a detector's box, on the sample photographs (1st to 99th
# percentile 1.21 to 1.59), and where the box's centre lies in the crop.
_CROP_OVER_BOX = 1.37
_BOX_CENTRE = (0.5, 0.553)
# Landmarks are taken to be wrong where their crop is this many times as large as the box's.
_PLAUSIBLE = (0.3, 3.5)
# A larger part of a picture than this, in pixels, is reduced before anything is computed from it.
_DIRECT_AREA = 2**24


def ffhq_template(size: int) -> NDArray[np.float64]:
    """Five landmarks (5, 2) of the FFHQ-aligned face in a crop of `size` pixels; all families except GPEN use it."""
    return (np.asarray(_FFHQ_512, np.float64) + 0.5) * (size / 512.0) - 0.5


def gpen_template(size: int) -> NDArray[np.float64]:
    """Five landmarks (5, 2) of GPEN's crop: the 96×112 reference, made square, a quarter of padding on each side."""
    square = np.asarray(_ARCFACE_96X112, np.float64) + np.array([8.0, 0.0])
    padded = square + 0.25 * 112.0
    return (padded + 0.5) * (size / 168.0) - 0.5


def arcface_template(size: int) -> NDArray[np.float64]:
    """Five landmarks (5, 2) of the recognition networks' crop in 128 px: the 96×112 reference, centred across."""
    return (np.asarray(_ARCFACE_96X112, np.float64) + np.array([16.5, 0.5])) * (size / 128.0) - 0.5


def _fit(src: NDArray[np.float64], dst: NDArray[np.float64]) -> NDArray[np.float64]:
    """Least-squares similarity; in the complex plane it is one linear equation and cannot mirror."""
    p = src[:, 0] + 1j * src[:, 1]
    q = dst[:, 0] + 1j * dst[:, 1]
    pm, qm = p.mean(), q.mean()
    pc, qc = p - pm, q - qm
    a = np.vdot(pc, qc) / np.vdot(pc, pc).real
    t = qm - a * pm
    return np.array([[a.real, -a.imag, t.real], [a.imag, a.real, t.imag]], np.float64)


def _rms(matrix: NDArray[np.float64], src: NDArray[np.float64], dst: NDArray[np.float64]) -> float:
    return float(np.sqrt(((apply_affine(matrix, src) - dst) ** 2).sum(axis=1).mean()))


def _spread(points: NDArray[np.float64]) -> float:
    return float(np.sqrt(((points - points.mean(axis=0)) ** 2).sum(axis=1).mean()))


def similarity(src: ArrayLike, dst: ArrayLike) -> NDArray[np.float64]:
    """Rotation, uniform scale and shift (2×3, float64) that take `src` (N, 2) closest to `dst` (N, 2), N >= 2.

    Closed-form least squares (Umeyama, IEEE PAMI 1991, without a reflection). Where a single point is clearly wrong
    (all miss by a tenth of the spread, and the others agree far better without it), it is left out. A profile, where
    all points deviate a little, keeps the plain fit, which is steady.

    Raises:
        InputError: points are not finite, or all coincide; `face_transform` falls back on the box.
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
    """Matrix (2×3, picture → crop) of an upright crop round a box (x0, y0, x1, y1), placed as an FFHQ crop would be.

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
    """Matrix (2×3, picture → crop of `size` pixels) for a face.

    From the five landmarks and `template` (default `ffhq_template(size)`). Where the landmarks coincide, or give a size
    that is several times as large or small as the box, the crop is an upright one round the box.
    """
    target = ffhq_template(size) if template is None else np.asarray(template, np.float64)
    fallback = box_transform(face.box, size)
    try:
        matrix = similarity(face.landmarks, target)
    except InputError as error:
        logger.info("%s; the crop follows the box instead", error)
        return fallback
    ratio = scale_of(fallback) / max(scale_of(matrix), 1e-12)
    if not _PLAUSIBLE[0] <= ratio <= _PLAUSIBLE[1]:
        logger.info("landmarks and box of a face disagree about its size by %.2f; the crop follows the box", ratio)
        return fallback
    return matrix


def scale_of(matrix: ArrayLike) -> float:
    """Crop pixels for each picture pixel of a 2×3 similarity (below 1 the crop is a reduction)."""
    m = np.asarray(matrix, np.float64)
    return float(math.sqrt(abs(m[0, 0] * m[1, 1] - m[0, 1] * m[1, 0])))


def invert_affine(matrix: ArrayLike) -> NDArray[np.float64]:
    """Inverse of a 2×3 affine matrix, 2×3 float64. Raises InputError for a matrix that cannot be inverted."""
    m = np.asarray(matrix, np.float64)
    a, b, c, d = m[0, 0], m[0, 1], m[1, 0], m[1, 1]
    det = a * d - b * c
    if m.shape != (2, 3) or not np.isfinite(m).all() or det == 0.0:
        raise InputError("transform: a finite, invertible 2×3 matrix is needed")
    linear = np.array([[d, -b], [-c, a]]) / det
    return np.concatenate([linear, -linear @ m[:, 2:]], axis=1)


def compose(outer: ArrayLike, inner: ArrayLike) -> NDArray[np.float64]:
    """The 2×3 matrix that first applies `inner`, then `outer` (both 2×3)."""
    a = np.vstack([np.asarray(outer, np.float64), (0.0, 0.0, 1.0)])
    b = np.vstack([np.asarray(inner, np.float64), (0.0, 0.0, 1.0)])
    return (a @ b)[:2]


def apply_affine(matrix: ArrayLike, points: ArrayLike) -> NDArray[np.float64]:
    """Points (N, 2) transformed by a 2×3 matrix, float64."""
    m = np.asarray(matrix, np.float64)
    return np.asarray(points, np.float64) @ m[:, :2].T + m[:, 2]


def box_of(matrix: ArrayLike, rectangle: Sequence[float]) -> PixelBox:
    """Smallest pixel box (x0, y0, x1, y1; ends excluded) that holds the pixel centres inside `rectangle`
    (x0, y0, x1, y1 in source coordinates, its edges included) after the 2×3 `matrix`."""
    x0, y0, x1, y1 = rectangle
    corners = apply_affine(matrix, [(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
    low, high = np.floor(corners.min(axis=0)), np.ceil(corners.max(axis=0)) + 1
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def clip_box(box: Sequence[int], height: int, width: int) -> PixelBox:
    """`box` (x0, y0, x1, y1) cut to a picture; an empty one has x1 == x0 or y1 == y0, never less."""
    x0, y0 = min(max(box[0], 0), width), min(max(box[1], 0), height)
    return x0, y0, max(min(box[2], width), x0), max(min(box[3], height), y0)


def to_float(image: NDArray[Any]) -> NDArray[np.float32]:
    """Pixels as float32 in [0, 1]: uint8 over 255, uint16 over 65535, floats unchanged.

    Raises:
        InputError: the pixels are of another type.
    """
    if image.dtype == np.uint8:
        return image.astype(np.float32) * np.float32(1 / 255)
    if image.dtype == np.uint16:
        return image.astype(np.float32) * np.float32(1 / 65535)
    if image.dtype.kind == "f":
        return image.astype(np.float32)
    raise InputError(f"picture: pixels of type {image.dtype} cannot be used; give uint8, uint16 or float32 in [0, 1]")


def _take(image: NDArray[Any], box: Sequence[int], border: Border) -> NDArray[np.float32]:
    """The box of the picture as float32; what lies outside is filled by the border rule, however far outside it is."""
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
    """Pixels start to stop of an axis, by the border rule: mirrored at the first and the last pixel without repeating
    them, as often as it takes; otherwise unchanged, but never further outside than the span is long."""
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
    """A picture resampled through an affine matrix.

    Only the part of the picture that the output covers is read. Where the output is coarser, a low-pass filter goes
    first (see `_reducer`), after an average over whole pixels (k×k) where the ratio is large, so that next to nothing
    aliases; where it is finer, a cubic kernel magnifies.

    Args:
        image: H×W or H×W×C with C from 1 to 4: uint8, uint16, or floats in [0, 1].
        matrix: 2×3, *output* → picture pixels.
        width, height: of the output.
        border: what shows outside of the picture.
        smooth: take a Gaussian and the linear kernel instead, which never leave the range of their input (masks).

    Returns:
        float32 height×width or height×width×C; integers come out in [0, 1]. The cubic and low-pass kernels overshoot a
        little at edges.
    """
    m = np.asarray(matrix, np.float64)
    ratio = scale_of(m)
    k = max(1, int(ratio / 2 + 1e-6))  # leaves a ratio of 2 to 4 to the filter: a box alone would alias
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
    """What the box covers of the picture, averaged over about k×k pixels, and the matrix from the picture to it.

    Along an axis on which the box reaches beyond the picture, the whole picture is taken, so that its mirror image is
    in the same place to half an averaged pixel. The picture is read a few rows at a time, so the memory follows from
    the result, not from the box.
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
    # A single averaged pixel is as wide as asked for: what is around it is its mirror image, all the same.
    x = columns / (right - left) if columns > 1 else 1 / k
    y = rows / (bottom - top) if rows > 1 else 1 / k
    return part, np.array([[x, 0.0, (0.5 - left) * x - 0.5], [0.0, y, (0.5 - top) * y - 0.5]])


def _reducer(ratio: float) -> NDArray[np.float32]:
    """Low-pass kernel for reducing by `ratio`: Lanczos with two lobes (Duchon 1979), a little narrower than the ratio.

    On the sample photographs a clean face that is restored and put back is 4 to 6 dB nearer to the original than with a
    Gaussian of half the ratio, and a checkerboard still comes out flat.
    """
    width = ratio / 1.15
    if width <= 1.0:
        return np.ones(1, np.float32)
    at = np.arange(-math.ceil(2 * width), math.ceil(2 * width) + 1) / width
    kernel = np.sinc(at) * np.sinc(at / 2) * (np.abs(at) < 2)
    return np.asarray(kernel / kernel.sum(), np.float32)


def _gaussian(ratio: float) -> NDArray[np.float32]:
    sigma = 0.5 * math.sqrt(max(ratio * ratio - 1.0, 0.0))
    if sigma <= 0.05:
        return np.ones(1, np.float32)
    at = np.arange(-math.ceil(3 * sigma), math.ceil(3 * sigma) + 1) / sigma
    kernel = np.exp(-0.5 * at * at)
    return np.asarray(kernel / kernel.sum(), np.float32)


def crop_face(image: NDArray[Any], matrix: ArrayLike, size: int, border: Border = "reflect") -> NDArray[np.float32]:
    """The aligned face: size×size×C float32 in [0, 1] from a picture H×W×C (uint8, uint16, or float in [0, 1]).

    `matrix` maps picture → crop. Only the face's own part of the picture is read, so the cost does not depend on the
    picture's size, and a face may have any size. Reductions are antialiased, magnifications cubic; `border` says what
    shows outside of the picture.

    Raises:
        InputError: the picture has another form or type, or the matrix cannot be inverted.
    """
    if image.ndim != 3 or not 1 <= image.shape[2] <= 4 or 0 in image.shape:
        raise InputError(f"picture: an array height × width × channels is needed, got shape {image.shape}")
    crop = warp(image, invert_affine(matrix), size, size, border)
    crop = crop.reshape(size, size, image.shape[2])
    return np.clip(crop, 0.0, 1.0, out=crop)
