"""Results of earlier runs inside an input folder: they are listed in a file beside them, so that later runs know them.

Only a run whose results go into one of its input folders, or the folder of an input file, writes that file.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path

logger = logging.getLogger(__name__)

RECORD = ".facerestore-results"
"""Name of the file that lists the results in its folder, as paths relative to it."""
_HEAD = (
    "# Face Restore wrote these pictures. A run on a folder above leaves them out, so that results are not restored\n"
    "# again. Delete this file if they are to be restored like others.\n"
)


def is_inside_an_input(output: Path, inputs: Iterable[Path]) -> bool:
    """Whether the folder `output` is below one of the given folders, or below the folder of a given file."""
    place = Path(os.path.realpath(output))
    homes = (os.path.realpath(one if os.path.isdir(one) else Path(one).parent) for one in inputs)
    return any(Path(home) in place.parents for home in homes)


class Record:
    """The list of the results in a folder, as one run adds to it; it is read once.

    Args:
        folder: the folder, which need not exist yet.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: set[str] | None = None

    def add(self, target: Path) -> None:
        """Add a result below the folder. If that fails, it is logged: the result itself is written."""
        name = target.relative_to(self._folder).as_posix()
        try:
            if self._known is None:
                self._known = set(_names(self._folder))
            if name in self._known:
                return
            with open(self._folder / RECORD, "a", encoding="utf-8", errors="surrogateescape") as file:
                file.write(("" if file.tell() else _HEAD) + name + "\n")
            self._known.add(name)
        except OSError as error:
            logger.warning("%s: cannot be written (%s)", self._folder / RECORD, error.strerror or error)


def recorded(folder: Path) -> frozenset[Path]:
    """The paths of the results that are listed in `folder`; none if there is no list."""
    try:
        return frozenset(folder / name for name in _names(folder))
    except OSError:
        return frozenset()


def _names(folder: Path) -> list[str]:
    try:
        text = (folder / RECORD).read_text("utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return []
    return [line for line in text.splitlines() if line and not line.startswith("#")]
