"""Which pictures a run reads, and where it writes each result."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..images import files as image_files
from ..images.atomic_write import check_folder


@dataclass(frozen=True)
class Task:
    """A file to restore.

    Attributes:
        source: the file.
        target: the file for the result.
        problem: why it cannot be restored, or "".
    """

    source: Path
    target: Path
    problem: str = ""


@dataclass(frozen=True)
class Input:
    """A picture file that was given, or found in a given folder.

    Attributes:
        source: the file.
        relative: its path relative to the given folder; its name if the file itself was given.
        problem: why it cannot be used, or "".
    """

    source: Path
    relative: Path
    problem: str = ""


def find_pictures(inputs: Iterable[Path], output: Path | None = None) -> list[Input]:
    """Find the picture files in a list of files and folders (with their sub-folders).

    A file in the list is used with any extension. In folders, only files with a known picture extension are used.
    Hidden files and folders are skipped, and so is the folder `output`, so that results are not used as inputs. Inputs
    that do not exist, folders without pictures and folders that cannot be opened are listed with that problem.

    Raises:
        InputError: there is no usable picture.
    """
    found: list[Input] = []
    for path in inputs:
        problem = ""
        try:
            if stat.S_ISDIR(os.stat(path).st_mode):
                found += _inside(path, output)
                continue
        except (FileNotFoundError, NotADirectoryError):
            problem = f"{path}: there is no such file or folder; check the path."
        except OSError as error:
            problem = _cannot_be_opened(path, error)
        found.append(Input(path, Path(path.name), problem))
    if all(one.problem for one in found):
        raise InputError(found[0].problem if found else "there is no input; name a picture or a folder.")
    return found


def _inside(folder: Path, output: Path | None) -> list[Input]:
    """The pictures in a folder, sorted by path, and then the sub-folders that cannot be opened."""
    result = os.path.realpath(output) if output else None
    closed: list[OSError] = []
    files: list[Path] = []
    for place, folders, names in os.walk(folder, onerror=closed.append):
        seen = [name for name in folders if not name.startswith(".")]
        folders[:] = [name for name in seen if result is None or os.path.realpath(Path(place, name)) != result]
        named = [Path(place, name) for name in names if not name.startswith(".") and image_files.is_picture_file(name)]
        files += [path for path in named if _may_be_read(path)]
    found = [Input(path, path.relative_to(folder)) for path in sorted(files)]
    for error in closed:
        path = Path(error.filename or folder)
        found.append(Input(path, path.relative_to(folder), _cannot_be_opened(path, error)))
    if not found:
        known = ", ".join(sorted(image_files.PICTURE_EXTENSIONS))
        problem = f"{folder}: the folder contains no picture; known extensions: {known}."
        found.append(Input(folder, Path(folder.name), problem))
    return found


def _may_be_read(path: Path) -> bool:
    """Whether the path is a file. True if that is unknown: reading the file then raises the error."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except FileNotFoundError:  # a broken link
        return False
    except OSError:
        return True


def _cannot_be_opened(path: Path, error: OSError) -> str:
    return f"{path}: cannot be opened ({error.strerror or error}); check its permissions."


def plan(inputs: Sequence[Path], output: Path) -> list[Task]:
    """Decide where the results go.

    For one input file and an `output` with a picture's extension, the result is that file. Otherwise `output` is a
    folder, with the same sub-folders as the input folders. Files that cannot be written in their own format (a GIF, or
    a file without a picture's extension) become PNG files there. A file whose result would replace an input or another
    result is listed with that problem.

    Args:
        inputs: files and folders.
        output: file or folder for the results.

    Raises:
        InputError: no input can be restored, the output cannot be written to, or its extension is not a picture's.
    """
    pictures = find_pictures(inputs, output)
    alone = len(inputs) == 1 and not os.path.isdir(inputs[0])
    single = alone and image_files.is_picture_file(output) and not os.path.isdir(output)
    known = ", ".join(sorted(image_files.WRITABLE_EXTENSIONS))
    if single and output.suffix.lower() not in image_files.WRITABLE_EXTENSIONS:
        raise InputError(f"{output}: {output.suffix} cannot be written; use one of {known}.")
    if not single and (os.path.isfile(output) or (image_files.is_picture_file(output) and not os.path.isdir(output))):
        raise InputError(f"{output}: a folder is needed for the results of several pictures; name a folder with -o.")
    if alone and not single and output.suffix and not os.path.isdir(output):  # probably a typing error, such as .pgn
        raise InputError(
            f"{output}: {output.suffix} is not an extension of pictures; use one of {known}, or create that folder "
            "first."
        )
    check_folder(output.parent if single else output)
    tasks = _tasks(pictures, [output] if single else _targets(pictures, output))
    if all(task.problem for task in tasks):
        raise InputError(tasks[0].problem)
    return tasks


def _targets(pictures: Sequence[Input], folder: Path) -> list[Path]:
    """The file in the output folder for each picture.

    A file that cannot be written in its own format becomes a PNG: x.gif becomes x.png, or x.gif.png if another picture
    becomes x.png.
    """
    targets = [folder / one.relative for one in pictures]
    kept = {path for path in targets if path.suffix.lower() in image_files.WRITABLE_EXTENSIONS}
    sources: dict[Path, set[str]] = {}  # for each PNG, the files that would become it
    for one, target in zip(pictures, targets, strict=True):
        if target not in kept and not one.problem:
            sources.setdefault(target.with_suffix(".png"), set()).add(os.path.realpath(one.source))
    for index, target in enumerate(targets):
        if target not in kept and not pictures[index].problem:
            png = target.with_suffix(".png")
            free = png not in kept and len(sources[png]) == 1
            targets[index] = png if free else target.with_name(target.name + ".png")
    return targets


def _tasks(pictures: Sequence[Input], targets: Sequence[Path]) -> list[Task]:
    """The tasks; a picture that was given twice is one task."""
    sources = {os.path.realpath(one.source) for one in pictures if not one.problem}
    taken: dict[str, Path] = {}
    tasks = []
    for one, target in zip(pictures, targets, strict=True):
        place, problem = os.path.realpath(target), one.problem
        other = taken.get(place)
        if not problem and other is not None:
            if os.path.realpath(other) == os.path.realpath(one.source):
                continue
            problem = f"{one.source} and {other} would both be written to {target}; restore them into two folders."
        elif not problem and place in sources:
            problem = f"{one.source}: the result would replace the input {target}; name another output with -o."
        if not problem:
            taken[place] = one.source
        tasks.append(Task(one.source, target, problem))
    return tasks
