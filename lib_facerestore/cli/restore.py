"""`facerestore restore`: restores the faces in pictures and folders."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from ..options.table import SPECS
from .arguments import Commands, add_inputs, add_options, common, options_of, refuse_missing, restorer_of, store_of
from .output import print_error, print_json
from .progress import Bar, Interrupt
from .restore_report import conclude, follow

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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
        outcomes, stopped = follow(running, bar, len(tasks), options, settings)
    if settings.json:
        print_json([outcome.to_dict() for outcome in outcomes])
    for remark in planned.remarks:
        print_error(remark)
    return conclude(outcomes, len(tasks), options, settings, stopped or interrupt.asked())


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
