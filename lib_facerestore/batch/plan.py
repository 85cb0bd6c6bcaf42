"""Where a run writes the result of each picture."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import InputError
from ..images import files as image_files
from ..images.atomic_write import check_folder
from .earlier import is_inside_an_input
from .search import Input, expand, find_pictures


@dataclass(frozen=True)
class Task:
    """A file to restore.

    Attributes:
        source: the file.
        target: the file for the result.
        problem: why it cannot be restored, or "".
        copy: the file for the result if nothing changes, where that is another: a file whose name has the extension of
            another format, or of one that cannot be written, keeps it then. None if it is `target`.
        record: the folder for the results if it is inside an input folder: there the result is listed as one, so that
            a later run leaves it out; else None.
    """

    source: Path
    target: Path
    problem: str = ""
    copy: Path | None = None
    record: Path | None = None


@dataclass(frozen=True)
class Plan:
    """What a run does.

    Attributes:
        tasks: the files to restore, and those that cannot be restored, with their problem.
        remarks: sentences on what was passed over in folders, with the remedy.
    """

    tasks: tuple[Task, ...]
    remarks: tuple[str, ...] = ()


def plan(inputs: Sequence[Path], output: Path, *, folder: bool = False) -> Plan:
    """Decide where the results go.

    For one input file and an `output` with a picture's extension, the result is that file. Otherwise `output` is a
    folder, with the same sub-folders as the input folders. Files that cannot be written in their own format (a GIF, a
    BMP with transparency, or a file without a picture's extension) become PNG files there. A file whose name has
    another format's extension gets its own (a PNG named x.jpg becomes x.png). If nothing changes, it is copied as it
    is, and so is a BMP with transparency. A file whose result would replace an input or another result is listed with
    that problem.

    Args:
        inputs: files, folders and patterns.
        output: file or folder for the results.
        folder: whether `output` is a folder whatever its name.

    Raises:
        InputError: no input can be restored, the output cannot be written to, or its extension is not a picture's.
    """
    inputs = expand(inputs)
    found = find_pictures(inputs, output)
    alone = len(inputs) == 1 and not os.path.isdir(inputs[0])
    folder = folder or os.path.isdir(output)
    single = alone and image_files.is_picture_file(output) and not folder
    _check_output(output, single, alone, folder)
    targets = [output] if single else _targets(found.pictures, output)
    tasks = _tasks(found.pictures, targets, None if single else output)
    if all(task.problem for task in tasks):
        raise InputError(tasks[0].problem)
    if not single and is_inside_an_input(output, [path for path in inputs if os.path.exists(path)]):
        tasks = [replace(task, record=output) for task in tasks]
    return Plan(tuple(tasks), found.remarks)


def _check_output(output: Path, single: bool, alone: bool, folder: bool) -> None:
    """Check the name of the output, and that it can be written to. Raises InputError."""
    known = ", ".join(sorted(image_files.WRITABLE_EXTENSIONS))
    if single and output.suffix.lower() not in image_files.WRITABLE_EXTENSIONS:
        raise InputError(f"{output}: {output.suffix} cannot be written; use one of {known}.")
    if not single and os.path.isfile(output):
        raise InputError(f"{output}: is a file; name a folder for the results with -o.")
    if not single and not folder and image_files.is_picture_file(output):
        raise InputError(
            f"{output}: a folder is needed for the results of several pictures; name a folder with -o, or end it with "
            "/ if that is its name."
        )
    if alone and not single and not folder and output.suffix:  # probably a typing error, such as .pgn
        raise InputError(
            f"{output}: {output.suffix} is not an extension of pictures; use one of {known}, or end it with / for a "
            "folder of that name."
        )
    check_folder(output.parent if single else output)


def _targets(pictures: Sequence[Input], folder: Path) -> list[Path]:
    """The file in the output folder for each picture.

    A file that cannot be written in its own format becomes a PNG, and one with the extension of another format gets its
    own: x.gif becomes x.png, or x.gif.png if another picture becomes x.png.
    """
    targets = [folder / one.relative for one in pictures]
    changes = [_new_extension(one) for one in pictures]
    kept = {target for target, change in zip(targets, changes, strict=True) if not change}
    sources: dict[Path, set[str]] = {}  # for each changed name, the files that would get it
    for one, target, change in zip(pictures, targets, changes, strict=True):
        if change:
            sources.setdefault(target.with_suffix(change), set()).add(os.path.realpath(one.source))
    for index, (target, change) in enumerate(zip(targets, changes, strict=True)):
        if change:
            plain = target.with_suffix(change)
            free = plain not in kept and len(sources[plain]) == 1
            targets[index] = plain if free else target.with_name(target.name + change)
    return targets


def _new_extension(one: Input) -> str:
    """The extension of a picture's result if it is not that of its name, else ""."""
    if one.problem:
        return ""
    own = image_files.other_extension(one.source)
    if own == ".gif" or _is_clear_bmp(one, own):
        return ".png"
    return own or ("" if one.relative.suffix.lower() in image_files.WRITABLE_EXTENSIONS else ".png")


def _copy(one: Input, target: Path, folder: Path | None) -> Path | None:
    """See `Task.copy`. A GIF of that name, or a file without a picture's extension, is never copied."""
    if one.problem or folder is None or target == folder / one.relative:
        return None
    own = image_files.other_extension(one.source)
    return folder / one.relative if own or _is_clear_bmp(one, own) else None


def _is_clear_bmp(one: Input, own: str) -> bool:
    """Whether it is a BMP with transparency. `own` is its `other_extension`."""
    return (own or one.relative.suffix.lower()) in (".bmp", ".dib") and image_files.is_clear_bmp(one.source)


def _tasks(pictures: Sequence[Input], targets: Sequence[Path], folder: Path | None) -> list[Task]:
    """The tasks; a picture that was given twice is one task. `folder` is that for the results, if there is one."""
    sources = {os.path.realpath(one.source) for one in pictures if not one.problem}
    taken: dict[str, Path] = {}
    tasks = []
    for one, target in zip(pictures, targets, strict=True):
        copy, problem = _copy(one, target, folder), one.problem
        ways = [path for path in (target, copy) if path is not None]
        places = [os.path.realpath(path) for path in ways]
        other = next((taken[place] for place in places if place in taken), None)
        if not problem and other is not None:
            if os.path.realpath(other) == os.path.realpath(one.source):
                continue
            problem = f"{one.source} and {other} would both be written to {target}; restore them into two folders."
        elif not problem and sources.intersection(places):
            hit = next(path for path, place in zip(ways, places, strict=True) if place in sources)
            problem = f"{one.source}: the result would replace the input {hit}; name another output with -o."
        if not problem:
            taken.update(dict.fromkeys(places, one.source))
        tasks.append(Task(one.source, target, problem, copy))
    return tasks
