"""`Reader`: an unpickler that runs nothing, and that no pickle can keep busy or fill the memory with.

It is Python's own in Python, since the one in C makes a table as long as a pickle asks for. A tuple inside of tuples,
used as a key, is hashed without a limit of depth or of time by Python and PyTorch alike: such files are refused here.
"""

from __future__ import annotations

import os
import pickle
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

_MOST_STEPS = 4_000_000  # reads from the file: two or three for a step; the largest public checkpoint needs 200,000
_MOST_WEIGHT = 10_000  # things in a tuple, counting those in the tuples inside of it


class HostileError(Exception):
    """The pickle asks for more memory or time than any checkpoint needs; the message is a reason without a subject."""


@dataclass(frozen=True)
class Tensor:
    """A tensor of a checkpoint, of which only the shape is known."""

    shape: tuple[int, ...]

    def __setstate__(self, state: object) -> None:
        return


@dataclass(frozen=True)
class _Storage:
    """A type of storage, e.g. "FloatStorage". A pickle can refer to it but not call it."""

    name: str

    def __setstate__(self, state: object) -> None:
        return


_STORAGE_BYTES = {
    "ByteStorage": 1, "CharStorage": 1, "BoolStorage": 1, "ShortStorage": 2, "HalfStorage": 2, "BFloat16Storage": 2,
    "IntStorage": 4, "FloatStorage": 4, "LongStorage": 8, "DoubleStorage": 8,
}  # fmt: skip


class _Call:
    """A function of this module that a pickle may call. A pickle cannot set its attributes."""

    __slots__ = ("_call",)
    _call: Callable[..., object]

    def __init__(self, call: Callable[..., object]) -> None:
        object.__setattr__(self, "_call", call)

    def __call__(self, *arguments: object, **named: object) -> object:
        return self._call(*arguments, **named)

    def __setattr__(self, name: str, value: object) -> None:
        return

    def __setstate__(self, state: object) -> None:
        return


class _Inert:
    """Placeholder for any class or function of a pickle: accepts all operations and does nothing."""

    def __new__(cls, *arguments: object, **named: object) -> _Inert:
        return object.__new__(cls)

    def __init__(self, *arguments: object, **named: object) -> None:
        return

    def __call__(self, *arguments: object, **named: object) -> _Inert:
        return self

    def __setstate__(self, state: object) -> None:
        return

    def __setitem__(self, key: object, value: object) -> None:
        return

    def append(self, value: object) -> None:
        """For the opcodes that fill lists."""

    def extend(self, values: object) -> None:
        """For the opcodes that fill lists."""


def _tensor(_storage: object, _offset: object, size: object, *_: object) -> Tensor:
    if not isinstance(size, tuple) or not all(isinstance(side, int) for side in size):
        raise ValueError("a tensor without a shape")
    return Tensor(tuple(size))


_PLAIN: dict[tuple[str, str], Callable[..., object]] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): lambda data, *_: data,
    ("torch", "Size"): lambda sides=(): _weighed(list(sides)),
}


_TENSOR_MODULES = ("torch", "torch.storage", "torch._utils", "torch.serialization", "torch.nn.parameter")


class _Tuple(tuple[Any, ...]):
    weight: int


class _Frozen(frozenset[Any]):
    weight: int


def _weight(items: Iterable[object]) -> int:
    weight = 1 + sum(getattr(item, "weight", 1) if isinstance(item, (_Tuple, _Frozen)) else 1 for item in items)
    if weight > _MOST_WEIGHT:
        raise HostileError("it holds tuples inside of tuples without end")
    return weight


def _weighed(items: list[Any]) -> _Tuple:
    weight = _weight(items)
    made = _Tuple(items)
    made.weight = weight
    return made


class _Counted:
    """A file that is read a limited number of times, and never beyond its end."""

    def __init__(self, file: Any) -> None:
        self._file, self._steps = file, 0
        start = file.tell()
        self._end = file.seek(0, os.SEEK_END)
        file.seek(start)

    def read(self, size: int) -> Any:
        self._count()
        return self._file.read(min(size, self._end))

    def readline(self) -> Any:
        self._count()
        return self._file.readline(2**20)

    def _count(self) -> None:
        self._steps += 1
        if self._steps > _MOST_STEPS:
            raise HostileError("its description of the tensors is too long")


class Reader(pickle._Unpickler):
    """Reads a checkpoint's description; `asked` holds the names it needs, other than those for tensors.

    Raises HostileError, and whatever a damaged pickle makes an unpickler raise.
    """

    stack: list[Any]
    append: Callable[[object], None]
    pop_mark: Callable[[], list[Any]]
    _file_read: Callable[[int], bytes]
    dispatch: ClassVar[dict[int, Callable[..., Any]]] = dict(pickle._Unpickler.dispatch)

    def __init__(self, file: Any) -> None:
        super().__init__(_Counted(file), encoding="latin1")  # some files were written by Python 2
        self.asked: set[str] = set()
        self.storages: dict[object, int] = {}
        """Bytes of each storage with a known type, by its key."""

    def find_class(self, module: str, name: str) -> Any:
        """A placeholder for the class or function, never the real one."""
        if (module, name) in _PLAIN:
            return _Call(_PLAIN[module, name])
        if module == "torch" and name in _STORAGE_BYTES:
            return _Storage(name)
        if module not in _TENSOR_MODULES:
            self.asked.add(f"{module}.{name}")
        return _Inert

    def persistent_load(self, pid: object) -> object:
        """Called for a tensor's values; notes only how many bytes they take."""
        if isinstance(pid, tuple) and len(pid) > 4 and isinstance(pid[1], _Storage) and isinstance(pid[4], int):
            self.storages[pid[2]] = pid[4] * _STORAGE_BYTES[pid[1].name]
        return None

    def _load_frame(self) -> None:
        self._file_read(8)  # a frame only says how much may be read at once

    def _load_tuple(self) -> None:
        items = _weighed(self.pop_mark())  # first: it changes where `append` puts things
        self.append(items)

    def _load_frozenset(self) -> None:
        items = self.pop_mark()
        weight = _weight(items)
        made = _Frozen(items)
        made.weight = weight
        self.append(made)

    def _load_last(self, count: int) -> None:
        self.stack[-count:] = [_weighed(self.stack[-count:])]

    dispatch[pickle.FRAME[0]] = _load_frame
    dispatch[pickle.TUPLE[0]] = _load_tuple
    dispatch[pickle.FROZENSET[0]] = _load_frozenset
    for _count, _code in ((1, pickle.TUPLE1), (2, pickle.TUPLE2), (3, pickle.TUPLE3)):
        dispatch[_code[0]] = lambda self, count=_count: self._load_last(count)
    del dispatch[pickle.BYTEARRAY8[0]]  # it is made as long as it claims to be
