"""`rename_new`: renames a file unless the new name exists, in one step, by what each system has for that."""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path

_HERE = -100  # AT_FDCWD
_NOT_REPLACING = 1  # RENAME_NOREPLACE
_EXCLUSIVE = 4  # RENAME_EXCL
_UNKNOWN = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


def rename_new(old: Path, new: Path) -> None:
    """Rename a file within its disk.

    Raises:
        FileExistsError: the new name exists.
        NotImplementedError: the system or the file system cannot do this.
        OSError: it failed.
    """
    if sys.platform == "win32":
        os.rename(old, new)  # which never replaces a file there
        return
    rename = _system_call()
    if rename is None:
        raise NotImplementedError
    if rename(os.fsencode(old), os.fsencode(new)):
        code = ctypes.get_errno()
        if code in _UNKNOWN:
            raise NotImplementedError
        raise OSError(code, os.strerror(code), str(new))


@functools.lru_cache(maxsize=1)
def _system_call() -> Callable[[bytes, bytes], int] | None:
    """The call of the system's C library, which returns 0 on success; None if it has none."""
    try:
        library = ctypes.CDLL(None, use_errno=True)
        if sys.platform == "darwin":
            exclusive = library.renamex_np
            return lambda old, new: int(exclusive(old, new, ctypes.c_uint(_EXCLUSIVE)))
        rename = library.renameat2
    except (OSError, AttributeError, TypeError):
        return None
    return lambda old, new: int(rename(_HERE, old, _HERE, new, ctypes.c_uint(_NOT_REPLACING)))
