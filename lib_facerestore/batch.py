"""Many files: what is read, where it is written, a few pictures at a time, and one bad file never stops the rest.

May import `pipeline`, `imageio` and what stands below them; never prints.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import imageio
from .errors import FaceRestoreError, InputError
from .faces import FaceReport
from .options import Options
from .pipeline import FaceRestorer

logger = logging.getLogger(__name__)

GROUP_PICTURES = 8
GROUP_PIXELS = 24_000_000
"""Pictures are taken together, so that their faces share batches, up to this many pictures or pixels."""


@dataclass(frozen=True)
class Task:
    """A file to restore and where the result goes. `problem` says why it cannot be restored at all, else ""."""

    source: Path
    target: Path
    problem: str = ""


@dataclass(frozen=True)
class Outcome:
    """What became of one file. `notes` holds the result's hints too. `error` is "" on success; `skipped` says that the
    target existed and was left alone."""

    task: Task
    faces: tuple[FaceReport, ...] = ()
    model: str = ""
    notes: tuple[str, ...] = ()
    error: str = ""
    skipped: bool = False

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            "file": str(self.task.source),
            "output": None if self.error else str(self.task.target),
            "model": self.model,
            "skipped": self.skipped,
            "faces": [report.to_dict() for report in self.faces],
            "notes": list(self.notes),
            "error": self.error or None,
        }


@dataclass(frozen=True)
class Input:
    """A picture file, and its path under the input that named it. `problem` says what is wrong with it, else ""."""

    source: Path
    relative: Path
    problem: str = ""


def find_pictures(inputs: Iterable[Path]) -> list[Input]:
    """The picture files that files and folders (with their sub-folders) stand for.

    A file that is named outright is taken whatever its extension; in folders only the known picture extensions count,
    and hidden files do not. An input that does not exist, or holds no picture, is listed with that problem.

    Raises:
        InputError: no input stands for any picture.
    """
    found: list[Input] = []
    for path in inputs:
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.is_file() and imageio.is_picture_file(p))
            inside = [p for p in inside if not any(part.startswith(".") for part in p.relative_to(path).parts)]
            found += [Input(p, p.relative_to(path)) for p in inside]
            if not inside:
                known = ", ".join(sorted(imageio.PICTURE_EXTENSIONS))
                problem = f"{path}: the folder holds no picture; known extensions: {known}."
                found.append(Input(path, Path(path.name), problem))
        elif path.exists():
            found.append(Input(path, Path(path.name)))
        else:
            problem = f"{path}: there is no such file or folder; check the path."
            found.append(Input(path, Path(path.name), problem))
    if all(one.problem for one in found):
        raise InputError(found[0].problem if found else "there is no input; name a picture or a folder.")
    return found


def plan(inputs: Sequence[Path], output: Path) -> list[Task]:
    """Which file goes where. One input file and an `output` with a picture's extension: that file. Otherwise `output`
    is a folder that keeps the structure of the input folders; what cannot be written again (GIF) becomes a PNG there.

    Raises:
        InputError: no input exists, a result would replace its own input, two would share one file, or the output's
            extension is no picture's.
    """
    pictures = find_pictures(inputs)
    alone = len(inputs) == 1 and inputs[0].is_file()
    single = alone and imageio.is_picture_file(output) and not output.is_dir()
    if not single and (output.is_file() or (imageio.is_picture_file(output) and not output.is_dir())):
        raise InputError(f"{output}: a folder is needed for the results of several pictures; name a folder with -o.")
    if alone and not single and output.suffix and not output.is_dir():  # .pgn for .png, most likely
        known = ", ".join(sorted(imageio.WRITABLE_EXTENSIONS))
        raise InputError(
            f"{output}: {output.suffix} is no extension of a picture; use one of {known}, or make that folder first."
        )
    tasks = []
    for one in pictures:
        target = output if single else output / one.relative
        if not single and target.suffix.lower() not in imageio.WRITABLE_EXTENSIONS and not one.problem:
            target = target.with_suffix(".png")
        tasks.append(Task(one.source, target, one.problem))
    taken: dict[Path, Path] = {}
    for task in tasks:
        if task.problem:
            continue
        target = task.target.resolve()
        if target == task.source.resolve():
            raise InputError(f"{task.source}: the result would replace the input; name another output with -o.")
        if target in taken:
            raise InputError(
                f"{task.source} and {taken[target]} would both be written to {task.target}; restore them one by one."
            )
        taken[target] = task.source
    return tasks


def restore_files(
    restorer: FaceRestorer,
    tasks: Sequence[Task],
    options: Options,
    *,
    overwrite: bool = False,
    skip_existing: bool = False,
    quality: int | None = None,
) -> Iterator[Outcome]:
    """Restore files, a few at a time; yields an Outcome each, in order. A file that fails is reported, the rest go on.

    Args:
        overwrite: replace targets that exist; otherwise such a file is an error (or passed over: `skip_existing`).
        quality: for JPEG and WebP, 1 to 100; None keeps the tables of the file that was read.
    """
    group: list[tuple[Task, imageio.Picture | Outcome]] = []
    pixels = 0
    for task in tasks:
        item = _read(task, overwrite, skip_existing)
        size = item.width * item.height if isinstance(item, imageio.Picture) else 0
        if group and (pixels + size > GROUP_PIXELS or len(group) >= GROUP_PICTURES):
            yield from _restore_group(restorer, group, options, overwrite, quality)
            group, pixels = [], 0
        group.append((task, item))
        pixels += size
    yield from _restore_group(restorer, group, options, overwrite, quality)


def _read(task: Task, overwrite: bool, skip_existing: bool) -> imageio.Picture | Outcome:
    if task.problem:
        return Outcome(task, error=task.problem)
    if task.target.exists() and not overwrite:
        if skip_existing:
            return Outcome(task, skipped=True)
        return Outcome(task, error=f"{task.target}: exists already; add --overwrite or --skip-existing.")
    try:
        return imageio.read_picture(task.source)
    except (FaceRestoreError, OSError, MemoryError) as error:
        return Outcome(task, error=_named(task, error))


def _restore_group(
    restorer: FaceRestorer,
    group: Sequence[tuple[Task, imageio.Picture | Outcome]],
    options: Options,
    overwrite: bool,
    quality: int | None,
) -> Iterator[Outcome]:
    pictures = [item for _, item in group if isinstance(item, imageio.Picture)]
    try:
        results = iter(restorer.restore_many(pictures, options)) if pictures else iter(())
    except Exception as error:  # one odd picture must not take its neighbours along: they get a run of their own
        if len(pictures) > 1:
            for pair in group:
                yield from _restore_group(restorer, [pair], options, overwrite, quality)
            return
        logger.debug("restoring failed", exc_info=True)
        for task, item in group:
            yield item if isinstance(item, Outcome) else Outcome(task, error=_named(task, error))
        return
    for task, item in group:
        if isinstance(item, Outcome):
            yield item
            continue
        result = next(results)
        notes = (*result.notes, *result.hints)
        try:
            task.target.parent.mkdir(parents=True, exist_ok=True)
            imageio.write_picture(result.image, task.target, quality=quality, overwrite=overwrite)
        except (FaceRestoreError, OSError, MemoryError) as error:
            yield Outcome(task, tuple(result.faces), result.model, notes, error=_named(task, error))
        else:
            yield Outcome(task, tuple(result.faces), result.model, notes)


def _named(task: Task, error: BaseException) -> str:
    text = str(error) or type(error).__name__
    return text if str(task.source) in text or str(task.target) in text else f"{task.source}: {text}"
