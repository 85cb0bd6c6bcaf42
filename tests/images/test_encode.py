"""Every mode and depth in every format, there and back; lossy files keep their settings."""

from __future__ import annotations

import dataclasses
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from lib_facerestore.errors import InputError
from lib_facerestore.images.files import Picture, from_array, from_pil, read_picture, to_array, to_pil, write_picture

from .samples import DEEP, EIGHT, PIL_MODES, SRGB, exif_bytes, pil_image, same, touched


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


def test_colour_under_alpha_zero_is_kept(tmp_path: Path) -> None:
    array = np.zeros((4, 4, 4), np.uint8)
    array[..., :3], array[0, :, 3] = (1, 200, 77), (0, 1, 254, 255)
    for extension in (".png", ".webp", ".tif"):
        write_picture(from_array(array), tmp_path / f"a{extension}")
        assert np.array_equal(to_array(read_picture(tmp_path / f"a{extension}")), array)


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
