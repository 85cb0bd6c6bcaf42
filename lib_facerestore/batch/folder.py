"""Restoring many files: which are read, where the results go, and the work itself, a few pictures at a time.

A file that cannot be restored is reported and never stops the rest.
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
"""Pictures are restored together, so that their faces share batches: at most so many, of so many pixels after
enlarging, since the results of a group are in memory at once. A larger picture is a group of its own."""
STAGES = {"detect": (0.0, 0.2), "restore": (0.2, 0.3), "enlarge": (0.5, 0.3), "paste": (0.8, 0.2)}
"""For the progress: where each stage of a group begins and how long it is, as shares of the group."""

FileProgress = Callable[[float, int, str], None]
"""Called with the progress in files (e.g. 2.4 of 8; never less than before), the files done, and the work in hand."""


@dataclass(frozen=True)
class Task:
    """A file to restore.

    Attributes:
        source: the file.
        target: where the result goes.
        problem: why it cannot be restored at all, else "".
    """

    source: Path
    target: Path
    problem: str = ""


@dataclass(frozen=True)
class Outcome:
    """The result for one file.

    Attributes:
        task: the file, and where its result went.
        faces: the reports on its faces, by number.
        model: id of the restorer.
        notes: the result's notes and hints.
        error: what went wrong, with the file's name; "" on success.
        skipped: whether the target existed and was left alone.
        copied: whether nothing changed, so that the target is the source byte for byte.
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
    """A picture file that was named, or lies in a folder that was.

    Attributes:
        source: the file.
        relative: its path below the input folder; its name if it was named itself.
        problem: what is wrong with it, else "".
    """

    source: Path
    relative: Path
    problem: str = ""


def find_pictures(inputs: Iterable[Path], output: Path | None = None) -> list[Input]:
    """The picture files in a list of files and folders (with their sub-folders).

    A file that is named itself is taken whatever its extension. In folders only the known picture extensions count;
    hidden files and folders do not, nor does the folder `output`, so that results are not taken for inputs. An input
    that does not exist or holds no picture, and a folder that cannot be opened, is listed with that problem.

    Raises:
        InputError: there is no picture at all.
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
    """The pictures in a folder, by path, and then the sub-folders that cannot be opened."""
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
        problem = f"{folder}: the folder holds no picture; known extensions: {known}."
        found.append(Input(folder, Path(folder.name), problem))
    return found


def _may_be_read(path: Path) -> bool:
    """Whether it is a file. True where that cannot be known: reading it will say why."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except FileNotFoundError:  # a link that leads nowhere
        return False
    except OSError:
        return True


def _cannot_be_opened(path: Path, error: OSError) -> str:
    return f"{path}: cannot be opened ({error.strerror or error}); check its permissions."


def plan(inputs: Sequence[Path], output: Path) -> list[Task]:
    """Which file goes where.

    One input file and an `output` with a picture's extension: that file. Otherwise `output` is a folder that keeps the
    structure of the input folders; what cannot be written again (a GIF, or a file without a picture's extension)
    becomes a PNG there. A file whose result would replace an input or another result is listed with that problem.

    Raises:
        InputError: no input can be restored, the output cannot be written to, or its extension is no picture's.
    """
    pictures = find_pictures(inputs, output)
    alone = len(inputs) == 1 and not os.path.isdir(inputs[0])
    single = alone and image_files.is_picture_file(output) and not os.path.isdir(output)
    known = ", ".join(sorted(image_files.WRITABLE_EXTENSIONS))
    if single and output.suffix.lower() not in image_files.WRITABLE_EXTENSIONS:
        raise InputError(f"{output}: {output.suffix} cannot be written; use one of {known}.")
    if not single and (os.path.isfile(output) or (image_files.is_picture_file(output) and not os.path.isdir(output))):
        raise InputError(f"{output}: a folder is needed for the results of several pictures; name a folder with -o.")
    if alone and not single and output.suffix and not os.path.isdir(output):  # .pgn for .png, most likely
        raise InputError(
            f"{output}: {output.suffix} is no extension of a picture; use one of {known}, or make that folder first."
        )
    check_folder(output.parent if single else output)
    tasks = _tasks(pictures, [output] if single else _targets(pictures, output))
    if all(task.problem for task in tasks):
        raise InputError(tasks[0].problem)
    return tasks


def _targets(pictures: Sequence[Input], folder: Path) -> list[Path]:
    """A file in the folder for each picture. What cannot be written again becomes a PNG: x.gif is x.png, or x.gif.png
    where an x.png of another picture would be in its way."""
    targets = [folder / one.relative for one in pictures]
    kept = {path for path in targets if path.suffix.lower() in image_files.WRITABLE_EXTENSIONS}
    sources: dict[Path, set[str]] = {}  # of each PNG, the files that would become it
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
    """The tasks; a picture that was named twice is one."""
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
        restorer: what restores them.
        tasks: from `plan`.
        options: the same for all.
        overwrite: replace targets that exist; otherwise such a file is an error, or left out with `skip_existing`.
        skip_existing: leave targets that exist alone, and do not read their sources.
        quality: for JPEG and WebP, 1 to 100; None keeps the tables of the file that was read.
        progress: called for every step, also between the faces of one picture.
        stop: asked between files, faces and tiles. Once it says True, the pictures that are finished are still written;
            the others are neither written nor yielded.

    Yields:
        An `Outcome` for each file, in order. A file that fails has one with that error.
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
    """One call of `restore_files`: its arguments, and how many files are done."""

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
                # One odd picture must not make its neighbours fail: each is tried on its own.
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
        """What turns the stages of a group of so many pictures into the progress of all files."""

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
            # Of a picture that changed the result's notes name the losses; this one goes to another format.
            notes += (*(picture.losses if result.image is picture else ()), *image_files.left_out(picture, task.target))
        return Outcome(task, faces, result.model, notes, copied=copied)


def detect_files(
    restorer: FaceRestorer, pictures: Iterable[Input], options: Options
) -> Iterator[tuple[Input, list[Face], tuple[str, ...], str]]:
    """Find the faces of files; yields each with its faces, notes, and error ("" on success).

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
        except (ModelFileError, OptionError):  # not about this file: every other would fail as well
            raise
        except Exception as problem:
            error = _reported(one.source, problem)
        yield one, faces, notes, error


def _reported(source: Path, error: Exception, target: Path | None = None) -> str:
    """What went wrong, with the name of the file that it went wrong with.

    An error that nobody raised on purpose is a fault of this program or of a package: its kind is part of the message,
    and its traceback goes to the log.
    """
    text = str(error) or type(error).__name__
    if not isinstance(error, (FaceRestoreError, OSError)):
        logger.debug("%s: unexpected error", source, exc_info=error)
        text += f" ({type(error).__name__}; --verbose shows where)"
    named = str(source) in text or (target is not None and (str(target) in text or str(target.parent) in text))
    return text if named else f"{source}: {text}"
