"""The pieces of a picture that a detection network gets as input.

First look: the whole picture, reduced so that its longer side is at most `long_side`. Second look, for faces that are
too small in the first: the picture at twice that size, cut into overlapping tiles with sides of `long_side`.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .postprocess import Detections

MULTIPLE = 32
"""Sides of inputs are padded to a multiple of this, the network's coarsest stride."""
OVERLAP = 160
"""Overlap of neighbouring tiles in pixels. The second look drops larger faces."""
RIM = 3.0
"""A box closer than this to an inner edge of a tile, in pixels, is cut; the neighbouring tile shows the whole face."""
SMALL_FACE = 40.0
"""If the smallest face is below this side, in pixels of the first look, there may be smaller ones."""

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Piece:
    """A part of a resized picture, as input for the network.

    Attributes:
        pixels: H×W×3 uint8 RGB.
        scale: scale factors of the resized picture in x and y.
        corner: (x, y) of the piece's first pixel in the resized picture.
        resized: width and height of the resized picture.
    """

    pixels: Pixels
    scale: tuple[float, float]
    corner: tuple[int, int]
    resized: tuple[int, int]


def first_look(image: Pixels, long_side: int) -> Piece:
    """The whole picture (H×W×3 uint8 RGB), reduced if its longer side is above `long_side` pixels."""
    return _whole(image, min(1.0, long_side / max(image.shape[:2])))


def wants_second_look(image: Pixels, found: Detections, long_side: int) -> bool:
    """Whether the first look may have missed small faces.

    It may if it reduced the picture to less than 0.8 of its size, found no face, or found a small one.

    Args:
        image: the picture.
        found: detections of the first look, in pixels of the picture.
        long_side: as for `first_look`.
    """
    scale = min(1.0, long_side / max(image.shape[:2]))
    if scale < 0.8 or not len(found.scores):
        return True
    return bool((found.sides * scale).min() < SMALL_FACE)


def second_look(image: Pixels, long_side: int) -> list[Piece]:
    """Tiles of the picture at twice the size of the first look, with sides of `long_side` pixels."""
    factor = 2.0 * min(1.0, long_side / max(image.shape[:2]))
    whole = _whole(image, factor)
    height, width = whole.pixels.shape[:2]
    return [
        Piece(whole.pixels[top : top + long_side, left : left + long_side], whole.scale, (left, top), (width, height))
        for top in _starts(height, long_side)
        for left in _starts(width, long_side)
    ]


def uncut(found: Detections, piece: Piece) -> Detections:
    """The detections of a tile, in its pixels, except those cut by an inner edge and those larger than `OVERLAP`."""
    height, width = piece.pixels.shape[:2]
    near = np.array(
        [
            RIM if piece.corner[0] > 0 else -np.inf,
            RIM if piece.corner[1] > 0 else -np.inf,
            width - RIM if piece.corner[0] + width < piece.resized[0] else np.inf,
            height - RIM if piece.corner[1] + height < piece.resized[1] else np.inf,
        ]
    )
    whole = (found.boxes[:, :2] >= near[:2]).all(1) & (found.boxes[:, 2:] <= near[2:]).all(1)
    return found.pick(whole & (found.sides <= OVERLAP))


def padded_size(pixels: Pixels) -> tuple[int, int]:
    """Height and width that the piece is padded to; pieces of the same size share a batch."""
    height, width = pixels.shape[:2]
    return -(-height // MULTIPLE) * MULTIPLE, -(-width // MULTIPLE) * MULTIPLE


def _whole(image: Pixels, factor: float) -> Piece:
    height, width = image.shape[:2]
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    if size == (width, height):
        return Piece(image, (1.0, 1.0), (0, 0), size)
    kind = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    resized = cv2.resize(np.ascontiguousarray(image), size, interpolation=kind)
    return Piece(np.asarray(resized, np.uint8), (size[0] / width, size[1] / height), (0, 0), size)


def _starts(length: int, tile: int) -> list[int]:
    """First pixels of the tiles along an axis, evenly spaced; neighbours overlap by at least `OVERLAP` pixels."""
    if length <= tile:
        return [0]
    step = max(1, tile - min(OVERLAP, tile // 2))
    count = -(-(length - tile) // step) + 1
    return [round(number * (length - tile) / (count - 1)) for number in range(count)]
