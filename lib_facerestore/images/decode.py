"""Decoding of PNG, JPEG, WebP, TIFF, BMP and the first frame of a GIF to Pictures, with their metadata."""

from __future__ import annotations

import dataclasses
import io
import logging
import struct
import warnings
from typing import Any

import cv2
import numpy as np
from PIL import Image, JpegImagePlugin

from ..errors import InputError
from ..wording import pip_install
from . import jpeg_parts, png_parts
from .encode import TIFF_STRUCTURE
from .exif_check import is_whole
from .metadata import (
    CREDENTIALS_LOST,
    ONLY_FIRST,
    exif_orientation,
    exif_upright,
    strip_exif_prefix,
    upright,
    xmp_orientation,
    xmp_upright,
)
from .modes import decode_mode, from_pil
from .picture import JpegSettings, Picture
from .pil_info import dpi_in
from .webp_parts import losses_of_webp

logger = logging.getLogger(__name__)

_LOST_TAGS = {
    330: "its smaller or further pictures (SubIFDs) are left out",
    37724: "its Photoshop layers, which show the old pixels, are left out",
    52545: CREDENTIALS_LOST,
}
_READ = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "DIB", "GIF")  # MPO, from phones, is opened as JPEG


def decode_picture(data: bytes) -> Picture:
    """Decode the content of a file, and turn the picture upright; of several frames or pages, the first is used.

    Raises:
        InputError: the picture is of a kind that is not supported.
        Exception: for a damaged or too large file, whatever Pillow, OpenCV and struct raise; the caller handles it.
    """
    with Image.open(io.BytesIO(data), formats=_READ) as image:
        if 0 in image.size:
            raise InputError(f"has zero size ({image.width}×{image.height}); get the file again")
        if image.format == "PNG":
            return _decode_png(data, image)
        if image.format == "TIFF":
            return _decode_tiff(data, image)
        if image.format in ("JPEG", "MPO"):
            return _decode_jpeg(data, image)
        losses = _further(image, "frames")  # before decoding, since it may change Pillow's current frame
        if image.info.get("comment"):  # a GIF's
            losses += ("its comment is left out",)
        picture = dataclasses.replace(from_pil(image), losses=losses, info={})
        if image.format == "WEBP":
            picture = dataclasses.replace(picture, losses=losses + losses_of_webp(data))
            lossy = b"VP8 " in data[:4096] or (b"VP8L" not in data[:4096] and b"VP8 " in data)
            return dataclasses.replace(picture, lossy=lossy)
        return dataclasses.replace(picture, format="BMP" if picture.format == "DIB" else picture.format)


def _further(image: Image.Image, things: str) -> tuple[str, ...]:
    """The loss of all frames, pages or pictures but the first, if a file holds several."""
    count = getattr(image, "n_frames", 1)
    return (f"{ONLY_FIRST} {count} {things} is kept",) if count > 1 else ()


def _finish(fields: dict[str, Any], exif: bytes | None, xmp: bytes | None, orientation: int) -> Picture:
    exif, xmp = exif and exif_upright(exif), xmp and xmp_upright(xmp)
    return Picture(**fields, exif=exif or None, xmp=xmp or None, orientation=orientation)


def _decode_png(data: bytes, image: Image.Image) -> Picture:
    deep = data[24] == 16
    losses = _further(image, "frames")
    parts = png_parts.read_parts(data, check=deep)
    turned = exif_orientation(parts.exif)
    orientation = turned if turned != 1 else xmp_orientation(parts.xmp)
    if deep:
        fields = _deep_fields(_decode_deep(data), {4: True, 0: True}.get(data[25], False), orientation)
    else:
        image.load()
        fields = decode_mode(image, orientation)
    fields |= {"format": "PNG", "icc_profile": image.info.get("icc_profile") or None, "dpi": dpi_in(image)}
    fields |= {"text": parts.text, "png_chunks": parts.chunks, "trailer": parts.trailer}
    return _finish(fields | {"losses": losses + parts.losses}, parts.exif, parts.xmp, orientation)


def _decode_deep(data: bytes) -> np.ndarray:
    """Values of a 16-bit PNG or contiguous TIFF, not rotated: uint16 H×W, H×W×3 RGB or H×W×4 RGBA."""
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


def _decode_jpeg(data: bytes, image: Image.Image) -> Picture:
    assert isinstance(image, JpegImagePlugin.JpegImageFile)
    image.load()
    exif = strip_exif_prefix(image.info.get("exif"))
    parts = jpeg_parts.read_parts(data)
    tables = tuple(tuple(int(value) for value in table) for _, table in sorted(image.quantization.items()))
    usable = 1 <= len(tables) <= 4 and all(0 < value <= 255 for table in tables for value in table)
    settings = JpegSettings(
        tables if usable else (),
        JpegImagePlugin.get_sampling(image),
        bool(image.info.get("progressive") or image.info.get("progression")),
        parts.comments,
        parts.segments,
    )
    turned = exif_orientation(exif)
    orientation = turned if turned != 1 else xmp_orientation(parts.xmp)
    fields = decode_mode(image, orientation)
    fields |= {"format": "JPEG", "icc_profile": image.info.get("icc_profile") or None, "dpi": dpi_in(image)}
    fields |= {"jpeg": settings, "lossy": True, "losses": parts.losses, "trailer": parts.trailer}
    return _finish(fields, exif, parts.xmp, orientation)


def _decode_tiff(data: bytes, image: Image.Image) -> Picture:
    losses = _further(image, "pages")
    tags: Any = image.tag_v2  # type: ignore[attr-defined]
    losses += tuple(loss for tag, loss in _LOST_TAGS.items() if tag in tags)
    orientation = exif_orientation(data)
    exif, damaged = _tiff_exif(image)
    if damaged or (data[2:4] in (b"*\0", b"\0*") and not is_whole(data)):
        losses += ("damaged tags are left out",)
    xmp, profile = tags.get(700), image.info.get("icc_profile") or None
    dpi = dpi_in(image) if 282 in tags and 283 in tags else None  # without these tags Pillow reports 1 dpi
    bits, photometric = tags.get(258, (1,)), tags.get(262)
    if max(bits) == 16 and len(bits) > 1:
        if photometric != 2 or len(bits) not in (3, 4):
            raise InputError("16-bit TIFF of this colour kind is not supported; convert it to 16-bit RGB or 8-bit CMYK")
        values = _deep_tiff(data, tags)
        fields = _deep_fields(values, False, orientation)
    else:
        image.load()  # this also applies the orientation
        fields = decode_mode(image, 1)
    fields |= {"format": "TIFF", "icc_profile": profile, "dpi": dpi, "losses": losses}
    return _finish(fields, exif, xmp if isinstance(xmp, bytes) else None, orientation)


def _deep_tiff(data: bytes, tags: Any) -> np.ndarray:
    """Values of a 16-bit RGB(A) TIFF, not rotated: uint16 H×W×3 or H×W×4. Planar ones, which OpenCV reads wrongly, are
    read by tifffile."""
    if tags.get(284, 1) == 1:
        values = _decode_deep(exif_upright(data))  # otherwise OpenCV would apply the orientation
    else:
        try:
            import tifffile
        except ImportError as error:
            command = pip_install("--no-deps", "tifffile")
            raise InputError(f"planar 16-bit TIFF needs the package tifffile; install it with `{command}`") from error
        values = np.moveaxis(tifffile.imread(io.BytesIO(data), key=0), 0, -1)
    if values.shape[:2] != (tags[257], tags[256]):
        raise ValueError("the 16-bit pixels cannot be decoded")
    if 1 in tuple(tags.get(338, ())) and values.shape[2] == 4:  # associated alpha: colours are premultiplied
        alpha = values[:, :, 3:].astype(np.float64)
        plain = np.rint(values[:, :, :3] * (65535.0 / np.maximum(alpha, 1.0)))
        values = np.dstack([np.minimum(plain, 65535.0).astype(np.uint16), values[:, :, 3]])
    return np.ascontiguousarray(values)


def _tiff_exif(image: Image.Image) -> tuple[bytes | None, bool]:
    """The descriptive tags of a TIFF with its EXIF and GPS directories, as an EXIF stream; and if they are lost."""
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
            return None, False
        try:
            return strip_exif_prefix(kept.tobytes()), False
        except (ValueError, TypeError, struct.error, OverflowError) as error:
            logger.warning("EXIF data of a TIFF cannot be kept (%s)", error)
            return None, True
