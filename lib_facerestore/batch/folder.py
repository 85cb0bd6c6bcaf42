"""Restoring many files: `restore_files` restores a few pictures at a time, as `plan` has planned them.

A file that cannot be restored is reported and does not stop the others.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..errors import FaceRestoreError, ModelFileError, OptionError, TargetExistsError, TooLittleMemoryError
from ..faces.face import Face, FaceReport
from ..images import files as image_files
from ..images.atomic_write import make_folder, tidy_folder
from ..images.room import check_room
from ..options.table import Options
from ..pipeline import FaceRestorer, Progress, Result
from ..stages.background import enlarged_size
from ..wording import with_article
from .earlier import Record
from .plan import Task
from .search import Input

logger = logging.getLogger(__name__)

GROUP_PICTURES = 8
GROUP_PIXELS = 24_000_000
"""Most pictures, and most pixels after enlarging, that are restored together, so that their faces share batches. All
results of a group are in memory at once. A larger picture is restored alone."""
STAGES = {"detect": (0.0, 0.2), "restore": (0.2, 0.3), "enlarge": (0.5, 0.3), "mask": (0.8, 0.1), "paste": (0.9, 0.1)}
"""For the progress: start and length of each stage, as fractions of a group's work."""

FileProgress = Callable[[float, int, str], None]
"""Called with the progress in files (e.g. 2.4; it never decreases), the number of finished files, and the current work
in words."""


@dataclass(frozen=True)
class Outcome:
    """The result for one file.

    Attributes:
        task: the task.
        faces: reports on its faces, in the order of their numbers.
        model: id of the restorer.
        notes: the result's notes and hints.
        failures: the result's failures.
        error: what failed, with the file's name; "" on success.
        skipped: whether nothing was done because the target exists.
        exists: whether it is an error that the target exists.
        copied: whether nothing changed, so that the target is a copy of the source.
    """

    task: Task
    faces: tuple[FaceReport, ...] = ()
    model: str = ""
    notes: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()
    error: str = ""
    skipped: bool = False
    exists: bool = False
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
            "failures": list(self.failures),
            "error": self.error or None,
        }


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
        skip_existing: whether files with existing targets are skipped without reading them. One whose target appears
            before the result is written, because another run writes into the same folder, counts as skipped too.
        quality: 1 to 100 for JPEG and WebP; None as for `write_picture`.
        progress: called after every step, also between the faces of a picture.
        stop: called between files, faces and tiles. Once it returns true, finished pictures are still written; the
            others are neither written nor yielded.

    Yields:
        An `Outcome` for each file, in order; for a file that failed, it has the error.

    Raises:
        TooLittleMemoryError: memory ran out between the files; what was yielded before is complete.
    """
    show, stopped = progress or (lambda _way, _done, _what: None), stop or (lambda: False)
    run = _Run(restorer, options, overwrite, skip_existing, quality, show, stopped)
    try:
        yield from _in_groups(run, tasks)
    except MemoryError as error:
        raise TooLittleMemoryError(
            "there is too little memory to go on; close other programs, then run it again with --skip-existing: "
            "finished files are complete"
        ) from error


def _in_groups(run: _Run, tasks: Sequence[Task]) -> Iterator[Outcome]:
    growth = max(run.options.upscale, 1.0) ** 2
    group: list[tuple[Task, image_files.Picture | Outcome]] = []
    pixels = 0
    for task in tasks:
        if run.stop():
            break
        item = _read(task, run.overwrite, run.skip_existing, run.options.upscale)
        size = round(item.width * item.height * growth) if isinstance(item, image_files.Picture) else 0
        if group and (pixels + size > GROUP_PIXELS or len(group) >= GROUP_PICTURES):
            yield from run.restore(group)
            group, pixels = [], 0
        group.append((task, item))
        pixels += size
    yield from run.restore(group)


def _read(task: Task, overwrite: bool, skip_existing: bool, upscale: float) -> image_files.Picture | Outcome:
    if task.problem:
        return Outcome(task, error=task.problem)
    try:
        tidy_folder(task.target.parent)  # also where all results are there, and nothing is written
        present = next((path for path in (task.target, task.copy) if path is not None and os.path.lexists(path)), None)
        if present is not None and not overwrite:
            task = replace(task, target=present)
            if skip_existing:
                return Outcome(task, skipped=True)
            return Outcome(task, error=f"{present}: exists already; add --overwrite or --skip-existing.", exists=True)
        picture = image_files.read_picture(task.source)
        size = enlarged_size(picture.width, picture.height, upscale)
        image_files.check_holds(picture, task.target, size)
        if upscale > 1:
            check_room(*size, bits=picture.depth, what="the result ")
        return picture
    except Exception as error:
        return Outcome(task, error=_reported(task.source, error, task.target))


@dataclass
class _Run:
    """One call of `restore_files`: its arguments, how many files are finished, the progress, the lists of results."""

    restorer: FaceRestorer
    options: Options
    overwrite: bool
    skip_existing: bool
    quality: int | None
    progress: FileProgress
    stop: Callable[[], bool]
    done: int = 0
    way: float = 0.0
    records: dict[Path, Record] = field(default_factory=dict)

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
        same = result.image.encoded is not None
        anew = image_files.coded_anew(picture.format, self.quality)
        task = replace(task, target=task.copy) if same and not anew and task.copy is not None else task
        # A file that keeps its name keeps its format too, even if the name has the extension of another one.
        own = same and task.target.suffix.lower() == task.source.suffix.lower()
        try:
            make_folder(task.target.parent)
            if task.record is not None:
                self.records.setdefault(task.record, Record(task.record)).add(task.target)
            copied = image_files.write_picture(
                result.image,
                task.target,
                format=picture.format if own else None,
                quality=self.quality,
                overwrite=self.overwrite,
            )
        except Exception as error:
            if self.skip_existing and isinstance(error, TargetExistsError):  # another run has written it meanwhile
                return Outcome(task, skipped=True)
            return Outcome(task, faces, result.model, notes, error=_reported(task.source, error, task.target))
        if image_files.other_extension(task.source):
            how = "it is copied as it is" if copied else f"the result is named {task.target.name}"
            what = with_article(picture.format.replace("WEBP", "WebP"))
            notes = (f"{task.source}: is {what} in spite of its name; {how}", *notes)
        elif picture.format == "BMP" and picture.alpha is not None and not copied:
            notes = (f"{task.source}: BMP cannot be written with transparency; the result is {task.target}", *notes)
        if not copied:
            # For a changed picture, the result's notes already name the losses of reading.
            notes += (*(picture.losses if result.image is picture else ()), *image_files.left_out(picture, task.target))
        return Outcome(task, faces, result.model, notes, result.failures, copied=copied)


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
                found = restorer.search(picture, options)
                faces, notes = found.faces, (*picture.faults, *image_files.unseen(picture))
                notes += (f"{one.source}: {found.missed}",) if found.missed else ()
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
    if isinstance(error, MemoryError):
        text = "there is too little memory for it; close other programs, or make it smaller first"
    elif not isinstance(error, (FaceRestoreError, OSError)):
        logger.debug("%s: unexpected error", source, exc_info=error)
        text += f" ({type(error).__name__}; --verbose shows where)"
    elif error.__cause__ is not None:  # what a detector or upscaler raised, for instance
        logger.debug("%s: failed", source, exc_info=error)
    named = str(source) in text or (target is not None and (str(target) in text or str(target.parent) in text))
    return text if named else f"{source}: {text}"
