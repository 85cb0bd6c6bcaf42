"""At which sizes a picture is looked at, and the pieces that go through the network. Pure functions and small data.

First look: the picture, shrunk so that its long side is at most `long_side`. Second look, for faces that are too
small in the first: twice that size, cut into overlapping tiles of `long_side`.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .postprocess import Found

MULTIPLE = 32  # inputs are padded to a multiple of the coarsest stride
OVERLAP = 160  # of neighbouring tiles, in tile pixels; the second look keeps faces that are no larger
RIM = 3.0  # a box this near to an inner edge of a tile is a cut face; the neighbouring tile has it whole
SMALL_FACE = 40.0  # in pixels of the first look: where one is this small there may be smaller ones

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Piece:
    """A part of a resized picture that goes through the network.

    pixels: H×W×3 uint8 RGB; scale: (x, y) pixels of the piece for one of the picture; corner: (x, y) of the piece in
    the resized picture; resized: (width, height) of the whole resized picture.
    """

    pixels: Pixels
    scale: tuple[float, float]
    corner: tuple[int, int]
    resized: tuple[int, int]


def first_look(image: Pixels, long_side: int) -> Piece:
    """The whole picture, shrunk if its long side is above `long_side`, never enlarged."""
    return _whole(image, min(1.0, long_side / max(image.shape[:2])))


def wants_second_look(image: Pixels, found: Found, long_side: int) -> bool:
    """Whether small faces may have been missed: much was shrunk away, nothing was found, or a face found is small."""
    scale = min(1.0, long_side / max(image.shape[:2]))
    if scale < 0.8 or not len(found.scores):
        return True
    return bool((found.sides * scale).min() < SMALL_FACE)


def second_look(image: Pixels, long_side: int) -> list[Piece]:
    """Tiles of the picture at twice the first look's size, so enlarged at most twice; `long_side` is a tile's side."""
    factor = 2.0 * min(1.0, long_side / max(image.shape[:2]))
    whole = _whole(image, factor)
    height, width = whole.pixels.shape[:2]
    return [
        Piece(whole.pixels[top : top + long_side, left : left + long_side], whole.scale, (left, top), (width, height))
        for top in _starts(height, long_side)
        for left in _starts(width, long_side)
    ]


def uncut(found: Found, piece: Piece) -> Found:
    """Detections of a tile, in its pixels, without those that an inner edge cuts and those too large for the look."""
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
    """Where tiles begin, evenly spread, so that neighbours share at least `OVERLAP` pixels."""
    if length <= tile:
        return [0]
    step = max(1, tile - min(OVERLAP, tile // 2))
    count = -(-(length - tile) // step) + 1
    return [round(number * (length - tile) / (count - 1)) for number in range(count)]
