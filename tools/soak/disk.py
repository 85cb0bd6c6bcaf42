"""What a power cut can leave of a folder: the file system after each operation, with and without what was not flushed.

`Disk` replays a list of operations that `watch.Watch` has recorded. The model is as strict as POSIX allows: a file's
content is safe only after fsync of the file, its name only after fsync of the folder, and each folder of its own
keeps any number of its latest changes, in order.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Kind = Literal["create", "truncate", "write", "rename", "link", "unlink", "mkdir", "flush", "flush folder"]
Tree = dict[str, bytes | None]
"""The files of a folder with their content, by relative path; None is a folder."""
MOST_COMBINATIONS = 64


@dataclass(frozen=True)
class Operation:
    """One change or flush.

    Attributes:
        kind: what is done.
        path: of the file or folder, relative to the watched folder; for "write", "truncate" and "flush" the number of
            the file is `file`, since its name may have changed.
        other: the new path of "rename" and "link".
        file: number of the file.
        at: where "write" begins, or the size that "truncate" leaves.
        data: what is written.
    """

    kind: Kind
    path: str = ""
    other: str = ""
    file: int = -1
    at: int = 0
    data: bytes = b""


@dataclass
class _Content:
    now: bytes = b""
    safe: bytes = b""


@dataclass
class _Folder:
    """Entries by name: a file's number, or None for a folder. `changes` are those since the last flush."""

    safe: dict[str, int | None] = field(default_factory=dict)
    changes: list[dict[str, int | Literal["gone"] | None]] = field(default_factory=list)

    def after(self, number: int) -> dict[str, int | None]:
        entries = dict(self.safe)
        for change in self.changes[:number]:
            for name, value in change.items():
                if value == "gone":
                    entries.pop(name, None)
                else:
                    entries[name] = value
        return entries


class Disk:
    """A folder to which operations are applied.

    Args:
        start: its content at first, all of which is safe. The files get the numbers 0, 1, … in this order.
    """

    def __init__(self, start: Tree) -> None:
        self._files: dict[int, _Content] = {}
        self._folders: dict[str, _Folder] = {".": _Folder()}
        for path, data in start.items():
            folder, name = _split(path)
            if data is None:
                self._folders[path] = _Folder()
                self._folders[folder].safe[name] = None
            else:
                number = len(self._files)
                self._files[number] = _Content(data, data)
                self._folders[folder].safe[name] = number

    def apply(self, done: Operation) -> None:
        """Do one operation."""
        folder, name = _split(done.path)
        if done.kind == "create":
            self._files[done.file] = _Content()
            self._folders[folder].changes.append({name: done.file})
        elif done.kind == "mkdir":
            self._folders[done.path] = _Folder()
            self._folders[folder].changes.append({name: None})
        elif done.kind == "unlink":
            self._folders[folder].changes.append({name: "gone"})
        elif done.kind in ("rename", "link"):
            to, new = _split(done.other)
            if done.kind == "rename" and to != folder:
                raise NotImplementedError("renaming into another folder")
            here = self._folders[folder]
            number = here.after(len(here.changes))[name]
            self._folders[to].changes.append({new: number} | ({name: "gone"} if done.kind == "rename" else {}))
        elif done.kind == "flush folder":
            entries = self._folders[done.path]
            entries.safe, entries.changes = entries.after(len(entries.changes)), []
        else:
            self._change(self._files[done.file], done)

    @staticmethod
    def _change(content: _Content, done: Operation) -> None:
        if done.kind == "flush":
            content.safe = content.now
        elif done.kind == "truncate":
            content.now = content.now[: done.at].ljust(done.at, b"\0")
        else:
            padded = content.now.ljust(done.at, b"\0")
            content.now = padded[: done.at] + done.data + padded[done.at + len(done.data) :]

    def now(self) -> Tree:
        """What is there if only the process ends, not the machine."""
        return self._tree({path: len(folder.changes) for path, folder in self._folders.items()}, "kept")

    def after_power_cuts(self) -> Iterator[Tree]:
        """All that may be there after a power cut; trees may come more than once."""
        places = list(self._folders)
        ranges: list[Sequence[int]] = [range(len(self._folders[path].changes) + 1) for path in places]
        total = 1
        for one in ranges:
            total *= len(one)
        if total > MOST_COMBINATIONS:  # each folder with all or none of its changes
            ranges = [sorted({one[0], one[-1]}) for one in ranges]
        for numbers in itertools.product(*ranges):
            for content in ("kept", "lost", "zeros", "torn"):
                yield self._tree(dict(zip(places, numbers, strict=True)), content)

    def _tree(self, numbers: dict[str, int], content: str) -> Tree:
        tree: Tree = {}

        def add(folder: str) -> None:
            for name, number in sorted(self._folders[folder].after(numbers[folder]).items()):
                path = name if folder == "." else f"{folder}/{name}"
                tree[path] = None if number is None else _survives(self._files[number], content)
                if number is None:
                    add(path)

        add(".")
        return tree


def _survives(content: _Content, how: str) -> bytes:
    """What is left of a file: all, only what was flushed, zeros in place of the rest, or half of the rest."""
    if how == "kept" or content.now == content.safe:
        return content.now
    if how == "lost":
        return content.safe
    same = next((i for i, (a, b) in enumerate(zip(content.now, content.safe, strict=False)) if a != b), None)
    start = min(len(content.now), len(content.safe)) if same is None else same
    if how == "zeros":
        return content.now[:start] + bytes(len(content.now) - start)
    return content.now[: start + (len(content.now) - start) // 2]


def _split(path: str) -> tuple[str, str]:
    folder, _, name = path.rpartition("/")
    return folder or ".", name


def read_tree(folder: Path) -> Tree:
    """The content of a real folder, with folders before what they hold."""
    return {
        path.relative_to(folder).as_posix(): None if path.is_dir() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
    }


def write_tree(folder: Path, tree: Tree) -> None:
    """Create a real folder with this content."""
    folder.mkdir(parents=True)
    for path, data in tree.items():
        place = folder / path
        if data is None:
            place.mkdir()
        else:
            place.write_bytes(data)
