"""The runs with interruptions find planted faults, and in the package nothing; a few cases of each kind."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

if not hasattr(os, "O_DIRECTORY"):
    pytest.skip("what is recorded are the calls of POSIX systems", allow_module_level=True)

from tools.soak import __main__ as command
from tools.soak import downloads
from tools.soak.disk import Disk, Operation, read_tree
from tools.soak.interrupted import Job, failures, power_cuts
from tools.soak.watch import Watch


def written_job(write: Callable[[Path], None]) -> Job:
    """A file `a` of two bytes that must be `old` or `new` at every moment, and `new` after `write`."""

    def prepare(folder: Path) -> None:
        (folder / "a").write_bytes(b"old")

    def whole(folder: Path, finished: bool) -> str:
        found = (folder / "a").read_bytes() if (folder / "a").exists() else b""
        return "" if found == b"new" or (found == b"old" and not finished) else f"it is {found!r}"

    return Job("planted", prepare, write, whole, lambda _: None, lambda _: "")


def write(folder: Path, flush: bool, flush_name: bool, rename: bool) -> None:
    place = folder / ("b" if rename else "a")
    with open(place, "wb") as file:
        file.write(b"new")
        file.flush()
        if flush:
            os.fsync(file.fileno())
    if rename:
        os.replace(place, folder / "a")
    if flush_name:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(handle)
        os.close(handle)


@pytest.mark.parametrize(
    ("flush", "flush_name", "rename", "fault"),
    [
        (True, True, True, ""),
        (False, True, True, "it is b''"),
        (False, True, True, "it is b'\\x00\\x00\\x00'"),
        (True, False, True, "it is b'old'"),
        (True, True, False, "it is b'n'"),
    ],
    ids=["right", "not flushed", "zeros", "name not flushed", "in place"],
)
def test_a_planted_fault_is_found(flush: bool, flush_name: bool, rename: bool, fault: str, tmp_path: Path) -> None:
    count = power_cuts(written_job(lambda folder: write(folder, flush, flush_name, rename)), tmp_path)
    assert count.tried >= 4 and bool(count.faults) == bool(fault)
    assert any(fault in one for one in count.faults) or not fault


def test_what_is_done_is_recorded_and_replayed(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    watch = Watch(tmp_path)
    with watch.recording():
        (tmp_path / "sub").mkdir()
        (tmp_path / "sub" / "c").write_text("text")
        write(tmp_path, True, True, True)
        with open(tmp_path / "a", "ab") as file:
            file.write(b" and more")
        os.link(tmp_path / "a", tmp_path / "sub" / "d")
        (tmp_path / "a").unlink()
    disk = Disk(watch.start)
    for one in watch.operations:
        disk.apply(one)
    assert disk.now() == read_tree(tmp_path) == {"sub": None, "sub/c": b"text", "sub/d": b"new and more"}
    assert Operation("rename", "b", "a") in watch.operations
    assert {"sub/d"} not in [set(tree) for tree in disk.after_power_cuts()]


def test_an_operation_that_fails_is_met_and_an_unnamed_error_is_a_fault(tmp_path: Path) -> None:
    count = failures(written_job(lambda folder: write(folder, True, True, True)), tmp_path)
    assert count.tried == len(count.faults) >= 12
    assert all(errno.errorcode[code] in " ".join(count.faults) for code in (errno.ENOSPC, errno.EIO))


def test_the_package_holds(tmp_path: Path) -> None:
    every = {"cut at each": 197, "wrong": 150, "circles": 7, "clock": 11, "download: power cut": 9, "write fails": 47}
    with downloads.small_scale() as server:
        for name, step in {**every, "records, models: power": 9, "records, models: any": 23}.items():
            (tried,) = [kind for title, kind in downloads.kinds(server, step, 0, 0) if name in title][:1]
            place = tmp_path / name
            place.mkdir()
            count = tried(place)
            assert count.tried > 2 and not count.faults, f"{name}: {count.faults[:3]}"


def test_the_command_needs_a_part(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main([]) == command.main(["nothing"]) == 2
    assert "downloads" in capsys.readouterr().err
