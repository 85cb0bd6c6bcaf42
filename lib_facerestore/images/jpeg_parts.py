"""The segments of a JPEG and what follows its end: what is kept when the picture is written anew, and what is lost."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from .metadata import CREDENTIALS_LOST, EXIF_MARK, EXTENDED_XMP_MARK, ONLY_FIRST, XMP_MARK
from .xmp_claims import GAIN_MAP_NAMESPACE, without_pictures

COMMENT, IPTC = 0xFFFE, 0xFFED
_APP0, _APP1, _APP2, _APP11, _APP14 = 0xFFE0, 0xFFE1, 0xFFE2, 0xFFEB, 0xFFEE
# No stuffed byte, no fill byte, and none of the markers without a payload (TEM, restart, SOI) but the last one, EOI.
_MARKER = re.compile(rb"\xff([\x02-\xcf\xd9-\xfe])")
_NEXT_PICTURE = re.compile(rb"\0*(?=\xff\xd8\xff)")
# What is written anew from fields of the Picture or by the encoder (Adobe's segment tells how the colours are coded),
# and small copies of the old picture (JFXX).
_WRITTEN_ANEW = (
    (_APP0, b"JFIF\0"),
    (_APP0, b"JFXX\0"),
    (_APP1, EXIF_MARK),
    (_APP1, XMP_MARK),
    (_APP2, b"ICC_PROFILE\0"),
    (_APP14, b"Adobe"),
)
_PICTURE_INDEX = (_APP2, b"MPF\0")
_GAIN_MAP = (_APP2, b"urn:iso:std:iso:ts:21496:-1\0")


class JpegParts(NamedTuple):
    """What a JPEG holds beside its pixels, EXIF and ICC profile.

    Attributes:
        xmp: the XMP packet, without its entries for pictures after the first.
        comments: all comments in file order.
        segments: (marker, payload) of the application segments that hold true for changed pixels, in file order.
        trailer: what follows the end of the picture, such as the video of a motion photo; without further pictures.
        losses: what is in none of the other fields.
    """

    xmp: bytes | None
    comments: tuple[bytes, ...]
    segments: tuple[tuple[int, bytes], ...]
    trailer: bytes
    losses: tuple[str, ...]


def read_parts(data: bytes) -> JpegParts:
    """Sort the segments of a JPEG file (its content) and what follows its end."""
    found, end = scan_jpeg(data)
    packets = [payload[len(XMP_MARK) :] for marker, payload in found if _is(marker, payload, (_APP1, XMP_MARK))]
    xmp = packets[-1] if packets else None
    losses = ["an XMP packet before its last one is left out"] if len(set(packets)) > 1 else []
    kept, stale = _sorted(found)
    indexed = any(_is(*segment, _PICTURE_INDEX) for segment in found)
    gain_map = GAIN_MAP_NAMESPACE in (xmp or b"") or any(_is(*segment, _GAIN_MAP) for segment in found)
    trailer = data[end:]
    if indexed or gain_map:
        pictures, trailer = _further_pictures(trailer)
        if pictures and gain_map:
            losses.append("its HDR gain map, which fits the old pixels only, is left out")
            pictures -= 1
        if pictures:
            losses.append(f"{ONLY_FIRST} {pictures + 1} pictures is kept")
        xmp = xmp and without_pictures(xmp)
    comments = tuple(payload for marker, payload in found if marker == COMMENT)
    # Zeros only fill a block up.
    return JpegParts(xmp, comments, kept, trailer if trailer.strip(b"\0") else b"", (*losses, *stale))


def scan_jpeg(data: bytes, start: int = 0) -> tuple[list[tuple[int, bytes]], int]:
    """Find the application segments and comments of a JPEG, also those between its scans, and its end.

    Args:
        data: bytes that hold the JPEG.
        start: where it starts.

    Returns:
        (marker, payload) of each segment; and the offset after its EOI marker, which is that of the end of `data` if
        there is none.
    """
    found: list[tuple[int, bytes]] = []
    offset = start + 2
    while match := _MARKER.search(data, offset):
        code, offset = match[1][0], match.end()
        if code == 0xD9:
            return found, offset
        end = offset + max(2, int.from_bytes(data[offset : offset + 2], "big"))
        if end > len(data):
            break
        if code == 0xFE or 0xE0 <= code <= 0xEF:
            found.append((0xFF00 | code, data[offset + 2 : end]))
        offset = end
    return found, len(data)


def _is(marker: int, payload: bytes, kind: tuple[int, bytes]) -> bool:
    return marker == kind[0] and payload.startswith(kind[1])


def _sorted(found: Iterable[tuple[int, bytes]]) -> tuple[tuple[tuple[int, bytes], ...], list[str]]:
    """The segments that hold true for other pixels, and the loss of the others."""
    segments = list(found)
    signed = {payload[2:4] for marker, payload in segments if _box(marker, payload) and b"c2pa" in payload[:256]}
    kept, losses = [], []
    for marker, payload in segments:
        if marker == COMMENT or any(_is(marker, payload, kind) for kind in (*_WRITTEN_ANEW, _PICTURE_INDEX, _GAIN_MAP)):
            continue
        box = _box(marker, payload)
        if box == b"jumb" and payload[2:4] in signed:
            losses.append(CREDENTIALS_LOST)
        elif (box and box != b"jumb") or _is(marker, payload, (_APP11, b"HDR_RI")):
            losses.append("its HDR data (APP11), which fit the old pixels only, are left out")
        else:
            kept.append((marker, payload))
    return tuple(kept), list(dict.fromkeys(losses))


def _box(marker: int, payload: bytes) -> bytes:
    """The type of a box in APP11 (ISO 19566-5, annex D), such as b"jumb" for JUMBF; b"" for other segments."""
    return payload[12:16] if _is(marker, payload, (_APP11, b"JP")) and len(payload) >= 16 else b""


def _further_pictures(trailer: bytes) -> tuple[int, bytes]:
    """How many JPEGs the trailer begins with, and what follows them."""
    count, offset = 0, 0
    while match := _NEXT_PICTURE.match(trailer, offset):
        offset = scan_jpeg(trailer, match.end())[1]
        count += 1
    return count, trailer[offset:]


def segment_names(segments: Iterable[tuple[int, bytes]]) -> list[str]:
    """What the segments are called in messages, each name once."""
    names, others = set(), set()
    for marker, payload in segments:
        if _is(marker, payload, (_APP1, EXTENDED_XMP_MARK)):
            names.add("extended XMP")
        elif marker == IPTC:
            names.add("IPTC (APP13)")
        else:
            others.add(marker & 15)
    named = ", ".join(f"APP{number}" for number in sorted(others))
    return sorted(names) + ([f"the segments {named}"] if named else [])
