"""What a file keeps on its way through: its own bytes where nothing changed, its black, its resolution, its EXIF."""

from __future__ import annotations

import dataclasses
import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image

from lib_facerestore.images import files as image_files
from lib_facerestore.images.files import Picture, from_pil, read_picture, replace_pixels, to_pil, write_picture
from lib_facerestore.images.metadata import exif_for, png_chunk, turn_back, turn_back_points, upright

RNG = np.random.default_rng(11)
RGB = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)


def image(mode: str = "RGB") -> Image.Image:
    return Image.fromarray(RGB).convert(mode)


def touched(picture: Picture) -> Picture:
    pixels = picture.pixels.copy()
    pixels[5:9, 5:9] = pixels[5:9, 5:9] // 2 + 20
    return replace_pixels(picture, pixels)


def frames(path: Path, **options: Any) -> None:
    image().save(path, save_all=True, append_images=[image().rotate(180), image().rotate(90)], **options)


def dated_png(path: Path, more: bytes = b"") -> None:
    """One that says when it was changed last, which is no loss, since it is changed now."""
    stream = io.BytesIO()
    image().save(stream, "PNG")
    data = stream.getvalue()
    path.write_bytes(data[:33] + png_chunk(b"tIME", struct.pack(">HBBBBB", 2020, 1, 2, 3, 4, 5)) + more + data[33:])


def signed_png(path: Path) -> None:
    dated_png(path, png_chunk(b"caBX", b"signed"))


FILES: dict[str, tuple[str, Callable[[Path], None]]] = {
    "plain.png": ("", lambda path: image().save(path, compress_level=1)),
    "moving.png": ("only the first of its 3 frames is kept", frames),
    "moving.webp": ("only the first of its 3 frames is kept", lambda path: frames(path, lossless=True)),
    "pages.tif": ("only the first of its 3 pages is kept", frames),
    "deep.tif": ("", lambda path: Image.fromarray(RGB[:, :, 0].astype(np.int32) * 250).save(path)),
    "signed.png": ("content credentials", signed_png),
    "dated.png": ("", dated_png),
    "palette.bmp": ("", lambda path: image("P").save(path)),
    "turned.png": ("", lambda path: image().save(path, exif=exif(6))),
}


@pytest.mark.parametrize("name", FILES)
def test_an_unchanged_picture_is_the_file_it_was_read_from(tmp_path: Path, name: str) -> None:
    loss, make = FILES[name]
    source, target = tmp_path / name, tmp_path / f"out-{name}"
    make(source)
    picture = read_picture(source)
    assert all(str(source) in one for one in picture.losses) and loss in " ".join(picture.losses)
    assert bool(loss) == bool(picture.losses)
    assert write_picture(picture, target) is True
    assert target.read_bytes() == source.read_bytes()
    assert image_files.to_bytes(picture, source.suffix) == source.read_bytes()
    assert write_picture(picture, target, quality=50, overwrite=True) is (source.suffix != ".webp")
    changed = touched(picture)
    assert changed.encoded is None, "the bytes are not held, nor decoded for a comparison, once the pixels are others"
    assert write_picture(changed, target, overwrite=True) is False
    assert target.read_bytes() != source.read_bytes()
    assert write_picture(picture, tmp_path / "other.png" if source.suffix != ".png" else tmp_path / "x.tif") is False


def test_text_that_a_format_cannot_hold_is_named(tmp_path: Path) -> None:
    picture = image_files.Picture(RGB, text=(image_files.TextItem("parameters", "Steps: 20"),), exif=exif(1)[6:])
    assert image_files.left_out(picture, "a.png") == ()
    assert image_files.left_out(picture, "a.jpg") == (
        "a.jpg: JPEG has no place for the text parameters: left out; write .png to keep it",
    )
    assert "the text parameters, EXIF" in image_files.left_out(picture, "a.bmp")[0]


def jpeg_with_everything(path: Path) -> None:
    extended = struct.pack(">HH", 0xFFE1, 2 + 35 + 3) + b"http://ns.adobe.com/xmp/extension/\0" + b"abc"
    iptc = struct.pack(">HH", 0xFFED, 2 + 5) + b"8BIM\0"
    image().save(path, comment=b"by hand", extra=extended + iptc)


@pytest.mark.parametrize("target", ["a.png", "a.tif", "a.webp", "a.bmp"])
def test_what_only_a_jpeg_holds_is_named(tmp_path: Path, target: str) -> None:
    jpeg_with_everything(tmp_path / "in.jpg")
    picture = read_picture(tmp_path / "in.jpg")
    said = " ".join(image_files.left_out(picture, target))
    assert "the JPEG comment, IPTC (APP13), extended XMP: left out; write .jpg to keep it" in said
    assert image_files.left_out(picture, "a.jpg") == ()
    write_picture(touched(picture), tmp_path / "out.jpg")
    kept = read_picture(tmp_path / "out.jpg")
    assert kept.jpeg is not None and picture.jpeg is not None
    assert (kept.jpeg.comments, kept.jpeg.segments) == ((b"by hand",), picture.jpeg.segments)


def test_a_jpeg_whose_tables_cannot_be_used_again_keeps_its_comment(tmp_path: Path) -> None:
    jpeg_with_everything(tmp_path / "in.jpg")
    picture = read_picture(tmp_path / "in.jpg")
    assert picture.jpeg is not None
    picture = dataclasses.replace(touched(picture), jpeg=picture.jpeg._replace(qtables=()))
    write_picture(picture, tmp_path / "out.jpg")
    kept = read_picture(tmp_path / "out.jpg").jpeg
    assert kept is not None and kept.comments == (b"by hand",) and len(kept.segments) == 2


def png_with_chunks(path: Path, *chunks: tuple[bytes, bytes]) -> None:
    stream = io.BytesIO()
    image().save(stream, "PNG")
    data = stream.getvalue()
    path.write_bytes(data[:33] + b"".join(png_chunk(*chunk) for chunk in chunks) + data[33:])


@pytest.mark.parametrize("target", ["a.jpg", "a.tif", "a.webp", "a.bmp"])
def test_colour_chunks_of_a_png_are_named(tmp_path: Path, target: str) -> None:
    metres = (b"pHYs", struct.pack(">LLB", 3000, 3000, 1))
    png_with_chunks(tmp_path / "in.png", (b"gAMA", struct.pack(">L", 50000)), (b"cHRM", bytes(32)), metres)
    picture = read_picture(tmp_path / "in.png")
    said = " ".join(image_files.left_out(picture, target))
    assert "the PNG chunks gAMA, cHRM: left out; write .png to keep it" in said
    assert ("the resolution" in said) is (target == "a.webp")
    assert image_files.left_out(picture, "a.png") == ()


def test_the_shape_of_pixels_is_named_where_it_is_lost(tmp_path: Path) -> None:
    png_with_chunks(tmp_path / "in.png", (b"pHYs", struct.pack(">LLB", 2, 1, 0)))
    assert "the PNG chunks pHYs" in image_files.left_out(read_picture(tmp_path / "in.png"), "a.tif")[0]


def test_blocks_that_are_too_large_for_a_jpeg_are_named(tmp_path: Path) -> None:
    large = Image.Exif()
    large[0x010E] = "x" * 70_000
    picture = image_files.Picture(RGB, exif=large.tobytes()[6:], xmp=b"<x:xmpmeta>" + b" " * 70_000)
    (said,) = image_files.left_out(picture, "a.jpg")
    assert f"EXIF of {len(picture.exif or b'')} bytes, XMP of 70011 bytes: left out; write .png" in said
    assert image_files.left_out(picture, "a.png") == image_files.left_out(picture, "a.webp") == ()
    write_picture(picture, tmp_path / "a.jpg")
    back = read_picture(tmp_path / "a.jpg")
    assert back.exif is None and back.xmp is None


def test_a_profile_of_other_colours_is_named() -> None:
    profile = bytes(16) + b"CMYK" + bytes(108)
    values = np.zeros((20, 30, 4), np.uint8)
    picture = image_files.Picture(RGB, mode="CMYK", native=values, icc_profile=profile)
    assert "the CMYK color profile: left out; write .tif" in image_files.left_out(picture, "a.png")[0]
    assert image_files.left_out(picture, "a.jpg") == image_files.left_out(picture, "a.tif") == ()


def test_a_damaged_text_and_a_comment_that_nothing_can_hold_are_named(tmp_path: Path) -> None:
    png_with_chunks(tmp_path / "in.png", (b"zTXt", b"key\0\0no zlib"))
    assert "a damaged zTXt chunk is left out" in read_picture(tmp_path / "in.png").losses[0]
    image("P").save(tmp_path / "in.gif", comment=b"by hand")
    assert "its comment is left out" in read_picture(tmp_path / "in.gif").losses[0]


def test_whether_a_picture_changed_is_known_without_decoding_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image("P").save(tmp_path / "in.png")
    picture = read_picture(tmp_path / "in.png")
    monkeypatch.setattr(image_files, "decode_picture", lambda _: pytest.fail("it was decoded again"))
    assert write_picture(picture, tmp_path / "same.png") is True
    assert write_picture(dataclasses.replace(picture, dpi=(300.0, 300.0)), tmp_path / "dpi.png") is False
    assert write_picture(dataclasses.replace(picture, dpi=picture.dpi), tmp_path / "equal.png") is True
    picture.pixels[0, 0] ^= 1  # in place
    assert write_picture(picture, tmp_path / "changed.png") is False


@pytest.mark.parametrize("resolution", [None, (300, 240)])
def test_no_resolution_is_made_up(tmp_path: Path, resolution: tuple[int, int] | None) -> None:
    options: dict[str, Any] = {"dpi": resolution} if resolution else {}
    image().save(tmp_path / "in.tif", **options)
    picture = touched(read_picture(tmp_path / "in.tif"))
    assert picture.dpi == resolution
    for name in ("out.tif", "out.png"):
        write_picture(picture, tmp_path / name)
    with Image.open(tmp_path / "out.tif") as tif, Image.open(tmp_path / "out.png") as png:
        assert (282 in tif.tag_v2) is bool(resolution)  # type: ignore[attr-defined]
        assert ("dpi" in png.info) is bool(resolution)


def test_cmyk_without_a_profile_keeps_its_black() -> None:
    values = RNG.integers(0, 200, (20, 30, 4), dtype=np.uint8)
    values[:10, :, 3] = 98
    picture = from_pil(Image.frombytes("CMYK", (30, 20), values.tobytes()))
    pixels = picture.pixels.copy()
    pixels[:10, :15] //= 2  # darker: the black stays
    pixels[:10, 15:] = 255  # brighter than 98 of black lets it be: as much of it as can stay
    after = np.asarray(to_pil(replace_pixels(picture, pixels)))
    assert (after[:10, :15, 3] == 98).all() and (after[:10, 15:] == 0).all()
    assert np.array_equal(after[10:], values[10:])
    back = from_pil(Image.frombytes("CMYK", (30, 20), after.tobytes())).pixels
    assert np.abs(back.astype(int) - pixels).max() <= 1


# --- orientation and EXIF ---------------------------------------------------------------------------------------------


def exif(orientation: int, size: tuple[int, int] | None = (30, 20)) -> bytes:
    data = Image.Exif()
    data[0x0112] = orientation
    data[0x8769] = {0x9003: "2020:01:02 03:04:05"} | ({0xA002: size[0], 0xA003: size[1]} if size else {})
    return data.tobytes()


def with_thumbnail(stream: bytes, thumbnail: bytes) -> bytes:
    """The EXIF stream (with its prefix, little-endian) with a second directory that points at a thumbnail."""
    tiff = bytearray(stream[6:])
    order = "<" if tiff[:2] == b"II" else ">"
    (start,) = struct.unpack_from(order + "L", tiff, 4)
    link = start + 2 + 12 * struct.unpack_from(order + "H", tiff, start)[0]
    struct.pack_into(order + "L", tiff, link, len(tiff))
    place = len(tiff) + 2 + 36 + 4
    entries = ((0x0103, 3, 6), (0x0201, 4, place), (0x0202, 4, len(thumbnail)))
    tiff += struct.pack(order + "H", 3)
    for tag, kind, value in entries:
        number = struct.pack(order + "HH", value, 0) if kind == 3 else struct.pack(order + "L", value)
        tiff += struct.pack(order + "HHL", tag, kind, 1) + number
    return b"Exif\0\0" + bytes(tiff) + bytes(4) + thumbnail


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_tells_the_size_that_is_written_and_shows_no_old_thumbnail(tmp_path: Path, orientation: int) -> None:
    stream = io.BytesIO()
    image().resize((6, 4)).save(stream, "JPEG")
    image().save(tmp_path / "in.jpg", exif=with_thumbnail(exif(orientation), stream.getvalue()))
    with Image.open(tmp_path / "in.jpg") as before:
        assert before.getexif().get_ifd(ExifTags.IFD.IFD1)[0x0202] > 0
    picture = read_picture(tmp_path / "in.jpg")
    for name, one in {"a.jpg": touched(picture), "b.png": replace_pixels(picture, RGB.repeat(2, 0))}.items():
        write_picture(one, tmp_path / name)
        with Image.open(tmp_path / name) as after:
            found = after.getexif()
            assert (found.get_ifd(0x8769)[0xA002], found.get_ifd(0x8769)[0xA003]) == after.size
            assert found.get_ifd(0x8769)[0x9003] == "2020:01:02 03:04:05"
            assert 0x0202 not in found.get_ifd(ExifTags.IFD.IFD1)
    write_picture(picture, tmp_path / "same.png")  # the thumbnail still is that of the picture, unless that was turned
    with Image.open(tmp_path / "same.png") as after:
        assert (0x0202 in after.getexif().get_ifd(ExifTags.IFD.IFD1)) is (orientation == 1)


def test_broken_exif_is_left_as_it_is() -> None:
    whole = exif(6)[6:]
    for cut in range(len(whole)):
        assert len(exif_for(whole[:cut], 9, 7, thumbnail=False)) == cut
    assert exif_for(b"MM\0*\xff\xff\xff\xff", 9, 7, thumbnail=False) == b"MM\0*\xff\xff\xff\xff"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turning_back_undoes_upright(orientation: int) -> None:
    stored = np.arange(35).reshape(5, 7)
    shown = upright(stored, orientation)
    assert np.array_equal(turn_back(shown, orientation), stored)
    height, width = shown.shape
    for x, y in ((0, 0), (2, 1), (width - 1, height - 1)):
        ((back_x, back_y),) = turn_back_points(np.array([[x, y]]), orientation, width, height)
        assert stored[back_y, back_x] == shown[y, x]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "I;16"])
@pytest.mark.parametrize("orientation", [2, 6, 7])
def test_a_pil_image_is_turned_upright_and_back(mode: str, orientation: int) -> None:
    given = Image.fromarray(RGB[:, :, 0].astype(np.uint16) * 200) if mode == "I;16" else image(mode)
    given.info["exif"] = exif(orientation)
    back = to_pil(from_pil(given), upright=False)
    assert (back.mode, back.size, back.tobytes()) == (given.mode, given.size, given.tobytes())
    assert back.info["exif"] == given.info["exif"]
