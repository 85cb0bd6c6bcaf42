"""The paste mask of a face: which pixels of a crop replace the picture's, and how much."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError
from ..faces import alignment
from ..options.table import MaskKind, Part
from . import parsing
from .filters import FloatImage, smoothstep

logger = logging.getLogger(__name__)

# Labels that mark a smaller fraction of the crop as face are regarded as wrong.
_LEAST_FACE = 0.05

# The widest soft edges inside the face, as fractions of the crop's side: next to a kept part, and next to hair and to
# what is in front of the face.
_EDGE_OF_KEPT, _EDGE_IN_FRONT = 0.035, 0.02
# What is not face within the ellipse scaled by this factor is in front of the face; further out it may be background,
# but not if it is near the former: the same hand reaches there. That distance is a fraction of the crop's side.
_MIDDLE, _SAME_THING = 0.75, 0.1

# Nothing further from the middle of the face's box than this many times half of its sides is pasted.
_REACH = 1.5
# The widest soft edge that may reach beyond it.
_REACHING_FEATHER = 0.1

FACE_SHARE = 0.7
"""Side of the face divided by the side of an FFHQ crop."""


def build_mask(
    size: int,
    landmarks: ArrayLike,
    labels: NDArray[np.uint8] | None = None,
    mask: MaskKind = "parsing",
    feather: float = 0.1,
    keep: Sequence[Part] = (),
) -> FloatImage:
    """Opacity with which each pixel of the restored crop is pasted.

    Args:
        size: side of the crop in pixels.
        landmarks: 5×2, in pixels of the crop.
        labels: the parser's classes, size×size; None without a parser.
        mask: the shape. "parsing" becomes an ellipse if there are no labels, or if they show almost no face.
        feather: width of the soft edge as a fraction of the face's side; 0 is a hard edge. The edge is outside of the
            face, so that the face itself is opaque; it is inside, and narrow, only next to kept parts and to what the
            labels show in front of the face.
        keep: names of the parts that are not restored; the mask is exactly 0 there.

    Returns:
        size×size float32 in [0, 1], 0 at the crop's border.

    Raises:
        InputError: the labels have another size, or the landmarks coincide.
    """
    points = np.asarray(landmarks, np.float64)
    if labels is not None and labels.shape != (size, size):
        raise InputError(f"mask: the label map is {labels.shape}, the crop {size}×{size}")
    width = feather * FACE_SHARE * size
    border = _border_distance(size)
    region = _parsed_region(labels, points, size) if mask == "parsing" else None
    in_front = None if region is None else _in_front(labels, region, points)
    if region is None:
        region = parsing.ellipse_mask(points, size)
    result = _box(region, border, max(width, 0.03 * size)) if mask == "box" else _feathered(region, border, width)
    if in_front is not None:
        result *= _outside(in_front, min(width / 2, _EDGE_IN_FRONT * size))
    if keep:
        part = parsing.part_mask(labels, keep, points, size)
        result *= _outside(part, max(min(width / 2, _EDGE_OF_KEPT * size), 1.0), 1 + size / 256)
    return np.asarray(np.clip(result, 0.0, 1.0), np.float32)


def near_the_box(
    mask: FloatImage, landmarks: ArrayLike, matrix: ArrayLike, box: Sequence[float], feather: float
) -> FloatImage:
    """The mask, with a soft end at 1.5 times the face's box. The face's ellipse, with a soft edge, is not cut.

    Args:
        mask: size×size, from `build_mask`.
        landmarks: 5×2, in pixels of the crop.
        matrix: 2×3, picture → crop.
        box: x0, y0, x1, y1, in pixels of the picture.
        feather: as for `build_mask`.

    Returns:
        size×size float32 in [0, 1].

    Raises:
        InputError: the landmarks coincide, or the matrix cannot be inverted.
    """
    size = len(mask)
    (a, b, c), (d, e, f) = alignment.invert_affine(matrix)
    y, x = np.mgrid[0:size, 0:size].astype(np.float32)
    # How far each pixel is inside of the limits, in pixels of the picture less one for the filters' reach.
    left, top, right, bottom = box
    room_x = _REACH * (right - left) / 2 - np.abs(a * x + b * y + c - (left + right) / 2)
    room_y = _REACH * (bottom - top) / 2 - np.abs(d * x + e * y + f - (top + bottom) / 2)
    pixel = 1 / alignment.scale_of(matrix)
    width = max(feather * FACE_SHARE * size, 1.0) * pixel
    limit = smoothstep(((np.minimum(room_x, room_y) - 1 - pixel) / width).astype(np.float32))
    edge = min(feather, _REACHING_FEATHER) * FACE_SHARE * size
    face = _feathered(parsing.ellipse_mask(landmarks, size), _border_distance(size), edge)
    return mask * np.maximum(limit, face)


def _parsed_region(labels: NDArray[np.uint8] | None, landmarks: NDArray[np.float64], size: int) -> FloatImage | None:
    """Mask of the face that the landmarks belong to, without other faces; None if the labels show almost no face."""
    if labels is None:
        return None
    ellipse = parsing.ellipse_mask(landmarks, size)
    region = (parsing.face_mask(labels) > 0) & (parsing.ellipse_mask(landmarks, size, 1.35) > 0)
    radius = max(1, round(size / 128))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    # Closing fills small holes in the labels; opening cuts thin connections to another face.
    cleaned = cv2.morphologyEx(region.astype(np.uint8), cv2.MORPH_CLOSE, kernel)
    cleaned = cv2.morphologyEx(cleaned, cv2.MORPH_OPEN, kernel)
    count, components, stats, _ = cv2.connectedComponentsWithStats(cleaned, connectivity=4)
    own = np.zeros((size, size), np.float32)
    for index in range(1, count):
        where = components == index
        if float((ellipse * where).sum()) > 0.25 * float(stats[index, cv2.CC_STAT_AREA]):
            own[where] = 1.0
    if float(own.mean()) < _LEAST_FACE:
        logger.info(
            "parsing found almost no face in the crop (%.1f %%); the mask is an ellipse", 100 * float(own.mean())
        )
        return None
    return own


def _in_front(labels: NDArray[np.uint8] | None, region: FloatImage, landmarks: NDArray[np.float64]) -> FloatImage:
    """Mask of what covers or frames the face, and is never pasted: hair, hat, clothes, and whatever is not face in the
    middle of the face (a hand, a microphone). Specks of fewer pixels than 1/3000 of the crop are errors of the parser.
    """
    assert labels is not None
    size = region.shape[0]
    missing = (parsing.ellipse_mask(landmarks, size) > 0.5) & (region < 0.5)
    middle = missing & (parsing.ellipse_mask(landmarks, size, _MIDDLE) > 0.5)
    near = (_distance_to(middle) < _SAME_THING * size) if middle.any() else middle
    found = (parsing.covers(labels) & (region < 0.5)) | (missing & near)
    count, components, stats, _ = cv2.connectedComponentsWithStats(found.astype(np.uint8), connectivity=8)
    large = stats[:, cv2.CC_STAT_AREA] >= max(size * size / 3000, 2)
    large[0] = False
    return np.asarray(large[components] if count > 1 else np.zeros_like(found), np.float32)


def _feathered(region: FloatImage, border: FloatImage, width: float) -> FloatImage:
    """The region with a soft edge outside its outline: 1 in the region, 0 `width` pixels away and at the crop's border.

    Where the border is nearer than `width`, the edge is narrower. So the edge never lowers the opacity of the face.
    """
    room = min(width, 0.03 * region.shape[0])
    inside = region * np.clip(border - room, 0.0, 1.0)
    if width < 0.5:
        return np.asarray(inside, np.float32)
    away = np.maximum(_distance_to(inside > 0.5) - 0.5, 0.0)
    reach = np.minimum(np.float32(width), away + border)
    return np.asarray(smoothstep(1.0 - away / np.maximum(reach, 1e-3)), np.float32)


def _box(face: FloatImage, border: FloatImage, width: float) -> FloatImage:
    """The whole crop with a soft edge `width` pixels wide at its border; narrower where the face is nearer."""
    away = _distance_to(face > 0.5)
    return smoothstep(np.asarray(border / np.maximum(np.minimum(np.float32(width), away + border), 1.0), np.float32))


def _distance_to(where: NDArray[np.bool_]) -> FloatImage:
    """Distance of each pixel to the nearest one of an area, in pixels; far away if the area is empty."""
    return np.asarray(cv2.distanceTransform((~where).astype(np.uint8), cv2.DIST_L2, 5), np.float32)


def _border_distance(size: int) -> FloatImage:
    """Distance of each pixel of a crop to its outermost pixels, which are never pasted; 0 there."""
    line = np.minimum(np.arange(size), np.arange(size)[::-1]).astype(np.float32)
    line = np.maximum(line - np.float32(max(2.0, size / 128)) + 1, 0.0)
    return np.asarray(np.minimum(line[:, None], line[None, :]), np.float32)


def _outside(part: FloatImage, width: float, beyond: float = 0.0) -> FloatImage:
    """Mask that is exactly 0 on the part and `beyond` pixels further, and rises to 1 over `width` pixels."""
    if not (part > 0).any():
        return np.ones_like(part)
    distance = _distance_to(part > 0)
    return np.asarray(smoothstep((distance - beyond) / max(width, 1e-3)), np.float32)
