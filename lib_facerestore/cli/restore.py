"""`facerestore restore`: restores the faces in pictures and folders."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from ..options.table import SPECS
from .arguments import Commands, add_inputs, add_options, common, options_of, refuse_missing, restorer_of, store_of
from .output import FAILED, INTERRUPTED, OK, print_error, print_json
from .progress import Bar, Interrupt

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..batch.folder import Outcome
    from ..batch.plan import Task
    from ..options.table import Options


EXAMPLES = (
    "Examples: `facerestore restore photo.jpg -o restored.jpg` restores one picture, `facerestore restore photos -o "
    "restored` a folder."
)


def add_command(commands: Commands) -> None:
    """Add `restore` to the command line."""
    parser = commands.add_parser(
        "restore", help="restore the faces in pictures or folders", parents=[common(detector=True)], epilog=EXAMPLES
    )
    add_inputs(parser)
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        help="file (for one picture) or folder for the results; a folder's name may end with /",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace existing results")
    parser.add_argument("--skip-existing", action="store_true", help="skip pictures whose result exists")
    parser.add_argument("--quality", type=_quality, help="of JPEG and WebP, 1 to 100 (default: that of the input)")
    add_options(parser)
    parser.set_defaults(run=run)


def _quality(text: str) -> int:
    if not re.fullmatch("[0-9]{1,3}", text) or not 1 <= int(text) <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 100")
    return int(text)


def _names_a_folder(text: str) -> bool:
    """Whether the text of a path says that it is a folder, by a sign that `Path` drops."""
    return text.endswith(tuple(sign for sign in (os.sep, os.altsep) if sign))


def run(settings: argparse.Namespace) -> int:
    """Restore and write all pictures; one that fails does not stop the others. Returns the exit code.

    Raises:
        FaceRestoreError: an argument is wrong, or a model is missing; nothing is written then.
    """
    options = options_of(settings)
    from ..batch.plan import plan

    planned = plan(settings.inputs, Path(settings.output), folder=_names_a_folder(settings.output))
    tasks = planned.tasks
    refuse_missing(settings, options)
    for remark in _remarks(settings, options, tasks):
        print_error(remark)
    from ..batch.folder import restore_files

    restorer = restorer_of(settings)
    restorer.check(options)  # a wrong model or detector is one error, not one for every file
    with Interrupt() as interrupt, Bar.of_pictures(len(tasks)) as bar:

        def show(way: float, done: int, what: str) -> None:
            bar.show(way, f"{done} of {len(tasks)} pictures" + (f", {what}" if what else ""))

        running = restore_files(
            restorer,
            tasks,
            options,
            overwrite=settings.overwrite,
            skip_existing=settings.skip_existing,
            quality=settings.quality,
            progress=show,
            stop=interrupt.asked,
        )
        outcomes, stopped = _follow(running, bar, len(tasks), quiet=settings.json)
    if settings.json:
        print_json([outcome.to_dict() for outcome in outcomes])
    for remark in planned.remarks:
        print_error(remark)
    absent = _absent_faces(outcomes, len(tasks), options)
    if absent:
        where = "the picture" if len(outcomes) == 1 else "any of the pictures"
        print_error(f"--faces: there is no face {', '.join(absent)} in {where}; `facerestore detect` shows the numbers")
    return _conclude(outcomes, len(tasks), stopped or interrupt.asked()) or (FAILED if absent else OK)


def _remarks(settings: argparse.Namespace, options: Options, tasks: Sequence[Task]) -> Iterator[str]:
    """What the user should know of the arguments before a run that may be long."""
    if options.upscale > 1 and settings.option_upscaler is None:
        installed = ", ".join(store_of(settings, required=False).scan().installed("upscaler"))
        how = f"installed: {installed}" if installed else "`facerestore models download realesrgan-x2plus` gets one"
        yield (
            f"--upscale {options.upscale:g} enlarges without a model, so the background gets no sharper; add "
            f"--upscaler NAME ({how}), or --upscaler none if that is what you want"
        )
    if options.upscale > 1 and options.model == SPECS["model"].default and _only_lite(settings):
        yield (
            "the built-in restorer lite adds no new detail to an enlarged face; "
            "`facerestore models download gfpgan-1.4` gets one that does"
        )
    from ..images.files import LOSSY_EXTENSIONS

    lossy = any(task.target.suffix.lower() in LOSSY_EXTENSIONS for task in tasks)
    if settings.quality is not None and not lossy:
        yield "--quality has no effect: it is for JPEG and WebP, and no result is one"


def _only_lite(settings: argparse.Namespace) -> bool:
    from ..catalogue import BUILT_IN

    return list(store_of(settings, required=False).scan().usable()) == [BUILT_IN]


def _absent_faces(outcomes: Sequence[Outcome], total: int, options: Options) -> list[str]:
    """The numbers of --faces that no picture has; none if that is not known, since not all pictures were searched."""
    if len(outcomes) < total or any(outcome.error or outcome.skipped for outcome in outcomes):
        return []
    there = {report.number for outcome in outcomes for report in outcome.faces}
    return [str(number) for number in options.face_numbers if number not in there]


def _follow(running: Iterator[Outcome], bar: Bar, total: int, quiet: bool) -> tuple[list[Outcome], bool]:
    """Print the outcome of each picture of `total` when it is finished; only errors if `quiet`.

    Returns:
        The outcomes, and whether a second Ctrl-C stopped the run.
    """
    outcomes = []
    try:
        for outcome in running:
            outcomes.append(outcome)
            if outcome.exists and total > 1:
                continue  # `_conclude` says it once
            if outcome.error:
                bar.say(f"facerestore: {outcome.error}", error=True)
            elif not quiet:
                bar.say(_summary(outcome))
            for failure in outcome.failures:
                bar.say(f"facerestore: {outcome.task.source}: {failure}", error=True)
    except KeyboardInterrupt:
        return outcomes, True
    return outcomes, False


def _conclude(outcomes: list[Outcome], total: int, stopped: bool) -> int:
    """Print how many pictures failed or are not finished; returns the exit code."""
    failed = sum(bool(outcome.error) for outcome in outcomes)
    incomplete = any(outcome.failures for outcome in outcomes)
    existing = [outcome.task.target for outcome in outcomes if outcome.exists]
    if existing and total > 1:
        what = f"{len(existing)} results exist" if len(existing) > 1 else "1 result exists"
        print_error(
            f"{what} already, such as {existing[0]}, and nothing was done for {'them' if len(existing) > 1 else 'it'}; "
            "--skip-existing leaves such results as they are, --overwrite replaces them"
        )
    if failed > len(existing) and len(outcomes) > 1:
        print_error(f"{failed} of {len(outcomes)} pictures failed")
    if stopped:
        print_error(f"interrupted; {len(outcomes) - failed} of {total} pictures are finished")
        return INTERRUPTED
    return FAILED if failed or incomplete else OK


def _summary(outcome: Outcome) -> str:
    if outcome.skipped:
        return f"{outcome.task.source}: skipped, {outcome.task.target} exists"
    applied = sum(report.applied for report in outcome.faces)
    count = f"{applied} of {len(outcome.faces)} faces restored" if outcome.faces else "no face was found"
    if outcome.copied:
        count += ", nothing needed a change, copied" if applied else ", copied unchanged"
    lines = [f"{outcome.task.source} -> {outcome.task.target}: {count} ({outcome.model})"]
    lines += [f"  {report.reason}" for report in outcome.faces if report.reason]
    lines += [f"  {note}" for note in outcome.notes if note != "no face was found"]
    return "\n".join(lines)
