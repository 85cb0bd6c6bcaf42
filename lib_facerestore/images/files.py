"""Pictures in and out of files without losing mode, depth, orientation, profile or metadata.

This is the room's front door: everything public is importable from here. Reads PNG, JPEG, WebP, TIFF, BMP and the first
frame of a GIF; writes all of these but GIF.
"""

from __future__ import annotations

import dataclasses
import io
import logging
import os
import struct
import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, JpegImagePlugin, UnidentifiedImageError

from ..errors import InputError
from .atomic_write import check_target, write_atomically
from .encode import TIFF_STRUCTURE, encode_picture
from .metadata import (
    CARRIED_CHUNKS,
    XMP_KEY,
    exif_orientation,
    exif_upright,
    legacy_exif,
    parse_text,
    png_chunks,
    strip_exif_prefix,
    upright,
    xmp_orientation,
    xmp_upright,
)
from .modes import decode_mode, from_pil, to_pil
from .picture import JpegSettings, Picture, TextItem, from_array, replace_pixels, to_array

__all__ = [
    "PICTURE_EXTENSIONS",
    "WRITABLE_EXTENSIONS",
    "Picture",
    "TextItem",
    "from_array",
    "from_bytes",
    "from_pil",
    "is_picture_file",
    "left_out",
    "read_picture",
    "replace_pixels",
    "to_array",
    "to_bytes",
    "to_pil",
    "write_picture",
]

logger = logging.getLogger(__name__)

_FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jpe": "JPEG",
    ".jfif": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
    ".dib": "BMP",
}
WRITABLE_EXTENSIONS: frozenset[str] = frozenset(_FORMATS)
PICTURE_EXTENSIONS: frozenset[str] = WRITABLE_EXTENSIONS | {".gif"}
_READ = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "DIB", "GIF")  # a phone's MPO is opened by way of JPEG


def is_picture_file(path: str | os.PathLike[str]) -> bool:
    """True where the name's extension, in any case, is one that read_picture knows. The file is not opened."""
    return Path(path).suffix.lower() in PICTURE_EXTENSIONS


def read_picture(path: str | os.PathLike[str]) -> Picture:
    """The picture in a file, upright. The format is recognised by content, not by name.

    InputError naming the file and the remedy: not found, a folder, unreadable, empty, not a picture, truncated or
    damaged, unreasonably large, or of a kind that is not supported.
    """
    file = Path(os.fspath(path))
    return from_bytes(_read_file(file), str(file))


def from_bytes(data: bytes, name: str = "picture") -> Picture:
    """Like `read_picture`, of a file's content that is in memory already; `name` is what the messages call it."""
    if not data:
        raise InputError(f"{name}: is empty (0 bytes); get the file again")
    try:
        picture = _decode(data)
        losses = tuple(f"{name}: {loss}" for loss in picture.losses)
        for loss in losses:
            logger.info(loss)
        # A GIF is never written, so that its bytes would be held for nothing.
        return dataclasses.replace(picture, losses=losses, encoded=None if picture.format == "GIF" else data)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(f"{name}: has too many pixels to open safely ({error}); make it smaller first") from error
    except UnidentifiedImageError as error:
        raise InputError(f"{name}: is not a picture that can be read; use PNG, JPEG, WebP, TIFF, BMP or GIF") from error
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
    except MemoryError as error:
        raise InputError(f"{name}: is too large for this machine's memory; make it smaller first") from error
    except (OSError, ValueError, SyntaxError, TypeError, IndexError, KeyError, EOFError, struct.error) as error:
        raise InputError(f"{name}: is truncated or damaged ({error}); get the file again") from error


def to_bytes(picture: Picture, format: str, quality: int | None = None, name: str = "picture") -> bytes:
    """The content of a file that `write_picture` would write; format, quality and errors are as there."""
    _check_quality(quality)
    kind = _format_name(Path(name), format)
    try:
        return _unchanged_bytes(picture, kind, quality) or encode_picture(picture, kind, quality)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error


def write_picture(
    picture: Picture,
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    quality: int | None = None,
    overwrite: bool = False,
) -> bool:
    """Write a picture to a file, whole or not at all, in its original mode where the format can hold it.

    format     "PNG", "JPEG", "WEBP", "TIFF" or "BMP"; without it the name's extension decides
    quality    1 to 100 for JPEG and WebP. Without it a JPEG keeps the tables and subsampling it was read with (95 where
               it was none), a lossy WebP is written at 95 and anything else as lossless WebP
    overwrite  without it an existing file is an InputError, also one that appears while we write

    Returns True where the bytes of the file that the picture was read from were written: where it has not changed at
    all since, goes to the same format, and no quality is asked for.

    Lossless formats give bit-identical pixels and alpha (RGB under alpha 0 too). Grey stays grey (luma of the pixels).
    Palette pictures: unchanged ones keep indices and palette; changed ones are written as RGB or RGBA, because 256
    colours cannot hold a face (likewise 1 becomes L). CMYK: a pixel whose RGB did not change keeps its exact values,
    others go through the picture's ICC profile or, without one, keep their black; PNG, WebP and BMP get sRGB instead.
    Alpha into JPEG or BMP, and 16 bits into JPEG, WebP or BMP, is an InputError. Metadata that a format has no place
    for (PNG text in a JPEG, anything in a BMP) is left out; `left_out` names it.
    """
    _check_quality(quality)
    target = check_target(path, overwrite=overwrite)
    name = _format_name(target, format)
    try:
        own = _unchanged_bytes(picture, name, quality)
        data = own or encode_picture(picture, name, quality)
    except InputError as error:
        raise InputError(f"{target}: {error}") from error
    write_atomically(target, data, overwrite=overwrite)
    return own is not None


def left_out(picture: Picture, path: str | os.PathLike[str]) -> tuple[str, ...]:
    """What the picture holds and a file of that name has no place for, a sentence each that names the file."""
    target = Path(os.fspath(path))
    kind = _format_name(target, None)
    lost = []
    if picture.text and kind != "PNG":
        lost.append(f"the text {', '.join(dict.fromkeys(item.key for item in picture.text))}")
    if kind == "BMP":
        held = {"the color profile": picture.icc_profile, "EXIF": picture.exif, "XMP": picture.xmp}
        lost += [name for name, value in held.items() if value]
    return (f"{target}: {kind} has no place for {', '.join(lost)}: left out; write .png to keep it",) if lost else ()


def _check_quality(quality: int | None) -> None:
    if quality is not None and (isinstance(quality, bool) or not isinstance(quality, int) or not 1 <= quality <= 100):
        raise InputError(f"quality {quality!r} is not allowed; give a whole number from 1 to 100")


def _format_name(target: Path, format_name: str | None) -> str:
    if format_name is not None:
        wanted = _FORMATS.get(f".{format_name.lower().lstrip('.')}")
        if wanted is None:
            raise InputError(f"{target}: format {format_name!r} cannot be written; use PNG, JPEG, WEBP, TIFF or BMP")
        return wanted
    wanted = _FORMATS.get(target.suffix.lower())
    if wanted is None:
        raise InputError(f"{target}: files named {target.suffix or 'without extension'} cannot be written; use .png")
    return wanted


def _unchanged_bytes(picture: Picture, format_name: str, quality: int | None) -> bytes | None:
    """The bytes the picture was read from, if it goes to the same format and nothing at all has changed."""
    coded_anew = quality is not None and format_name in ("JPEG", "WEBP")
    if picture.encoded is None or picture.format != format_name or coded_anew:
        return None
    before = _decode(picture.encoded)
    for entry in dataclasses.fields(Picture):
        old, new = getattr(before, entry.name), getattr(picture, entry.name)
        same = np.array_equal(old, new) if isinstance(old, np.ndarray) and new is not None else old == new
        if entry.name not in ("encoded", "info", "losses") and not same:
            return None
    return picture.encoded


def _read_file(file: Path) -> bytes:
    try:
        if file.is_dir():
            raise InputError(f"{file}: is a folder; name a picture inside it")
        if file.exists() and not file.is_file():
            raise InputError(f"{file}: is not a regular file; copy the picture to a file first")
        return file.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{file}: not found; check the name and the folder") from error
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: cannot be opened ({error}); check its name and permissions") from error


def _decode(data: bytes) -> Picture:
    with Image.open(io.BytesIO(data), formats=_READ) as image:
        if 0 in image.size:
            raise InputError(f"has zero size ({image.width}×{image.height}); get the file again")
        if image.format == "PNG":
            return _decode_png(data, image)
        if image.format == "TIFF":
            return _decode_tiff(data, image)
        if image.format in ("JPEG", "MPO"):
            return _decode_jpeg(image)
        losses = _further(image, "frames")  # asked first: it may move Pillow from frame to frame
        picture = dataclasses.replace(from_pil(image), losses=losses, info={})
        if image.format == "WEBP":
            lossy = b"VP8 " in data[:4096] or (b"VP8L" not in data[:4096] and b"VP8 " in data)
            return dataclasses.replace(picture, lossy=lossy)
        return dataclasses.replace(picture, format="BMP" if picture.format == "DIB" else picture.format)


def _further(image: Image.Image, things: str) -> tuple[str, ...]:
    """The loss of all but the first of the frames, pages or pictures that a file holds, if it holds several."""
    count = getattr(image, "n_frames", 1)
    return (f"only the first of its {count} {things} is kept",) if count > 1 else ()


def _finish(fields: dict[str, Any], exif: bytes | None, xmp: bytes | None, orientation: int) -> Picture:
    exif, xmp = exif and exif_upright(exif), xmp and xmp_upright(xmp)
    return Picture(**fields, exif=exif or None, xmp=xmp or None, orientation=orientation)


def _dpi(image: Image.Image) -> tuple[float, float] | None:
    dpi = image.info.get("dpi")
    return (float(dpi[0]), float(dpi[1])) if dpi and float(dpi[0]) > 0 and float(dpi[1]) > 0 else None


def _decode_png(data: bytes, image: Image.Image) -> Picture:
    deep = data[24] == 16
    losses = _further(image, "frames")
    exif, xmp, text, carried = None, None, [], []
    for name, payload in png_chunks(data, check=deep):
        if name == b"eXIf":
            exif = strip_exif_prefix(payload)
        elif name in CARRIED_CHUNKS:
            carried.append((name, payload))
        elif name == b"caBX":
            losses += ("its content credentials (C2PA), which sign the old pixels, are left out",)
        elif name in (b"tEXt", b"zTXt", b"iTXt"):
            item = parse_text(name, payload)
            if item is None:
                logger.warning("a damaged %s chunk is left out", name.decode())
            elif item.key == XMP_KEY:
                xmp = item.value.encode("utf-8")
            elif legacy_exif(item):
                exif = exif or legacy_exif(item)
            else:
                text.append(item)
    turned = exif_orientation(exif)
    orientation = turned if turned != 1 else xmp_orientation(xmp)
    if deep:
        fields = _deep_fields(_decode_deep(data), {4: True, 0: True}.get(data[25], False), orientation)
    else:
        image.load()
        fields = decode_mode(image, orientation)
    fields |= {"format": "PNG", "icc_profile": image.info.get("icc_profile") or None, "dpi": _dpi(image)}
    fields["losses"] = losses
    return _finish(fields | {"text": tuple(text), "png_chunks": tuple(carried)}, exif, xmp, orientation)


def _decode_deep(data: bytes) -> np.ndarray:
    """H×W or H×W×3|4 uint16, RGB order, of a 16-bit PNG or contiguous TIFF, as stored."""
    values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.dtype != np.uint16:
        raise ValueError("the 16-bit pixels cannot be decoded")
    if values.ndim == 3:
        values = values[:, :, 0] if values.shape[2] == 1 else values[:, :, [2, 1, 0, 3][: values.shape[2]]]
    return np.ascontiguousarray(values)


def _deep_fields(values: np.ndarray, grey: bool, orientation: int) -> dict[str, Any]:
    values = upright(values, orientation)
    if values.ndim == 2:
        return {"pixels": np.repeat(values[:, :, None], 3, axis=2), "mode": "I;16"}
    pixels = np.ascontiguousarray(values[:, :, :3])
    if values.shape[2] == 3:
        return {"pixels": pixels, "mode": "I;16" if grey else "RGB;16"}
    alpha = np.ascontiguousarray(values[:, :, 3])
    return {"pixels": pixels, "alpha": alpha, "mode": "LA;16" if grey else "RGBA;16"}


def _decode_jpeg(image: Image.Image) -> Picture:
    assert isinstance(image, JpegImagePlugin.JpegImageFile)
    image.load()
    exif = strip_exif_prefix(image.info.get("exif"))
    xmp, segments = None, []
    for marker, payload in image.applist:
        if marker == "APP1" and payload.startswith(b"http://ns.adobe.com/xap/1.0/\0"):
            xmp = payload.split(b"\0", 1)[1]
        elif marker == "APP1" and payload.startswith(b"http://ns.adobe.com/xmp/extension/\0"):
            segments.append((0xFFE1, payload))
        elif marker == "APP13":
            segments.append((0xFFED, payload))
    tables = tuple(tuple(int(value) for value in table) for _, table in sorted(image.quantization.items()))
    usable = 1 <= len(tables) <= 4 and all(0 < value <= 255 for table in tables for value in table)
    settings = JpegSettings(
        tables,
        JpegImagePlugin.get_sampling(image),
        bool(image.info.get("progressive") or image.info.get("progression")),
        image.info.get("comment") or None,
        tuple(segments),
    )
    turned = exif_orientation(exif)
    orientation = turned if turned != 1 else xmp_orientation(xmp)
    fields = decode_mode(image, orientation)
    fields |= {"format": "JPEG", "icc_profile": image.info.get("icc_profile") or None, "dpi": _dpi(image)}
    fields |= {"jpeg": settings if usable else None, "lossy": True, "losses": _further(image, "pictures")}
    return _finish(fields, exif, xmp, orientation)


def _decode_tiff(data: bytes, image: Image.Image) -> Picture:
    losses = _further(image, "pages")
    tags: Any = image.tag_v2  # type: ignore[attr-defined]
    orientation = exif_orientation(data)
    exif = _tiff_exif(image)
    xmp, profile = tags.get(700), image.info.get("icc_profile") or None
    dpi = _dpi(image) if 282 in tags and 283 in tags else None  # without these tags Pillow makes up 1 dpi
    bits, photometric = tags.get(258, (1,)), tags.get(262)
    if max(bits) == 16 and len(bits) > 1:
        if photometric != 2 or len(bits) not in (3, 4):
            raise InputError("16-bit TIFF of this colour kind is not supported; convert it to 16-bit RGB or 8-bit CMYK")
        values = _deep_tiff(data, tags)
        fields = _deep_fields(values, False, orientation)
    else:
        image.load()  # Pillow turns a TIFF upright by itself
        fields = decode_mode(image, 1)
    fields |= {"format": "TIFF", "icc_profile": profile, "dpi": dpi, "losses": losses}
    return _finish(fields, exif, xmp if isinstance(xmp, bytes) else None, orientation)


def _deep_tiff(data: bytes, tags: Any) -> np.ndarray:
    """H×W×3|4 uint16 of a 16-bit RGB(A) TIFF, as stored. OpenCV reads planar ones wrongly: they go to tifffile."""
    if tags.get(284, 1) == 1:
        values = _decode_deep(exif_upright(data))  # OpenCV would turn it as well
    else:
        try:
            import tifffile
        except ImportError as error:
            raise InputError("planar 16-bit TIFF needs the package tifffile; pip install tifffile") from error
        values = np.moveaxis(tifffile.imread(io.BytesIO(data), key=0), 0, -1)
    if values.shape[:2] != (tags[257], tags[256]):
        raise ValueError("the 16-bit pixels cannot be decoded")
    if 1 in tuple(tags.get(338, ())) and values.shape[2] == 4:  # associated alpha: colours are premultiplied
        alpha = values[:, :, 3:].astype(np.float64)
        plain = np.rint(values[:, :, :3] * (65535.0 / np.maximum(alpha, 1.0)))
        values = np.dstack([np.minimum(plain, 65535.0).astype(np.uint16), values[:, :, 3]])
    return np.ascontiguousarray(values)


def _tiff_exif(image: Image.Image) -> bytes | None:
    """The descriptive tags of a TIFF with its EXIF and GPS directories, as an EXIF stream."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source, kept = image.getexif(), Image.Exif()
        for tag, value in source.items():
            if tag not in TIFF_STRUCTURE and tag not in (0x8769, 0x8825):
                kept[tag] = value
        for tag in (0x8769, 0x8825):
            inner = {key: value for key, value in source.get_ifd(tag).items() if key != 0xA005}
            if inner:
                kept[tag] = inner
        if not len(kept):
            return None
        try:
            return strip_exif_prefix(kept.tobytes())
        except (ValueError, TypeError, struct.error, OverflowError) as error:
            logger.warning("EXIF data of a TIFF cannot be kept (%s)", error)
            return None
