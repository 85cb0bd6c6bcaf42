"""Memory that networks free and soon need again, kept by the process instead of returned to the system (glibc only).

A network's feature maps of tens of megabytes live for milliseconds. glibc takes each such block from the kernel and
returns it when it is freed, so that for every face gigabytes of pages are zeroed and mapped anew, by one thread at a
time: up to two fifths of the time on a CPU (docs/performance.md).
"""

from __future__ import annotations

import ctypes
import os
import platform

# Of glibc's malloc.h; the manual pages mallopt(3) and malloc_trim(3) say what they do.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8
_SETTINGS = (
    (_MMAP_MAX, 0),  # blocks of any size from the heap; a threshold instead of this could be 32 MiB at most
    (_TRIM_THRESHOLD, 2**31 - 1),  # and the heap keeps its free end
    (_ARENA_MAX, 1),  # other threads' heaps could not hold such blocks: they share the one that can
)


def keep_freed_memory() -> bool:
    """Let this process keep what it frees, up to the most that it ever needed at once.

    It applies to the whole process, so a program may call it, and a library or an extension must not. Call it early;
    memory that was allocated before is not affected.

    Returns:
        Whether memory is kept now. False where the C library is not glibc, and where the environment already says how
        memory is handled (`MALLOC_…_`, `GLIBC_TUNABLES`).
    """
    libc = _glibc()
    if libc is None or any(name == "GLIBC_TUNABLES" or name.startswith("MALLOC_") for name in os.environ):
        return False
    return all(libc.mallopt(name, value) for name, value in _SETTINGS)


def give_back_freed_memory() -> None:
    """Return what is free to the system, as before a measurement of memory. Does nothing without glibc."""
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if platform.system() != "Linux":
        return None
    try:
        libc = ctypes.CDLL(None)
        libc.gnu_get_libc_version, libc.mallopt, libc.malloc_trim  # noqa: B018 - musl has none of them
    except (OSError, AttributeError):
        return None
    return libc
