"""Writing, copying and moving files so that a file appears complete or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ..errors import InputError, TargetExistsError


def check_target(path: str | os.PathLike[str], *, overwrite: bool) -> Path:
    """Check that a file may be written, and return its path.

    Raises:
        InputError: the path is a folder, or its folder does not exist.
        TargetExistsError: the file exists and `overwrite` is false.
    """
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
    """Check that files can be written into a folder, or that it can be created. Nothing is created.

    Raises:
        InputError: they cannot; the message names the remedy.
    """
    existing = folder
    while not os.path.lexists(existing) and existing.parent != existing:
        existing = existing.parent
    if not os.path.isdir(existing):
        raise InputError(f"{folder}: {existing} is a file, not a folder; name another output")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise InputError(f"{folder}: {existing} cannot be written to; check its permissions, or name another output")


def make_folder(folder: Path) -> None:
    """Create a folder and its parents if they do not exist. Raises InputError if that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        why = error.strerror or error
        raise InputError(f"{folder}: the folder cannot be created ({why}); name another output") from error


def write_atomically(path: str | os.PathLike[str], data: bytes, *, overwrite: bool = False) -> None:
    """Write data to a temporary file in the same folder, flush it to disk, and rename it in one step.

    After a failure there is no temporary or partial file, and an existing file is unchanged. Permissions are the usual
    ones (umask); an overwritten file keeps its own. If the path is a symbolic link, its target is written.

    Args:
        path: the file.
        data: its content.
        overwrite: whether an existing file is replaced.

    Raises:
        InputError: the file cannot be written.
        TargetExistsError: the file exists (also if it appears in the meantime) and `overwrite` is false.
    """
    with open_atomically(path, overwrite=overwrite) as file:
        file.write(data)


def copy_atomically(source: Path, path: Path) -> None:
    """Copy a file to `path`, completely or not at all; see `write_atomically`.

    Raises:
        InputError: it cannot be copied, the disk has too little free space, or `path` exists.
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
    """Move a file to `path`. The old file is removed only when the new one is complete.

    Raises:
        InputError: it cannot be moved, or `path` exists; `source` still exists then.
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
    """A file to write to, which is renamed to `path` when the block ends without an error; see `write_atomically`."""
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
    """Rename a file on the same disk unless the new name exists. The old name may remain too."""
    try:
        os.link(temporary, target)
        return
    except FileExistsError as error:
        raise _exists(target) from error
    except (OSError, NotImplementedError, AttributeError):
        pass  # a file system without hard links: create an empty file with the name, then replace that
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


def _exists(target: Path) -> TargetExistsError:
    return TargetExistsError(f"{target}: already exists; allow overwriting or choose another name")


def put_in_place(finished: Path, target: Path) -> None:
    """Flush a finished file to disk and rename it in one step, within its folder. An existing file is replaced.

    Raises:
        OSError: it failed, and nothing has changed.
    """
    with open(finished, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(finished, target)
    _flush_folder(target.parent)


def _flush_folder(folder: Path) -> None:
    """Flush the folder's entries, so that the new name survives a crash, if the system supports that."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
