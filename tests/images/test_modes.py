"""Modes and depths: what stays grey, palette or CMYK, Pillow images there and back, 16 bits to 8."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lib_facerestore.errors import InputError
from lib_facerestore.images import modes as image_modes
from lib_facerestore.images.files import (
    Picture,
    from_array,
    from_pil,
    read_picture,
    replace_pixels,
    to_pil,
    write_picture,
)
from lib_facerestore.images.modes import to_eight_bit

from .samples import DEEP, EIGHT, PIL_MODES, SRGB, exif_bytes, pil_image, same, touched


def test_sixteen_bits_become_the_nearest_eight() -> None:
    every = np.arange(65536, dtype=np.uint16)
    nearest = np.rint(every / 257).astype(np.uint8)
    assert np.array_equal(to_eight_bit(every), nearest)
    assert np.array_equal(to_eight_bit(every.reshape(64, 256, 4)), nearest.reshape(64, 256, 4))
    assert to_eight_bit(every).dtype == np.uint8


def test_eight_bits_stay_the_same_array() -> None:
    pixels = np.zeros((2, 3, 3), np.uint8)
    assert np.shares_memory(to_eight_bit(pixels), pixels)


def test_other_depths_are_refused() -> None:
    with pytest.raises(InputError, match="float32 is not supported"):
        to_eight_bit(np.zeros((2, 3), np.float32))  # type: ignore[arg-type]


@pytest.mark.parametrize("extension", [".png", ".tif"])
def test_grey_stays_grey_by_luma(tmp_path: Path, extension: str) -> None:
    for array in (EIGHT[:, :, 0], DEEP[:, :, 0]):
        changed = touched(from_array(array))
        write_picture(changed, tmp_path / f"g{extension}", overwrite=True)
        back = read_picture(tmp_path / f"g{extension}")
        assert back.mode in ("L", "I;16")
        outside = np.ones(array.shape, bool)
        outside[5:9, 4:9] = False
        assert np.array_equal(back.pixels[outside], changed.pixels[outside])
        expected = changed.pixels[6, 5] @ np.array([0.299, 0.587, 0.114])
        assert abs(float(back.pixels[6, 5, 0]) - expected) <= 0.5 + 1e-6


@pytest.mark.parametrize("mode", ["P", "P+alpha"])
def test_changed_palette_picture_becomes_rgb(tmp_path: Path, mode: str) -> None:
    pil_image(mode).save(tmp_path / "in.png")
    picture = read_picture(tmp_path / "in.png")
    assert picture.mode == "P"
    write_picture(picture, tmp_path / "same.png")
    with Image.open(tmp_path / "in.png") as before, Image.open(tmp_path / "same.png") as after:
        assert after.mode == "P"
        assert after.tobytes() == before.tobytes()
        assert after.getpalette() == before.getpalette()
        assert after.info.get("transparency") == before.info.get("transparency")
    changed = touched(picture)
    write_picture(changed, tmp_path / "changed.png")
    back = read_picture(tmp_path / "changed.png")
    assert back.mode == ("RGBA" if "alpha" in mode else "RGB")
    assert same(back, changed)
    assert to_pil(changed).mode == back.mode
    assert to_pil(picture).mode == "P"


@pytest.mark.parametrize("mode", PIL_MODES)
def test_odd_values_in_the_info_of_an_image_count_as_none(tmp_path: Path, mode: str) -> None:
    """`info` is a plain dict, into which other programs put anything."""
    source = pil_image(mode.removesuffix("+alpha"))
    plain = from_pil(source)
    odd: dict[str, list[object]] = {
        "transparency": [b"\0\1", "x", None, (1, 2), (1, 2, "3"), -1, True, 10**30, 1.5, [1, 2, 3], {}],
        "dpi": [("a", "b"), (None, 1), 72, "72", (72,), (0, 0), (float("nan"), 72), (10**400, 1), (-1, -1), None],
        "xmp": [5, ["x"], None, "\ud800", {}],
        "exif": [5, "Exif", None, b"", b"Exif", {}],
        "icc_profile": [5, None, "not a profile", [], b"no"],
    }
    for key, values in odd.items():
        for value in values:
            image = source.copy()
            image.info[key] = value
            picture = from_pil(image)
            if not (mode.startswith("P") and isinstance(value, bytes)):
                assert same(picture, plain), (key, value)
            assert key != "dpi" or picture.dpi is None
            assert all(type(one) in (bytes, type(None)) for one in (picture.xmp, picture.exif, picture.icc_profile))
            back = to_pil(picture)
            assert np.array_equal(np.asarray(back), np.asarray(image))
            back.convert("RGBA").convert("RGB")
            write_picture(picture, tmp_path / "x.png", overwrite=True)
    image = pil_image("RGB")
    image.info.update(dpi=[72, 96], xmp="<x/>", transparency=(1, 2, 3))
    good = from_pil(image)
    assert (good.dpi, good.xmp, good.alpha is not None) == ((72.0, 96.0), b"<x/>", True)


@pytest.mark.parametrize("extension", [".tif", ".png"])
def test_bilevel_becomes_grey_when_changed(tmp_path: Path, extension: str) -> None:
    picture = from_pil(pil_image("1"))
    changed = replace_pixels(picture, np.where(picture.pixels > 0, 250, 3).astype(np.uint8))
    write_picture(changed, tmp_path / f"c{extension}")
    assert read_picture(tmp_path / f"c{extension}").mode == "L"
    assert to_pil(picture).mode == "1"


def test_untouched_cmyk_values_are_kept(tmp_path: Path) -> None:
    image = pil_image("CMYK")
    image.save(tmp_path / "in.tif")
    picture = read_picture(tmp_path / "in.tif")
    changed = touched(picture)
    write_picture(changed, tmp_path / "out.tif")
    with Image.open(tmp_path / "out.tif") as after:
        values, before = np.asarray(after), np.asarray(image)
    assert after.mode == "CMYK"
    moved = (changed.pixels != picture.pixels).any(axis=2)
    assert moved.any()
    assert np.array_equal(values[~moved], before[~moved])
    assert np.array_equal(read_picture(tmp_path / "out.tif").pixels, changed.pixels)
    assert np.array_equal(np.asarray(to_pil(picture)), before)


def test_cmyk_goes_through_its_profile(tmp_path: Path) -> None:
    profile = cmyk_profile()
    pil_image("CMYK").save(tmp_path / "in.tif", icc_profile=profile)
    picture = read_picture(tmp_path / "in.tif")
    plain = np.asarray(pil_image("CMYK").convert("RGB"))
    assert not np.array_equal(picture.pixels, plain)
    changed = touched(picture)
    write_picture(changed, tmp_path / "out.tif")
    with Image.open(tmp_path / "out.tif") as after:
        values = np.asarray(after)
        assert after.info["icc_profile"] == profile
    moved = (changed.pixels != picture.pixels).any(axis=2)
    assert np.array_equal(values[~moved], np.asarray(pil_image("CMYK"))[~moved])
    assert (values[moved][:, 3] == 17).all()  # the profile's own black, not the plain formula's 0
    write_picture(changed, tmp_path / "out.png")
    png = read_picture(tmp_path / "out.png")
    assert png.icc_profile is None
    assert np.array_equal(png.pixels, changed.pixels)


def test_damaged_cmyk_profile_falls_back(caplog: pytest.LogCaptureFixture) -> None:
    image = pil_image("CMYK")
    image.info["icc_profile"] = b"\0" * 16 + b"CMYK" + b"\0" * 200
    picture = from_pil(image)
    assert np.array_equal(picture.pixels, np.asarray(image.convert("RGB")))
    assert "plain formula" in caplog.text


def cmyk_profile() -> bytes:
    """A small CMYK profile (ICC.1:2004 lut8): A2B0 is near white whatever the ink; B2A0 always gives K = 17."""

    def lut8(inputs: int, outputs: int, value: bytes) -> bytes:
        matrix = struct.pack(">9l", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
        ramp = bytes(range(256))
        grid = bytearray()
        for index in range(2**inputs):
            grid += bytes([value[0] - 9 * index]) + value[1:] if inputs == 4 else value
        return b"mft1\0\0\0\0" + bytes([inputs, outputs, 2, 0]) + matrix + ramp * inputs + bytes(grid) + ramp * outputs

    tags = [
        (b"desc", b"desc\0\0\0\0" + struct.pack(">L", 5) + b"test\0" + bytes(4 + 4 + 2 + 1 + 67)),
        (b"wtpt", b"XYZ \0\0\0\0" + struct.pack(">3l", 63190, 65536, 54061)),
        (b"A2B0", lut8(4, 3, bytes([250, 128, 128]))),
        (b"B2A0", lut8(3, 4, bytes([10, 20, 30, 17]))),
    ]
    table, body, start = struct.pack(">L", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for name, data in tags:
        data += bytes(-len(data) % 4)
        table += name + struct.pack(">LL", start + len(body), len(data))
        body += data
    header = struct.pack(">L4sL4s4s4s", start + len(body), b"lcms", 0x02400000, b"prtr", b"CMYK", b"Lab ") + bytes(12)
    header += b"acsp" + bytes(28) + struct.pack(">3l", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + table + body


@pytest.mark.parametrize("mode", [*PIL_MODES, "YCbCr", "HSV", "I"])
def test_pil_round_trip(mode: str) -> None:
    if mode == "I":
        image = Image.fromarray(DEEP[:, :, 0].astype(np.int32))
    else:
        image = pil_image("RGB").convert(mode) if mode in ("YCbCr", "HSV") else pil_image(mode)
    image.info |= {"parameters": "Steps: 20", "icc_profile": SRGB}
    back = to_pil(from_pil(image))
    assert back.mode == image.mode
    assert back.tobytes() == image.tobytes()
    assert back.info == image.info
    assert back.getpalette() == image.getpalette()


def test_pil_orientation_on_request() -> None:
    image = pil_image("RGB")
    image.info["exif"] = exif_bytes(6)
    upright_picture, stored = from_pil(image), from_pil(image, upright=False)
    assert upright_picture.pixels.shape == (31, 23, 3)
    assert to_pil(upright_picture).getexif()[0x0112] == 1
    assert stored.pixels.shape == (23, 31, 3)
    assert to_pil(stored).getexif()[0x0112] == 6
    assert image.info["exif"] == exif_bytes(6)


def test_pil_modes_that_are_no_photographs() -> None:
    for mode in ("F", "LAB"):
        with pytest.raises(InputError, match="convert"):
            from_pil(Image.new(mode, (3, 3)))
    with pytest.raises(InputError, match="16"):
        from_pil(Image.new("I", (3, 3), 70000))
    with pytest.raises(InputError, match="at least 1"):
        from_pil(Image.new("RGB", (0, 3)))


def test_no_mode_is_forgotten() -> None:
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I", "I;16", "LA;16", "RGB;16", "RGBA;16", "HSV", "YCbCr"):
        deep = mode.endswith("16") or mode == "I"
        base = (DEEP if deep else EIGHT)[:, :, :3]
        picture = Picture(base, base[:, :, 0] if "A" in mode else None, mode=mode)
        assert image_modes.settle_mode(picture, {"RGB", "RGBA", "RGB;16", "RGBA;16"}, "any").startswith("RGB")
