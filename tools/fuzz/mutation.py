"""How cases are made: `Source` reads values from bytes, `Mutator` alters the files of a small corpus."""

from __future__ import annotations

import random
import string
import struct
from collections.abc import Sequence
from typing import Any, TypeVar

T = TypeVar("T")

_NUMBERS = (0, 1, -1, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1)
_ODD_VALUES: tuple[object, ...] = (
    None, True, False, "", " ", "none", "nan", "1e999", "-0", "٣", "\x00", "\ud800", "../..", "a" * 3000, [], {}, [[]],
    {"a": None}, float("nan"), float("inf"), -float("inf"), -1, 0, 1, 2, 0.5, 1e-320, 1e308, 10**400, 2**63, b"x",
    (1, 2),
)  # fmt: skip


class Source:
    """Values read from the bytes of a case, so that a case is always the same and small changes of it are small.

    At the end of the bytes every number is 0.
    """

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def bytes(self, count: int) -> bytes:
        """At most `count` of the remaining bytes."""
        taken = self._data[self._at : self._at + count]
        self._at += count
        return taken

    def below(self, limit: int) -> int:
        """A whole number from 0 to limit - 1."""
        return int.from_bytes(self.bytes(2 if limit <= 65536 else 8), "little") % limit

    def one_of(self, values: Sequence[T]) -> T:
        """One of some values."""
        return values[self.below(len(values))]

    def real(self) -> float:
        """A float of any size, NaN and infinities among them; every other one is between -2 and 2."""
        if self.below(2):
            return self.below(65536) / 16384 - 2
        return float(struct.unpack("<d", self.bytes(8).ljust(8, b"\0"))[0])

    def text(self) -> str:
        """A short text of printable characters."""
        return "".join(string.printable[byte % 100] for byte in self.bytes(self.below(24)))

    def value(self) -> Any:
        """A value of any type that a program could pass."""
        kind = self.below(5)
        if kind == 0:
            return self.real()
        if kind == 1:
            return self.text()
        if kind == 2:
            return self.below(2**63) - 2**62
        if kind == 3:
            return [self.value() for _ in range(self.below(3))]
        return self.one_of(_ODD_VALUES)


class Mutator:
    """Makes cases by altering the entries of a corpus.

    Args:
        corpus: at least one entry.
        seed: the same seed makes the same cases.
    """

    def __init__(self, corpus: Sequence[bytes], seed: int) -> None:
        self._corpus = list(corpus)
        self._random = random.Random(seed)

    def case(self) -> bytes:
        """The next case: an entry of the corpus with one to eight changes, or noise."""
        choose = self._random
        if choose.random() < 0.02:
            return choose.randbytes(choose.randrange(200))
        data = bytearray(choose.choice(self._corpus))
        for _ in range(choose.randint(1, 8) if choose.random() < 0.5 else 1):
            self._alter(data)
        return bytes(data)

    def _alter(self, data: bytearray) -> None:
        choose = self._random
        at = choose.randrange(len(data) + 1)
        length = min(1 << choose.randrange(8), len(data) - at)
        kind = choose.randrange(7)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << choose.randrange(8)
        elif kind == 1 and at < len(data):
            data[at] = choose.choice((0, 1, 127, 128, 255, choose.randrange(256)))
        elif kind == 2:
            del data[at : at + length]
        elif kind == 3:
            data[at:at] = data[at : at + length]
        elif kind == 4:
            other = choose.choice(self._corpus)
            start = choose.randrange(len(other) + 1)
            data[at : at + length] = other[start : start + length]
        elif kind == 5:
            del data[at:]
        else:
            size, order = choose.choice((2, 4, 8)), choose.choice(("little", "big"))
            number = choose.choice(_NUMBERS) % (1 << 8 * size)
            data[at : at + size] = number.to_bytes(size, "little" if order == "little" else "big")
