"""A block of metadata is in the file that is written, and true there, or a note names it: never lost without a word."""

from __future__ import annotations

import itertools

import pytest

from lib_facerestore.images.files import from_bytes, left_out, to_bytes

from .blocks import JPEG_BLOCKS, PNG_BLOCKS, TIFF_BLOCKS, WEBP_BLOCKS, Block
from .samples import touched

TARGETS = (".jpg", ".png", ".webp", ".tif", ".bmp")


def cases(kinds: dict[str, Block]) -> list[tuple[str, str]]:
    return list(itertools.product(kinds, TARGETS))


def check(block: Block, source: str, target: str) -> None:
    picture = from_bytes(block.data, source)
    notes = " ".join((*picture.losses, *left_out(picture, f"out{target}")))
    written = to_bytes(touched(picture), target)
    found = block.evidence in written if isinstance(block.evidence, bytes) else block.evidence(written)
    assert found is not (block.named in notes), notes or "lost without a word"
    assert b"hdrgm" not in written and b"MPF\0" not in written
    if not found:
        assert not [claim for claim in block.claims if claim in written]
    assert to_bytes(picture, source[2:]) == block.data, "nothing has changed"
    again = from_bytes(written)
    assert to_bytes(touched(again), target)
    assert not left_out(again, f"out{target}") and not again.losses, "all that is named is gone"


@pytest.mark.parametrize(("kind", "target"), cases(JPEG_BLOCKS))
def test_a_block_of_a_jpeg_is_kept_or_named(kind: str, target: str) -> None:
    check(JPEG_BLOCKS[kind], "in.jpg", target)


@pytest.mark.parametrize(("kind", "target"), cases(PNG_BLOCKS))
def test_a_block_of_a_png_is_kept_or_named(kind: str, target: str) -> None:
    check(PNG_BLOCKS[kind], "in.png", target)


@pytest.mark.parametrize(("kind", "target"), cases(TIFF_BLOCKS))
def test_a_block_of_a_tiff_is_kept_or_named(kind: str, target: str) -> None:
    check(TIFF_BLOCKS[kind], "in.tif", target)


@pytest.mark.parametrize(("kind", "target"), cases(WEBP_BLOCKS))
def test_a_block_of_a_webp_is_kept_or_named(kind: str, target: str) -> None:
    check(WEBP_BLOCKS[kind], "in.webp", target)
