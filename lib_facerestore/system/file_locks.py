"""Marks on open files that end with the process: whether somebody is still writing a file.

Systems without `fcntl` (Windows) need no marks: an open file cannot be deleted there.
"""

from __future__ import annotations

import contextlib
import os


def hold(handle: int) -> None:
    """Mark an open file as held by this process until it is closed, if the disk has locks."""
    with contextlib.suppress(ImportError, OSError):
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def is_held(path: str | os.PathLike[str]) -> bool:
    """Whether a process holds a file; false also where that cannot be found out."""
    try:
        import fcntl
    except ImportError:
        return False
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(handle)
    return False
