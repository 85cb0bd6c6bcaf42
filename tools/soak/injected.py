"""Faults that are put into a running job: at one of its calls, one of its networks' calls, or one of its reads."""

from __future__ import annotations

import builtins
import contextlib
import errno
import io
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any
from unittest import mock

import torch
from torch.nn.modules import module as hooks

import lib_facerestore

_OWN = os.path.dirname(os.path.abspath(lib_facerestore.__file__)) + os.sep
Act = Callable[[], None]


def raising(error: BaseException) -> Act:
    """A function that raises this error."""

    def act() -> None:
        raise error

    return act


class Counted:
    """How many places there were, and whether the fault happened."""

    def __init__(self) -> None:
        self.count = 0
        self.happened = False

    def reached(self, at: int) -> bool:
        """Count a place; true at the one with this number."""
        self.count += 1
        if self.count - 1 != at or self.happened:
            return False
        self.happened = True
        return True


@contextlib.contextmanager
def at_call(at: int, act: Act) -> Iterator[Counted]:
    """Call `act` when a function of the package is called for the time `at` (from 0; -1 never)."""
    counted = Counted()

    def look(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(_OWN) and counted.reached(at):
            sys.setprofile(None)
            act()

    sys.setprofile(look)
    try:
        yield counted
    finally:
        sys.setprofile(None)


@contextlib.contextmanager
def at_network(at: int, act: Act | None) -> Iterator[Counted]:
    """Call `act` in place of a network's call number `at`; with None, its output becomes NaN."""
    counted, depth, poisoned = Counted(), 0, False

    def before(_: torch.nn.Module, inputs: Any) -> None:
        nonlocal depth, poisoned
        if depth == 0 and counted.reached(at):
            if act is not None:
                act()
            poisoned = True
        depth += 1

    def after(_: torch.nn.Module, inputs: Any, output: Any) -> Any:
        nonlocal depth, poisoned
        depth -= 1
        if depth or not poisoned:
            return None
        poisoned = False
        return _nan(output)

    handles = [hooks.register_module_forward_pre_hook(before), hooks.register_module_forward_hook(after)]
    try:
        yield counted
    finally:
        for handle in handles:
            handle.remove()


def _nan(output: Any) -> Any:
    if isinstance(output, torch.Tensor):
        return torch.full_like(output, float("nan")) if output.is_floating_point() else output
    if isinstance(output, dict):
        return {key: _nan(value) for key, value in output.items()}
    return type(output)(_nan(value) for value in output) if isinstance(output, (list, tuple)) else output


class _Unreadable(io.FileIO):
    """A file on a disk that fails while it is read."""

    def readinto(self, _: Any) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def readall(self) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))


@contextlib.contextmanager
def at_reading(folder: Path, at: int, opens: bool) -> Iterator[Counted]:
    """The file below `folder` that is opened for reading as number `at` cannot be read; if not `opens`, not opened."""
    counted, real = Counted(), io.open

    def opened(file: Any, mode: str = "r", *more: Any, **named: Any) -> Any:
        inside = isinstance(file, (str, os.PathLike)) and Path(file).is_relative_to(folder)
        if inside and set(mode) <= set("rbt") and counted.reached(at):
            if not opens:
                raise OSError(errno.EIO, os.strerror(errno.EIO), os.fspath(file))
            return io.BufferedReader(_Unreadable(file, "r"))
        return real(file, mode, *more, **named)

    with mock.patch.object(builtins, "open", opened), mock.patch.object(io, "open", opened):
        yield counted
