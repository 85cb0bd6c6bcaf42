"""Caches for model files: their descriptions by `peek` (within a run), and their SHA-256 (also between runs).

A file that was replaced, or changed in place, is read again. Its size, times and inode show the change.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ..errors import InputError, ModelFileError, UnreadableFileError
from ..images.atomic_write import write_atomically
from .peek import Format, Peeked, peek, read_error, sniff_file

ByteProgress = Callable[[int, int | None], None]
"""Called with the number of bytes so far, and of all bytes (None if unknown)."""
Stamp = tuple[int, ...]
"""Size, time of modification (ns), time of status change (ns), inode of a file."""
NO_FILE: Stamp = (0, 0, 0, 0)
"""Stamp of a file that is not there."""
Remembered = TypeVar("Remembered")

MOST_FILES = 1000
"""Most files whose description is cached; the least recently used is dropped first."""
_MOST_HASHES = 2000
_CHUNK = 2**20


@dataclass(frozen=True)
class _Look:
    """Cached result of reading a file; `fault` is why `content` is None."""

    stamp: Stamp
    format: Format
    content: Peeked | None
    fault: ModelFileError | None = None


_lock = threading.Lock()
_looks: OrderedDict[str, _Look] = OrderedDict()
_hashes: OrderedDict[str, tuple[Stamp, str]] = OrderedDict()


def cache_file() -> Path | None:
    """The file with the hashes of earlier runs, which may be deleted any time.

    None without the package platformdirs, or if the user has no home folder.
    """
    try:
        import platformdirs
    except ImportError:
        return None
    try:
        return Path(platformdirs.user_cache_dir("facerestore", False)).expanduser() / "sha256.json"
    except RuntimeError:
        return None


def look_into(path: Path) -> Peeked:
    """The description of a model file, cached within this run. Raises what `peek` raises."""
    look = _look(path)
    if look.content is None:
        assert look.fault is not None
        raise type(look.fault)(str(look.fault)) from look.fault.__cause__
    return look.content


def format_of(path: Path) -> Format:
    """The format of a file, cached within this run. Raises UnreadableFileError if it cannot be opened."""
    return _look(path).format


def stamp(path: Path) -> Stamp:
    """Values that change whenever a file's content does; `NO_FILE` if there is none."""
    try:
        return _stamp(path)
    except OSError:
        return NO_FILE


def sha256_of(path: Path, progress: ByteProgress | None = None) -> str:
    """SHA-256 of a file, from the cache if the file has not changed. Raises OSError."""
    name, now = str(path.resolve()), _stamp(path)
    with _lock:
        known = _hashes.get(name)
    if known is not None and known[0] == now:
        return known[1]
    row = _stored_hashes().get(name)
    if isinstance(row, list) and len(row) == len(now) + 1 and row[:-1] == list(now):
        digest = str(row[-1])
    else:
        digest = hash_file(path, progress)
        _store_hash(name, [*now, digest])
    _keep(_hashes, name, (now, digest), _MOST_HASHES)
    return digest


def hash_file(path: Path, progress: ByteProgress | None = None) -> str:
    """SHA-256 of a file, always computed. Raises OSError."""
    digest = hashlib.sha256()
    size = path.stat().st_size
    done = 0
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            done += len(chunk)
            if progress:
                progress(done, size)
    return digest.hexdigest()


def same_content(first: Path, second: Path) -> bool:
    """Whether two files have the same content; compares their sizes, then both ends, then their SHA-256."""
    try:
        if first.samefile(second):
            return True
        if first.stat().st_size != second.stat().st_size or _ends(first) != _ends(second):
            return False
        return sha256_of(first) == sha256_of(second)
    except OSError:
        return False


def _look(path: Path) -> _Look:
    name = os.path.abspath(path)
    try:
        now = _stamp(path)
        with _lock:
            known = _looks.get(name)
            if known is not None and known.stamp == now:
                _looks.move_to_end(name)
                return known
        kind = sniff_file(path)
    except OSError as error:
        raise read_error(path, error) from error
    try:
        look = _Look(now, kind, peek(path, kind))
    except ModelFileError as error:
        look = _Look(now, kind, None, _without_frames(error))
        if isinstance(error, UnreadableFileError):
            return look  # not cached: the file may be readable the next time
    _keep(_looks, name, look, MOST_FILES)
    return look


def _without_frames(error: ModelFileError) -> ModelFileError:
    """The error, which can be kept: the frames of its traceback would keep all that their callers hold, as networks."""
    link: BaseException | None = error
    while link is not None:
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
    return error


def _keep(memory: OrderedDict[str, Remembered], name: str, value: Remembered, most: int) -> None:
    with _lock:
        memory[name] = value
        memory.move_to_end(name)
        while len(memory) > most:
            memory.popitem(last=False)


def _stamp(path: Path) -> Stamp:
    try:
        facts = path.stat()
    except ValueError as error:  # a null character in the name
        raise FileNotFoundError(errno.ENOENT, str(error), str(path)) from error
    return facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino


def _ends(path: Path) -> bytes:
    with open(path, "rb") as file:
        head = file.read(_CHUNK)
        file.seek(max(0, path.stat().st_size - _CHUNK))
        return head + file.read(_CHUNK)


def _stored_hashes() -> dict[str, object]:
    file = cache_file()
    try:
        content = json.loads(file.read_text("utf-8")) if file else None
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _store_hash(name: str, row: list[object]) -> None:
    """Store a hash for later runs. Errors are ignored: the file is then hashed again in the next run."""
    file = cache_file()
    if file is None:
        return
    with _lock, contextlib.suppress(OSError, InputError):
        rows = _stored_hashes()
        rows.pop(name, None)
        rows[name] = row
        file.parent.mkdir(parents=True, exist_ok=True)
        kept = dict(list(rows.items())[-_MOST_HASHES:])
        write_atomically(file, json.dumps(kept).encode(), overwrite=True)
