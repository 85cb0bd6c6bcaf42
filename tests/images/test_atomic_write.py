"""A file is written whole or not at all; nothing is overwritten unasked; permissions and links stay."""

from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path

import pytest
from PIL import Image

from lib_facerestore.errors import InputError
from lib_facerestore.images import atomic_write
from lib_facerestore.images import files as image_files
from lib_facerestore.images.atomic_write import move_atomically, remove_moved, write_atomically
from lib_facerestore.images.files import from_array, read_picture, write_picture

from .samples import EIGHT, same


def test_a_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.png"
    write_picture(from_array(EIGHT), file)
    before = file.read_bytes()

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    for name in ("replace", "fsync", "link"):
        with monkeypatch.context() as patch:
            patch.setattr(atomic_write.os, name, fail)
            if name == "link":
                patch.setattr(atomic_write.os, "replace", fail)
                with pytest.raises(InputError, match="No space left"):
                    write_picture(from_array(EIGHT), tmp_path / "new.png")
            else:
                with pytest.raises(InputError, match=r"a\.png.*No space left.*free space"):
                    write_picture(from_array(EIGHT[:5]), file, overwrite=True)
        assert [entry.name for entry in tmp_path.iterdir()] == ["a.png"]
        assert file.read_bytes() == before
    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "save", fail)
        with pytest.raises(InputError, match="cannot be written as PNG"):
            write_picture(from_array(EIGHT[:5]), file, overwrite=True)
    with monkeypatch.context() as patch:
        patch.setattr(atomic_write.os, "fsync", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            write_picture(from_array(EIGHT[:5]), file, overwrite=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.png"]
    assert file.read_bytes() == before


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_temporary_file_that_cannot_be_removed_is_no_failure_and_goes_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overwrite: bool
) -> None:
    target = tmp_path / "a.png"

    def refused(path: object) -> None:
        raise OSError(errno.EIO, "input/output error", str(path))

    with monkeypatch.context() as broken:
        broken.setattr(os, "unlink", refused)
        atomic_write.write_atomically(target, b"whole", overwrite=overwrite)
    assert target.read_bytes() == b"whole"
    monkeypatch.setattr(atomic_write, "LEFT_SECONDS", 0)
    atomic_write.remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_overwrite_protection_and_its_race(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.png"
    write_picture(from_array(EIGHT), file)
    with pytest.raises(InputError, match=r"a\.png: already exists; allow overwriting"):
        write_picture(from_array(EIGHT[:5]), file)
    write_picture(from_array(EIGHT[:5]), file, overwrite=True)
    assert read_picture(file).height == 5
    for without_links in (False, True):
        late = tmp_path / f"late{without_links}.png"
        encode = image_files.encode_picture

        def encode_while_another_writes(*arguments: object, late: Path = late, encode: object = encode) -> bytes:
            late.write_bytes(b"another's")
            return encode(*arguments)  # type: ignore[operator]

        with monkeypatch.context() as patch:
            patch.setattr(image_files, "encode_picture", encode_while_another_writes)
            if without_links:
                patch.setattr(atomic_write.os, "link", lambda *_: (_ for _ in ()).throw(PermissionError(1, "no links")))
            with pytest.raises(InputError, match="already exists"):
                write_picture(from_array(EIGHT), late)
        assert late.read_bytes() == b"another's"
        assert not list(tmp_path.glob(".facerestore*"))


def test_a_file_system_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic_write.os, "link", lambda *_: (_ for _ in ()).throw(PermissionError(1, "no links")))
    write_picture(from_array(EIGHT), tmp_path / "a.png")
    assert same(read_picture(tmp_path / "a.png"), from_array(EIGHT))
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
def test_permissions_and_links(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        write_picture(from_array(EIGHT), tmp_path / "a.png")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a.png").stat().st_mode) == 0o640
    (tmp_path / "a.png").chmod(0o604)
    (tmp_path / "link.png").symlink_to(tmp_path / "a.png")
    write_picture(from_array(EIGHT[:5]), tmp_path / "link.png", overwrite=True)
    assert (tmp_path / "link.png").is_symlink()
    assert read_picture(tmp_path / "a.png").height == 5
    assert stat.S_IMODE((tmp_path / "a.png").stat().st_mode) == 0o604


@pytest.mark.parametrize("system", [True, False])
def test_without_links_the_name_never_stands_for_an_empty_file(
    system: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill between reserving the name and renaming left one, which later runs took for a result."""
    if not system:
        monkeypatch.setattr(atomic_write, "rename_new", lambda *_: (_ for _ in ()).throw(NotImplementedError))
    seen: list[list[str]] = []

    def watched(old: str, new: str) -> None:
        seen.append([path.name for path in tmp_path.iterdir() if not path.name.startswith(".")])
        os.rename(old, new)

    monkeypatch.setattr(atomic_write.os, "link", lambda *_: (_ for _ in ()).throw(PermissionError(1, "no links")))
    monkeypatch.setattr(atomic_write.os, "replace", watched)
    write_atomically(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new" and all(not names for names in seen)
    with pytest.raises(InputError, match="already exists"):
        write_atomically(tmp_path / "a", b"other")
    assert [path.name for path in tmp_path.iterdir()] == ["a"] and (tmp_path / "a").read_bytes() == b"new"


def test_what_a_killed_run_left_goes_and_what_is_being_written_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("old", "future", "new", "held")
    left = {name: tmp_path / f".facerestore-1-{name}.tmp" for name in names}
    for name, path in left.items():
        path.write_bytes(b"half")
        if name != "new":
            os.utime(path, (4e9, 4e9) if name == "future" else (0, 0))
    other = tmp_path / ".facerestore-results"
    other.write_bytes(b"")
    os.utime(other, (0, 0))
    with left["held"].open("rb") as handle:
        atomic_write.hold(handle.fileno())
        write_atomically(tmp_path / "a", b"")
        there = {name for name in names if left[name].exists()}
    assert other.exists() and there == ({"new", "held"} if sys.platform != "win32" else {"new"})
    write_atomically(tmp_path / "b", b"")  # a folder is looked into once
    assert left["held"].exists()


def test_a_broken_disk_is_said_when_the_folder_is_flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"own")
    real = os.fsync

    def broken(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EIO, "Input/output error")
        real(handle)

    monkeypatch.setattr(os, "fsync", broken)
    for write in (lambda: write_atomically(tmp_path / "a", b""), lambda: move_atomically(source, tmp_path / "b")):
        with pytest.raises(InputError, match="Input/output error"):
            write()
    assert source.read_bytes() == b"own"


@pytest.mark.skipif(sys.platform == "win32", reason="links and upper case")
def test_a_move_that_was_interrupted_is_ended(tmp_path: Path) -> None:
    source, target = tmp_path / "home.pth", tmp_path / "model.pth"
    source.write_bytes(b"own")
    os.link(source, target)
    remove_moved(source, target)
    assert not source.exists() and target.read_bytes() == b"own"
    remove_moved(target, target)
    source.symlink_to(target)
    remove_moved(source, target)
    os.link(target, tmp_path / "MODEL.pth")  # perhaps another way to write the same name
    remove_moved(tmp_path / "MODEL.pth", target)
    assert target.read_bytes() == b"own" and source.is_symlink() and (tmp_path / "MODEL.pth").exists()
