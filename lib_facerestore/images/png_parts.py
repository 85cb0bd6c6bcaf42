"""The chunks of a PNG and what follows its end: what goes along when the picture is written anew, and what is lost."""

from __future__ import annotations

from typing import NamedTuple

from .metadata import (
    CARRIED_CHUNKS,
    CREDENTIALS_LOST,
    PNG_SIGNATURE,
    TEXT_LIMIT,
    XMP_KEY,
    legacy_exif,
    parse_text,
    png_chunks,
    strip_exif_prefix,
)
from .picture import TextItem

# Chunks with the pixels and frames, and those that are written from fields of the Picture. Apple's iDOT says where the
# compressed pixels are halved.
_STRUCTURE = (b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"iCCP", b"acTL", b"fcTL", b"fdAT", b"iDOT")
_TEXT = (b"tEXt", b"zTXt", b"iTXt")


class PngParts(NamedTuple):
    """What a PNG holds beside its pixels and ICC profile.

    Attributes:
        exif: EXIF stream, from eXIf or else from ImageMagick's text.
        xmp: XMP packet.
        text: text chunks in file order.
        chunks: (name, payload) of the other chunks that hold true for changed pixels, in file order.
        trailer: what follows the IEND chunk.
        losses: what is in none of the other fields.
    """

    exif: bytes | None
    xmp: bytes | None
    text: tuple[TextItem, ...]
    chunks: tuple[tuple[bytes, bytes], ...]
    trailer: bytes
    losses: tuple[str, ...]


def read_parts(data: bytes, *, check: bool) -> PngParts:
    """Sort the chunks of a PNG file.

    Args:
        data: content of the file.
        check: whether to verify the chunks' checksums.

    Raises:
        ValueError: the file ends before its IEND chunk, or a checksum is wrong.
    """
    exif, xmp, text, carried = None, None, [], []
    stale: list[str] = []
    losses: list[str] = []
    end, pixels_began, room = len(PNG_SIGNATURE), False, TEXT_LIMIT
    for name, payload in png_chunks(data, check=check):
        end += 12 + len(payload)
        pixels_began = pixels_began or name == b"IDAT"
        if name == b"eXIf":
            exif = strip_exif_prefix(payload)
        elif name == b"caBX":
            losses.append(CREDENTIALS_LOST)
        elif name in _TEXT:
            item = parse_text(name, payload, room)
            # half of it for one that is damaged or too long, so that many of them do not take long either
            room = room // 2 if item is None else max(0, room - len(item.value))
            if item is None:
                losses.append(f"a damaged {name.decode()} chunk is left out")
            elif item.key == XMP_KEY:
                if xmp not in (None, item.value.encode("utf-8")):
                    losses.append("an XMP packet before its last one is left out")
                xmp = item.value.encode("utf-8")
            elif legacy_exif(item):
                exif = exif or legacy_exif(item)
            else:
                text.append(item)
        elif name in CARRIED_CHUNKS or _may_be_copied(name, pixels_began) or (name == b"bKGD" and _has_samples(data)):
            carried.append((name, payload))
        elif name not in (*_STRUCTURE, b"tIME"):  # the time of the last change: now the new file's own says that
            stale.append(name.decode("latin-1"))
    if stale:
        named = ", ".join(dict.fromkeys(stale))
        losses.append(f"the PNG chunks {named}, which describe the old file, are left out")
    trailer = data[end:]
    return PngParts(
        exif, xmp, tuple(text), tuple(carried), trailer if trailer.strip(b"\0") else b"", tuple(dict.fromkeys(losses))
    )


def _may_be_copied(name: bytes, pixels_began: bool) -> bool:
    """Whether a chunk may be copied although the pixels change (PNG specification, section 14.2).

    Its name says so: the last letter is small. It may not be moved across the pixels, and is written before them.
    """
    return name not in _STRUCTURE and bool(name[0] & 0x20) and bool(name[3] & 0x20) and not pixels_began


def _has_samples(data: bytes) -> bool:
    """Whether colours in chunks are written as in our files: not as an index of a palette, nor with 1, 2 or 4 bits."""
    depth, color_type = data[24], data[25]
    return depth >= 8 and color_type != 3
