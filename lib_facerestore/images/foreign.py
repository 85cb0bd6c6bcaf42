"""Names for files that cannot be read as pictures, from their first bytes, each with what to do about it."""

from __future__ import annotations

import re

_PICTURE = "which cannot be read; convert it to JPEG, PNG or TIFF first"
_VIDEO = "which cannot be restored; save its frames as pictures first"
_STARTS: tuple[tuple[bytes, str, str], ...] = (
    (b"\xff\x0a", "a JPEG XL picture", _PICTURE),
    (b"\0\0\0\x0cJXL ", "a JPEG XL picture", _PICTURE),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 picture", _PICTURE),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 picture", _PICTURE),
    (b"8BPS", "a Photoshop file", _PICTURE),
    (b"gimp xcf", "a GIMP file", _PICTURE),
    (b"%PDF", "a PDF", _PICTURE),
    (b"\x1aE\xdf\xa3", "a video", _VIDEO),  # Matroska and WebM
    (b"\0\0\x01\xba", "a video", _VIDEO),  # MPEG
    (b"\0\0\x01\xb3", "a video", _VIDEO),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "a video", _VIDEO),  # Windows Media
    (b"FLV\x01", "a video", _VIDEO),
)
_PAGE = re.compile(rb"\s*(?:<!doctype html|<html)", re.IGNORECASE)
_DRAWING = re.compile(rb"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)?<svg", re.IGNORECASE | re.DOTALL)


def what_it_is(data: bytes, spite: str = "") -> str:
    """What a file is that is no picture of a kind that can be read, and the remedy: words that follow "is ".

    Args:
        data: its content, or the first kilobyte of it.
        spite: words that follow its kind, such as " in spite of its name".

    Returns:
        Such as "a HEIC picture, which cannot be read; convert it to JPEG, PNG or TIFF first"; "" if it is not known.
    """
    head = data[:1024].removeprefix(b"\xef\xbb\xbf")
    if head[4:8] == b"ftyp":
        what, remedy = _of_brands(head)
        return f"{what}{spite}, {remedy}"
    for start, what, remedy in _STARTS:
        if head.startswith(start):
            return f"{what}{spite}, {remedy}"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return f"a video{spite}, {_VIDEO}"
    if _PAGE.match(head):
        return f"a web page{spite}, and no picture; download the picture itself"
    return f"an SVG drawing{spite}, {_PICTURE}" if _DRAWING.match(head) else ""


def _of_brands(head: bytes) -> tuple[str, str]:
    """For files of boxes (ISO 14496-12), whose first box lists what may read them."""
    size = int.from_bytes(head[:4], "big")
    brands = {head[start : start + 4] for start in (8, *range(16, min(size, len(head)) - 3, 4))}
    if brands & {b"avif", b"avis"}:
        return "an AVIF picture", _PICTURE
    if b"crx " in brands:
        return "a camera raw file", _PICTURE
    if brands & {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}:
        return "a HEIC picture", _PICTURE
    return "a video", _VIDEO
