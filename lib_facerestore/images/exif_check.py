"""Whether an EXIF stream can be read to its end, which a TIFF needs: it takes over the entries, not the bytes."""

from __future__ import annotations

import struct

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
"""Bytes of a value by the number of its type (TIFF 6.0, section 2)."""
_INNER = (0x8769, 0x8825)  # entries that point at the EXIF and GPS directories


def is_whole(tiff: bytes) -> bool:
    """Whether the first directory and its EXIF and GPS directories, and all their values, lie inside the stream."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4], "") if len(tiff) >= 8 else ""
    return bool(order) and _is_whole_from(tiff, order, struct.unpack_from(order + "L", tiff, 4)[0], _INNER)


def _is_whole_from(tiff: bytes, order: str, start: int, pointers: tuple[int, ...]) -> bool:
    if start + 2 > len(tiff):
        return False
    end = start + 2 + 12 * int(struct.unpack_from(order + "H", tiff, start)[0])
    if end > len(tiff):
        return False
    for entry in range(start + 2, end, 12):
        tag, kind, count, place = struct.unpack_from(order + "HHLL", tiff, entry)
        size = count * _SIZES.get(kind, len(tiff))
        if size > 4 and place + size > len(tiff):
            return False
        if tag in pointers and not _is_whole_from(tiff, order, place, ()):
            return False
    return True
