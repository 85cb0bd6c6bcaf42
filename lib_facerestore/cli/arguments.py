"""The arguments that commands share, and what they are read into: options, a model store, a `FaceRestorer`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from ..options.table import Options, specs_in
from .output import print_error

if TYPE_CHECKING:
    from ..catalogue import Store
    from ..pipeline import FaceRestorer

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
"""What `add_subparsers` gives."""


def existing_folder(text: str) -> Path:
    """For argparse: a folder that exists, so that a misspelt name is not taken for a folder without models."""
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is no folder; name the one that the model files are in")
    return Path(text)


def folder_to_be(text: str) -> Path:
    """For argparse: a folder that exists or can be made, so no file."""
    path = Path(text)
    blocked = next((one for one in (path, *path.parents) if one.exists() and not one.is_dir()), None)
    if blocked is not None:
        raise argparse.ArgumentTypeError(f"{str(blocked)!r} is a file; name a folder for the model files")
    return path


def common(folder: Callable[[str], Path] = existing_folder, *, detector: bool = False) -> argparse.ArgumentParser:
    """A parent parser with the arguments of every command: --json, --models, --device, --verbose.

    Args:
        folder: how the value of --models is checked.
        detector: with --detector-file too.
    """
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--models", type=folder, dest="models_folder", metavar="DIR", help="the model folder")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps … (auto)")
    if detector:
        parser.add_argument("--detector-file", type=Path, metavar="FILE", help="a RetinaFace .pth file to detect with")
    parser.add_argument("--verbose", action="store_true", help="say what is done and why")
    return parser


def add_inputs(parser: argparse.ArgumentParser) -> None:
    """Add the pictures and folders to read."""
    parser.add_argument("inputs", nargs="+", type=Path, metavar="INPUT", help="picture or folder (with sub-folders)")


def add_options(parser: argparse.ArgumentParser, names: Sequence[str] | None = None) -> None:
    """Add the options of the table, all of the command line's or those named."""
    group = parser.add_argument_group("options")
    for spec in specs_in("cli"):
        if names is None or spec.name in names:
            flag = "--" + spec.name.replace("_", "-")
            help_text = f"{spec.help} Give {spec.allowed}. Default: {spec.default}".replace("%", "%%")
            group.add_argument(flag, dest=f"option_{spec.name}", metavar=spec.kind.upper(), help=help_text)
            if "_" in spec.name:  # as the API and the infotext spell it
                group.add_argument(f"--{spec.name}", dest=f"option_{spec.name}", help=argparse.SUPPRESS)


def options_of(settings: argparse.Namespace) -> Options:
    """The options that were given, defaults for the rest. Raises OptionError."""
    given = {name: value for name, value in vars(settings).items() if name.startswith("option_") and value is not None}
    return Options.from_mapping({name.removeprefix("option_"): value for name, value in given.items()})


def store_of(settings: argparse.Namespace) -> Store:
    """The model folders that the command line names."""
    from ..catalogue import Store

    folders = [settings.models_folder] if settings.models_folder else None
    return Store(folders, getattr(settings, "webui", None))


def restorer_of(settings: argparse.Namespace) -> FaceRestorer:
    """A `FaceRestorer` as the command line asks for; says so where the environment names a folder that is missing."""
    from ..catalogue import ENVIRONMENT
    from ..pipeline import FaceRestorer

    named = os.environ.get(ENVIRONMENT)
    if named and not settings.models_folder and not Path(named).expanduser().is_dir():
        # No error, unlike with --models: it may be the folder that the first download will make.
        print_error(f"{ENVIRONMENT} names {named}, which is no folder")
    return FaceRestorer(settings.models_folder, settings.device, detector=settings.detector_file)
