"""Arguments that several commands share, and the objects made from them: `Options`, `Store`, `FaceRestorer`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from ..catalogue import known_model
from ..catalogue.peek import check_file
from ..options.table import SPECS, Options, specs_in
from .output import print_error

if TYPE_CHECKING:
    from ..catalogue import Store
    from ..pipeline import FaceRestorer

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
"""Type of the result of `add_subparsers`."""


def existing_folder(text: str) -> Path:
    """Argument type: a folder that exists. A misspelt name would otherwise look like a folder without models."""
    if not os.path.isdir(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a folder; name the one that the model files are in")
    return Path(text)


def folder_to_be(text: str) -> Path:
    """Argument type: a folder that exists or can be created, not a file."""
    path = Path(text)
    blocked = next((one for one in (path, *path.parents) if os.path.exists(one) and not os.path.isdir(one)), None)
    if blocked is not None:
        raise argparse.ArgumentTypeError(f"{str(blocked)!r} is a file; name a folder for the model files")
    return path


def common(
    folder: Callable[[str], Path] = existing_folder, *, device: bool = True, detector: bool = False
) -> argparse.ArgumentParser:
    """A parent parser with the arguments of all commands: --json, --models, --verbose.

    Args:
        folder: argument type of --models.
        device: whether to add --device, for a command that runs networks.
        detector: whether to add --detector-file.
    """
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--models", type=folder, dest="models_folder", metavar="DIR", help="the model folder")
    if device:
        parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps … (default: auto)")
    if detector:
        parser.add_argument("--detector-file", type=Path, metavar="FILE", help="detect with this RetinaFace .pth file")
    parser.add_argument("--verbose", action="store_true", help="print details, and tracebacks of errors")
    return parser


def add_inputs(parser: argparse.ArgumentParser) -> None:
    """Add the argument for pictures and folders."""
    parser.add_argument("inputs", nargs="+", type=Path, metavar="INPUT", help="picture or folder (with sub-folders)")


def add_options(parser: argparse.ArgumentParser, names: Sequence[str] | None = None) -> None:
    """Add the command line's options of the table, all or only those with these names."""
    group = parser.add_argument_group("face restoration")
    for spec in specs_in("cli"):
        if names is None or spec.name in names:
            flag = "--" + spec.name.replace("_", "-")
            help_text = f"{spec.help} Give {spec.allowed}. Default: {spec.default}".replace("%", "%%")
            group.add_argument(flag, dest=f"option_{spec.name}", metavar=spec.kind.upper(), help=help_text)
            if "_" in spec.name:  # as spelled in the API
                group.add_argument(f"--{spec.name}", dest=f"option_{spec.name}", help=argparse.SUPPRESS)


def options_of(settings: argparse.Namespace) -> Options:
    """The given options, and defaults for the others. Raises OptionError."""
    given = {name: value for name, value in vars(settings).items() if name.startswith("option_") and value is not None}
    return Options.from_mapping({name.removeprefix("option_"): value for name, value in given.items()})


def store_of(settings: argparse.Namespace, required: bool = True) -> Store:
    """The model folders of the arguments, or the default one; see `Store` for `required`."""
    from ..catalogue import Store

    folders = [settings.models_folder] if settings.models_folder else None
    return Store(folders, getattr(settings, "webui", None), required=required)


def refuse_missing(settings: argparse.Namespace, options: Options) -> None:
    """Check that the files of the model, detector and upscaler are there, without importing torch, which takes seconds.

    Whether the files can be used is seen when they are loaded.

    Raises:
        ModelFileError: one is not installed, or its file is something else.
    """
    there = store_of(settings, required=False).scan()
    if options.model != SPECS["model"].default:
        there.find(options.model)
    if options.upscaler != SPECS["upscaler"].default:
        there.find(options.upscaler, "upscaler")
    if settings.detector_file is None:
        entry = known_model(options.detector)
        if entry is not None and entry.kind == "detector":
            there.find(options.detector, "detector")
    else:
        check_file(settings.detector_file)


def restorer_of(settings: argparse.Namespace) -> FaceRestorer:
    """The `FaceRestorer` for the arguments; prints a warning if the model folder is missing, and was named.

    A user without a home folder has none, and needs none for what is built in.
    """
    from ..catalogue import ENVIRONMENT
    from ..pipeline import FaceRestorer

    restorer = FaceRestorer(settings.models_folder, settings.device, detector=settings.detector_file)
    named, folders = os.environ.get(ENVIRONMENT), restorer.store.folders
    if not folders:
        for sentence in restorer.store.scan().closed:
            print_error(sentence)
    elif named and not settings.models_folder and not os.path.isdir(folders[0]):
        # Not an error, unlike with --models: the first download may create the folder.
        print_error(f"{ENVIRONMENT} names {named}, which is not a folder")
    return restorer
