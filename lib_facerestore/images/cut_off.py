"""JPEG and PNG files whose end is missing: those that hold all pixels in spite of it are completed."""

from __future__ import annotations

import io
import re
import struct
import zlib

import numpy as np
from PIL import Image

from .metadata import PNG_SIGNATURE, png_chunk

_END = b"\xff\xd9"
_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")
_FILLERS = (b"", b"\x55\x2a" * 256, b"\xa6\x93" * 256)
_PIECE = 2**20


def completed_jpeg(data: bytes) -> bytes | None:
    """A JPEG with the end mark that it lacks; None if it has one.

    Raises:
        ValueError: pixels are missing too.
    """
    complete = _scans_of_endless_jpeg(data)
    if complete is None:
        return None
    if complete:
        # What follows the last pixel is skipped. If the decoder still needs data, what it finds changes the picture.
        body = data.rstrip(b"\xff")
        first, *others = (_pixels(body + filler + _END) for filler in _FILLERS)
        if all(np.array_equal(first, other) for other in others):
            return body + _END
    raise ValueError("the file ends before its last pixels")


def _pixels(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
        return np.asarray(image)


def _scans_of_endless_jpeg(data: bytes) -> bool | None:
    """Whether the scans that have begun bring every coefficient to its full precision; None if there is an end mark, or
    if the markers are so damaged that nothing can be said (ITU-T T.81, annexes B and G)."""
    precision: dict[tuple[int, int], int] = {}  # of each component and coefficient, the lowest bit that has come
    components: list[int] = []
    place = 2
    while True:
        found = _MARKER.search(data, place)
        if found is None:
            return bool(components) and all(precision.get((one, at)) == 0 for one in components for at in range(64))
        marker, place = found[1][0], found.end()
        if marker == 0xD9:
            return None
        if marker in (0x01, 0xD8):
            continue
        if place + 2 > len(data):
            return False
        (length,) = struct.unpack_from(">H", data, place)
        segment = data[place + 2 : place + length]
        if length < 2 or place + length > len(data):
            return False
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC) and len(segment) >= 6:
            components = list(segment[6::3])
        elif marker == 0xDA and len(segment) >= 4:
            first, last, bits = segment[-3:]
            for component in segment[1 : 1 + 2 * segment[0] : 2]:
                precision.update({(component, at): bits & 15 for at in range(first, min(last, 63) + 1)})
        place += length


def completed_png(data: bytes) -> bytes | None:
    """A PNG with the end that it lacks, without a chunk that is cut off; None if it has its end.

    Raises:
        ValueError: pixels are missing too.
    """
    place, parts, pixels = len(PNG_SIGNATURE), [PNG_SIGNATURE], zlib.decompressobj()
    while place + 8 <= len(data):
        length, name = struct.unpack_from(">L4s", data, place)
        end = place + 12 + length
        if name == b"IEND" and end <= len(data):
            return None
        payload = data[place + 8 : place + 8 + length]
        if name == b"IDAT":
            _inflate(pixels, payload)
        if end <= len(data):
            parts.append(data[place:end])
        elif name == b"IDAT":
            parts.append(png_chunk(name, payload))
        place = end
    if not pixels.eof:  # its checksum has been compared otherwise
        raise ValueError("the file ends before its last pixels")
    return b"".join([*parts, png_chunk(b"IEND", b"")])


def _inflate(stream: zlib._Decompress, payload: bytes) -> None:
    """Decompress data piece by piece, to see whether it is whole; raises ValueError if it is damaged."""
    try:
        while payload and not stream.eof:
            stream.decompress(payload, _PIECE)
            payload = stream.unconsumed_tail
    except zlib.error as error:
        raise ValueError(f"damaged pixels: {error}") from error
