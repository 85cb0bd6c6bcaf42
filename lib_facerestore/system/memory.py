"""How much memory is free for this process."""

from __future__ import annotations

import sys
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
"""Folder in which a Linux container finds its own limits."""


def free_memory(group: Path = CGROUP) -> int | None:
    """Bytes that this process may still allocate without swapping; None if that cannot be found out.

    Args:
        group: as for `free_in_container`.
    """
    try:
        import psutil

        free = int(psutil.virtual_memory().available)
    except Exception:  # psutil is not installed, or does not support this system
        return None
    return min(free, free_in_container(group))


def free_in_container(group: Path) -> int:
    """Bytes that this process's container may still allocate.

    Args:
        group: folder of a Linux control group, version 2 (Documentation/admin-guide/cgroup-v2.rst, "Memory").

    Returns:
        The number of bytes, or `sys.maxsize` if there is no limit or it cannot be read.
    """
    try:
        limit = int((group / "memory.max").read_text())
        used = int((group / "memory.current").read_text())
        lines = (line.split() for line in (group / "memory.stat").read_text().splitlines())
        files = sum(int(count) for name, count in lines if name == "inactive_file")  # cache, freed on demand
    except (OSError, ValueError):  # the text "max" means that there is no limit
        return sys.maxsize
    return max(0, limit - used + files)
