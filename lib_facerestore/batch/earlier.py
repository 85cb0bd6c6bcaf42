"""Results of earlier runs inside an input folder: they are listed in a file beside them, so that later runs know them.

Only a run whose results go into one of its input folders, or the folder of an input file, writes that file.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from pathlib import Path

from ..errors import InputError
from ..images.atomic_write import flush_folder, write_atomically

RECORD = ".facerestore-results"
"""Name of the file that lists the results in its folder, as paths relative to it.

It has one line for each, and only grows. A last line without its end was cut off, and is no path. A path that would
look like a comment, or would not stay one line, is a string of JSON.
"""
_HEAD = (
    "# Face Restore wrote these pictures. A run on a folder above leaves them out, so that results are not restored\n"
    "# again. Delete this file if they are to be restored like others.\n"
)
_ODD = re.compile(r'^[#"]|[\x00-\x1f]')


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
        """Add a result below the folder, before it is written: after a power cut it must not be there without its line.

        Raises:
            InputError: the line cannot be written, and flushed to disk. The result must not be written then, since a
                later run would restore it again.
        """
        name = target.relative_to(self._folder).as_posix()
        try:
            if self._known is None:
                self._known = self._read()
            if name not in self._known:
                self._append(name)
                self._known.add(name)
        except OSError as error:
            self._known = None  # half a line may be there: it is taken out the next time
            raise InputError(
                f"{self._folder / RECORD}: the list of results cannot be written ({error.strerror or error}); check "
                "its permissions and the free space, or name another output."
            ) from error

    def _read(self) -> set[str]:
        """The names that are listed. Half a line at the end, of a run that was cut off, is taken out."""
        data = _content(self._folder)
        whole = data[: data.rfind(b"\n") + 1]
        if whole != data:
            write_atomically(self._folder / RECORD, whole, overwrite=True)
        return set(_names(whole))

    def _append(self, name: str) -> None:
        line = json.dumps(name) if _ODD.search(name) else name
        with open(self._folder / RECORD, "ab") as file:
            new = not file.tell()
            file.write(f"{_HEAD if new else ''}{line}\n".encode("utf-8", "surrogateescape"))
            file.flush()
            os.fsync(file.fileno())
        if new:
            flush_folder(self._folder)


def recorded(folder: Path) -> frozenset[Path]:
    """The paths of the results that are listed in `folder`; none if there is no list."""
    try:
        return frozenset(folder / name for name in _names(_content(folder)))
    except OSError:
        return frozenset()


def _content(folder: Path) -> bytes:
    try:
        return (folder / RECORD).read_bytes()
    except FileNotFoundError:
        return b""


def _names(data: bytes) -> list[str]:
    lines = data.decode("utf-8", "surrogateescape").split("\n")[:-1]
    return [_name(line.removesuffix("\r")) for line in lines if line.strip() and not line.startswith("#")]


def _name(line: str) -> str:
    try:
        return str(json.loads(line)) if line.startswith('"') else line
    except ValueError:
        return line
