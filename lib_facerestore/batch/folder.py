"""Restoring many files: `plan` decides where the results go, `restore_files` restores a few pictures at a time.

A file that cannot be restored is reported and does not stop the others.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import FaceRestoreError, InputError, ModelFileError, OptionError
from ..faces.face import Face, FaceReport
from ..images import files as image_files
from ..images.atomic_write import check_folder, make_folder
from ..options.table import Options
from ..pipeline import FaceRestorer, Progress, Result

logger = logging.getLogger(__name__)

GROUP_PICTURES = 8
GROUP_PIXELS = 24_000_000
"""Most pictures, and most pixels after enlarging, that are restored together, so that their faces share batches. All
results of a group are in memory at once. A larger picture is restored alone."""
STAGES = {"detect": (0.0, 0.2), "restore": (0.2, 0.3), "enlarge": (0.5, 0.3), "paste": (0.8, 0.2)}
"""For the progress: start and length of each stage, as fractions of a group's work."""

FileProgress = Callable[[float, int, str], None]
"""Called with the progress in files (e.g. 2.4; it never decreases), the number of finished files, and the current work
in words."""


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
class Outcome:
    """The result for one file.

    Attributes:
        task: the task.
        faces: reports on its faces, in the order of their numbers.
        model: id of the restorer.
        notes: the result's notes and hints.
        error: what failed, with the file's name; "" on success.
        skipped: whether nothing was done because the target exists.
        copied: whether nothing changed, so that the target is a copy of the source.
    """

    task: Task
    faces: tuple[FaceReport, ...] = ()
    model: str = ""
    notes: tuple[str, ...] = ()
    error: str = ""
    skipped: bool = False
    copied: bool = False

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            "file": str(self.task.source),
            "output": None if self.error else str(self.task.target),
            "model": self.model,
            "skipped": self.skipped,
            "copied": self.copied,
            "faces": [report.to_dict() for report in self.faces],
            "notes": list(self.notes),
            "error": self.error or None,
        }


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


def restore_files(
    restorer: FaceRestorer,
    tasks: Sequence[Task],
    options: Options,
    *,
    overwrite: bool = False,
    skip_existing: bool = False,
    quality: int | None = None,
    progress: FileProgress | None = None,
    stop: Callable[[], bool] | None = None,
) -> Iterator[Outcome]:
    """Restore files, a few at a time, and write the results.

    Args:
        restorer: restores the pictures.
        tasks: from `plan`.
        options: options of all pictures.
        overwrite: whether existing targets are replaced; otherwise they are errors, or skipped with `skip_existing`.
        skip_existing: whether files with existing targets are skipped without reading them.
        quality: 1 to 100 for JPEG and WebP; None as for `write_picture`.
        progress: called after every step, also between the faces of a picture.
        stop: called between files, faces and tiles. Once it returns true, finished pictures are still written; the
            others are neither written nor yielded.

    Yields:
        An `Outcome` for each file, in order; for a file that failed, it has the error.
    """
    show, stopped = progress or (lambda _way, _done, _what: None), stop or (lambda: False)
    run = _Run(restorer, options, overwrite, quality, show, stopped)
    growth = max(options.upscale, 1.0) ** 2
    group: list[tuple[Task, image_files.Picture | Outcome]] = []
    pixels = 0
    for task in tasks:
        if run.stop():
            break
        item = _read(task, overwrite, skip_existing)
        size = round(item.width * item.height * growth) if isinstance(item, image_files.Picture) else 0
        if group and (pixels + size > GROUP_PIXELS or len(group) >= GROUP_PICTURES):
            yield from run.restore(group)
            group, pixels = [], 0
        group.append((task, item))
        pixels += size
    yield from run.restore(group)


def _read(task: Task, overwrite: bool, skip_existing: bool) -> image_files.Picture | Outcome:
    if task.problem:
        return Outcome(task, error=task.problem)
    if os.path.lexists(task.target) and not overwrite:
        if skip_existing:
            return Outcome(task, skipped=True)
        return Outcome(task, error=f"{task.target}: exists already; add --overwrite or --skip-existing.")
    try:
        return image_files.read_picture(task.source)
    except Exception as error:
        return Outcome(task, error=_reported(task.source, error))


@dataclass
class _Run:
    """One call of `restore_files`: its arguments, the number of finished files, and the progress."""

    restorer: FaceRestorer
    options: Options
    overwrite: bool
    quality: int | None
    progress: FileProgress
    stop: Callable[[], bool]
    done: int = 0
    way: float = 0.0

    def restore(self, group: Sequence[tuple[Task, image_files.Picture | Outcome]]) -> Iterator[Outcome]:
        """Restore the pictures of a group together and write them; yields the outcomes of the whole group."""
        pictures = [item for _, item in group if isinstance(item, image_files.Picture)]
        results: Iterator[Result[image_files.Picture]] = iter(())
        failure: Exception | None = None
        try:
            if pictures and not self.stop():
                show = self._progress_of(len(pictures))
                results = iter(self.restorer.restore_many(pictures, self.options, progress=show, stop=self.stop))
        except Exception as error:
            failure = error
        for task, item in group:
            outcome: Outcome | None = None
            if isinstance(item, Outcome):
                outcome = item
            elif failure is not None and len(pictures) > 1:
                # One bad picture must not make the others of its group fail: restore each of them alone.
                yield from self.restore([(task, item)])
                continue
            elif failure is not None:
                outcome = Outcome(task, error=_reported(task.source, failure))
            else:
                result = next(results, None)
                outcome = self._write(task, item, result) if result is not None and result.finished else None
            if outcome is not None:
                self.done += 1
                self._move(self.done, "")
                yield outcome

    def _progress_of(self, pictures: int) -> Progress:
        """A function that converts the progress of a group of this many pictures to that of all files."""

        def show(stage: str, done: int, total: int) -> None:
            start, share = STAGES[stage]
            units = {"detect": "pictures", "enlarge": "tiles"}.get(stage, "faces")
            way = start + share * done / max(total, 1)
            self._move(self.done + pictures * way, f"{stage} {done}/{total} {units}")

        return show

    def _move(self, way: float, what: str) -> None:
        self.way = max(self.way, way)
        self.progress(self.way, self.done, what)

    def _write(self, task: Task, picture: image_files.Picture, result: Result[image_files.Picture]) -> Outcome:
        faces, notes = tuple(result.faces), (*result.notes, *result.hints)
        try:
            make_folder(task.target.parent)
            copied = image_files.write_picture(
                result.image, task.target, quality=self.quality, overwrite=self.overwrite
            )
        except Exception as error:
            return Outcome(task, faces, result.model, notes, error=_reported(task.source, error, task.target))
        if not copied:
            # For a changed picture, the result's notes already name the losses of reading.
            notes += (*(picture.losses if result.image is picture else ()), *image_files.left_out(picture, task.target))
        return Outcome(task, faces, result.model, notes, copied=copied)


def detect_files(
    restorer: FaceRestorer, pictures: Iterable[Input], options: Options
) -> Iterator[tuple[Input, list[Face], tuple[str, ...], str]]:
    """Find the faces in files.

    Yields:
        Each input with its faces, notes and error ("" on success).

    Raises:
        ModelFileError: the detector is missing or damaged.
        OptionError: the device cannot be used.
    """
    for one in pictures:
        faces: list[Face] = []
        notes: tuple[str, ...] = ()
        error = one.problem
        try:
            if not error:
                picture = image_files.read_picture(one.source)
                faces, notes = restorer.detect(picture, options), picture.losses
        except (ModelFileError, OptionError):  # not about this file: all others would fail too
            raise
        except Exception as problem:
            error = _reported(one.source, problem)
        yield one, faces, notes, error


def _reported(source: Path, error: Exception, target: Path | None = None) -> str:
    """The message of an error, with the name of the file.

    An unexpected error is a fault of this program or of a package: its type is added, and its traceback is logged.
    """
    text = str(error) or type(error).__name__
    if not isinstance(error, (FaceRestoreError, OSError)):
        logger.debug("%s: unexpected error", source, exc_info=error)
        text += f" ({type(error).__name__}; --verbose shows where)"
    named = str(source) in text or (target is not None and (str(target) in text or str(target.parent) in text))
    return text if named else f"{source}: {text}"
