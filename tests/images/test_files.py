"""Reading and writing by name: formats, unusual names, error messages that name the file and the remedy."""

from __future__ import annotations

import dataclasses
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from numpy.typing import NDArray

from lib_facerestore.errors import InputError
from lib_facerestore.images import files as image_files
from lib_facerestore.images import room
from lib_facerestore.images.files import from_array, is_picture_file, read_picture, replace_pixels, write_picture
from lib_facerestore.images.metadata import png_chunk

from .samples import DEEP, EIGHT, SRGB, exif_bytes, pil_image, same, touched


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
    with monkeypatch.context() as patch:
        patch.setattr(room, "free_memory", lambda: 3 * 2**30)
        says("bomb.png", "has 60000×60000 pixels, for which about 60.3 GiB of memory are needed, and 3.0 GiB are free")
    with pytest.raises(InputError, match=r"picture: has too many pixels .*60000×60000, more than 179 megapixels"):
        image_files.from_bytes(bomb)
    data = bytearray((tmp_path / "whole1.png").read_bytes())
    data[len(data) // 2] ^= 255
    (tmp_path / "flipped.png").write_bytes(data)
    says("flipped.png", "damaged")
    with pytest.raises(InputError, match=r"cannot be opened|not found"):
        read_picture("a\0b.png")
    monkeypatch.setattr(Path, "read_bytes", lambda _: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    says("whole0.png", "permissions")


def test_a_gif_whose_frame_is_larger_than_its_header_says_is_refused() -> None:
    header = b"GIF89a" + struct.pack("<HHBBB", 4, 4, 0x80, 0, 0) + bytes(6)
    frame = b"," + struct.pack("<HHHHB", 0, 0, 60000, 60000, 0) + b"\x02\x02\x44\x01\x00"
    with pytest.raises(InputError, match=r"few\.gif: has a frame of too many pixels"):
        image_files.from_bytes(header + frame + b";", "few.gif")


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


@pytest.mark.parametrize(
    ("head", "kind", "remedy"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC picture", "which cannot be read; convert it to JPEG, PNG or"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif", "an AVIF picture", "which cannot be read; convert it to JPEG"),
        (b"\0\0\0\x18ftypqt  \0\0\0\0qt  mp42", "a video", "which cannot be restored; save its frames as pictures"),
        (b"RIFF\0\0\0\0AVI LIST", "a video", "which"),
        (b"\xff\x0a\xfa\x7f", "a JPEG XL picture", "which"),
        (b"8BPS\0\x01", "a Photoshop file", "which"),
        (b"%PDF-1.7", "a PDF", "which"),
        (b"\n<!DOCTYPE html><html>", "a web page", "and no picture; download the picture itself"),
        (b'<?xml version="1.0"?>\n<svg xmlns="">', "an SVG drawing", "which"),
    ],
)
def test_what_cannot_be_read_is_called_what_it_is(head: bytes, kind: str, remedy: str) -> None:
    for name, spite in (("a.jpg", " in spite of its name"), ("a.heic", "")):
        with pytest.raises(InputError) as caught:
            image_files.from_bytes(head + bytes(99), name)
        assert str(caught.value).startswith(f"{name}: is {kind}{spite}, {remedy}")
    for cut in range(1, len(head)):
        with pytest.raises(InputError, match="is "):
            image_files.from_bytes(head[:cut], "a.jpg")
