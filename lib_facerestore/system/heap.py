"""Settings of glibc's allocator, so that the process keeps freed memory, which networks soon need again.

A network's feature maps take tens of megabytes for milliseconds. By default, glibc gets each such block from the kernel
and returns it when it is freed. For every face, gigabytes of pages are then zeroed and mapped again, by one thread at a
time, which takes up to 40 % of the time on a CPU (docs/performance.md).
"""

from __future__ import annotations

import ctypes
import os
import platform

# From glibc's malloc.h; see the manual pages mallopt(3) and malloc_trim(3).
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8
_SETTINGS = (
    (_MMAP_MAX, 0),  # take blocks of any size from the heap (the threshold for this could be 32 MiB at most)
    (_TRIM_THRESHOLD, 2**31 - 1),  # never return the heap's free end
    (_ARENA_MAX, 1),  # one heap for all threads: heaps of other threads cannot hold such large blocks
)


def keep_freed_memory() -> bool:
    """Make this process keep the memory that it frees, up to the most that it ever used at once.

    This affects the whole process, so only a program should call it, not a library or an extension. Call it early:
    memory that is already allocated is not affected.

    Returns:
        Whether the settings were made. False if the C library is not glibc, or if the environment has settings for its
        allocator (`MALLOC_…_`, `GLIBC_TUNABLES`).
    """
    libc = _glibc()
    if libc is None or any(name == "GLIBC_TUNABLES" or name.startswith("MALLOC_") for name in os.environ):
        return False
    return all(libc.mallopt(name, value) for name, value in _SETTINGS)


def give_back_freed_memory() -> None:
    """Return free memory to the system, for example before memory is measured. Does nothing without glibc."""
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
