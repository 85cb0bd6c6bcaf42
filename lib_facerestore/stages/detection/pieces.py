"""The pieces of a picture that a detection network gets as input.

- First look: the whole picture, reduced so that its longer side is at most `long_side`; a picture that is more than
  twice as wide as high, or the reverse, is reduced less.
- Smaller looks, for large faces that are blurred or noisy, or that fill the picture: half and a quarter of that size.
- Second look, for faces that are too small in the first: twice the size of the first look, in overlapping tiles. If a
  group of small faces is seen in it, and the picture has more pixels, there are further looks, each at twice the size.
- Careful looks: small, with a border of repeated pixels for faces that the picture's border cuts, and turned by
  multiples of 45° for faces that lean, lie on a side or stand on their head.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .postprocess import Detections

MULTIPLE = 32
"""Sides of inputs are padded to a multiple of this, the network's coarsest stride."""
OVERLAP = 160
"""Overlap of neighbouring tiles in pixels. The tiles of a second look drop larger faces."""
TILE = 2
"""Side of a tile as a multiple of `long_side`."""
MOST_PIXELS = 40
"""Most pixels of a further look, in squares of `long_side`."""
GROUP = 3
"""So many small faces in a look call for a further one."""
MEAN_RGB = (123, 117, 104)
"""The colour whose input is zero: `retinaface.MEAN_BGR` in the order red, green, blue."""
RIM = 3.0
"""A box closer than this to an inner edge of a tile, in pixels, is cut; the neighbouring tile shows the whole face."""
SMALL_FACE = 40.0
"""If the smallest face is below this side, in pixels of the first look, there may be smaller ones."""

STRIP = 4
"""Pictures whose sides differ by more than this factor are not looked at from angles that are no right ones."""

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Piece:
    """A part of a resized picture, as input for the network.

    Attributes:
        pixels: H×W×3 uint8 RGB.
        scale: scale factors of the resized picture in x and y.
        corner: (x, y) of the piece's first pixel in the resized picture.
        resized: width and height of the resized picture.
        eighths: by how many times 45° the resized picture was turned counterclockwise; `corner` is in pixels of the
            turned one, which is `turned_size` large.
    """

    pixels: Pixels
    scale: tuple[float, float]
    corner: tuple[int, int]
    resized: tuple[int, int]
    eighths: int = 0


def first_scale(image: Pixels, long_side: int) -> float:
    """Scale factor of the first look, at most 1.

    The longer side becomes `long_side` or the shorter side half of it, whichever is larger: or else the faces of a wide
    group photograph would be reduced to nothing. There are at most 4 × `long_side`² pixels.
    """
    height, width = image.shape[:2]
    scale = max(long_side / max(height, width), long_side / 2 / min(height, width))
    return min(1.0, scale, 2 * long_side / math.sqrt(height * width))


def first_look(image: Pixels, long_side: int) -> Piece:
    """The whole picture (H×W×3 uint8 RGB), reduced if it is larger than `first_scale` allows."""
    return _whole(image, first_scale(image, long_side))


def smaller_looks(image: Pixels, long_side: int) -> list[Piece]:
    """The whole picture at half and at a quarter of the size of the first look; the latter with a border all around."""
    scale = first_scale(image, long_side)
    return [_whole(image, scale / 2), _bordered(_whole(image, scale / 4), 0.25, replicate=False)]


def careful_looks(image: Pixels, long_side: int) -> list[Piece]:
    """The smaller looks for faces that the picture's border cuts, and for faces that are not upright."""
    scale = first_scale(image, long_side)
    half, quarter = _whole(image, scale / 2), _whole(image, scale / 4)
    looks = [_bordered(half, 0.125, replicate=True), _bordered(quarter, 0.2, replicate=True)]
    looks += [_turned(half, eighths) for eighths in (2, 4, 6)]
    looks += [_bordered(_turned(quarter, eighths), 0.25, replicate=False) for eighths in (2, 4, 6)]
    if max(image.shape[:2]) <= STRIP * min(image.shape[:2]):  # turned by 45°, a strip becomes a large square
        looks += [_turned(quarter, eighths) for eighths in (1, 3, 5, 7)]
    return looks


def wants_second_look(image: Pixels, found: Detections, long_side: int) -> bool:
    """Whether the first look may have missed small faces.

    It may if it reduced the picture to less than 0.8 of its size, found no face, or found a small one.

    Args:
        image: the picture.
        found: detections of the first look, in pixels of the picture.
        long_side: as for `first_look`.
    """
    scale = first_scale(image, long_side)
    if scale < 0.8 or not len(found.scores):
        return True
    return bool((found.sides * scale).min() < SMALL_FACE)


def second_scale(image: Pixels, long_side: int) -> float:
    """Scale factor of the second look: twice that of the first."""
    return 2.0 * first_scale(image, long_side)


def further_scale(image: Pixels, found: Detections, scale: float, long_side: int) -> float | None:
    """Scale factor of the look after one with tiles at `scale`; None if there is none.

    There is one if at least `GROUP` of the faces that were found are small at that scale, and the picture has more
    pixels.

    Args:
        image: the picture.
        found: detections of all looks so far, in pixels of the picture.
        scale: scale factor of the last look.
        long_side: as for `first_look`.
    """
    most = math.sqrt(MOST_PIXELS * long_side**2 / (image.shape[0] * image.shape[1]))
    following = min(1.0, 2 * scale, most)
    small = int((found.sides * scale < SMALL_FACE).sum())
    return following if small >= GROUP and following > 1.2 * scale else None


def finest_scale(image: Pixels, found: Detections, long_side: int) -> float:
    """The largest scale factor of all looks at a picture, at most 1, from its size and what was found in it."""
    scale: float | None = second_scale(image, long_side)
    finest = 0.0
    while scale is not None:
        finest = scale
        scale = further_scale(image, found, scale, long_side)
    return min(1.0, finest)


def tiles(image: Pixels, scale: float, long_side: int) -> list[Piece]:
    """Overlapping tiles of the resized picture, with sides of at most `TILE` × `long_side` pixels."""
    whole, side = _whole(image, scale), TILE * long_side
    height, width = whole.pixels.shape[:2]
    return [
        Piece(whole.pixels[top : top + side, left : left + side], whole.scale, (left, top), (width, height))
        for top in _starts(height, side)
        for left in _starts(width, side)
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


def turned_size(resized: tuple[int, int], eighths: int) -> tuple[int, int]:
    """Width and height of a picture (width and height `resized`) that was turned by `eighths` × 45°."""
    width, height = resized
    if eighths % 2:
        side = math.ceil((width + height) * math.sqrt(0.5))
        return side, side
    return (height, width) if eighths % 4 == 2 else (width, height)


def _turned(piece: Piece, eighths: int) -> Piece:
    """A whole picture, turned by `eighths` × 45° counterclockwise; the corners that this leaves have `MEAN_RGB`."""
    if eighths % 2 == 0:
        pixels = np.ascontiguousarray(np.rot90(piece.pixels, eighths // 2))
        return Piece(pixels, piece.scale, (0, 0), piece.resized, eighths)
    size = turned_size(piece.resized, eighths)
    middle = ((piece.resized[0] - 1) / 2, (piece.resized[1] - 1) / 2)
    matrix = np.array(cv2.getRotationMatrix2D(middle, 45.0 * eighths, 1.0), np.float64)
    matrix[:, 2] += (np.array(size) - piece.resized) / 2
    kind = cv2.BORDER_CONSTANT
    turned = cv2.warpAffine(piece.pixels, matrix, size, flags=cv2.INTER_LINEAR, borderMode=kind, borderValue=MEAN_RGB)
    return Piece(np.asarray(turned, np.uint8), piece.scale, (0, 0), piece.resized, eighths)


def _bordered(piece: Piece, share: float, replicate: bool) -> Piece:
    """A whole picture with a border: its outermost pixels, or `MEAN_RGB`.

    The border is as wide as this share of the longer side, or of twice the shorter one if that is less.
    """
    height, width = piece.pixels.shape[:2]
    wide = max(1, round(share * min(max(height, width), 2 * min(height, width))))
    kind = cv2.BORDER_REPLICATE if replicate else cv2.BORDER_CONSTANT
    pixels = cv2.copyMakeBorder(piece.pixels, wide, wide, wide, wide, kind, value=MEAN_RGB)
    return Piece(np.asarray(pixels, np.uint8), piece.scale, (-wide, -wide), piece.resized, piece.eighths)


def _starts(length: int, tile: int) -> list[int]:
    """First pixels of the tiles along an axis, evenly spaced; neighbours overlap by at least `OVERLAP` pixels."""
    if length <= tile:
        return [0]
    step = max(1, tile - min(OVERLAP, tile // 2))
    count = -(-(length - tile) // step) + 1
    return [round(number * (length - tile) / (count - 1)) for number in range(count)]
