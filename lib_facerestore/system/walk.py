"""`walk`: the files in a folder and its sub-folders, also those behind links; each folder is visited once."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path


def walk(
    folder: Path,
    closed: list[OSError],
    enter: Callable[[Path], bool] | None = None,
    visited: set[str] | None = None,
) -> Iterator[tuple[Path, list[str]]]:
    """Walk through a folder and its sub-folders.

    A link to a folder is followed, after all real folders, and only if its folder was not visited yet: links may lead
    in a circle. One that leads to a folder above itself is not followed.

    Args:
        folder: where to begin; it may be a link, and need not exist.
        closed: gets the errors of the folders that cannot be opened; `filename` of each is the folder.
        enter: asked for each sub-folder; false leaves it out.
        visited: real paths of folders that were visited before, and are left out now; those visited now are added.

    Yields:
        Each folder with the names of the files in it, in no particular order.
    """
    visited = set() if visited is None else visited
    waiting = [Path(folder)]
    for start in waiting:  # which grows meanwhile
        if "\0" in str(start):  # which the functions of `os` answer with a ValueError
            closed.append(OSError(errno.EINVAL, "there is a null character in its name", str(start)))
            continue
        for place, folders, names in os.walk(start, onerror=closed.append):
            real = os.path.realpath(place)
            if real in visited:
                folders.clear()
                continue
            visited.add(real)
            inside = [Path(place, name) for name in sorted(folders)]
            inside = [path for path in inside if enter is None or enter(path)]
            links = [path for path in inside if _is_link(path)]
            waiting += [path for path in links if not _is_above(os.path.realpath(path), real)]
            folders[:] = [path.name for path in inside if path not in links]
            yield Path(place), names


def _is_link(path: Path) -> bool:
    junction = getattr(os.path, "isjunction", None)  # of Windows; Python 3.12 and later
    return path.is_symlink() or bool(junction and junction(path))


def _is_above(folder: str, other: str) -> bool:
    return folder == other or Path(folder) in Path(other).parents
