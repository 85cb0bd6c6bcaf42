"""Files of other writers: 16 bits, colour keys, animations, run-length encoding."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from lib_facerestore.errors import InputError
from lib_facerestore.images.files import from_array, from_bytes, read_picture, write_picture
from lib_facerestore.images.metadata import png_insert

from .samples import DEEP, EIGHT, pil_image


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
    with pytest.raises(InputError, match=r"float\.tif: is a TIFF of 32-bit floating-point grey, which cannot be read"):
        read_picture(tmp_path / "float.tif")


def test_gif_first_frame_is_read(tmp_path: Path) -> None:
    image = pil_image("P")
    image.save(tmp_path / "a.gif", save_all=True, append_images=[image.rotate(180)])
    assert np.array_equal(read_picture(tmp_path / "a.gif").pixels, np.asarray(image.convert("RGB")))
    with pytest.raises(InputError, match=r"\.gif cannot be written; use \.png"):
        write_picture(from_array(EIGHT), tmp_path / "b.gif")


def test_colour_key_is_read_as_alpha(tmp_path: Path) -> None:
    Image.fromarray(EIGHT[:, :, :3]).save(tmp_path / "k.png", transparency=tuple(int(v) for v in EIGHT[2, 3, :3]))
    picture = read_picture(tmp_path / "k.png")
    assert picture.mode == "RGBA"
    assert picture.alpha is not None
    assert picture.alpha[2, 3] == 0
    assert np.array_equal(picture.pixels, EIGHT[:, :, :3])
    pil_image("L").save(tmp_path / "g.png", transparency=int(EIGHT[2, 3, 3]))
    assert read_picture(tmp_path / "g.png").mode == "LA"


@pytest.mark.parametrize("extension", ["gif", "webp"])
def test_of_an_animation_the_first_frame_is_read_and_it_says_so(tmp_path: Path, extension: str) -> None:
    first, second = (Image.new("RGB", (8, 6), colour) for colour in ("#ff0000", "#0000ff"))
    first.save(tmp_path / f"still.{extension}")
    assert not read_picture(tmp_path / f"still.{extension}").losses
    first.save(tmp_path / f"moving.{extension}", save_all=True, append_images=[second])
    picture = read_picture(tmp_path / f"moving.{extension}")
    assert picture.pixels[0, 0, 0] > 200 and picture.pixels[0, 0, 2] < 50
    assert picture.losses == (f"{tmp_path / 'moving'}.{extension}: only the first of its 2 frames is kept",)


def run_length_bmp(bits: int, runs: list[int], size: tuple[int, int] = (6, 3)) -> bytes:
    """A BMP with a palette of 16 colours and run-length encoded pixels, the lowest row first."""
    palette = b"".join(bytes((i * 16, 255 - i, i * 7 % 256, 0)) for i in range(16))
    info = struct.pack("<LllHHLLllLL", 40, *size, 1, bits, {8: 1, 4: 2}[bits], len(runs), 3937, 3937, 16, 0)
    start = 14 + len(info) + len(palette)
    return struct.pack("<2sLLL", b"BM", start + len(runs), 0, start) + info + palette + bytes(runs)


RUNS = {  # runs, single pixels with a padding byte, a jump over pixels, ends of rows, the end
    8: [4, 3, 2, 5, 0, 0, 0, 5, 1, 2, 3, 4, 5, 0, 0, 0, 0, 2, 2, 0, 4, 7, 0, 1],
    4: [5, 0x37, 0, 0, 0, 4, 0x12, 0x34, 2, 0x56, 0, 0, 6, 0x98, 0, 1],
}
PIXELS = {
    8: [[0, 0, 7, 7, 7, 7], [1, 2, 3, 4, 5, 0], [3, 3, 3, 3, 5, 5]],
    4: [[9, 8, 9, 8, 9, 8], [1, 2, 3, 4, 5, 6], [3, 7, 3, 7, 3, 0]],
}


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("header", ["whole", "without the place of the pixels", "none"])
def test_a_bmp_with_run_length_encoding(bits: int, header: str) -> None:
    data = run_length_bmp(bits, RUNS[bits])
    data = {"whole": data, "none": data[14:]}.get(header, data[:10] + bytes(4) + data[14:])
    picture = from_bytes(data, "runs.bmp")
    index = np.array(PIXELS[bits])
    assert (picture.pixels == np.stack([index * 7 % 256, 255 - index, index * 16], axis=2)).all()
    assert picture.format == "BMP" and picture.dpi == pytest.approx((100, 100), abs=0.1)


def test_a_damaged_bmp_with_run_length_encoding_is_a_sentence_at_once() -> None:
    cut = run_length_bmp(8, RUNS[8][:10])
    jumps = run_length_bmp(8, [0, 2, 255, 255] * 40 + [0, 0, 0, 1], (2_000_000, 13))
    for name, data in (("cut.bmp", cut), ("jumps.bmp", jumps)):
        tracemalloc.start()
        try:
            with pytest.raises(InputError, match=name):
                from_bytes(data, name)
            assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
        finally:
            tracemalloc.stop()
