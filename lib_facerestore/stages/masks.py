"""The paste mask of a face: which pixels of a crop replace the picture's, and how much."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError
from ..options.table import MaskKind, Part
from . import parsing
from .filters import FloatImage, gaussian, smoothstep

logger = logging.getLogger(__name__)

# Labels that mark a smaller fraction of the crop as face are regarded as wrong.
_LEAST_FACE = 0.05

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
        feather: width of the soft edge as a fraction of the face's side; 0 is a hard edge.
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
    if mask == "box":
        result = np.ones((size, size), np.float32)
    else:
        region = _parsed_region(labels, points, size) if mask == "parsing" else None
        if region is None:
            region = parsing.ellipse_mask(points, size)
        result = _feathered(region, width)
    result *= _rim(size, max(width, 0.03 * size) if mask == "box" or width > 0 else 0.0)
    if keep:
        part = parsing.part_mask(labels, keep, points, size)
        result *= _outside(part, max(width / 2, 1.0))
    return np.asarray(np.clip(result, 0.0, 1.0), np.float32)


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


def _feathered(region: FloatImage, width: float) -> FloatImage:
    """The region with a soft edge about `width` pixels wide.

    The region is first shrunk by a quarter of `width`, so that little of the edge is outside its outline.
    """
    if width < 0.5:
        return region.copy()
    inner = _distance_inside(region)
    inset = np.asarray(np.clip(inner - width / 4 + 0.5, 0.0, 1.0), np.float32)
    if float(inset.sum()) < 0.5 * float(region.sum()):
        inset = region  # a small or thin region would vanish
    soft = gaussian(inset, width / 2)
    # With an edge as wide as the face, no pixel would reach 1, and `feather` would lower the visibility too.
    return np.asarray(soft / max(float(soft.max()), 0.25), np.float32)


def _distance_inside(region: FloatImage) -> FloatImage:
    """Distance of each pixel of the region to its outline in pixels; 0 outside."""
    padded = np.pad((region > 0.5).astype(np.uint8), 1)
    return np.asarray(cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1], np.float32)


def _rim(size: int, width: float) -> FloatImage:
    """Mask that is 0 on the crop's outermost pixels and rises to 1 over `width` pixels."""
    margin = max(2.0, size / 128)
    distance = np.minimum(np.arange(size), np.arange(size)[::-1]).astype(np.float32)
    line = smoothstep((distance - margin + 1) / max(width, 1.0))
    return np.asarray(np.minimum(line[:, None], line[None, :]), np.float32)


def _outside(part: FloatImage, width: float) -> FloatImage:
    """Mask that is exactly 0 on the part and a little beyond, and rises to 1 over `width` pixels."""
    if not (part > 0).any():
        return np.ones_like(part)
    distance = np.asarray(cv2.distanceTransform((part <= 0).astype(np.uint8), cv2.DIST_L2, 5), np.float32)
    return np.asarray(smoothstep((distance - 1 - part.shape[0] / 256) / width), np.float32)
