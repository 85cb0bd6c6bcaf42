"""`facerestore models list | download | verify | import`: the arguments of all four, and `list` and `verify`.

The page that `list` prints is made in `model_page`; `model_download` and `model_import` hold the other two.
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
    models = commands.add_parser("models", help="the models that are known and installed; get, check, bring in")
    actions = models.add_subparsers(dest="action", required=True, metavar="ACTION")
    reading, writing = common(existing_folder), common(folder_to_be)  # `download` and `import` make the folder
    for parent in (reading, writing):
        parent.add_argument(
            "--webui", type=existing_folder, metavar="DIR", help="a WebUI's models folder, to search that too"
        )

    listing = actions.add_parser(
        "list", help="every known model: installed or not, size, licence, what it is good for", parents=[reading]
    )
    listing.add_argument("--all", action="store_true", help="also those for onnxruntime, and those nothing here uses")
    listing.set_defaults(run=run_list)

    download = actions.add_parser(
        "download", help="get models, verified; the licence is shown first", parents=[writing]
    )
    download.add_argument("ids", nargs="+", metavar="ID", help="as `models list` names them")
    download.add_argument("--file", metavar="NAME", help="another of the files that are published for it")
    download.add_argument("-y", "--yes", action="store_true", help="do not ask after the licence was shown")
    download.add_argument("--offline", action="store_true", default=None, help="never use the network")
    download.set_defaults(run=model_download.run)

    verify = actions.add_parser("verify", help="check models: size, hash, strict load, family", parents=[reading])
    verify.add_argument(
        "ids", nargs="*", metavar="ID", help="an id, a file name in the folders, or a path (all that is installed)"
    )
    verify.add_argument("--against", choices=["reference"], help="also run it through the original network (slow)")
    verify.set_defaults(run=run_verify)

    bring = actions.add_parser("import", help="copy a file that you have into the model folder", parents=[writing])
    bring.add_argument("files", nargs="+", type=Path, metavar="FILE")
    bring.add_argument("--move", action="store_true", help="move it instead of copying it")
    bring.set_defaults(run=model_import.run)


def run_list(settings: argparse.Namespace) -> int:
    """`models list`; returns the exit code."""
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
    """`models verify`; returns the exit code."""
    from ..catalogue import known_models
    from ..checks.verify import verify

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
    """The file that is to be checked, and the model that it should be. Raises ModelFileError where there is none."""
    from ..catalogue import identify, known_model

    entry = known_model(name)
    if entry is not None:
        misfit = there.misfits(entry.kind).get(entry.id)
        return (misfit.path if misfit else there.find(name, entry.kind)), entry
    path = there.find(name, None)
    found = identify(path, by_hash=True)
    return path, found.models[0] if len(found.models) == 1 else None
