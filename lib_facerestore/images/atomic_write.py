"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ..errors import InputError


def check_target(path: str | os.PathLike[str], *, overwrite: bool) -> Path:
    """The path as a Path, if a file may be written there; InputError naming the remedy otherwise."""
    target = Path(os.fspath(path))
    try:
        if target.is_dir():
            raise InputError(f"{target}: is a folder; give a file name inside it")
        if not target.parent.is_dir():
            raise InputError(f"{target}: the folder {target.parent} does not exist; create it first")
        if os.path.lexists(target) and not overwrite:
            raise _exists(target)
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{target}: cannot be written ({error}); choose another name") from error
    return target


def check_folder(folder: Path) -> None:
    """InputError naming the remedy unless files can be written in the folder, or it can be made; nothing is made."""
    place = folder
    while not os.path.lexists(place) and place.parent != place:
        place = place.parent
    if not os.path.isdir(place):
        raise InputError(f"{folder}: {place} is a file, no folder; name another output")
    if not os.access(place, os.W_OK | os.X_OK):
        raise InputError(f"{folder}: {place} cannot be written to; check its permissions, or name another output")


def make_folder(folder: Path) -> None:
    """The folder, with those above it, where it is not there yet; InputError naming the remedy."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        why = error.strerror or error
        raise InputError(f"{folder}: the folder cannot be made ({why}); name another output") from error


def write_atomically(path: str | os.PathLike[str], data: bytes, *, overwrite: bool = False) -> None:
    """Write data to a temporary file in the same folder, flush it to disk, and give it its final name in one step.

    On any failure neither a temporary nor a partial file is left, and an older file is intact. Permissions are those of
    a plain open (umask); an overwritten file keeps its own, and a symbolic link is written through.

    Raises:
        InputError: the file cannot be written, or exists and `overwrite` is not given, also where it appears meanwhile.
    """
    with open_atomically(path, overwrite=overwrite) as file:
        file.write(data)


def copy_atomically(source: Path, path: Path) -> None:
    """Copy a file to a new name, whole or not at all; see `write_atomically`.

    Raises:
        InputError: it cannot be copied, the disk has too little room, or something has that name.
    """
    try:
        free, size = shutil.disk_usage(path.parent).free, source.stat().st_size
        if free < size:
            raise InputError(
                f"{path}: the disk has {free / 2**20:,.0f} MB free and {size / 2**20:,.0f} MB are needed; make room."
            )
        with source.open("rb") as original, open_atomically(path) as file:
            shutil.copyfileobj(original, file, 2**20)
    except OSError as error:
        raise _not_written(path, error) from error


def move_atomically(source: Path, path: Path) -> None:
    """Give a file another name or folder. Until it is whole under the new name it keeps the old one.

    Raises:
        InputError: it cannot be moved, or something has that name; the file is at `source` then, or also there.
    """
    check_target(path, overwrite=False)
    try:
        if source.is_symlink() or source.stat().st_dev != path.parent.stat().st_dev:
            copy_atomically(source, path)
        else:
            _claim(source, path)
            _flush_folder(path.parent)
    except OSError as error:
        raise _not_written(path, error) from error
    try:
        source.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f"{path}: is written, but {source} could not be removed ({error.strerror or error})."
        ) from error


@contextlib.contextmanager
def open_atomically(path: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[BinaryIO]:
    """A file to write to, which gets its name when the block ends without an error; see `write_atomically`."""
    target = check_target(path, overwrite=overwrite)
    if overwrite and target.is_symlink():
        target = Path(os.path.realpath(target))
    temporary = target.parent / f".facerestore-{os.getpid()}-{secrets.token_hex(6)}.tmp"
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        try:
            with os.fdopen(handle, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            if overwrite:
                with contextlib.suppress(FileNotFoundError):
                    os.chmod(temporary, target.stat().st_mode & 0o7777)
                os.replace(temporary, target)
            else:
                _claim(temporary, target)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
    except OSError as error:
        raise _not_written(target, error) from error
    _flush_folder(target.parent)


def _not_written(target: Path, error: OSError) -> InputError:
    why = error.strerror or error
    return InputError(f"{target}: could not be written ({why}); check the name, permissions and free space")


def _claim(temporary: Path, target: Path) -> None:
    """Give a file of the same disk another name unless something has that already. The old name may stay beside it."""
    try:
        os.link(temporary, target)
        return
    except FileExistsError as error:
        raise _exists(target) from error
    except (OSError, NotImplementedError, AttributeError):
        pass  # a file system without hard links: reserve the name, then replace our own reservation
    try:
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    except FileExistsError as error:
        raise _exists(target) from error
    try:
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(target)
        raise


def _exists(target: Path) -> InputError:
    return InputError(f"{target}: already exists; allow overwriting or choose another name")


def put_in_place(finished: Path, target: Path) -> None:
    """Flush a finished file to disk and give it its final name in the same folder in one step.

    It takes the place of a file that has this name. Raises OSError; then nothing has changed.
    """
    with open(finished, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(finished, target)
    _flush_folder(target.parent)


def _flush_folder(folder: Path) -> None:
    """Make the new name itself durable, where the system can."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
