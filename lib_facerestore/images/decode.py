"""Decoding of PNG, JPEG, WebP, TIFF, BMP and the first frame of a GIF to Pictures, with their metadata."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Sequence
from typing import Any

from PIL import Image, ImageFile, JpegImagePlugin

from . import jpeg_parts, png_parts
from .cut_off import completed_jpeg, completed_png
from .deep import decode_by_opencv, deep_fields
from .metadata import (
    ONLY_FIRST,
    PNG_SIGNATURE,
    exif_orientation,
    exif_upright,
    strip_exif_prefix,
    xmp_orientation,
    xmp_upright,
)
from .modes import decode_mode, from_pil
from .opening import open_image
from .other_parts import OtherParts, parts_of_bmp, parts_of_gif
from .picture import JpegSettings, Picture
from .pil_info import dpi_in
from .room import check_room
from .tiff import decode_tiff
from .tiff_kinds import is_tiff
from .webp_parts import losses_of_webp
from .xmp_regions import turned_regions


def decode_picture(data: bytes, most_pixels: int | None = None) -> Picture:
    """Decode the content of a file, and turn the picture upright; of several frames or pages, the first is used.

    Args:
        data: content of the file.
        most_pixels: a picture with more is refused before it is decoded; None sets no limit but the free memory.

    Raises:
        InputError: the picture is of a kind that is not supported, or too large.
        Exception: for a damaged file, whatever Pillow, OpenCV and struct raise; the caller handles it.
    """
    if is_tiff(data):
        fields, exif, xmp, orientation, pages = decode_tiff(data, most_pixels)
        fields["losses"] = _further(pages, "pages") + fields["losses"]
        return _finish(fields, exif, xmp, orientation)
    with open_image(data) as image:
        check_room(image.width, image.height, most_pixels)
        if image.format == "PNG":
            whole = completed_png(data)
            if whole is None:
                return _decode_png(data, image)
        elif image.format in ("JPEG", "MPO"):
            whole = completed_jpeg(data)
            if whole is None:
                return _decode_jpeg(data, image)
        else:
            return _decode_other(data, image)
    faults = (f"the file ends before its end mark; no pixel of the {image.format} is missing",)
    with open_image(whole) as image:
        picture = _decode_png(whole, image) if whole.startswith(PNG_SIGNATURE) else _decode_jpeg(whole, image)
        return dataclasses.replace(picture, faults=faults)


def _decode_other(data: bytes, image: Image.Image) -> Picture:
    losses = _further(getattr(image, "n_frames", 1), "frames")  # first: it may change Pillow's current frame
    if image.info.get("comment"):  # a GIF's
        losses += ("its comment is left out",)
    is_bmp, dpi = image.format in ("BMP", "DIB"), dpi_in(image)
    if is_bmp and "bmp_rle" in (tile[0] for tile in _tiles(image)):
        picture = dataclasses.replace(from_pil(_run_length_bmp(data, image)), dpi=dpi)
    else:
        picture = from_pil(image)
    picture = dataclasses.replace(picture, losses=losses, info={})
    if image.format == "WEBP":
        picture = dataclasses.replace(picture, losses=losses + losses_of_webp(data))
        lossy = b"VP8 " in data[:4096] or (b"VP8L" not in data[:4096] and b"VP8 " in data)
        return dataclasses.replace(picture, lossy=lossy)
    parts = parts_of_gif(data) if image.format == "GIF" else parts_of_bmp(data) if is_bmp else OtherParts()
    return dataclasses.replace(
        picture,
        format="BMP" if is_bmp else picture.format,
        icc_profile=picture.icc_profile or parts.icc_profile,
        xmp=picture.xmp or parts.xmp,
        losses=losses + parts.losses,
    )


def _run_length_bmp(data: bytes, image: Image.Image) -> Image.Image:
    """The pixels of a BMP with run-length encoding. With Pillow, which fills them in one by one, a file of a few bytes
    may take minutes and many times the memory of its pixels.

    Raises:
        ValueError: they cannot be decoded.
    """
    start = _tiles(image)[0][2]
    if image.format == "DIB":  # the same without the file's header
        data, start = bytes(14) + data, 14 + start
    data = struct.pack("<2sLLL", b"BM", len(data), 0, start) + data[14:]  # some writers leave `start` out
    return Image.fromarray(decode_by_opencv(data, 8))


def _tiles(image: Image.Image) -> Sequence[Any]:
    """How Pillow would decode the pixels: tuples of a decoder's name, an area, the place in the file, and more."""
    return image.tile if isinstance(image, ImageFile.ImageFile) else ()


def _further(count: int, things: str) -> tuple[str, ...]:
    """The loss of all frames, pages or pictures but the first, if a file holds several."""
    return (f"{ONLY_FIRST} {count} {things} is kept",) if count > 1 else ()


def _finish(fields: dict[str, Any], exif: bytes | None, xmp: bytes | None, orientation: int) -> Picture:
    exif, xmp = exif and exif_upright(exif), xmp and turned_regions(xmp_upright(xmp), orientation)
    return Picture(**fields, exif=exif or None, xmp=xmp or None, orientation=orientation)


def _decode_png(data: bytes, image: Image.Image) -> Picture:
    deep = data[24] == 16
    losses = _further(getattr(image, "n_frames", 1), "frames")
    parts = png_parts.read_parts(data, check=deep)
    turned = exif_orientation(parts.exif)
    orientation = turned if turned != 1 else xmp_orientation(parts.xmp)
    if deep:
        fields = deep_fields(decode_by_opencv(data), {4: True, 0: True}.get(data[25], False), orientation)
    else:
        image.load()
        fields = decode_mode(image, orientation)
    fields |= {"format": "PNG", "icc_profile": image.info.get("icc_profile") or None, "dpi": dpi_in(image)}
    fields |= {"text": parts.text, "png_chunks": parts.chunks, "trailer": parts.trailer}
    return _finish(fields | {"losses": losses + parts.losses}, parts.exif, parts.xmp, orientation)


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
