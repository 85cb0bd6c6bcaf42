"""Small pictures whose metadata unpack to a lot, or take long to read: bounded in memory, and never a crash."""

from __future__ import annotations

import io
import tracemalloc
import zlib

import cv2
import numpy as np
import PIL.Image
import pytest

from lib_facerestore.errors import InputError
from lib_facerestore.images import files, metadata, png_parts, xmp_edit
from lib_facerestore.images.metadata import png_chunk

BOMB = zlib.compress(bytes(4 * 2**20), 9)


def png(depth: type = np.uint8) -> bytes:
    return bytes(cv2.imencode(".png", np.zeros((8, 8, 3), depth))[1])


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
@pytest.mark.parametrize("where", ["first", "last"])
@pytest.mark.parametrize(
    "chunk", [(b"zTXt", b"a\0\0"), (b"iTXt", b"a\0\1\0\0\0"), (b"iCCP", b"a\0\0")], ids=["zTXt", "iTXt", "iCCP"]
)
def test_compressed_metadata_have_one_limit_together(
    depth: type, where: str, chunk: tuple[bytes, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(png_parts, "TEXT_LIMIT", 6 * 2**20)
    name, head = chunk
    data, bombs = png(depth), png_chunk(name, head + BOMB) * 12
    at = 33 if where == "first" else len(data) - 12
    data = data[:at] + bombs + data[at:]
    tracemalloc.start()
    try:
        picture = files.from_bytes(data, "bomb.png")
        assert sum(len(item.value) for item in picture.text) <= 6 * 2**20
    except InputError:  # Pillow's own limit
        pass
    finally:
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert most < 60 * 2**20


def test_text_within_the_limit_is_kept() -> None:
    item = metadata.parse_text(b"zTXt", b"a\0\0" + zlib.compress(b"x" * 1000), 1000)
    assert item is not None and len(item.value) == 1000
    assert metadata.parse_text(b"zTXt", b"a\0\0" + zlib.compress(b"x" * 1001), 1000) is None


def test_an_enormous_xmp_packet_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xml.dom.expatbuilder.parseString", lambda *_, **__: pytest.fail("it was parsed"))
    for many in (b"<a/>" * 100_001, b'<a b=""/>' * 50_001 + b' c="" d="' * 60_000):
        packet = b"<x MotionPhoto='1'>" + many + b"</x>"
        assert xmp_edit.edited(packet, lambda *_: True) == packet


def test_a_picture_that_claims_billions_of_pixels_is_refused() -> None:
    out = io.BytesIO()
    PIL.Image.new("L", (1, 1)).save(out, "PNG")
    data = out.getvalue()
    header = (60_000).to_bytes(4, "big") * 2 + data[24:29]
    with pytest.raises(InputError, match="too many pixels"):
        files.from_bytes(data[:8] + png_chunk(b"IHDR", header) + data[33:], "claims.png")
