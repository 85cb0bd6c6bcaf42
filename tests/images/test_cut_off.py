"""Files whose end is missing: whole pictures are read, with a note; others are refused, whatever Pillow's settings."""

from __future__ import annotations

import io
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile

from lib_facerestore.errors import InputError
from lib_facerestore.images import opening, room
from lib_facerestore.images.files import from_array, from_bytes, read_picture, to_bytes
from lib_facerestore.images.metadata import png_insert

from .samples import DEEP

RNG = np.random.default_rng(5)
PHOTO = np.clip(RNG.normal(128, 30, (64, 96, 3)).cumsum(axis=1) / 12 % 256, 0, 255).astype(np.uint8)
JPEGS: dict[str, dict[str, Any]] = {
    "baseline": {},
    "4:4:4": {"subsampling": 0},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_rows": 1},
    "flat": {"quality": 30},
}


def encoded(kind: str, array: np.ndarray = PHOTO, **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize("name", JPEGS)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_jpeg_without_its_end_mark_is_read_if_no_pixel_is_missing(name: str, mode: str) -> None:
    array = PHOTO if mode == "RGB" else PHOTO[:, :, 0]
    if name == "flat":
        array = np.full_like(array, 90)
    whole = encoded("JPEG", array, **JPEGS[name])
    expected = from_bytes(whole)
    assert expected.faults == ()
    for cut in (whole[:-2], whole[:-1]):
        picture = from_bytes(cut, "a.jpg")
        assert np.array_equal(picture.pixels, expected.pixels)
        assert picture.faults == ("a.jpg: the file ends before its end mark; no pixel of the JPEG is missing",)
        assert to_bytes(picture, "JPEG") == cut
    for length in (*range(len(whole) - 60, len(whole) - 4, 4), len(whole) // 2, len(whole) * 3 // 4):
        if name != "flat" or length < len(whole) - 10:  # its last blocks are a few bits each
            with pytest.raises(InputError, match=r"a\.jpg: is truncated or damaged"):
                from_bytes(whole[:length], "a.jpg")


def test_a_progressive_jpeg_that_ends_after_a_scan_is_refused() -> None:
    whole = encoded("JPEG", progressive=True)
    starts = [place for place in range(len(whole)) if whole[place : place + 2] == b"\xff\xda"]
    assert len(starts) > 3
    tables = whole.rfind(b"\xff\xc4", 0, starts[-1])
    for end in (starts[-1], tables):
        with pytest.raises(InputError, match="the file ends before its last pixels"):
            from_bytes(whole[:end])


@pytest.mark.parametrize("deep", [False, True])
def test_a_png_without_its_end_is_read_if_no_pixel_is_missing(deep: bool) -> None:
    whole = to_bytes(from_array(DEEP[:, :, :3] if deep else PHOTO), "PNG")
    expected = from_bytes(whole)
    last = whole.rfind(b"IEND") - 4
    for cut in (whole[:last], whole[: last + 5], whole[: last - 2], whole[: last - 4]):  # the last two in the checksum
        picture = from_bytes(cut, "a.png")
        assert np.array_equal(picture.pixels, expected.pixels)
        assert picture.faults == ("a.png: the file ends before its end mark; no pixel of the PNG is missing",)
        assert to_bytes(picture, "PNG") == cut
    for length in (last - 5, last - 9, len(whole) // 2, 60):
        with pytest.raises(InputError, match=r"a\.png: is truncated or damaged"):
            from_bytes(whole[:length], "a.png")


@pytest.mark.parametrize(("kind", "length"), [("JPEG", 0.5), ("PNG", 0.5), ("TIFF", 0.5), ("BMP", 0.5), ("GIF", 0.5)])
def test_half_a_picture_is_refused_whatever_another_package_has_set(
    monkeypatch: pytest.MonkeyPatch, kind: str, length: float
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    whole = encoded(kind)
    half = whole[: int(len(whole) * length)]
    if kind == "PNG":
        half += whole[-12:]
    with pytest.raises(InputError, match=r"half: is truncated or damaged"):
        from_bytes(half, "half")
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True, "it is theirs"
    assert from_bytes(whole).width == 96


def test_a_damaged_png_is_refused_whatever_another_package_has_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    data = bytearray(encoded("PNG"))
    data[len(data) // 2] ^= 255
    with pytest.raises(InputError, match="is truncated or damaged"):
        from_bytes(bytes(data))


def test_threads_put_back_what_was_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    shown, filters = warnings.showwarning, list(warnings.filters)
    inside, leave = threading.Event(), threading.Event()

    def first() -> None:
        with opening.strict("first"):
            inside.set()
            leave.wait(5)

    thread = threading.Thread(target=first)
    thread.start()
    assert inside.wait(5)
    with opening.strict("second"):
        leave.set()
        thread.join(5)
        assert [ImageFile.LOAD_TRUNCATED_IMAGES] == [False], "the second is still inside"
    assert [ImageFile.LOAD_TRUNCATED_IMAGES] == [True]
    assert warnings.showwarning is shown and warnings.filters == filters


def test_a_value_that_is_set_meanwhile_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", False)
    with opening.strict("picture"):
        monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    assert [ImageFile.LOAD_TRUNCATED_IMAGES] == [True]


def test_pillows_warnings_become_lines_that_name_the_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    odd = png_insert(encoded("PNG"), [(b"acTL", bytes(8))])  # an animation of no frame
    (tmp_path / "odd.png").write_bytes(odd)
    tiff = bytearray(encoded("TIFF", dpi=(72, 72)))
    place = tiff.index(b"\x1a\x01\x05\x00") + 8
    tiff[place : place + 4] = b"\xff\xff\xff\x7f"  # a resolution beyond the end
    (tmp_path / "odd.tif").write_bytes(tiff)
    with caplog.at_level("INFO", "lib_facerestore"):
        for name in ("odd.png", "odd.tif"):
            read_picture(tmp_path / name)
    assert not recwarn.list
    for name in ("odd.png", "odd.tif"):
        assert f"{tmp_path / name}: " in caplog.text


def test_warnings_of_other_threads_are_shown_as_ever() -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with opening.strict("picture"):
            other = threading.Thread(target=lambda: warnings.warn("theirs", stacklevel=1))
            other.start()
            other.join()
    assert [str(one.message) for one in seen] == ["theirs"]


def test_a_named_file_is_limited_by_memory_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    for kind in ("PNG", "JPEG", "TIFF", "WEBP", "BMP"):
        (tmp_path / f"a.{kind}").write_bytes(encoded(kind))
        assert read_picture(tmp_path / f"a.{kind}").width == 96
        with pytest.raises(InputError, match=r"b: has too many pixels to open safely \(96×64, more than"):
            from_bytes((tmp_path / f"a.{kind}").read_bytes(), "b")
    assert not recwarn.list
    assert Image.MAX_IMAGE_PIXELS == 1000
    with opening.unlimited():  # while another thread reads a file of the user's, bytes from elsewhere stay limited
        assert opening.pixels_allowed() == 2000
    monkeypatch.setattr(room, "free_memory", lambda: 96 * 64 * room.BYTES_A_PIXEL - 1)
    for kind in ("PNG", "TIFF"):
        with pytest.raises(InputError, match=r"has 96×64 pixels, for which about .* needed, and .* free; close"):
            read_picture(tmp_path / f"a.{kind}")
    monkeypatch.setattr(room, "free_memory", lambda: None)  # not known
    assert read_picture(tmp_path / "a.PNG").width == 96
