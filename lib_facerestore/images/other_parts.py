"""Color profiles and XMP that Pillow does not read: of a GIF and of a BMP."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

_PLAYBACK = (b"NETSCAPE2.0", b"ANIMEXTS1.0")  # how often the frames are repeated
_XMP_END = b"\x01\xff\xfe\xfd"  # after the packet: leads a reader that takes it for blocks to its end


class OtherParts(NamedTuple):
    """What was found: ICC profile, XMP packet, and what is in neither."""

    icc_profile: bytes | None = None
    xmp: bytes | None = None
    losses: tuple[str, ...] = ()


def parts_of_gif(data: bytes) -> OtherParts:
    """The profile and XMP in the application extensions (GIF89a, section 26) of a GIF file."""
    profile, xmp, names = None, None, []
    for name, start, end in _gif_applications(data):
        if name == b"XMP DataXMP" and _XMP_END in data[start:end]:
            xmp = data[start:end].rpartition(_XMP_END)[0]
        elif name == b"ICCRGBG1012":
            profile = b"".join(data[at + 1 : at + 1 + data[at]] for at in _blocks(data, start))
        elif name not in _PLAYBACK:
            names.append(name.decode("latin-1").strip("\0 "))
    lost = (f"the GIF extensions {', '.join(dict.fromkeys(names))} are left out",) if names else ()
    return OtherParts(profile or None, xmp or None, lost)


def _gif_applications(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and end of the blocks of each application extension."""
    offset = 13 + _table(data[10])
    while offset + 2 <= len(data):
        kind, label = data[offset], data[offset + 1]
        if kind == 0x2C and offset + 11 <= len(data):  # a frame
            offset = _end(data, offset + 11 + _table(data[offset + 9]))
        elif kind == 0x21 and label == 0xFF and data[offset + 2 : offset + 3] == b"\x0b":
            start = offset + 14
            end = _end(data, start)
            yield data[offset + 3 : start], start, end
            offset = end
        elif kind == 0x21:
            offset = _end(data, offset + 2)
        else:  # the end, or damage
            return


def _table(flags: int) -> int:
    """Size of the color table that these flags announce."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _blocks(data: bytes, offset: int) -> Iterator[int]:
    """Where each block starts, with the byte for its length."""
    while offset < len(data) and data[offset]:
        yield offset
        offset += 1 + data[offset]


def _end(data: bytes, offset: int) -> int:
    """The offset after the empty block that ends a row of blocks."""
    for at in _blocks(data, offset):
        offset = at + 1 + data[at]
    return offset + 1


def parts_of_bmp(data: bytes) -> OtherParts:
    """The profile of a BMP file whose header (BITMAPV5HEADER, 124 bytes) says that it is embedded."""
    if len(data) < 138 or struct.unpack_from("<L", data, 14)[0] < 124:
        return OtherParts()
    if data[70:74] == b"KNIL":  # read from the low byte up: LINK
        return OtherParts(losses=("the color profile in another file that it names is not used",))
    start, size = struct.unpack_from("<LL", data, 14 + 112)
    profile = data[14 + start : 14 + start + size] if data[70:74] == b"DEBM" else b""
    return OtherParts(profile or None)
