"""TIFF files of every kind: each is read with its own values, or refused by its name."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from lib_facerestore.errors import InputError
from lib_facerestore.images.files import Picture, from_bytes, read_picture
from lib_facerestore.images.metadata import upright

from .tiffs import HEIGHT, WIDTH, Kind, tiff

BOTH, CHUNKY = (1, 2), (1,)
# Photometric interpretation, bits, further samples → the planar configurations that are read. All samples are unsigned.
READ: dict[tuple[int, int, tuple[int, ...]], tuple[int, ...]] = {
    **{(colour, bits, ()): BOTH for colour in (0, 1) for bits in (1, 2, 4, 8, 12, 16)},
    **{(3, bits, ()): BOTH for bits in (1, 2, 4, 8)},
    (1, 8, (2,)): CHUNKY,
    (3, 8, (0,)): CHUNKY, (3, 8, (2,)): CHUNKY,
    (2, 8, ()): BOTH, (2, 8, (0,)): CHUNKY, (2, 8, (1,)): CHUNKY, (2, 8, (2,)): BOTH,
    (2, 16, ()): BOTH, (2, 16, (0,)): BOTH, (2, 16, (1,)): BOTH, (2, 16, (2,)): BOTH,
    (5, 8, ()): BOTH, (5, 8, (0,)): CHUNKY,
    (6, 8, ()): BOTH,
}  # fmt: skip
CHANNELS = {0: 1, 1: 1, 2: 3, 3: 1, 4: 1, 5: 4, 6: 3, 8: 3, 9: 3, 10: 3, 32803: 1, 32844: 1, 32845: 3, 34892: 3}
TABLE = np.random.default_rng(3).integers(0, 256, (256, 3))


def kinds(order: str, planar: int, deflate: bool) -> Iterator[Kind]:
    """Every combination of colours, depths, sample formats and further samples."""
    for colour, bits, form in itertools.product(CHANNELS, (1, 2, 4, 8, 10, 12, 16, 24, 32, 64), (1, 2, 3)):
        if (form == 3 and bits not in (16, 32, 64)) or (colour not in (0, 1, 2, 3, 5, 6) and bits not in (8, 16)):
            continue
        for extra in ((), (0,), (1,), (2,)) if form == 1 else ((), (0,)):
            tags: tuple[tuple[int, tuple[int, ...]], ...] = ()
            if colour == 3:
                tags = ((320, tuple(int(one) * 257 for one in TABLE[: 2 ** min(bits, 8)].T.ravel())),)
            elif colour == 6:
                tags = ((530, (1, 1)),)
            yield Kind(colour, bits, CHANNELS[colour] + len(extra), form, extra, planar, order, deflate, tags=tags)


def is_read(kind: Kind) -> bool:
    if kind.form != 1 or (kind.bits == 12 and kind.order == ">"):
        return False
    return kind.planar in READ.get((kind.photometric or 0, kind.bits, kind.extra), ())


def pixels_of(kind: Kind, values: NDArray[Any]) -> NDArray[Any]:
    """The RGB pixels that these samples mean."""
    if kind.photometric in (5, 6):
        mode, channels = ("CMYK", 4) if kind.photometric == 5 else ("YCbCr", 3)
        raw = np.ascontiguousarray(values[:, :, :channels].astype(np.uint8)).tobytes()
        return np.asarray(Image.frombytes(mode, (values.shape[1], values.shape[0]), raw).convert("RGB"))
    if kind.photometric == 3:
        return TABLE[values[:, :, 0].astype(int)]
    most, depth = 2**kind.bits - 1, 255 if kind.bits <= 8 else 65535
    levels = values[:, :, : CHANNELS[kind.photometric or 0]].astype(np.float64)
    if kind.extra == (1,):
        levels = np.minimum(levels * most / np.maximum(values[:, :, 3:].astype(np.float64), 1), most)
    levels = most - levels if kind.photometric == 0 else levels
    return np.broadcast_to(levels * depth / most, (*values.shape[:2], 3))


def check(kind: Kind, picture: Picture, values: NDArray[Any]) -> None:
    expected = pixels_of(kind, values)
    shown = values[:, :, 3] > 0 if kind.extra == (1,) else np.ones(values.shape[:2], bool)
    off = 1 if kind.photometric == 6 or kind.extra == (1,) else 0.5  # of the rounding
    assert np.abs(picture.pixels.astype(np.float64) - expected)[shown].max() <= off, kind
    assert picture.depth == (8 if kind.bits <= 8 else 16), kind
    if kind.extra in ((1,), (2,)):
        assert picture.alpha is not None and np.array_equal(picture.alpha, values[:, :, -1]), kind
    else:
        assert picture.alpha is None, kind


@pytest.mark.parametrize(("order", "planar", "deflate"), list(itertools.product("<>", (1, 2), (False, True))))
def test_every_kind_is_read_rightly_or_refused_by_its_name(order: str, planar: int, deflate: bool) -> None:
    read = 0
    for kind in kinds(order, planar, deflate):
        values = kind.values()
        if kind.extra == (1,) and kind.form == 1:  # no colour is brighter than its alpha
            values = np.minimum(values, values[:, :, -1:])
        data = tiff(kind, values)
        if is_read(kind):
            check(kind, from_bytes(data, "f.tif"), values)
            read += 1
            continue
        with pytest.raises(InputError) as caught:
            from_bytes(data, "f.tif")
        said = str(caught.value)
        assert said.startswith("f.tif: ") and "convert" in said and "damaged" not in said, (kind, said)
        assert f"{kind.bits}-bit" in said, (kind, said)
    assert read == sum(planar in found for found in READ.values()) - (2 if order == ">" else 0)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Kind(1, 8, 1, form=2), "8-bit signed grey"),
        (Kind(2, 32, 3, form=3, planar=2), "planar 32-bit floating-point RGB"),
        (Kind(5, 16, 4), "16-bit CMYK"),
        (Kind(5, 8, 4, tags=((332, (2,)),)), "8-bit inks other than CMYK"),
        (Kind(1, 16, 2, extra=(2,)), "16-bit grey with alpha"),
        (Kind(2, 16, 3, fill=2), "bit-reversed 16-bit RGB"),
        (Kind(2, 8, 3, fill=2, planar=2), "bit-reversed planar 8-bit RGB"),
        (Kind(1, 8, 1, fill=2, deflate=True), "bit-reversed compressed 8-bit grey"),
        (Kind(2, 8, 3, fill=2, deflate=True), "bit-reversed compressed 8-bit RGB"),
        (Kind(8, 8, 3), "8-bit CIELab"),
        (Kind(34892, 16, 3), "16-bit linear raw"),
        (Kind(777, 8, 3), "8-bit colour kind 777"),
        (Kind(None, 8, 1), "8-bit colours that the file does not name"),
        (Kind(6, 8, 3, planar=2), "planar 8-bit subsampled YCbCr"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_kind_is_named(kind: Kind, said: str) -> None:
    remedy = "which cannot be read; convert it to RGB or grey of 8 or 16 bits, without a sign, first"
    with pytest.raises(InputError) as caught:
        from_bytes(tiff(kind, kind.values()), "f.tif")
    assert str(caught.value) == f"f.tif: is a TIFF of {said}, {remedy}"


@pytest.mark.parametrize("kind", [Kind(1, 1, 1), Kind(0, 4, 1), Kind(0, 8, 1), Kind(0, 16, 1), Kind(2, 8, 3)], ids=str)
def test_bytes_whose_lowest_bit_comes_first_are_read(kind: Kind) -> None:
    values = kind.values()
    check(kind, from_bytes(tiff(replace(kind, fill=2), values)), values)


@pytest.mark.parametrize(
    "kind", [Kind(0, 16, 1), Kind(1, 12, 1), Kind(2, 8, 3), Kind(2, 16, 3), Kind(6, 8, 3)], ids=str
)
def test_every_reader_turns_the_picture_upright_once(kind: Kind) -> None:
    kind = replace(kind, tags=((530, (1, 1)),) if kind.photometric == 6 else ())
    values = kind.values()
    for orientation in range(1, 9):
        turned = replace(kind, tags=(*kind.tags, (274, (orientation,))))
        picture = from_bytes(tiff(turned, values))
        assert picture.orientation == orientation
        check(kind, picture, upright(values, orientation))


def test_a_big_tiff_is_turned_and_inverted_too(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    sideways = [(274, "H", 1, 6, False)]
    grey, colour = (np.random.default_rng(1).integers(0, 65536, shape, np.uint16) for shape in ((9, 13), (9, 13, 3)))
    tifffile.imwrite(tmp_path / "g.tif", grey, photometric="miniswhite", bigtiff=True, extratags=sideways)
    tifffile.imwrite(tmp_path / "c.tif", colour, photometric="rgb", bigtiff=True, extratags=sideways)
    assert np.array_equal(read_picture(tmp_path / "g.tif").pixels[:, :, 0], 65535 - upright(grey, 6))
    assert np.array_equal(read_picture(tmp_path / "c.tif").pixels, upright(colour, 6))


def test_a_colour_table_of_8_bit_values_is_read() -> None:
    kind = Kind(3, 8, 1, tags=((320, tuple(int(one) for one in TABLE.T.ravel())),))
    check(kind, from_bytes(tiff(kind, kind.values())), kind.values())


def test_32_bit_values_that_fit_16_bits_are_read() -> None:
    values = np.random.default_rng(1).integers(0, 65536, (HEIGHT, WIDTH, 1))
    for form in (1, 2):
        picture = from_bytes(tiff(Kind(1, 32, 1, form=form), values))
        assert np.array_equal(picture.pixels[:, :, :1], values)
