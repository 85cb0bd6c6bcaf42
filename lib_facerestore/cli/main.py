"""The command line: `facerestore restore | detect | models | doctor`, also as `python -m lib_facerestore`.

Exit codes: 0 all went well, 1 some file failed, 2 the command or an option is wrong, 130 interrupted. Results and JSON
go to standard output, progress and errors to standard error. Options are made from the one table in `options`.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .. import __version__
from ..errors import FaceRestoreError
from ..options.table import Options, specs_in
from ..wording import did_you_mean
from . import bench as bench_command
from . import models as models_command
from .models import folder
from .progress import Bar, Interrupt, print_anything

if TYPE_CHECKING:
    from ..batch.folder import Outcome
    from ..pipeline import FaceRestorer

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
_DETECTION_OPTIONS = ("detector", "confidence", "order")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    print_anything()
    parser = build_parser()
    try:
        settings, unknown = parser.parse_known_args(arguments)
    except SystemExit as stop:  # argparse has printed why
        return int(stop.code or 0)
    if unknown:
        flags = [name.removeprefix("option_").replace("_", "-") for name in vars(settings)]
        # Compared without the dashes, which all have and which make everything look alike.
        near = did_you_mean(unknown[0].partition("=")[0].lstrip("-"), flags).replace("mean ", "mean --")
        where = f"See `facerestore {settings.command} --help`."
        print(f"facerestore: {unknown[0]} is not known.{near} {where}", file=sys.stderr)
        return USAGE
    level = logging.DEBUG if settings.verbose else logging.WARNING
    logging.basicConfig(level=level, format="%(levelname)s: %(message)s", stream=sys.stderr)
    # Pillow's remark on large pictures is meant for servers; what is too large for any use is an error, not a warning.
    warnings.filterwarnings("ignore", r"Image size \(.* pixels\) exceeds limit")
    try:
        return int(settings.run(settings))
    except FaceRestoreError as error:
        print(f"facerestore: {error}", file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        print("facerestore: interrupted; finished files are whole", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        return OK
    except OSError as error:  # a folder that may not be read, a full disk: not worth a traceback
        logging.getLogger(__name__).debug("failed", exc_info=True)
        print(f"facerestore: {error}", file=sys.stderr)
        return FAILED


def build_parser() -> argparse.ArgumentParser:
    """The argument parser, made from the table of options."""
    parser = argparse.ArgumentParser(
        prog="facerestore", description="Find the faces in pictures, restore them, and put them back without a seam."
    )
    parser.add_argument("--version", action="version", version=f"facerestore {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    restore = commands.add_parser("restore", help="restore the faces in pictures or folders")
    restore.add_argument("inputs", nargs="+", type=Path, metavar="INPUT", help="picture or folder (with sub-folders)")
    restore.add_argument("-o", "--output", type=Path, required=True, help="picture (one input) or folder")
    restore.add_argument("--overwrite", action="store_true", help="replace results that exist")
    restore.add_argument("--skip-existing", action="store_true", help="pass over pictures whose result exists")
    restore.add_argument("--quality", type=_quality, help="for JPEG and WebP, 1 to 100 (as the input)")
    _add_options(restore, [spec.name for spec in specs_in("cli")])
    _add_common(restore)
    restore.set_defaults(run=_restore)

    detect = commands.add_parser("detect", help="find the faces, change nothing")
    detect.add_argument("inputs", nargs="+", type=Path, metavar="INPUT", help="picture or folder (with sub-folders)")
    _add_options(detect, _DETECTION_OPTIONS)
    _add_common(detect)
    detect.set_defaults(run=_detect)

    models_command.add_commands(commands)
    bench_command.add_command(commands)

    doctor = commands.add_parser("doctor", help="what is installed, what is missing, and how to get it")
    _add_common(doctor)
    doctor.set_defaults(run=_doctor)
    return parser


def _add_options(parser: argparse.ArgumentParser, names: Sequence[str]) -> None:
    group = parser.add_argument_group("options")
    for spec in specs_in("cli"):
        if spec.name in names:
            flag = "--" + spec.name.replace("_", "-")
            help_text = f"{spec.help} Give {spec.allowed}. Default: {spec.default}".replace("%", "%%")
            group.add_argument(flag, dest=f"option_{spec.name}", metavar=spec.kind.upper(), help=help_text)
            if "_" in spec.name:  # as the API and the infotext spell it
                group.add_argument(f"--{spec.name}", dest=f"option_{spec.name}", help=argparse.SUPPRESS)


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--models", type=folder, dest="models_folder", metavar="DIR", help="the model folder")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps … (auto)")
    parser.add_argument("--detector-file", type=Path, metavar="FILE", help="a RetinaFace .pth file to detect with")
    parser.add_argument("--verbose", action="store_true", help="say what is done and why")


def _quality(text: str) -> int:
    if not re.fullmatch("[0-9]{1,3}", text) or not 1 <= int(text) <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 100")
    return int(text)


def _options(settings: argparse.Namespace) -> Options:
    given = {name: value for name, value in vars(settings).items() if name.startswith("option_") and value is not None}
    return Options.from_mapping({name.removeprefix("option_"): value for name, value in given.items()})


def _restorer(settings: argparse.Namespace) -> FaceRestorer:
    from ..catalogue.store import ENVIRONMENT
    from ..pipeline import FaceRestorer

    named = os.environ.get(ENVIRONMENT)
    if named and not settings.models_folder and not Path(named).expanduser().is_dir():
        # No error, as it is with --models: the folder may be one that the first download will make.
        print(f"facerestore: {ENVIRONMENT} names {named}, which is no folder", file=sys.stderr)
    return FaceRestorer(settings.models_folder, settings.device, detector=settings.detector_file)


def _restore(settings: argparse.Namespace) -> int:
    options = _options(settings)
    from ..batch import folder as batch_folder

    tasks = batch_folder.plan(settings.inputs, settings.output)
    restorer = _restorer(settings)
    restorer.check(options)  # a wrong model or detector is one error, not one for every file
    outcomes: list[Outcome] = []
    with Interrupt() as interrupt, Bar(len(tasks)) as bar:
        running = batch_folder.restore_files(
            restorer,
            tasks,
            options,
            overwrite=settings.overwrite,
            skip_existing=settings.skip_existing,
            quality=settings.quality,
            progress=bar.show,
            stop=interrupt.asked,
        )
        stopped = False
        try:
            for outcome in running:
                outcomes.append(outcome)
                if outcome.error:
                    bar.say(f"facerestore: {outcome.error}", error=True)
                elif not settings.json:
                    bar.say(_summary(outcome))
        except KeyboardInterrupt:
            stopped = True
    stopped = stopped or interrupt.asked()
    if settings.json:
        _print_json([outcome.to_dict() for outcome in outcomes])
    failed = sum(bool(outcome.error) for outcome in outcomes)
    if failed and len(outcomes) > 1:
        print(f"facerestore: {failed} of {len(outcomes)} pictures failed", file=sys.stderr)
    if stopped:
        done = len(outcomes) - failed
        print(f"facerestore: interrupted; {done} of {len(tasks)} pictures are finished and whole", file=sys.stderr)
        return INTERRUPTED
    return FAILED if failed else OK


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=1, ensure_ascii=False))


def _summary(outcome: Outcome) -> str:
    if outcome.skipped:
        return f"{outcome.task.source}: skipped, {outcome.task.target} exists"
    applied = sum(report.applied for report in outcome.faces)
    count = f"{applied} of {len(outcome.faces)} faces restored" if outcome.faces else "no face was found"
    if outcome.copied:
        count += ", copied as it is"
    lines = [f"{outcome.task.source} -> {outcome.task.target}: {count} ({outcome.model})"]
    lines += [f"  {report.reason}" for report in outcome.faces if report.reason]
    lines += [f"  {note}" for note in outcome.notes if note != "no face was found"]
    return "\n".join(lines)


def _detect(settings: argparse.Namespace) -> int:
    options = _options(settings)
    from ..batch import folder as batch_folder

    pictures = batch_folder.find_pictures(settings.inputs)
    rows: list[dict[str, object]] = []
    code = OK
    try:
        for one, faces, notes, error in batch_folder.detect_files(_restorer(settings), pictures, options):
            row: dict[str, object] = {"file": str(one.source), "faces": [face.to_dict() for face in faces]}
            rows.append(row | {"error": error} if error else row)
            for line in (*notes, *([error] if error else [])):
                print(f"facerestore: {line}", file=sys.stderr)
            if error:
                code = FAILED
            elif not settings.json:
                print(f"{one.source}: {len(faces)} face{'' if len(faces) == 1 else 's'}")
                for face in faces:
                    x0, y0, x1, y1 = face.box
                    print(f"  {face.number}: {x0:.0f},{y0:.0f} to {x1:.0f},{y1:.0f}, score {face.score:.2f}")
    except KeyboardInterrupt:
        print(f"facerestore: interrupted; {len(rows)} of {len(pictures)} pictures are done", file=sys.stderr)
        code = INTERRUPTED
    if settings.json:
        _print_json(rows)
    return code


def _doctor(settings: argparse.Namespace) -> int:
    from ..catalogue import Store
    from ..checks.doctor import examine

    findings = examine(Store([settings.models_folder] if settings.models_folder else None), settings.device)
    broken = any(finding.status in ("missing", "broken") for finding in findings)
    if settings.json:
        _print_json([vars(finding) for finding in findings])
        return FAILED if broken else OK
    for finding in findings:
        print(f"{finding.status:<8} {finding.subject:<30} {finding.detail}")
        if finding.remedy:
            print(f"{'':<8} {'':<30} -> {finding.remedy}")
    return FAILED if broken else OK
