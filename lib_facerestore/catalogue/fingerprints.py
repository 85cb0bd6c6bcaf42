"""SHA-256 of model files, remembered from run to run, and what lies in a file, remembered within a run.

Both are kept by path, time of change and size: a file that was replaced is looked at again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

from ..errors import ModelFileError
from .peek import Peeked, peek

Progress = Callable[[int, int | None], None]
"""Called with the bytes done and the bytes in all (None where nobody knows)."""

_CHUNK = 2**20
_MOST = 2000  # files remembered
_lock = threading.Lock()
_peeked: dict[tuple[str, int, int], Peeked | str] = {}  # a string says what is wrong with the file


def cache_file() -> Path:
    """Where hashes are remembered. Losing it costs only time. Raises ImportError without the package platformdirs."""
    import platformdirs  # here, since a WebUI must start without it

    return Path(platformdirs.user_cache_dir("facerestore", False)) / "sha256.json"


def look_into(path: Path) -> Peeked:
    """What lies in a file, remembered within this run. Raises ModelFileError, as `peek`."""
    try:
        key = _key(path)
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read ({error.strerror or error}).") from error
    if key not in _peeked:
        try:
            _peeked[key] = peek(path)
        except ModelFileError as error:
            _peeked[key] = str(error)
    known = _peeked[key]
    if isinstance(known, str):
        raise ModelFileError(known)
    return known


def sha256_of(path: Path, progress: Progress | None = None) -> str:
    """SHA-256 of a file, from memory where the file has not changed. Raises OSError."""
    name, changed, size = _key(path)
    known = _remembered().get(name)
    if isinstance(known, list) and known[:2] == [changed, size]:
        return str(known[2])
    digest = hash_file(path, progress)
    _remember(name, [changed, size, digest])
    return digest


def hash_file(path: Path, progress: Progress | None = None) -> str:
    """SHA-256 of a file, read anew. Raises OSError."""
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
    """Whether two files hold the same bytes: told by size, ends and SHA-256, in this order."""
    try:
        if first.samefile(second):
            return True
        if first.stat().st_size != second.stat().st_size or _ends(first) != _ends(second):
            return False
        return sha256_of(first) == sha256_of(second)
    except OSError:
        return False


def stamp(path: Path) -> tuple[int, int]:
    """Size and time of change: tells whether a file is still the one that was looked at. Zeros where there is none."""
    try:
        facts = path.stat()
    except OSError:
        return 0, 0
    return facts.st_size, facts.st_mtime_ns


def _ends(path: Path) -> bytes:
    with open(path, "rb") as file:
        head = file.read(_CHUNK)
        file.seek(max(0, path.stat().st_size - _CHUNK))
        return head + file.read(_CHUNK)


def _key(path: Path) -> tuple[str, int, int]:
    facts = path.stat()
    return str(path.resolve()), facts.st_mtime_ns, facts.st_size


def _remembered() -> dict[str, object]:
    try:
        content = json.loads(cache_file().read_text("utf-8"))
    except (ImportError, OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _remember(name: str, row: list[object]) -> None:
    """Best effort: a folder that cannot be written only means that the file is hashed again next time."""
    with _lock, contextlib.suppress(ImportError, OSError):
        rows = _remembered()
        rows.pop(name, None)
        rows[name] = row
        target = cache_file()
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{os.getpid()}.tmp")
        temporary.write_text(json.dumps(dict(list(rows.items())[-_MOST:])), "utf-8")
        os.replace(temporary, target)
