"""Encoding of Pictures as PNG, JPEG, WebP, TIFF or BMP, with their metadata."""

from __future__ import annotations

import io
import logging
import struct
import warnings
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, TiffImagePlugin

from ..errors import InputError
from .jpeg_parts import COMMENT, IPTC
from .metadata import EXIF_MARK, PNG_SIGNATURE, XMP_KEY, XMP_MARK, exif_for, png_chunk, png_insert, text_chunk
from .modes import GREY, array_in_mode, array_to_pil, settle_mode
from .photoshop import without_thumbnails
from .picture import JpegSettings, Picture, TextItem
from .xmp_claims import kept_trailer, shows_as_read, true_xmp

logger = logging.getLogger(__name__)

_DEEP = {"I;16", "LA;16", "RGB;16", "RGBA;16"}
HELD: dict[str, frozenset[str]] = {
    "PNG": frozenset({"1", "L", "LA", "P", "RGB", "RGBA"} | _DEEP),
    "TIFF": frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "RGB;16", "RGBA;16"}),
    "JPEG": frozenset({"L", "RGB", "CMYK"}),
    "WEBP": frozenset({"RGB", "RGBA"}),
    "BMP": frozenset({"1", "L", "P", "RGB"}),
}
"""Modes that each format can hold."""
LONGEST = {"JPEG": 65500, "WEBP": 16383}
"""Most pixels of a side that the formats' encoders (libjpeg and libwebp) write."""
_LEVEL = 4  # compression level of zlib: half the time of the default, for files that are a few per cent larger
_SEGMENT_LIMIT = 65533  # most bytes in one JPEG segment after its length field
# TIFF tags that describe the storage, or are written from fields of the Picture; they are never copied from its EXIF.
TIFF_STRUCTURE = frozenset(
    {254, 255, 256, 257, 258, 259, 262, 263, 264, 265, 266, 273, 274, 277, 278, 279, 280, 281, 284, 288, 289, 290, 291}
    | {292, 293, 297, 301, 317, 318, 319, 320, 321, 322, 323, 324, 325, 330, 332, 333, 334, 336, 338, 339, 340, 341}
    | {342, 347, 512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532, 700, 34675}
    | {37724, 52545}  # layers and signatures of the old pixels
)


def fits_jpeg(mark: bytes, block: bytes) -> bool:
    """Whether a block of metadata with its mark fits into one segment of a JPEG."""
    return len(mark) + len(block) <= _SEGMENT_LIMIT


def check_size(width: int, height: int, format_name: str) -> None:
    """Raise InputError if pictures of this size cannot be written in a format, a key of `HELD`."""
    longest = LONGEST.get(format_name)
    if longest is not None and max(width, height) > longest:
        raise InputError(
            f"the result has {width}×{height} pixels, and a {format_name} at most {longest:,} a side; "
            "write .png or .tif, or make it smaller"
        )


def encode_picture(picture: Picture, format_name: str, quality: int | None) -> bytes:
    """Encode a picture.

    Args:
        picture: the picture.
        format_name: a key of `HELD`.
        quality: as for `write_picture`.

    Returns:
        The content of the file.

    Raises:
        InputError: the format cannot hold the picture.
    """
    mode = settle_mode(picture, HELD[format_name], format_name)
    check_size(picture.width, picture.height, format_name)
    try:
        return _ENCODERS[format_name](picture, mode, quality) + kept_trailer(picture, format_name)
    except (OSError, ValueError, struct.error, OverflowError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"the picture cannot be written as {format_name}: {error}; try .png") from error


def profile_for(picture: Picture, mode: str) -> bytes | None:
    """The picture's ICC profile, or None if it does not fit `mode`, as a CMYK profile in an RGB file."""
    profile = picture.icc_profile
    wanted = b"CMYK" if mode == "CMYK" else b"GRAY" if mode in GREY else b"RGB "
    if not profile or profile[16:20] == wanted or (mode in GREY and profile[16:20] == b"RGB "):
        return profile
    return None


def exif_stream(picture: Picture) -> bytes | None:
    """The EXIF stream with the picture's present size. The thumbnail is kept only if the picture has not changed."""
    return picture.exif and exif_for(picture.exif, picture.width, picture.height, thumbnail=shows_as_read(picture))


def _encode_png(picture: Picture, mode: str, quality: int | None) -> bytes:
    values = array_in_mode(picture, mode)
    chunks = list(picture.png_chunks)
    profile = profile_for(picture, mode)
    if profile:
        chunks = [chunk for chunk in chunks if chunk[0] != b"sRGB"]
        chunks.append((b"iCCP", b"ICC Profile\0\0" + zlib.compress(profile)))
    if picture.dpi and not any(name == b"pHYs" for name, _ in chunks):
        per_metre = [round(value / 0.0254) for value in picture.dpi]
        if all(0 < value < 2**31 for value in per_metre):
            chunks.append((b"pHYs", struct.pack(">LLB", *per_metre, 1)))
    exif = exif_stream(picture)
    if exif:
        chunks.append((b"eXIf", exif))
    chunks += [text_chunk(item) for item in picture.text]
    xmp = true_xmp(picture, "PNG")
    if xmp:
        chunks.append(text_chunk(TextItem(XMP_KEY, xmp.decode("utf-8", "replace"), "iTXt")))
    if mode in _DEEP:
        return png_insert(_deep_png(values), chunks)
    stream = io.BytesIO()
    options: dict[str, Any] = {"compress_level": _LEVEL}
    if mode == "P" and picture.alpha is not None and picture.palette is not None:
        options["transparency"] = picture.palette[:, 3].tobytes()
    array_to_pil(values, mode, picture.palette).save(stream, "PNG", **options)
    return png_insert(stream.getvalue(), chunks)


def _deep_png(values: np.ndarray) -> bytes:
    """A 16-bit PNG of H×W, or H×W×2, 3 or 4 (PNG specification: big-endian samples, filter type 2 "Up", zlib)."""
    height, width = values.shape[:2]
    channels = values.shape[2] if values.ndim == 3 else 1
    rows = values.astype(">u2").reshape(height, -1).view(np.uint8)
    filtered = np.full((height, rows.shape[1] + 1), 2, np.uint8)
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    color_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">LLBBBBB", width, height, 16, color_type, 0, 0, 0)
    packer = zlib.compressobj(_LEVEL)
    parts = [PNG_SIGNATURE, png_chunk(b"IHDR", header)]
    for start in range(0, height, 256):
        packed = packer.compress(filtered[start : start + 256].tobytes())
        if packed:
            parts.append(png_chunk(b"IDAT", packed))
    return b"".join([*parts, png_chunk(b"IDAT", packer.flush()), png_chunk(b"IEND", b"")])


def _encode_jpeg(picture: Picture, mode: str, quality: int | None) -> bytes:
    options: dict[str, Any] = {}
    source = picture.jpeg
    if quality is not None or source is None or not source.qtables:
        options["quality"] = 95 if quality is None else quality
        options["subsampling"] = 0 if options["quality"] >= 90 else -1
    else:
        options["qtables"] = [list(table) for table in source.qtables]
        options["subsampling"] = source.subsampling
    if source:
        options["progressive"] = source.progressive
    profile = profile_for(picture, mode)
    if profile:
        options["icc_profile"] = profile
    if picture.dpi:
        options["dpi"] = tuple(min(round(value), 65535) for value in picture.dpi)
    exif = exif_stream(picture)
    if exif and fits_jpeg(EXIF_MARK, exif):
        options["exif"] = EXIF_MARK + exif
    options["extra"] = _jpeg_segments(picture, source)
    stream = io.BytesIO()
    array_to_pil(array_in_mode(picture, mode), mode).save(stream, "JPEG", **options)
    return stream.getvalue()


def _jpeg_segments(picture: Picture, source: JpegSettings | None) -> bytes:
    segments = list(source.segments) if source else []
    if not shows_as_read(picture):
        segments = [(marker, without_thumbnails(block) if marker == IPTC else block) for marker, block in segments]
    xmp = true_xmp(picture, "JPEG")
    if xmp and fits_jpeg(XMP_MARK, xmp):
        segments.insert(0, (0xFFE1, XMP_MARK + xmp))
    segments += [(COMMENT, comment) for comment in source.comments] if source else []
    return b"".join(struct.pack(">HH", marker, len(payload) + 2) + payload for marker, payload in segments)


def _encode_webp(picture: Picture, mode: str, quality: int | None) -> bytes:
    options: dict[str, Any] = {"method": 4, "exact": True}
    if quality is None and not picture.lossy:
        options |= {"lossless": True, "method": 2, "quality": 50}  # for lossless files, quality means effort
    else:
        options["quality"] = 95 if quality is None else quality
    profile = profile_for(picture, mode)
    if profile:
        options["icc_profile"] = profile
    exif = exif_stream(picture)
    if exif:
        options["exif"] = EXIF_MARK + exif
    xmp = true_xmp(picture, "WEBP")
    if xmp:
        options["xmp"] = xmp
    stream = io.BytesIO()
    array_to_pil(array_in_mode(picture, mode), mode).save(stream, "WEBP", **options)
    return stream.getvalue()


def _encode_bmp(picture: Picture, mode: str, quality: int | None) -> bytes:
    stream = io.BytesIO()
    options: dict[str, Any] = {"dpi": picture.dpi} if picture.dpi else {}
    array_to_pil(array_in_mode(picture, mode), mode, picture.palette).save(stream, "BMP", **options)
    return stream.getvalue()


def _encode_tiff(picture: Picture, mode: str, quality: int | None) -> bytes:
    """A little-endian TIFF 6.0 with deflated strips. Pillow writes the directories, including those of EXIF."""
    values = array_in_mode(picture, mode)
    height, width = values.shape[:2]
    channels = values.shape[2] if values.ndim == 3 else 1
    bits = 1 if mode == "1" else 8 * values.dtype.itemsize
    directory = TiffImagePlugin.ImageFileDirectory_v2()
    exif = exif_stream(picture)
    if exif:
        _copy_exif(exif, directory)
    photometric = {"1": 1, "P": 3, "CMYK": 5}.get(mode, 1 if mode in GREY else 2)
    layout: dict[int, Any] = {256: width, 257: height, 258: (bits,) * channels, 259: 8, 262: photometric}
    layout |= {274: 1, 277: channels, 284: 1}
    if mode not in ("1", "P"):
        layout[317] = 2
    if mode == "CMYK":
        layout[332] = 1
    if mode in ("LA", "RGBA", "RGBA;16"):
        layout[338] = (2,)
    if mode == "P" and picture.palette is not None:
        table = np.zeros((256, 3), np.uint16)
        table[: len(picture.palette)] = picture.palette[:256, :3].astype(np.uint16) * 257
        layout[320] = tuple(int(value) for value in table.T.ravel())
    if picture.dpi and 282 not in directory:
        layout |= {282: picture.dpi[0], 283: picture.dpi[1], 296: 2}
    profile = profile_for(picture, mode)
    for tag, block in ((34675, profile), (700, true_xmp(picture, "TIFF"))):
        if block:
            directory.tagtype[tag] = 7 if tag == 34675 else 1
            directory[tag] = block
    for tag, value in layout.items():
        directory[tag] = value
    try:
        return _assemble_tiff(directory, *_tiff_strips(values, mode, 2**20))
    except NotImplementedError:  # Pillow 10 and 11 support one strip only
        return _assemble_tiff(directory, *_tiff_strips(values, mode, values.nbytes))


def _assemble_tiff(directory: TiffImagePlugin.ImageFileDirectory_v2, strips: list[bytes], rows_per_strip: int) -> bytes:
    """The directory with the strips' offsets (to which Pillow adds the directory's length), then the strips."""
    sizes = [len(strip) for strip in strips]
    if sum(sizes) > 2**32 - 2**24:
        raise InputError("the picture is too large for a TIFF file (4 GB); write .png instead")
    starts = tuple(int(start) for start in np.cumsum([0, *sizes])[:-1])
    for tag, value in ((273, starts), (278, rows_per_strip), (279, tuple(sizes))):
        directory.tagtype[tag] = 4
        directory[tag] = value
    stream = io.BytesIO()
    directory.save(stream)
    return stream.getvalue() + b"".join(strips)


def _tiff_strips(values: np.ndarray, mode: str, size: int) -> tuple[list[bytes], int]:
    """Deflated strips of about `size` bytes with horizontal differencing (TIFF 6.0, section 14), and rows per strip."""
    height = values.shape[0]
    rows = np.packbits(values, axis=1) if mode == "1" else values
    if mode not in ("1", "P"):
        rows = rows.copy()
        rows[:, 1:] -= values[:, :-1]
    rows = rows.astype(rows.dtype.newbyteorder("<"), copy=False)
    step = max(1, size // max(1, rows[0].nbytes))
    starts = range(0, height, step)
    return [zlib.compress(rows[start : start + step].tobytes(), _LEVEL) for start in starts], min(step, height)


def _copy_exif(stream: bytes, directory: TiffImagePlugin.ImageFileDirectory_v2) -> None:
    """Copy the tags of an EXIF stream, including its EXIF and GPS directories, to a TIFF directory."""
    exif = Image.Exif()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # `losses_in` names damage
            exif.load(EXIF_MARK + stream)
            for tag, value in exif.items():
                if tag == 34377 and isinstance(value, bytes):
                    directory[tag] = without_thumbnails(value)
                elif tag not in TIFF_STRUCTURE and tag not in (0x8769, 0x8825):
                    directory[tag] = value
            for tag in (0x8769, 0x8825):
                inner = {key: value for key, value in exif.get_ifd(tag).items() if key != 0xA005}
                if inner:
                    directory.tagtype[tag] = 4
                    directory[tag] = inner
    except (SyntaxError, KeyError, TypeError, ValueError, struct.error) as error:
        logger.warning("damaged EXIF data: only a part is kept (%s)", error)


_ENCODERS: dict[str, Callable[[Picture, str, int | None], bytes]] = {
    "PNG": _encode_png,
    "JPEG": _encode_jpeg,
    "WEBP": _encode_webp,
    "TIFF": _encode_tiff,
    "BMP": _encode_bmp,
}
