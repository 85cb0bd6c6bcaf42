"""Pictures in and out: every mode and format, metadata, do no harm, atomic writing, error messages."""

from __future__ import annotations

import dataclasses
import io
import itertools
import os
import stat
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps, PngImagePlugin
from PIL.JpegImagePlugin import JpegImageFile

from lib_facerestore.errors import InputError
from lib_facerestore.images import atomic_write
from lib_facerestore.images import files as image_files
from lib_facerestore.images import modes as image_modes
from lib_facerestore.images.files import (
    Picture,
    TextItem,
    from_array,
    from_pil,
    is_picture_file,
    read_picture,
    replace_pixels,
    to_array,
    to_pil,
    write_picture,
)
from lib_facerestore.images.metadata import exif_orientation, png_chunk, png_insert

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
RNG = np.random.default_rng(7)
EIGHT = RNG.integers(0, 256, (23, 31, 4), dtype=np.uint8)
DEEP = RNG.integers(0, 65536, (23, 31, 4), dtype=np.uint16)
EIGHT[0, :8, 3] = [0, 1, 254, 255, 0, 254, 255, 128]
PIL_MODES = ["1", "L", "LA", "P", "P+alpha", "RGB", "RGBA", "CMYK", "I;16"]


def pil_image(mode: str) -> Image.Image:
    if mode == "1":
        return Image.fromarray(EIGHT[:, :, 0]).convert("1")
    if mode == "I;16":
        return Image.fromarray(DEEP[:, :, 0].copy())
    if mode.startswith("P"):
        image = Image.fromarray(EIGHT[:, :, 0] // 4).convert("P")
        image = Image.frombytes("P", image.size, (EIGHT[:, :, 0] // 4).tobytes())
        image.putpalette(RNG.integers(0, 256, 192, dtype=np.uint8).tobytes())
        if mode == "P+alpha":
            image.info["transparency"] = bytes(range(0, 256, 4))
        return image
    channels = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4, "CMYK": 4}[mode]
    return Image.frombytes(mode, (31, 23), np.ascontiguousarray(EIGHT[:, :, 4 - channels :]).tobytes())


def same(one: Picture, two: Picture) -> bool:
    if (one.alpha is None) != (two.alpha is None) or one.pixels.dtype != two.pixels.dtype:
        return False
    alpha = one.alpha is None or two.alpha is None or np.array_equal(one.alpha, two.alpha)
    return alpha and np.array_equal(one.pixels, two.pixels)


def exif_bytes(orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "Maker of cameras"
    exif[0x8769] = {0x9003: "2020:01:02 03:04:05", 0x9286: b"UNICODE\0h\0i\0"}
    exif[0x8825] = {1: "N", 2: (10.0, 20.0, 30.0)}
    return exif.tobytes()


def touched(picture: Picture) -> Picture:
    """The picture with a patch of other colours, as a restored face would be."""
    pixels = picture.pixels.copy()
    pixels[5:9, 4:9] = (pixels[5:9, 4:9].astype(int) + np.array([41, 17, 99])) % (2**picture.depth)
    return replace_pixels(picture, pixels)


# --- modes and formats ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", PIL_MODES)
@pytest.mark.parametrize("extension", [".png", ".tif", ".webp", ".bmp"])
def test_lossless_round_trip_of_pillow_modes(tmp_path: Path, mode: str, extension: str) -> None:
    picture = from_pil(pil_image(mode))
    file = tmp_path / f"out{extension}"
    alpha = picture.alpha is not None
    if (alpha and extension == ".bmp") or (mode == "I;16" and extension in (".bmp", ".webp")):
        with pytest.raises(InputError, match=r"\.png"):
            write_picture(picture, file)
        assert not list(tmp_path.iterdir())
        return
    write_picture(picture, file)
    back = read_picture(file)
    assert same(picture, back)
    if extension == ".png":
        assert back.mode == {"P+alpha": "P", "CMYK": "RGB"}.get(mode, mode)
    elif extension == ".tif":
        assert back.mode == ("RGBA" if mode == "P+alpha" else mode)
    elif extension == ".webp":
        assert back.mode == ("RGBA" if alpha else "RGB")
    if back.mode == "P":
        assert picture.native is not None
        assert back.native is not None
        assert np.array_equal(back.native, picture.native)


@pytest.mark.parametrize("mode", ["RGB;16", "RGBA;16", "I;16"])
@pytest.mark.parametrize("extension", [".png", ".tif"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_16_bit_colour_round_trip(tmp_path: Path, mode: str, extension: str, orientation: int) -> None:
    array = {"RGB;16": DEEP[:, :, :3], "RGBA;16": DEEP, "I;16": DEEP[:, :, 0]}[mode]
    picture = from_array(array)
    assert picture.mode == mode
    assert picture.depth == 16
    exif = exif_bytes(1)[6:]
    picture = dataclasses.replace(picture, icc_profile=SRGB, exif=exif, dpi=(300.0, 150.0))
    file = tmp_path / f"deep{extension}"
    write_picture(picture, file)
    back = read_picture(file)
    assert back.mode == mode
    assert np.array_equal(to_array(back), array)
    assert back.icc_profile == SRGB
    assert back.exif is not None
    assert b"Maker of cameras" in back.exif
    assert b"2020:01:02 03:04:05" in back.exif
    assert back.dpi == pytest.approx((300, 150), abs=0.02)
    other = cv2.imdecode(np.frombuffer(file.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    assert other is not None
    assert np.array_equal(other if other.ndim == 2 else other[:, :, [2, 1, 0, 3][: other.shape[2]]], array)
    if orientation == 6:
        data = file.read_bytes()
        if extension == ".png":
            data = data.replace(exif, exif_bytes(6)[6:]).replace(
                struct.pack(">L", zlib.crc32(b"eXIf" + exif)),
                struct.pack(">L", zlib.crc32(b"eXIf" + exif_bytes(6)[6:])),
            )
        else:
            entry = data.index(struct.pack("<HHLH", 274, 3, 1, 1))
            data = data[: entry + 8] + b"\6\0" + data[entry + 10 :]
        file.write_bytes(data)
        turned = read_picture(file)
        assert turned.orientation == 6
        assert np.array_equal(to_array(turned), np.rot90(array, -1))


def test_16_bit_grey_with_alpha_png(tmp_path: Path) -> None:
    grey = np.repeat(DEEP[:, :, :1], 3, axis=2)
    picture = Picture(grey, DEEP[:, :, 3].copy(), mode="LA;16")
    write_picture(picture, tmp_path / "la.png")
    assert (tmp_path / "la.png").read_bytes()[25] == 4
    back = read_picture(tmp_path / "la.png")
    assert back.mode == "LA;16"
    assert same(picture, back)
    write_picture(picture, tmp_path / "la.tif")
    assert same(picture, read_picture(tmp_path / "la.tif"))
    with pytest.raises(InputError, match="to_array"):
        to_pil(picture)


def test_16_bit_png_of_other_writers(tmp_path: Path) -> None:
    data = cv2.imencode(".png", DEEP[:, :, [2, 1, 0]])[1].tobytes()
    key = tuple(int(value) for value in DEEP[3, 4, :3])
    (tmp_path / "key.png").write_bytes(
        png_insert(data, [(b"gAMA", struct.pack(">L", 45455)), (b"tRNS", struct.pack(">HHH", *key))])
    )
    picture = read_picture(tmp_path / "key.png")
    assert picture.mode == "RGBA;16"
    assert picture.alpha is not None
    assert picture.alpha[3, 4] == 0
    assert picture.alpha[0, 0] == 65535
    assert np.array_equal(picture.pixels, DEEP[:, :, :3])


def test_16_bit_tiff_of_other_writers(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(
        tmp_path / "planar.tif", np.moveaxis(DEEP[:, :, :3], -1, 0), photometric="rgb", planarconfig="separate"
    )
    assert np.array_equal(read_picture(tmp_path / "planar.tif").pixels, DEEP[:, :, :3])
    tifffile.imwrite(tmp_path / "cmyk.tif", DEEP, photometric="separated")
    with pytest.raises(InputError, match=r"cmyk\.tif.*convert"):
        read_picture(tmp_path / "cmyk.tif")
    half = np.full((4, 4, 4), 30000, np.uint16)
    tifffile.imwrite(tmp_path / "pre.tif", half, photometric="rgb", extrasamples=["assocalpha"])
    assert (read_picture(tmp_path / "pre.tif").pixels == 65535).all()
    tifffile.imwrite(tmp_path / "float.tif", DEEP[:, :, 0].astype(np.float32))
    with pytest.raises(InputError, match="mode F"):
        read_picture(tmp_path / "float.tif")


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg_keeps_mode_and_tables(tmp_path: Path, mode: str) -> None:
    smooth = pil_image(mode).resize((6, 5)).resize((64, 48), Image.Resampling.BICUBIC)
    options: dict[str, Any] = {"subsampling": 2} if mode == "RGB" else {}
    smooth.save(tmp_path / "in.jpg", quality=71, progressive=True, comment=b"a remark", icc_profile=b"", **options)
    picture = read_picture(tmp_path / "in.jpg")
    assert picture.mode == mode
    assert picture.format == "JPEG"
    assert picture.lossy
    write_picture(touched(picture), tmp_path / "out.jpg")
    with Image.open(tmp_path / "in.jpg") as before, Image.open(tmp_path / "out.jpg") as after:
        assert isinstance(before, JpegImageFile)
        assert isinstance(after, JpegImageFile)
        assert after.mode == mode
        assert after.quantization == before.quantization
        assert [part[1:3] for part in after.layer] == [part[1:3] for part in before.layer]
        assert after.info["comment"] == b"a remark"
        assert after.info.get("progressive")
        far = np.abs(np.asarray(after).astype(int) - np.asarray(before))[24:, 32:]
        assert far.max() < 24
    write_picture(touched(picture), tmp_path / "fine.jpg", quality=98)
    assert (tmp_path / "fine.jpg").stat().st_size > (tmp_path / "out.jpg").stat().st_size


@pytest.mark.parametrize("name", ["a.jpg", "a.webp"])
def test_an_unchanged_lossy_file_is_not_coded_twice(tmp_path: Path, name: str) -> None:
    pil_image("RGB").save(tmp_path / name, quality=60, exif=exif_bytes(6))
    picture = read_picture(tmp_path / name)
    write_picture(replace_pixels(picture, picture.pixels.copy()), tmp_path / f"same-{name}")
    assert (tmp_path / f"same-{name}").read_bytes() == (tmp_path / name).read_bytes()
    in_place = read_picture(tmp_path / name)
    in_place.pixels[:9, :9] = 0
    for other in (touched(picture), dataclasses.replace(picture, icc_profile=SRGB), in_place):
        write_picture(other, tmp_path / f"other-{name}", overwrite=True)
        assert (tmp_path / f"other-{name}").read_bytes() != (tmp_path / name).read_bytes()
        back = read_picture(tmp_path / f"other-{name}")
        assert back.orientation == 1
        assert back.pixels.shape == picture.pixels.shape
    assert same(read_picture(tmp_path / f"same-{name}"), picture)


def test_lossy_webp_stays_lossy_and_others_become_lossless(tmp_path: Path) -> None:
    pil_image("RGBA").save(tmp_path / "a.webp", quality=50)
    picture = read_picture(tmp_path / "a.webp")
    assert picture.lossy
    write_picture(touched(picture), tmp_path / "b.webp")
    assert read_picture(tmp_path / "b.webp").lossy
    alpha = read_picture(tmp_path / "b.webp").alpha
    assert alpha is not None
    assert picture.alpha is not None
    assert np.array_equal(alpha, picture.alpha)
    write_picture(from_array(EIGHT), tmp_path / "c.webp")
    assert not read_picture(tmp_path / "c.webp").lossy


def test_gif_first_frame_is_read(tmp_path: Path) -> None:
    image = pil_image("P")
    image.save(tmp_path / "a.gif", save_all=True, append_images=[image.rotate(180)])
    assert np.array_equal(read_picture(tmp_path / "a.gif").pixels, np.asarray(image.convert("RGB")))
    with pytest.raises(InputError, match=r"\.gif cannot be written; use \.png"):
        write_picture(from_array(EIGHT), tmp_path / "b.gif")


# --- what changed and what did not ------------------------------------------------------------------------------------


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


def test_colour_under_alpha_zero_is_kept(tmp_path: Path) -> None:
    array = np.zeros((4, 4, 4), np.uint8)
    array[..., :3], array[0, :, 3] = (1, 200, 77), (0, 1, 254, 255)
    for extension in (".png", ".webp", ".tif"):
        write_picture(from_array(array), tmp_path / f"a{extension}")
        assert np.array_equal(to_array(read_picture(tmp_path / f"a{extension}")), array)


def test_colour_key_is_read_as_alpha(tmp_path: Path) -> None:
    Image.fromarray(EIGHT[:, :, :3]).save(tmp_path / "k.png", transparency=tuple(int(v) for v in EIGHT[2, 3, :3]))
    picture = read_picture(tmp_path / "k.png")
    assert picture.mode == "RGBA"
    assert picture.alpha is not None
    assert picture.alpha[2, 3] == 0
    assert np.array_equal(picture.pixels, EIGHT[:, :, :3])
    pil_image("L").save(tmp_path / "g.png", transparency=int(EIGHT[2, 3, 3]))
    assert read_picture(tmp_path / "g.png").mode == "LA"


def test_replace_pixels_resizes_alpha_and_guards_depth() -> None:
    array = EIGHT.copy()
    array[..., 3] = 254
    bigger = np.repeat(np.repeat(array[..., :3], 2, 0), 2, 1)
    picture = replace_pixels(from_array(array), bigger)
    assert picture.alpha is not None
    assert picture.alpha.shape == bigger.shape[:2]
    assert (picture.alpha == 254).all()
    upscaled = replace_pixels(from_pil(pil_image("CMYK")), bigger)
    assert to_pil(upscaled).mode == "CMYK"
    assert to_pil(upscaled).size == (62, 46)
    assert to_pil(replace_pixels(from_pil(pil_image("P")), bigger)).mode == "RGB"
    with pytest.raises(InputError, match="depth"):
        replace_pixels(from_array(EIGHT), DEEP[..., :3])
    with pytest.raises(InputError, match="height × width × 3"):
        replace_pixels(from_array(EIGHT), EIGHT)


# --- Pillow images and arrays -----------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("array", [EIGHT, EIGHT[..., :3], EIGHT[..., 0], DEEP, DEEP[..., :3], DEEP[..., 0]])
def test_array_round_trip(array: np.ndarray) -> None:
    back = to_array(from_array(array))
    assert back.dtype == array.dtype
    assert np.array_equal(back, array)
    assert not np.shares_memory(back, array)


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.zeros((4, 4, 3), np.float32), "uint8"),
        (np.zeros((4, 4, 2), np.uint8), "RGB"),
        (np.zeros((0, 4, 3), np.uint8), "no pixels"),
        ([[1, 2]], "numpy"),
    ],
)
def test_array_errors(array: np.ndarray, says: str) -> None:
    with pytest.raises(InputError, match=says):
        from_array(array)


def test_mismatched_alpha_is_refused() -> None:
    with pytest.raises(InputError, match="alpha"):
        Picture(EIGHT[..., :3], DEEP[..., 3])


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    kind=st.sampled_from([(np.uint8, 1), (np.uint8, 3), (np.uint8, 4), (np.uint16, 1), (np.uint16, 3), (np.uint16, 4)]),
    extension=st.sampled_from([".png", ".tif"]),
    seed=st.integers(0, 2**16),
)
def test_any_small_array_survives(
    tmp_path: Path, shape: tuple[int, int], kind: tuple[type[np.unsignedinteger[Any]], int], extension: str, seed: int
) -> None:
    dtype, channels = kind
    numbers = np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, (*shape, channels))
    array: NDArray[np.generic] = numbers.astype(dtype)
    array = array[:, :, 0] if channels == 1 else array
    write_picture(from_array(array), tmp_path / f"x{extension}", overwrite=True)
    assert np.array_equal(to_array(read_picture(tmp_path / f"x{extension}")), array)


def test_many_strips_and_chunks(tmp_path: Path) -> None:
    array = np.random.default_rng(1).integers(0, 65536, (700, 600, 3), dtype=np.uint16)
    for extension in (".png", ".tif"):
        write_picture(from_array(array), tmp_path / f"big{extension}")
        assert np.array_equal(read_picture(tmp_path / f"big{extension}").pixels, array)


# --- metadata ---------------------------------------------------------------------------------------------------------


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


# --- writing ----------------------------------------------------------------------------------------------------------


def test_a_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.png"
    write_picture(from_array(EIGHT), file)
    before = file.read_bytes()

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    for name in ("replace", "fsync", "link"):
        with monkeypatch.context() as patch:
            patch.setattr(atomic_write.os, name, fail)
            if name == "link":
                patch.setattr(atomic_write.os, "replace", fail)
                with pytest.raises(InputError, match="No space left"):
                    write_picture(from_array(EIGHT), tmp_path / "new.png")
            else:
                with pytest.raises(InputError, match=r"a\.png.*No space left.*free space"):
                    write_picture(from_array(EIGHT[:5]), file, overwrite=True)
        assert [entry.name for entry in tmp_path.iterdir()] == ["a.png"]
        assert file.read_bytes() == before
    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "save", fail)
        with pytest.raises(InputError, match="cannot be written as PNG"):
            write_picture(from_array(EIGHT[:5]), file, overwrite=True)
    with monkeypatch.context() as patch:
        patch.setattr(atomic_write.os, "fsync", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            write_picture(from_array(EIGHT[:5]), file, overwrite=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.png"]
    assert file.read_bytes() == before


def test_overwrite_protection_and_its_race(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.png"
    write_picture(from_array(EIGHT), file)
    with pytest.raises(InputError, match=r"a\.png: already exists; allow overwriting"):
        write_picture(from_array(EIGHT[:5]), file)
    write_picture(from_array(EIGHT[:5]), file, overwrite=True)
    assert read_picture(file).height == 5
    for without_links in (False, True):
        late = tmp_path / f"late{without_links}.png"
        encode = image_files.encode_picture

        def encode_while_another_writes(*arguments: object, late: Path = late, encode: object = encode) -> bytes:
            late.write_bytes(b"another's")
            return encode(*arguments)  # type: ignore[operator]

        with monkeypatch.context() as patch:
            patch.setattr(image_files, "encode_picture", encode_while_another_writes)
            if without_links:
                patch.setattr(atomic_write.os, "link", lambda *_: (_ for _ in ()).throw(PermissionError(1, "no links")))
            with pytest.raises(InputError, match="already exists"):
                write_picture(from_array(EIGHT), late)
        assert late.read_bytes() == b"another's"
        assert not list(tmp_path.glob(".facerestore*"))


def test_a_file_system_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic_write.os, "link", lambda *_: (_ for _ in ()).throw(PermissionError(1, "no links")))
    write_picture(from_array(EIGHT), tmp_path / "a.png")
    assert same(read_picture(tmp_path / "a.png"), from_array(EIGHT))
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
def test_permissions_and_links(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        write_picture(from_array(EIGHT), tmp_path / "a.png")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a.png").stat().st_mode) == 0o640
    (tmp_path / "a.png").chmod(0o604)
    (tmp_path / "link.png").symlink_to(tmp_path / "a.png")
    write_picture(from_array(EIGHT[:5]), tmp_path / "link.png", overwrite=True)
    assert (tmp_path / "link.png").is_symlink()
    assert read_picture(tmp_path / "a.png").height == 5
    assert stat.S_IMODE((tmp_path / "a.png").stat().st_mode) == 0o604


@pytest.mark.parametrize(
    "name", ["Gesicht – 顔 👩.png", "ü" * 120 + ".webp", "a" * 251 + ".tif", "with space & 'q'.jpg"]
)
def test_unusual_names(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "папка"
    folder.mkdir()
    array = EIGHT[..., :3]
    write_picture(from_array(array), folder / name)
    assert read_picture(str(folder / name)).pixels.shape == array.shape
    assert [entry.name for entry in folder.iterdir()] == [name]


# --- errors -----------------------------------------------------------------------------------------------------------


def test_read_errors_name_file_and_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def says(name: str, pattern: str) -> None:
        with pytest.raises(InputError, match=pattern) as caught:
            read_picture(tmp_path / name)
        assert name in str(caught.value)

    says("gone.png", "not found; check")
    (tmp_path / "folder.png").mkdir()
    says("folder.png", "is a folder")
    (tmp_path / "empty.png").write_bytes(b"")
    says("empty.png", "empty")
    (tmp_path / "notes.png").write_text("no picture")
    says("notes.png", "not a picture")
    for extension in ("png", "jpg", "webp", "tif", "bmp"):
        arrays: list[NDArray[Any]] = [EIGHT[..., :3], DEEP[..., :3]]
        for number, array in enumerate(arrays):
            if number and extension not in ("png", "tif"):
                continue
            whole = tmp_path / f"whole{number}.{extension}"
            write_picture(from_array(array), whole)
            short = tmp_path / f"short{number}.{extension}"
            short.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * 0.6)])
            says(short.name, "truncated or damaged|not a picture")
    header = png_chunk(b"IHDR", struct.pack(">LLBBBBB", 60000, 60000, 8, 2, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", zlib.compress(b"")) + png_chunk(b"IEND", b"")
    (tmp_path / "bomb.png").write_bytes(bomb)
    says("bomb.png", "too many pixels")
    data = bytearray((tmp_path / "whole1.png").read_bytes())
    data[len(data) // 2] ^= 255
    (tmp_path / "flipped.png").write_bytes(data)
    says("flipped.png", "damaged")
    with pytest.raises(InputError, match=r"cannot be opened|not found"):
        read_picture("a\0b.png")
    monkeypatch.setattr(Path, "read_bytes", lambda _: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    says("whole0.png", "permissions")


def test_zero_size_is_refused(tmp_path: Path) -> None:
    stream = io.BytesIO()
    pil_image("RGB").save(stream, "BMP")
    data = bytearray(stream.getvalue())
    data[18:22] = bytes(4)
    (tmp_path / "zero.bmp").write_bytes(data)
    with pytest.raises(InputError, match=r"zero\.bmp"):
        read_picture(tmp_path / "zero.bmp")


def test_write_errors_name_file_and_remedy(tmp_path: Path) -> None:
    rgba, deep, rgb = from_array(EIGHT), from_array(DEEP[..., :3]), from_array(EIGHT[..., :3])
    with pytest.raises(InputError, match=r"a\.jpg: JPEG cannot hold the picture's transparency; write \.png"):
        write_picture(rgba, tmp_path / "a.jpg")
    for name in ("a.jpg", "a.webp", "a.bmp"):
        with pytest.raises(InputError, match=r"16 bits per channel; write \.png"):
            write_picture(deep, tmp_path / name)
    with pytest.raises(InputError, match=r"a\.xyz.*cannot be written"):
        write_picture(rgb, tmp_path / "a.xyz")
    with pytest.raises(InputError, match=r"TGA.*use PNG"):
        write_picture(rgb, tmp_path / "a.tga", format="TGA")
    with pytest.raises(InputError, match="create it first"):
        write_picture(rgb, tmp_path / "none" / "a.png")
    with pytest.raises(InputError, match="is a folder"):
        write_picture(rgb, tmp_path)
    with pytest.raises(InputError, match=r"could not be written|cannot be written"):
        write_picture(rgb, tmp_path / ("x" * 300 + ".png"))
    for quality in (0, 101, True, 9.5):
        with pytest.raises(InputError, match="1 to 100"):
            write_picture(rgb, tmp_path / "a.jpg", quality=quality)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())
    write_picture(rgb, tmp_path / "odd.name", format="jpg")
    assert read_picture(tmp_path / "odd.name").format == "JPEG"


def test_is_picture_file() -> None:
    assert is_picture_file("a.PNG")
    assert is_picture_file(Path("b/c.JpEg"))
    assert is_picture_file("x.gif")
    assert not is_picture_file("a.txt")
    assert not is_picture_file("png")
    assert not is_picture_file("a.png.part")
    assert {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif"} <= image_files.PICTURE_EXTENSIONS


def test_format_is_known_by_content_not_by_name(tmp_path: Path) -> None:
    pil_image("RGB").save(tmp_path / "a.png", "JPEG")
    assert read_picture(tmp_path / "a.png").format == "JPEG"


def test_no_mode_is_forgotten() -> None:
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I", "I;16", "LA;16", "RGB;16", "RGBA;16", "HSV", "YCbCr"):
        deep = mode.endswith("16") or mode == "I"
        base = (DEEP if deep else EIGHT)[:, :, :3]
        picture = Picture(base, base[:, :, 0] if "A" in mode else None, mode=mode)
        assert image_modes.settle_mode(picture, {"RGB", "RGBA", "RGB;16", "RGBA;16"}, "any").startswith("RGB")


@pytest.mark.parametrize("extension", ["gif", "webp"])
def test_of_an_animation_the_first_frame_is_read_and_it_says_so(tmp_path: Path, extension: str) -> None:
    first, second = (Image.new("RGB", (8, 6), colour) for colour in ("#ff0000", "#0000ff"))
    first.save(tmp_path / f"still.{extension}")
    assert not read_picture(tmp_path / f"still.{extension}").losses
    first.save(tmp_path / f"moving.{extension}", save_all=True, append_images=[second])
    picture = read_picture(tmp_path / f"moving.{extension}")
    assert picture.pixels[0, 0, 0] > 200 and picture.pixels[0, 0, 2] < 50
    assert picture.losses == (f"{tmp_path / 'moving'}.{extension}: only the first of its 2 frames is kept",)
