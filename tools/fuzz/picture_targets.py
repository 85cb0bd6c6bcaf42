"""Targets: picture files, and their metadata through a change of pixels and of format."""

from __future__ import annotations

import dataclasses
import io
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.PngImagePlugin

from lib_facerestore.errors import InputError
from lib_facerestore.images.files import from_bytes, left_out, to_bytes
from lib_facerestore.images.picture import Picture

from .runner import Target

_EXTENSIONS = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp", "TIFF": ".tif", "BMP": ".bmp"}
_PNG = b"\x89PNG\r\n\x1a\n"


def _files() -> list[bytes]:
    """Small files of every format and mode that can be read, some with metadata."""
    y, x = np.mgrid[0:13, 0:17]
    grey = PIL.Image.fromarray((8 * x + 5 * y).astype(np.uint8))
    deep = PIL.Image.fromarray((1000 * x + 700 * y).astype(np.uint16))
    colour = PIL.Image.merge("RGB", (grey, grey.rotate(180), grey.transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT)))
    with_alpha = PIL.Image.merge("RGBA", (*colour.split(), grey))
    exif = PIL.Image.Exif()
    exif[0x0112], exif[0x010E], exif[0x011A] = 6, "made", 72.0
    notes = PIL.PngImagePlugin.PngInfo()
    notes.add_text("parameters", "a face\nSteps: 20, Sampler: Euler")
    notes.add_itxt("Title", "tïtle", "de", "Titel")
    notes.add_text("long", "x" * 300, zip=True)
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><tiff:Orientation>6</tiff:Orientation></x:xmpmeta>'
    many: list[tuple[str, PIL.Image.Image, dict[str, Any]]] = [
        ("PNG", grey, {}), ("PNG", grey.convert("1"), {}), ("PNG", deep, {"dpi": (72, 72)}),
        ("PNG", grey.convert("LA"), {}), ("PNG", colour, {"pnginfo": notes, "exif": exif}), ("PNG", with_alpha, {}),
        ("PNG", colour.quantize(8), {"transparency": 3}), ("PNG", colour, {"icc_profile": b"\0" * 200}),
        ("JPEG", grey, {"comment": b"said"}), ("JPEG", colour, {"exif": exif, "xmp": xmp, "dpi": (300, 300)}),
        ("JPEG", colour.convert("CMYK"), {"quality": 50}), ("JPEG", colour, {"progressive": True, "subsampling": 2}),
        ("WEBP", colour, {"quality": 60, "exif": exif}), ("WEBP", with_alpha, {"lossless": True, "xmp": xmp}),
        ("TIFF", grey, {"compression": "tiff_lzw"}), ("TIFF", colour, {"compression": "tiff_adobe_deflate"}),
        ("TIFF", deep, {}), ("TIFF", colour.convert("CMYK"), {"compression": "packbits"}),
        ("TIFF", grey.convert("F"), {}), ("TIFF", with_alpha, {}),
        ("BMP", colour, {}), ("BMP", grey.quantize(4), {}), ("GIF", colour.quantize(16), {}),
    ]  # fmt: skip
    made = []
    for kind, image, more in many:
        file = io.BytesIO()
        image.save(file, kind, **more)
        made.append(file.getvalue())
    return made


def _with_sums(data: bytes) -> bytes:
    """A PNG whose checksums fit its altered chunks; otherwise most changes would end at the first checksum."""
    if not data.startswith(_PNG):
        return data
    made, at = bytearray(_PNG), len(_PNG)
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        body = data[at + 4 : at + 8 + length]
        if len(body) < 8 + length - 4 or at + 12 + length > len(data):
            break
        made += struct.pack(">I", length) + body + struct.pack(">I", zlib.crc32(body))
        at += 12 + length
    return bytes(made + data[at:])


def _read(case: bytes) -> Picture:
    picture = from_bytes(_with_sums(case) if sum(case) % 4 else case)
    assert picture.pixels.size and picture.pixels.dtype in (np.uint8, np.uint16), "an odd picture"
    return picture


def _changed(picture: Picture) -> Picture:
    pixels = picture.pixels.copy()
    pixels[0, 0] ^= 1
    return dataclasses.replace(picture, pixels=pixels)


def _pictures(_folder: Path) -> Callable[[bytes], None]:
    def take(case: bytes) -> None:
        before = bytes(case)
        picture = _read(case)
        assert case == before
        if picture.format in _EXTENSIONS and picture.width * picture.height < 2**20:
            assert from_bytes(to_bytes(picture, picture.format)).digest() == picture.digest()

    return take


def _kept(picture: Picture) -> Iterator[tuple[str, object]]:
    # PNG allows no zero character in a text, which becomes a blank, and demands a key of 1 to 79 characters
    yield "texts", [(item.key[:79] or "Comment", item.value.replace("\0", " ")) for item in picture.text]
    yield "exif", bool(picture.exif)
    yield "xmp", bool(picture.xmp)
    yield "profile", bool(picture.icc_profile)


def _metadata(_folder: Path) -> Callable[[bytes], None]:
    """A changed picture goes to another format: what it had is there again, or its loss is named."""

    def take(case: bytes) -> None:
        picture = _read(case)
        if picture.width * picture.height >= 2**18:
            raise InputError("too large for this test")
        kind = list(_EXTENSIONS)[case[-1] % len(_EXTENSIONS)] if case else "PNG"
        named = " ".join(left_out(picture, f"a{_EXTENSIONS[kind]}"))
        again = from_bytes(to_bytes(_changed(picture), kind))
        assert (again.width, again.height) == (picture.width, picture.height)
        words = {"texts": "text", "exif": "EXIF", "xmp": "XMP", "profile": "profile"}
        for (what, before), (_, after) in zip(_kept(picture), _kept(again), strict=True):
            assert before == after or not before or words[what] in named, f"{what} lost without a word in {kind}"

    return take


TARGETS = (
    Target("pictures", "altered picture files, read and written again", _files, _pictures),
    Target("metadata", "altered picture files, changed and written in another format", _files, _metadata),
)
