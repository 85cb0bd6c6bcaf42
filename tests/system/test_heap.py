"""Freed memory is kept where that is our process and glibc's heap, and nowhere else."""

from __future__ import annotations

import mmap
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from lib_facerestore import __main__
from lib_facerestore.system import heap

GLIBC = platform.libc_ver()[0] == "glibc"
MEMORY = 64 << 20
FAULTS = """
import ctypes, resource, sys
import numpy as np
from lib_facerestore.system import heap
ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: pages of one size, whatever the machine's setting
if sys.argv[1] == "keep":
    assert heap.keep_freed_memory()
def use():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(int(sys.argv[2]), np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
use()
print(use())
heap.give_back_freed_memory()
print(use())
"""


def clean() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}


def faults(how: str) -> list[int]:
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", FAULTS, how, str(MEMORY)]
    shown = subprocess.run(command, cwd=root, env=clean(), capture_output=True, text=True, check=True)
    return [int(line) for line in shown.stdout.split()]


@pytest.mark.skipif(not GLIBC, reason="only glibc's heap can be told so")
def test_freed_memory_is_used_again_without_fetching_its_pages() -> None:
    pages = MEMORY / mmap.PAGESIZE
    kept, given_back = faults("keep")
    fetched, _ = faults("leave")
    assert fetched > 0.9 * pages
    assert kept < 0.05 * pages
    assert given_back > 0.5 * pages


@pytest.mark.parametrize("name", ["MALLOC_ARENA_MAX", "GLIBC_TUNABLES"])
def test_what_the_user_set_is_left_alone(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "2")
    assert not heap.keep_freed_memory()


def test_without_glibc_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Windows")
    assert not heap.keep_freed_memory()
    heap.give_back_freed_memory()


@pytest.mark.parametrize(("chosen", "expected"), [(None, "1"), ("0", "0")])
def test_large_pages_are_asked_for_where_memory_is_not_kept(
    monkeypatch: pytest.MonkeyPatch, chosen: str | None, expected: str
) -> None:
    monkeypatch.setattr(__main__, "keep_freed_memory", lambda: False)
    monkeypatch.setattr(__main__, "main", lambda: 7)
    monkeypatch.setenv("THP_MEM_ALLOC_ENABLE", chosen or "")  # so that it is put back afterwards
    if chosen is None:
        monkeypatch.delenv("THP_MEM_ALLOC_ENABLE")
    assert __main__.run() == 7
    assert os.environ["THP_MEM_ALLOC_ENABLE"] == expected


def test_the_command_line_keeps_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[bool] = []

    def keep() -> bool:
        called.append(True)
        return True

    monkeypatch.setattr(__main__, "keep_freed_memory", keep)
    monkeypatch.setattr(__main__, "main", lambda: 0)
    monkeypatch.delenv("THP_MEM_ALLOC_ENABLE", raising=False)
    assert __main__.run() == 0
    assert called == [True]
    assert "THP_MEM_ALLOC_ENABLE" not in os.environ
