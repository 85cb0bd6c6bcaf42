"""Reading and changing metadata: the orientation and size in EXIF and XMP, and PNG chunks. Works on bytes in memory."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterable, Iterator

import numpy as np

from .picture import TextItem

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
XMP_KEY = "XML:com.adobe.xmp"
EXIF_MARK = b"Exif\0\0"
XMP_MARK = b"http://ns.adobe.com/xap/1.0/\0"
EXTENDED_XMP_MARK = b"http://ns.adobe.com/xmp/extension/\0"
ONLY_FIRST = "only the first of its"
CREDENTIALS_LOST = "its content credentials (C2PA), which sign the old pixels, are left out"
CARRIED_CHUNKS = (b"cHRM", b"gAMA", b"sRGB", b"cICP", b"mDCV", b"cLLI", b"pHYs")
TEXT_LIMIT = 64 * 2**20  # most bytes of all text chunks after decompression
_XMP_ORIENTATION = re.compile(rb"(tiff:Orientation(?:=[\"']|>)\s*)([2-8])")


def upright(array: np.ndarray, orientation: int) -> np.ndarray:
    """Apply an EXIF orientation, 1 to 8 (EXIF 2.32, tag 0x0112), to an array of H×W or H×W×channels."""
    turned = array
    if orientation in (5, 6, 7, 8):
        turned = turned.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        turned = turned[::-1]
    if orientation in (2, 3, 6, 7):
        turned = turned[:, ::-1]
    return np.ascontiguousarray(turned)


def turn_back(array: np.ndarray, orientation: int) -> np.ndarray:
    """The inverse of `upright`."""
    return upright(array, {6: 8, 8: 6}.get(orientation, orientation))


def turn_back_points(points: np.ndarray, orientation: int, width: int, height: int) -> np.ndarray:
    """Convert points of an upright picture to points of the picture that `turn_back` returns.

    Args:
        points: N×2, (x, y) in pixels; pixel centres are whole numbers.
        orientation: EXIF orientation, 1 to 8.
        width: width of the upright picture in pixels.
        height: height of the upright picture in pixels.
    """
    x, y = points[:, 0], points[:, 1]
    if orientation in (2, 3, 6, 7):
        x = width - 1 - x
    if orientation in (3, 4, 7, 8):
        y = height - 1 - y
    return np.stack([y, x] if orientation in (5, 6, 7, 8) else [x, y], axis=1)


def _byte_order(tiff: bytes) -> str:
    """The byte order of a TIFF stream as a character for `struct`, or "" if it is not a TIFF stream."""
    return {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4], "") if len(tiff) >= 8 else ""


def _first_directory(tiff: bytes) -> int:
    return int(struct.unpack_from(_byte_order(tiff) + "L", tiff, 4)[0])


def _slots(tiff: bytes, start: int) -> Iterator[tuple[int, int, str, int]]:
    """(tag, offset, struct format, value) of each entry with one whole number, in the directory at offset `start`."""
    order = _byte_order(tiff)
    if start + 2 > len(tiff):
        return
    (count,) = struct.unpack_from(order + "H", tiff, start)
    for entry in range(start + 2, min(start + 2 + 12 * count, len(tiff) - 11), 12):
        tag, kind, number = struct.unpack_from(order + "HHL", tiff, entry)
        if number == 1 and kind in (3, 4):
            form = order + ("H" if kind == 3 else "L")
            yield tag, entry + 8, form, struct.unpack_from(form, tiff, entry + 8)[0]


def _orientation_slot(tiff: bytes) -> tuple[int, str, int] | None:
    """(offset, struct format, value) of the orientation tag in the first directory of a TIFF stream, or None."""
    if not _byte_order(tiff):
        return None
    found = (slot for slot in _slots(tiff, _first_directory(tiff)) if slot[0] == 0x0112)
    return next(((offset, form, value) for _, offset, form, value in found), None)


def exif_orientation(tiff: bytes | None) -> int:
    """Orientation, 1 to 8, of an EXIF stream or TIFF file; 1 if there is none or it is not valid."""
    slot = _orientation_slot(tiff or b"")
    return slot[2] if slot and 1 <= slot[2] <= 8 else 1


def exif_upright(tiff: bytes) -> bytes:
    """The same stream with its orientation tag, if any, set to 1; no other byte changes."""
    slot = _orientation_slot(tiff)
    if slot is None or slot[2] == 1:
        return tiff
    offset, form, _ = slot
    return tiff[:offset] + struct.pack(form, 1) + tiff[offset + struct.calcsize(form) :]


def exif_has_resolution(tiff: bytes | None) -> bool:
    """Whether an EXIF stream states a resolution (XResolution, tag 0x011A)."""
    order = _byte_order(tiff or b"")
    if not tiff or not order:
        return False
    start = _first_directory(tiff)
    if start + 2 > len(tiff):
        return False
    (count,) = struct.unpack_from(order + "H", tiff, start)
    entries = range(start + 2, min(start + 2 + 12 * count, len(tiff) - 11), 12)
    return any(struct.unpack_from(order + "H", tiff, entry)[0] == 0x011A for entry in entries)


def exif_for(tiff: bytes, width: int, height: int, *, thumbnail: bool) -> bytes:
    """Correct an EXIF stream for a changed picture.

    Args:
        tiff: the stream.
        width: width in pixels, for PixelXDimension and ImageWidth if they are present.
        height: height in pixels, for PixelYDimension and ImageLength if they are present.
        thumbnail: whether to keep the thumbnail; otherwise the directory that holds it is unlinked.
    """
    order, stream = _byte_order(tiff), bytearray(tiff)
    if not order:
        return tiff
    first = _first_directory(tiff)
    slots = list(_slots(tiff, first))
    inner = [slot for tag, _, _, place in slots if tag == 0x8769 for slot in _slots(tiff, place)]
    for tag, offset, form, _ in (*slots, *inner):
        value = {0x0100: width, 0x0101: height, 0xA002: width, 0xA003: height}.get(tag)
        if value is not None and value < 256 ** struct.calcsize(form):
            struct.pack_into(form, stream, offset, value)
    if not thumbnail and first + 2 <= len(tiff):
        link = first + 2 + 12 * struct.unpack_from(order + "H", tiff, first)[0]
        if link + 4 <= len(tiff):
            struct.pack_into(order + "L", stream, link, 0)
    return bytes(stream)


def xmp_orientation(xmp: bytes | None) -> int:
    """Orientation, 1 to 8, of an XMP packet; 1 if it has none."""
    found = _XMP_ORIENTATION.search(xmp or b"")
    return int(found[2]) if found else 1


def xmp_upright(xmp: bytes) -> bytes:
    """The packet with an orientation of 2 to 8 set to 1; no other byte changes."""
    return _XMP_ORIENTATION.sub(rb"\g<1>1", xmp)


def strip_exif_prefix(exif: bytes | None) -> bytes | None:
    """An EXIF stream without the prefix "Exif\\0\\0" of JPEG and WebP; None if it is empty."""
    if exif and exif.startswith(b"Exif\0\0"):
        exif = exif[6:]
    return exif or None


def png_chunks(data: bytes, *, check: bool = False) -> Iterator[tuple[bytes, bytes]]:
    """The chunks of a PNG file up to IEND.

    Args:
        data: content of the file.
        check: whether to verify the chunks' checksums.

    Yields:
        (name, payload) of each chunk.

    Raises:
        ValueError: the file ends too early, or a checksum is wrong.
    """
    offset = len(PNG_SIGNATURE)
    while True:
        if offset + 12 > len(data):
            raise ValueError("the file ends before its IEND chunk")
        length, name = struct.unpack_from(">L4s", data, offset)
        end = offset + 12 + length
        if end > len(data):
            raise ValueError(f"the file ends inside a {name!r} chunk")
        if check and zlib.crc32(memoryview(data)[offset + 4 : end - 4]) != struct.unpack_from(">L", data, end - 4)[0]:
            raise ValueError(f"wrong checksum in a {name!r} chunk")
        yield name, data[offset + 8 : end - 4]
        if name == b"IEND":
            return
        offset = end


def png_chunk(name: bytes, payload: bytes) -> bytes:
    """A chunk with its length and checksum (PNG specification, section 5.3)."""
    return struct.pack(">L", len(payload)) + name + payload + struct.pack(">L", zlib.crc32(name + payload))


def png_insert(png: bytes, chunks: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Insert chunks into a PNG file right after IHDR, where all of `CARRIED_CHUNKS` and text chunks are allowed."""
    after_header = len(PNG_SIGNATURE) + 25
    return png[:after_header] + b"".join(png_chunk(*chunk) for chunk in chunks) + png[after_header:]


def _inflate(data: bytes, room: int) -> bytes:
    unpacker = zlib.decompressobj()
    text = unpacker.decompress(data, room + 1)
    if unpacker.unconsumed_tail or len(text) > room:
        raise ValueError("compressed text is unreasonably large")
    return text


def parse_text(name: bytes, payload: bytes, room: int = TEXT_LIMIT) -> TextItem | None:
    """The TextItem of a tEXt, zTXt or iTXt chunk, or None if it is damaged, or unpacks to more than `room` bytes."""
    try:
        raw_key, _, rest = payload.partition(b"\0")
        key = raw_key.decode("latin-1")
        if name == b"tEXt":
            return TextItem(key, rest.decode("latin-1"))
        if name == b"zTXt":
            return TextItem(key, _inflate(rest[1:], room).decode("latin-1"), "zTXt")
        language, translated, text = rest[2:].split(b"\0", 2)
        value = _inflate(text, room) if rest[0] else text
        return TextItem(key, value.decode("utf-8"), "iTXt", language.decode("latin-1"), translated.decode("utf-8"))
    except (ValueError, IndexError, zlib.error):
        return None


def text_chunk(item: TextItem) -> tuple[bytes, bytes]:
    """The chunk (name, payload) of a TextItem. Text that Latin-1 cannot encode always becomes iTXt."""
    key = item.key.encode("latin-1", "replace").replace(b"\0", b" ")[:79] or b"Comment"
    if item.kind != "iTXt":
        try:
            value = item.value.encode("latin-1")
        except UnicodeEncodeError:
            pass
        else:
            if item.kind == "zTXt":
                return b"zTXt", key + b"\0\0" + zlib.compress(value)
            return b"tEXt", key + b"\0" + value.replace(b"\0", b" ")
    tail = item.language.encode("latin-1", "replace") + b"\0" + item.translated.encode("utf-8") + b"\0"
    return b"iTXt", key + b"\0\0\0" + tail + item.value.encode("utf-8", "replace")


def legacy_exif(item: TextItem) -> bytes | None:
    """The EXIF stream in ImageMagick's text chunk "Raw profile type exif" (hexadecimal); None for other chunks."""
    if item.key != "Raw profile type exif":
        return None
    try:
        return strip_exif_prefix(bytes.fromhex("".join(item.value.split("\n")[3:])))
    except ValueError:
        return None
