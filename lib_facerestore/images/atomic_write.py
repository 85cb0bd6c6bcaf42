"""Writing, copying and moving files so that a file appears complete or not at all, also after a power cut.

A run that is killed may leave a temporary file. It is deleted by a later run that writes into the same folder.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import time
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ..errors import InputError, TargetExistsError
from ..system.file_locks import hold, is_held
from ..system.rename import rename_new

LEFT_SECONDS = 3600.0
"""Age from which a temporary file that no process holds is deleted."""
_PREFIX, _SUFFIX = ".facerestore-", ".tmp"
_LOST = (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_tidied: set[str] = set()
"""The folders in which this process has looked for temporary files that others left."""


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
    """Create a folder and its parents if they do not exist, and flush them. Raises InputError if that fails."""
    try:
        create_folder(folder)
    except OSError as error:
        why = error.strerror or error
        raise InputError(f"{folder}: the folder cannot be created ({why}); name another output") from error


def create_folder(folder: Path) -> None:
    """As `make_folder`. Raises OSError."""
    new, place = [], folder
    while not os.path.lexists(place) and place.parent != place:
        new.append(place)
        place = place.parent
    folder.mkdir(parents=True, exist_ok=True)
    for one in reversed(new):
        flush_folder(one.parent)


def write_atomically(path: str | os.PathLike[str], data: bytes, *, overwrite: bool = False) -> None:
    """Write data to a temporary file in the same folder, flush it to disk, and rename it in one step.

    After a failure there is no temporary or partial file, and an existing file is unchanged (unless the folder cannot
    be flushed in the end; then the new one may be there). Permissions are the usual ones (umask); an overwritten file
    keeps its own. If the path is a symbolic link, its target is written.

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
            _flush_file(source)  # it may have been written a moment ago, by another program
            if _link(source, path):
                flush_folder(path.parent)
            else:  # a renaming that two folders must agree on may be lost in both of them on such disks
                copy_atomically(source, path)
    except OSError as error:
        raise _not_written(path, error) from error
    _remove(source, path)


def remove_moved(source: Path, path: Path) -> None:
    """Remove a file that has the same content as `path`, as the end of a move that was interrupted.

    Nothing is removed if both are the same entry of a folder, or one is a link to the other.

    Raises:
        InputError: it cannot be removed, or `path` cannot be flushed to disk.
    """
    if source.samefile(path) and (source.is_symlink() or source.stat().st_nlink < 2 or _one_entry(source, path)):
        return
    try:
        _flush_file(path)
        flush_folder(path.parent)
    except OSError as error:
        raise InputError(f"{path}: cannot be flushed to disk ({error.strerror or error}); check the disk.") from error
    _remove(source, path)


def _one_entry(first: Path, second: Path) -> bool:
    """Whether two paths may name the same entry of a folder, on disks that ignore upper and lower case too."""
    one, other = (unicodedata.normalize("NFC", path.name).casefold() for path in (first, second))
    return one == other and first.parent.samefile(second.parent)


def _remove(source: Path, path: Path) -> None:
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
    temporary = target.parent / f"{_PREFIX}{os.getpid()}-{secrets.token_hex(6)}{_SUFFIX}"
    tidy_folder(target.parent)
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        try:
            with os.fdopen(handle, "wb") as file:
                hold(handle)
                if overwrite:
                    with contextlib.suppress(FileNotFoundError):
                        os.chmod(temporary, target.stat().st_mode & 0o7777)
                yield file
                file.flush()
                os.fsync(file.fileno())
            if overwrite:
                os.replace(temporary, target)
            else:
                _claim(temporary, target)
        finally:  # if it cannot be removed, a later run does it; that does not make the result a failure
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        flush_folder(target.parent)
    except OSError as error:
        raise _not_written(target, error) from error


def remove_leftovers(folder: Path) -> None:
    """Delete the temporary files of runs that were killed. Errors are ignored.

    A file is left alone while a process holds it, and, since not all disks have locks, for an hour after it was
    changed. Its time may be in the future, if the clock was wrong.
    """
    with contextlib.suppress(OSError):
        for entry in list(os.scandir(folder)):
            if entry.name.startswith(_PREFIX) and entry.name.endswith(_SUFFIX):
                with contextlib.suppress(OSError):
                    if abs(time.time() - entry.stat().st_mtime) >= LEFT_SECONDS and not is_held(entry.path):
                        os.unlink(entry.path)


def tidy_folder(folder: Path) -> None:
    """`remove_leftovers`, once for each folder: listing a large one for each written file would take long."""
    place = os.path.abspath(folder)
    if place not in _tidied:
        _tidied.add(place)
        remove_leftovers(folder)


def _not_written(target: Path, error: OSError) -> InputError:
    why = error.strerror or error
    return InputError(f"{target}: could not be written ({why}); check the name, permissions and free space")


def _claim(temporary: Path, target: Path) -> None:
    """Rename a file within its folder unless the new name exists. The old name may remain too.

    Only where neither links nor renaming of this kind are possible, another process might create the new name between
    the check and the renaming.
    """
    if _link(temporary, target):
        return
    try:
        rename_new(temporary, target)
    except FileExistsError as error:
        raise _exists(target) from error
    except NotImplementedError:
        if os.path.lexists(target):
            raise _exists(target) from None
        os.replace(temporary, target)


def _link(old: Path, new: Path) -> bool:
    """Give a file a second name; false if the file system has no hard links. Raises TargetExistsError and OSError."""
    try:
        os.link(old, new)
    except FileExistsError as error:
        raise _exists(new) from error
    except (OSError, NotImplementedError, AttributeError) as error:
        if isinstance(error, OSError) and error.errno in (*_LOST, errno.EACCES):
            raise
        return False
    return True


def _exists(target: Path) -> TargetExistsError:
    return TargetExistsError(f"{target}: already exists; allow overwriting or choose another name")


def put_in_place(finished: Path, target: Path) -> None:
    """Flush a finished file to disk and rename it in one step, within its folder. An existing file is replaced.

    Raises:
        OSError: it failed, and nothing has changed.
    """
    _flush_file(finished)
    os.replace(finished, target)
    flush_folder(target.parent)


def _flush_file(path: Path) -> None:
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    """Flush the folder's entries, so that new names survive a power cut, if the system supports that.

    Raises:
        OSError: the disk is broken or full.
    """
    if not hasattr(os, "O_DIRECTORY"):
        return
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:  # not every file system can do this, and a folder may be closed for reading
        if error.errno in _LOST:
            raise
