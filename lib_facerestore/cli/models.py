"""`facerestore models list | download | verify | import`: all their arguments; the code of `list` and `verify`.

`model_page` makes the page of `list`; `model_download` and `model_import` have the code of the other two.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ModelFileError
from . import model_download, model_import
from .arguments import Commands, common, existing_folder, folder_to_be, store_of
from .output import FAILED, OK, print_error, print_json

if TYPE_CHECKING:
    from ..catalogue import Inventory, ModelEntry


def add_command(commands: Commands) -> None:
    """Add `models` and its actions to the command line."""
    models = commands.add_parser("models", help="list, download, verify and import models")
    actions = models.add_subparsers(dest="action", required=True, metavar="ACTION")
    reading = common(existing_folder, device=False)
    running = common(existing_folder)
    writing = common(folder_to_be, device=False)  # `download` and `import` create the folder
    for parent in (reading, running, writing):
        parent.add_argument(
            "--webui", type=existing_folder, metavar="DIR", help="also search this models folder of a WebUI"
        )

    listing = actions.add_parser(
        "list", help="show all known models: installed or not, size, licence, use", parents=[reading]
    )
    listing.add_argument(
        "--all", action="store_true", help="also those for onnxruntime, and those that Face Restore does not use"
    )
    listing.set_defaults(run=run_list)

    download = actions.add_parser(
        "download", help="download and verify models; the licence is shown first", parents=[writing]
    )
    download.add_argument("ids", nargs="+", metavar="ID", help="id of a model, see `models list`")
    download.add_argument("--file", metavar="NAME", help="name of another published file of the model")
    download.add_argument("-y", "--yes", action="store_true", help="do not ask for consent to the licence")
    download.add_argument("--offline", action="store_true", default=None, help="never use the network")
    download.set_defaults(run=model_download.run)

    verify = actions.add_parser("verify", help="check models: size, hash, strict load, family", parents=[running])
    verify.add_argument(
        "ids", nargs="*", metavar="ID", help="id, name of a file in the folders, or path (default: all installed)"
    )
    verify.add_argument("--against", choices=["reference"], help="also compare with the original network (slow)")
    verify.set_defaults(run=run_verify)

    bring = actions.add_parser("import", help="copy your model files into the model folder", parents=[writing])
    bring.add_argument("files", nargs="+", type=Path, metavar="FILE", help="model file")
    bring.add_argument("--move", action="store_true", help="move it instead of copying it")
    bring.set_defaults(run=model_import.run)


def run_list(settings: argparse.Namespace) -> int:
    """Run `models list`; returns the exit code."""
    from . import model_page

    survey = model_page.survey(store_of(settings))
    if settings.json:
        print_json(survey.to_dict())
        return OK
    width = shutil.get_terminal_size((110, 24)).columns
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    print(model_page.page(survey, everything=settings.all, width=width, encoding=encoding))
    return OK


def run_verify(settings: argparse.Namespace) -> int:
    """Run `models verify`; returns the exit code."""
    from ..catalogue import known_models

    there = store_of(settings).scan()
    names = settings.ids
    if not names:
        seen = {*there.installed(None), *there.misfits(None)}
        names = [entry.id for entry in known_models(None) if entry.id in seen]
    rows = []
    code = OK
    for name in names:
        try:
            path, entry = _meant(name, there)
        except ModelFileError as error:
            code = FAILED
            print_error(error)
            rows.append({"model": name, "file": None, "checks": [], "error": str(error)})
            continue
        from ..checks.verify import verify  # imports torch, which takes seconds

        checks = verify(path, entry, settings.device, settings.against == "reference")
        if any(check.status == "failed" for check in checks):
            code = FAILED
        rows.append({"model": name, "file": str(path), "checks": [asdict(check) for check in checks]})
        if not settings.json:
            print(f"{entry.id if entry else name}: {path}")
            for check in checks:
                print(f"  {check.status:<8} {check.subject:<10} {check.detail}", flush=True)
    if settings.json:
        print_json(rows)
    return code


def _meant(name: str, there: Inventory) -> tuple[Path, ModelEntry | None]:
    """The file to verify, and the model that it should be, if known. Raises ModelFileError if there is no file."""
    from ..catalogue import identify, known_model

    entry = known_model(name)
    if entry is not None:
        misfit = there.misfits(entry.kind).get(entry.id)
        return (misfit.path if misfit else there.find(name, entry.kind)), entry
    path = there.find(name, None)
    found = identify(path, by_hash=True)
    return path, found.models[0] if len(found.models) == 1 else None
