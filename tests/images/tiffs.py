"""TIFF files of any kind, written sample by sample (TIFF 6.0), to compare a reader with."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 13, 9
_FORMS = {1: "uint", 2: "int", 3: "float"}


@dataclass(frozen=True)
class Kind:
    """What a TIFF holds.

    Attributes:
        photometric: tag 262; None leaves it out.
        bits: bits of a sample.
        samples: samples of a pixel.
        form: tag 339: 1 unsigned, 2 signed, 3 floating-point.
        extra: tag 338, one number for each further sample.
        planar: tag 284: 1 pixel by pixel, 2 plane by plane.
        order: "<" or ">".
        deflate: whether the strips are compressed.
        fill: tag 266: 1, or 2 for bytes whose lowest bit comes first.
        tags: further tags.
    """

    photometric: int | None
    bits: int
    samples: int
    form: int = 1
    extra: tuple[int, ...] = ()
    planar: int = 1
    order: str = "<"
    deflate: bool = False
    fill: int = 1
    tags: tuple[tuple[int, tuple[int, ...]], ...] = ()

    def __str__(self) -> str:
        return f"{self.photometric}-{self.bits}-{self.samples}"

    def values(self) -> NDArray[Any]:
        """Samples, H×W×samples: a pattern of all levels, with the lowest and the highest."""
        rng = np.random.default_rng(self.bits * 10 + self.samples)
        shape = (HEIGHT, WIDTH, self.samples)
        if self.form == 3:
            return rng.random(shape).astype(f"f{self.bits // 8}")
        low, high = (-(2 ** (self.bits - 1)), 2 ** (self.bits - 1)) if self.form == 2 else (0, 2**self.bits)
        made = rng.integers(low, high, shape, dtype=np.int64 if self.form == 2 else np.uint64)
        made[0, 0], made[0, 1] = low, high - 1
        return made


def tiff(kind: Kind, values: NDArray[Any]) -> bytes:
    """The file of these samples, H×W×samples, in two strips (of each plane)."""
    planes = np.moveaxis(values, 2, 0)[..., None] if kind.planar == 2 else values[None]
    rows = 5
    strips = [_packed(kind, plane[top : top + rows]) for plane in planes for top in range(0, values.shape[0], rows)]
    if kind.deflate:
        strips = [zlib.compress(strip) for strip in strips]
    tags: dict[int, tuple[int, ...]] = {256: (values.shape[1],), 257: (values.shape[0],)}
    tags |= {258: (kind.bits,) * kind.samples, 259: (8 if kind.deflate else 1,), 277: (kind.samples,), 278: (rows,)}
    tags |= {279: tuple(map(len, strips)), 284: (kind.planar,), 266: (kind.fill,), 339: (kind.form,) * kind.samples}
    tags |= {262: (kind.photometric,)} if kind.photometric is not None else {}
    tags |= {338: kind.extra} if kind.extra else {}
    tags |= dict(kind.tags)
    return _file(kind.order, tags, strips)


def _packed(kind: Kind, values: NDArray[Any]) -> bytes:
    """Samples as bytes: rows of fewer than 8, or of 12, bits a sample begin at a whole byte."""
    if kind.bits in (8, 16, 32, 64):
        packed = values.astype(f"{kind.order}{_FORMS[kind.form][0]}{kind.bits // 8}").tobytes()
    else:
        rows = values.reshape(values.shape[0], -1).astype(np.uint64)
        shifts = np.arange(kind.bits - 1, -1, -1, dtype=np.uint64)
        bits = ((rows[:, :, None] >> shifts) & np.uint64(1)).astype(np.uint8).reshape(rows.shape[0], -1)
        packed = np.packbits(bits, axis=1).tobytes()
    if kind.fill == 2:
        packed = np.packbits(np.unpackbits(np.frombuffer(packed, np.uint8)), bitorder="little").tobytes()
    return packed


def _file(order: str, tags: dict[int, tuple[int, ...]], strips: list[bytes]) -> bytes:
    """A directory, the lists that do not fit into it, and the strips."""
    start = 8 + 2 + 12 * (len(tags) + 1) + 4
    long = {name: value for name, value in tags.items() if len(value) > 1}
    data_at = start + 4 * sum(len(value) for value in long.values()) + 4 * len(strips)
    ends = np.cumsum([data_at, *map(len, strips)])
    tags = tags | {273: tuple(int(end) for end in ends[:-1])}
    entries, lists = b"", b""
    for name, value in sorted(tags.items()):
        short = name == 320 or (max(value) < 65536 and name not in (273, 279))
        form = "H" if short else "L"
        packed = struct.pack(f"{order}{len(value)}{form}", *value)
        if len(packed) > 4:
            packed, lists = struct.pack(order + "L", start + len(lists)), lists + packed + bytes(-len(packed) % 4)
        entries += struct.pack(order + "HHL", name, 3 if short else 4, len(value)) + packed.ljust(4, b"\0")
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "LH", 8, len(tags))
    return (head + entries + bytes(4) + lists).ljust(data_at, b"\0") + b"".join(strips)
