"""Photoshop's image resources, which hold IPTC (Photoshop File Formats Specification, "Image Resource Blocks")."""

from __future__ import annotations

import struct

_HEADER = b"Photoshop 3.0\0"
_THUMBNAILS = (0x0409, 0x040C)


def without_thumbnails(block: bytes) -> bytes:
    """The content of a JPEG's APP13 segment, or of a TIFF's tag 34377, without pictures of the old pixels.

    A block that is not laid out as the specification says, or that goes on in another segment, is not changed.
    """
    start = len(_HEADER) if block.startswith(_HEADER) else 0
    kept, offset = [block[:start]], start
    while offset < len(block):
        if block[offset : offset + 4] != b"8BIM" or offset + 12 > len(block):
            return block
        (number,) = struct.unpack_from(">H", block, offset + 4)
        content = offset + 6 + (block[offset + 6] + 2) // 2 * 2  # the name with its length, padded to an even size
        if content + 4 > len(block):
            return block
        (size,) = struct.unpack_from(">L", block, content)
        if content + 4 + size > len(block):
            return block
        end = content + 4 + size + size % 2
        if number not in _THUMBNAILS:
            kept.append(block[offset:end])
        offset = end
    return b"".join(kept) if len(kept) > 1 else block
