"""`Watch`: records what a process does to the files below a folder, and can make any of these operations fail."""

from __future__ import annotations

import builtins
import contextlib
import errno
import io
import os
import pathlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from lib_facerestore.images import atomic_write

from .disk import Kind, Operation, read_tree


class Watch:
    """Records operations; `recording` puts it in place of `open` and the functions of `os`.

    Args:
        root: the folder. Other files are left alone.
        fail_at: number of the operation that fails; -1: none.
        code: the error's number. A write of more than one byte that fails has written half before.
        always: whether all later writes, new files and folders fail too, as on a disk that stays full.
        links: whether the file system has hard links.

    Attributes:
        start: the content of the folder at first.
        operations: what was done.
        failed: whether the operation `fail_at` was reached.
    """

    def __init__(
        self, root: Path, fail_at: int = -1, code: int = errno.ENOSPC, *, always: bool = False, links: bool = True
    ) -> None:
        self.root = Path(os.path.realpath(root))
        self.start = read_tree(self.root)
        self.operations: list[Operation] = []
        self.failed = False
        self._fail_at, self._code, self._always, self._links = fail_at, code, always, links
        self._numbers = {path: n for n, path in enumerate(p for p, data in self.start.items() if data is not None)}
        self._next = len(self._numbers)
        self._open: dict[int, tuple[int, str]] = {}

    def path(self, name: Any) -> str | None:
        """The path relative to the folder; None for other paths."""
        if not isinstance(name, (str, os.PathLike)):
            return None
        place = os.path.join(os.path.realpath(os.path.dirname(os.fspath(name)) or "."), os.path.basename(name))
        inside = place.startswith(str(self.root) + os.sep)
        return Path(place).relative_to(self.root).as_posix() if inside else "." if place == str(self.root) else None

    def note(self, kind: Kind, **facts: Any) -> None:
        """Record an operation that is about to be done; raises OSError if it is to fail."""
        self.check(kind)
        self.operations.append(Operation(kind, **facts))

    def check(self, kind: Kind) -> None:
        """Raise OSError if the operation that comes next is to fail."""
        takes_room = kind in ("create", "write", "mkdir", "link")
        first = not self.failed and len(self.operations) == self._fail_at
        if first or (self.failed and self._always and takes_room):
            self.failed = True
            raise OSError(self._code, os.strerror(self._code))

    def opened(self, path: str, handle: int, existed: bool, truncated: bool) -> int:
        """Record that a file was opened for writing; returns its number."""
        if not existed:
            self._numbers[path] = self._next
            self._next += 1
        number = self._numbers[path]
        self._open[handle] = (number, path)
        if not existed:
            self.operations.append(Operation("create", path, file=number))
        elif truncated:
            self.operations.append(Operation("truncate", path, file=number))
        return number

    def file_of(self, handle: int) -> tuple[int, str] | None:
        """Number and path of an open file."""
        return self._open.get(handle)

    def renamed(self, old: str, new: str, *, keep: bool = False) -> None:
        """Follow a rename or link."""
        self._numbers[new] = self._numbers[old] if keep else self._numbers.pop(old)

    @contextlib.contextmanager
    def recording(self) -> Iterator[Watch]:
        """Record while the block runs."""
        with contextlib.ExitStack() as stack:
            for name, make in _FUNCTIONS.items():
                replaced = make(self, getattr(os, name))
                stack.enter_context(mock.patch.object(os, name, replaced))
                accessor = getattr(pathlib, "_NormalAccessor", None)  # Python 3.10 has its own references
                if accessor is not None and hasattr(accessor, name):
                    stack.enter_context(mock.patch.object(accessor, name, staticmethod(replaced)))
            stack.enter_context(mock.patch.object(atomic_write, "rename_new", _rename_new))
            replaced = _opener(self, builtins.open)
            stack.enter_context(mock.patch.object(builtins, "open", replaced))
            stack.enter_context(mock.patch.object(io, "open", replaced))
            yield self


class _Raw(io.FileIO):
    """A file whose writes are recorded."""

    watch: Watch
    number: int
    adds: bool

    def write(self, data: Any) -> int:
        given = bytes(data)
        at = os.fstat(self.fileno()).st_size if self.adds else self.tell()
        try:
            self.watch.note("write", file=self.number, at=at, data=given)
        except OSError:
            if len(given) > 1:
                half = given[: len(given) // 2]
                self.watch.operations.append(Operation("write", file=self.number, at=at, data=half))
                super().write(half)
            raise
        return super().write(given)

    def truncate(self, size: int | None = None) -> int:
        at = self.tell() if size is None else size
        self.watch.note("truncate", file=self.number, at=at)
        return super().truncate(size)


def _opener(watch: Watch, real: Callable[..., Any]) -> Callable[..., Any]:
    def opened(
        file: Any, mode: str = "r", buffering: int = -1, encoding: Any = None, errors: Any = None, newline: Any = None,
        closefd: bool = True, opener: Any = None,
    ) -> Any:  # fmt: skip
        known = watch.file_of(file) if isinstance(file, int) else None
        path = watch.path(file)
        if set(mode) <= set("rbt") or (path is None and known is None):
            return real(file, mode, buffering, encoding, errors, newline, closefd, opener)
        existed = known is not None or os.path.exists(file)
        if not existed:
            watch.check("create")
        elif known is None and "w" in mode:
            watch.check("truncate")
        raw = _Raw(file, mode.replace("b", "").replace("t", ""), closefd, opener)
        raw.watch, raw.adds = watch, "a" in mode
        raw.number = known[0] if known else watch.opened(path or "", raw.fileno(), existed, "w" in mode)
        if buffering == 0:
            return raw
        buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding, errors, newline)

    return opened


def _os_open(watch: Watch, real: Callable[..., int]) -> Callable[..., int]:
    def opened(name: Any, flags: int, mode: int = 0o777, **more: Any) -> int:
        path = watch.path(name)
        existed = os.path.lexists(name)
        if path is None or not flags & (os.O_CREAT | os.O_WRONLY | os.O_RDWR):
            handle = real(name, flags, mode, **more)
            if path is not None and existed and os.path.isdir(name):
                watch._open[handle] = (-1, path)
            return handle
        if not existed:
            watch.check("create")
        handle = real(name, flags, mode, **more)
        watch.opened(path, handle, existed, bool(flags & os.O_TRUNC))
        return handle

    return opened


def _fsync(watch: Watch, real: Callable[[int], None]) -> Callable[[int], None]:
    def flushed(handle: Any) -> None:
        number, path = watch.file_of(handle if isinstance(handle, int) else handle.fileno()) or (-1, None)
        if path is not None and number >= 0:
            watch.note("flush", file=number)
        elif path is not None:
            watch.note("flush folder", path=path)
        real(handle)

    return flushed


def _two(kind: Kind) -> Callable[[Watch, Callable[..., Any]], Callable[..., Any]]:
    def make(watch: Watch, real: Callable[..., Any]) -> Callable[..., Any]:
        def moved(old: Any, new: Any, **more: Any) -> Any:
            path, other = watch.path(old), watch.path(new)
            if path is None or other is None:
                return real(old, new, **more)
            if kind == "link" and not watch._links:
                raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
            if kind == "link" and os.path.lexists(new):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
            watch.note(kind, path=path, other=other)
            result = real(old, new, **more)
            watch.renamed(path, other, keep=kind == "link")
            return result

        return moved

    return make


def _rename_new(old: Path, new: Path) -> None:
    """In place of a call of the system that is not seen here."""
    if os.path.lexists(new):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    os.rename(old, new)


def _one(kind: Kind) -> Callable[[Watch, Callable[..., Any]], Callable[..., Any]]:
    def make(watch: Watch, real: Callable[..., Any]) -> Callable[..., Any]:
        def done(name: Any, *rest: Any, **more: Any) -> Any:
            path = watch.path(name)
            if path is not None and os.path.lexists(name) == (kind == "unlink"):
                watch.note(kind, path=path)
            result = real(name, *rest, **more)
            if path is not None and kind == "unlink":
                watch._numbers.pop(path, None)
            return result

        return done

    return make


_FUNCTIONS: dict[str, Callable[[Watch, Callable[..., Any]], Callable[..., Any]]] = {
    "open": _os_open,
    "fsync": _fsync,
    "replace": _two("rename"),
    "rename": _two("rename"),
    "link": _two("link"),
    "unlink": _one("unlink"),
    "remove": _one("unlink"),
    "mkdir": _one("mkdir"),
}
