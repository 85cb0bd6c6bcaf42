"""Orientation, colour profile, EXIF, XMP, IPTC and text on their way through."""

from __future__ import annotations

import dataclasses
import itertools
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps, PngImagePlugin

from lib_facerestore.images.files import TextItem, from_array, read_picture, write_picture
from lib_facerestore.images.metadata import exif_orientation

from .samples import DEEP, EIGHT, SRGB, exif_bytes, pil_image, touched


@pytest.mark.parametrize("extension", [".jpg", ".png", ".webp", ".tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_profile_and_exif(tmp_path: Path, extension: str, orientation: int) -> None:
    source = tmp_path / f"in{extension}"
    smooth = pil_image("RGB").resize((4, 3)).resize((40, 24), Image.Resampling.BICUBIC)
    options = {"lossless": True} if extension == ".webp" else {"quality": 95}
    smooth.save(source, exif=exif_bytes(orientation), icc_profile=SRGB, **options)
    picture = read_picture(source)
    with Image.open(source) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    assert np.array_equal(picture.pixels, expected)
    assert picture.orientation == orientation
    assert (picture.width, picture.height) == ((24, 40) if orientation > 4 else (40, 24))
    target = tmp_path / f"out{extension}"
    changed = touched(picture)
    write_picture(changed, target)
    back = read_picture(target)
    assert back.orientation == 1
    assert back.icc_profile == SRGB
    assert back.pixels.shape == picture.pixels.shape
    if extension != ".jpg":
        assert np.array_equal(back.pixels, changed.pixels)
    with Image.open(target) as image:
        assert ImageOps.exif_transpose(image).size == (picture.width, picture.height)
        exif = image.getexif()
        assert exif.get(0x0112, 1) == 1
        assert exif[0x010F] == "Maker of cameras"
        assert exif.get_ifd(0x8769)[0x9003] == "2020:01:02 03:04:05"
        assert exif.get_ifd(0x8825)[1] == "N"
    if extension != ".tif":  # byte for byte but for the one tag
        assert picture.exif == exif_bytes(1)[6:] == back.exif


def test_exif_travels_between_formats(tmp_path: Path) -> None:
    pil_image("RGB").save(tmp_path / "0.jpg", exif=exif_bytes(3), icc_profile=SRGB, dpi=(300, 300))
    names = ["0.jpg", "1.tif", "2.png", "3.webp", "4.jpg"]
    for before, after in itertools.pairwise(names):
        write_picture(read_picture(tmp_path / before), tmp_path / after)
    last = read_picture(tmp_path / "4.jpg")
    assert last.icc_profile == SRGB
    assert last.exif is not None
    assert b"2020:01:02 03:04:05" in last.exif
    assert exif_orientation(last.exif) == 1


def test_big_endian_and_broken_exif() -> None:
    stream = b"MM\0*\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\1\0\x08\0\0\0\0\0\0"
    assert exif_orientation(stream) == 8
    for cut in range(len(stream)):
        assert exif_orientation(stream[:cut]) in (1, 8)
    assert exif_orientation(b"MM\0*\xff\xff\xff\xff") == 1


TEXTS = (
    TextItem("parameters", "a portrait\nSteps: 20, Seed: 1", "tEXt"),
    TextItem("Comment", "zipped " * 40, "zTXt"),
    TextItem("prompt", "Łódź 顔 👩 naïve", "iTXt", "pl", "podpowiedź"),
    TextItem("parameters", "a second one", "tEXt"),
)


@pytest.mark.parametrize("array", [EIGHT, DEEP[..., :3]])
def test_png_text_and_chunks(tmp_path: Path, array: np.ndarray) -> None:
    chunks = ((b"gAMA", struct.pack(">L", 45455)), (b"pHYs", struct.pack(">LLB", 11811, 11811, 1)))
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'
    picture = dataclasses.replace(from_array(array), text=TEXTS, png_chunks=chunks, xmp=xmp, icc_profile=SRGB)
    write_picture(picture, tmp_path / "t.png")
    back = read_picture(tmp_path / "t.png")
    assert back.text == TEXTS
    assert back.png_chunks == chunks
    assert back.xmp == xmp
    assert back.icc_profile == SRGB
    assert back.dpi == pytest.approx((300, 300), abs=0.01)
    with Image.open(tmp_path / "t.png") as image:
        assert image.info["prompt"] == "Łódź 顔 👩 naïve"
        assert image.info["parameters"] == "a second one"
    write_picture(touched(back), tmp_path / "u.png")
    assert read_picture(tmp_path / "u.png").text == TEXTS


def test_non_latin_text_becomes_itxt_and_pillow_text_is_read(tmp_path: Path) -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("parameters", "plain")
    text.add_itxt("prompt", "顔", "ja", "")
    pil_image("L").save(tmp_path / "p.png", pnginfo=text)
    picture = read_picture(tmp_path / "p.png")
    assert [(item.key, item.value, item.kind) for item in picture.text] == [
        ("parameters", "plain", "tEXt"),
        ("prompt", "顔", "iTXt"),
    ]
    write_picture(dataclasses.replace(picture, text=(TextItem("a", "顔"),)), tmp_path / "q.png")
    assert read_picture(tmp_path / "q.png").text == (TextItem("a", "顔", "iTXt"),)


@pytest.mark.parametrize("extension", [".jpg", ".png", ".webp", ".tif"])
def test_xmp_orientation(tmp_path: Path, extension: str) -> None:
    packet = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><d tiff:Orientation="6" dc:creator="me"/></x:xmpmeta>'
    write_picture(dataclasses.replace(from_array(EIGHT[..., :3]), xmp=packet), tmp_path / f"x{extension}")
    picture = read_picture(tmp_path / f"x{extension}")
    if extension != ".tif":  # a TIFF's own tag says 1
        assert picture.pixels.shape == (31, 23, 3)
    assert picture.xmp == packet.replace(b'"6"', b'"1"')


def test_jpeg_iptc_survives(tmp_path: Path) -> None:
    block = b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0\0\0\0\x08\x1c\x02\x50\0\x03Ann"
    segment = struct.pack(">HH", 0xFFED, len(block) + 2) + block
    pil_image("RGB").save(tmp_path / "i.jpg", extra=segment)
    write_picture(touched(read_picture(tmp_path / "i.jpg")), tmp_path / "o.jpg")
    assert segment in (tmp_path / "o.jpg").read_bytes()
