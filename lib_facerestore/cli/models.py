"""`facerestore models list | download | verify | import`: what there is, how to get it, and whether it is sound.

Results and JSON go to standard output, progress and questions to standard error. Exit codes are those of `cli`.
The page that `models list` prints is made in `cli_modelpage`.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..checks.verify import verify
from ..errors import DownloadError, FaceRestoreError, InputError, ModelFileError

if TYPE_CHECKING:
    from ..catalogue import ModelEntry, ModelFile, Store
    from ..catalogue.download import Downloaded

logger = logging.getLogger(__name__)

OK, FAILED = 0, 1


def add_commands(commands: Any) -> None:
    """Add `models` and its actions to the command line's sub-parsers."""
    models = commands.add_parser("models", help="the models that are known and installed; get, check, bring in")
    actions = models.add_subparsers(dest="action", required=True, metavar="ACTION")

    listing = actions.add_parser("list", help="every known model: installed or not, size, licence, what it is good for")
    listing.add_argument("--all", action="store_true", help="also those for onnxruntime, and those nothing here uses")
    listing.set_defaults(run=run_list)

    download = actions.add_parser("download", help="get models, verified; the licence is shown first")
    download.add_argument("ids", nargs="+", metavar="ID", help="as `models list` names them")
    download.add_argument("--file", metavar="NAME", help="another of the files that are published for it")
    download.add_argument("-y", "--yes", action="store_true", help="do not ask after the licence was shown")
    download.add_argument("--offline", action="store_true", default=None, help="never use the network")
    download.set_defaults(run=run_download)

    verify = actions.add_parser("verify", help="check models: size, hash, strict load, family")
    verify.add_argument(
        "ids", nargs="*", metavar="ID", help="an id, a file name in the folders, or a path (all that is installed)"
    )
    verify.add_argument("--against", choices=["reference"], help="also run it through the original network (slow)")
    verify.set_defaults(run=run_verify)

    bring = actions.add_parser("import", help="copy a file that you have into the model folder")
    bring.add_argument("files", nargs="+", type=Path, metavar="FILE")
    bring.add_argument("--move", action="store_true", help="move it in place of copying")
    bring.set_defaults(run=run_import)

    for action in (listing, download, verify, bring):
        action.add_argument("--json", action="store_true", help="print the result as JSON")
        reads = folder if action in (listing, verify) else folder_to_be  # the others make it
        action.add_argument("--models", type=reads, dest="models_folder", metavar="DIR", help="the model folder")
        action.add_argument("--webui", type=folder, metavar="DIR", help="a WebUI's models folder, to search that too")
        action.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps … (auto)")
        action.add_argument("--verbose", action="store_true", help="say what is done and why")


def folder(text: str) -> Path:
    """For argparse: a folder that is there, lest a slip of the pen pass for a folder without models."""
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is no folder; name the one that the model files lie in")
    return Path(text)


def folder_to_be(text: str) -> Path:
    """For argparse: a folder that is there or can be made, so no file."""
    path = Path(text)
    blocked = next((one for one in (path, *path.parents) if one.exists() and not one.is_dir()), None)
    if blocked is not None:
        raise argparse.ArgumentTypeError(f"{str(blocked)!r} is a file; name the folder that model files shall lie in")
    return path


def _store(settings: argparse.Namespace) -> Store:
    from ..catalogue import Store

    return Store([settings.models_folder] if settings.models_folder else None, settings.webui)


def _print_json(content: object) -> None:
    print(json.dumps(content, indent=1, ensure_ascii=False))


def run_list(settings: argparse.Namespace) -> int:
    """`models list`."""
    from . import model_page

    survey = model_page.survey(_store(settings))
    if settings.json:
        _print_json(survey.to_dict())
        return OK
    width = shutil.get_terminal_size((110, 24)).columns
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    print(model_page.page(survey, everything=settings.all, width=width, encoding=encoding))
    return OK


def run_download(settings: argparse.Namespace) -> int:
    """`models download`."""
    from ..catalogue.download import download

    store = _store(settings)
    entries = [_known(name) for name in settings.ids]
    rows: list[dict[str, str | None]] = []
    failed = 0
    for entry in entries:
        chosen = _published(entry, settings.file)
        there = _there_already(entry, settings.file, store)
        if there is not None:
            rows.append({"id": entry.id, "file": str(there.path), "verified": there.verified, "url": ""})
            if not settings.json:
                print(f"{entry.id}: was there already, {there.path} ({_verified(there)})")
            continue
        _show_terms(entry, chosen, store.folders[0])
        if not _agreed(settings):
            print(f"facerestore: {entry.id} was not downloaded", file=sys.stderr)
            failed += 1
            continue
        try:
            with _Bar(chosen.name if chosen else entry.id) as bar:
                done = download(
                    entry, store.folders[0], name=settings.file, offline=settings.offline, progress=bar.update
                )
        except DownloadError as error:
            failed += 1
            print(f"facerestore: {error}", file=sys.stderr)
            rows.append({"id": entry.id, "file": None, "verified": None, "error": str(error)})
            continue
        rows.append({"id": entry.id, "file": str(done.path), "verified": done.verified, "url": done.url})
        if not settings.json:
            print(f"{entry.id}: {'' if done.url else 'was there already, '}{done.path} ({_verified(done)})")
    if settings.json:
        _print_json(rows)
    return FAILED if failed else OK


def _there_already(entry: ModelEntry, name: str | None, store: Store) -> Downloaded | None:
    """The model, or its published file of that name, where it lies in any of the searched folders."""
    from ..catalogue import BUILT_IN
    from ..catalogue.download import Downloaded
    from ..catalogue.fingerprints import sha256_of

    path = store.installed(entry.kind).get(entry.id)
    if path is None or entry.id == BUILT_IN:
        return None
    size = path.stat().st_size
    alike = [file for file in entry.published if file.bytes == size or (file.sha256 and not file.bytes)]
    exact = next((file for file in alike if file.sha256 and file.sha256 == sha256_of(path)), None)
    if name and name.lower() not in (path.name.lower(), exact.name.lower() if exact else ""):
        return None
    if exact:
        return Downloaded(path, "", "sha256")
    return Downloaded(path, "", "size" if any(not file.sha256 for file in alike) else "nothing")


def _verified(done: Downloaded) -> str:
    if done.verified == "nothing" and not done.url:
        return "not known to be a published file; see `facerestore models verify`"
    return {
        "sha256": "SHA-256 as published",
        "size": "size as published; nobody states its SHA-256",
        "nothing": "nobody states its size or SHA-256, so it could not be checked",
    }[done.verified]


def _known(name: str) -> ModelEntry:
    from ..catalogue import known_model, known_models
    from ..wording import did_you_mean

    entry = known_model(name)
    if entry is None:
        near = did_you_mean(name, [entry.id for entry in known_models(None)])
        raise ModelFileError(f"model {name} is not known.{near} `facerestore models list --all` shows all ids.")
    return entry


def _published(entry: ModelEntry, name: str | None) -> ModelFile | None:
    for file in entry.published:
        if name is None or file.name.lower() == name.lower():
            return file
    return None  # download says what is wrong


def _show_terms(entry: ModelEntry, file: ModelFile | None, folder: Path) -> None:
    from .model_page import COMMERCIAL, about, megabytes

    size = megabytes(file.bytes) if file and file.bytes else about(entry)
    lines = [f"{entry.id}: {file.name if file else 'no file'}, {size}, into {folder}"]
    if file and file.urls:
        lines.append(f"  from      {file.urls[0]}")
        lines += [f"            {len(file.urls) - 1} more address(es) if that fails"] * (len(file.urls) > 1)
    lines += [f"  licence   {entry.licence}", f"            {entry.licence_note}"]
    lines.append(f"  business  {COMMERCIAL[entry.commercial]}")
    if file and file.note:
        lines.append(f"  note      {file.note}")
    print("\n".join(lines), file=sys.stderr)


def _agreed(settings: argparse.Namespace) -> bool:
    """Ask only somebody who can answer: a script has been shown the terms in its log."""
    if settings.yes or not sys.stdin or not sys.stdin.isatty():
        return True
    print("Download it on these terms? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


class _Bar:
    """tqdm behind the callback of `download`."""

    def __init__(self, name: str) -> None:
        from tqdm import tqdm

        self._bar = tqdm(desc=name, unit="B", unit_scale=True, unit_divisor=1024, file=sys.stderr, disable=None)

    def update(self, done: int, total: int | None) -> None:
        """`done` of `total` bytes."""
        if total and self._bar.total != total:
            self._bar.total = total
        self._bar.update(done - self._bar.n)

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()


def run_verify(settings: argparse.Namespace) -> int:
    """`models verify`."""
    from ..catalogue import known_models

    store = _store(settings)
    names = settings.ids
    if not names:
        there = {**store.installed(None), **store.misfits(None)}
        names = [entry.id for entry in known_models(None) if entry.id in there]
    rows = []
    bad = False
    for name in names:
        try:
            path, entry = _meant(name, store)
        except ModelFileError as error:
            bad = True
            print(f"facerestore: {error}", file=sys.stderr)
            rows.append({"model": name, "file": None, "checks": [], "error": str(error)})
            continue
        checks = verify(path, entry, settings.device, settings.against == "reference")
        bad = bad or any(check.status == "failed" for check in checks)
        rows.append({"model": name, "file": str(path), "checks": [asdict(check) for check in checks]})
        if not settings.json:
            print(f"{entry.id if entry else name}: {path}")
            for check in checks:
                print(f"  {check.status:<8} {check.subject:<10} {check.detail}", flush=True)
    if settings.json:
        _print_json(rows)
    return FAILED if bad else OK


def _meant(name: str, store: Store) -> tuple[Path, ModelEntry | None]:
    """The file that is to be checked, and what it ought to be. Raises ModelFileError where there is none."""
    from ..catalogue import identify, known_model

    entry = known_model(name)
    if entry is not None:
        misfit = store.misfits(entry.kind).get(entry.id)
        return (misfit.path if misfit else store.find(name, entry.kind)), entry
    path = store.find(name, None)
    found = identify(path, by_hash=True)
    return path, found.models[0] if len(found.models) == 1 else None


def run_import(settings: argparse.Namespace) -> int:
    """`models import`."""
    store = _store(settings)
    rows = []
    failed = 0
    for source in settings.files:
        try:
            row = import_file(source, store, settings.move)
        except FaceRestoreError as error:
            failed += 1
            print(f"facerestore: {error}", file=sys.stderr)
            rows.append({"source": str(source), "file": None, "error": str(error)})
            continue
        rows.append(row)
        if not settings.json:
            print(f"{source} -> {row['file']}: {row['what']}")
    if settings.json:
        _print_json(rows)
    return FAILED if failed else OK


def import_file(source: Path, store: Store, move: bool = False) -> dict[str, Any]:
    """Bring a file into the store's first folder, under its usual name where it is one of the known models.

    Returns:
        source, file (where it lies now), id (or None) and what (in words).

    Raises:
        InputError: the file is not there, or another one has its name.
        ModelFileError: it is no model file that could be used.
    """
    from ..catalogue import MODEL_SUFFIXES, identify
    from ..catalogue.fingerprints import same_content, sha256_of

    if not source.is_file():
        raise InputError(f"{source}: there is no such file.")
    if source.suffix.lower() not in MODEL_SUFFIXES:
        raise ModelFileError(f"{source}: model files end in {', '.join(MODEL_SUFFIXES)}.")
    found = identify(source, by_hash=True)
    if found.remark:
        raise ModelFileError(f"{source}: is {found.remark}.")
    entry = found.models[0] if len(found.models) == 1 else None
    _check_usable(source, entry)
    name = source.name
    if entry is not None:
        digest = sha256_of(source)
        exact = next((file.name for file in entry.published if file.sha256 == digest), None)
        suffix = source.suffix.lower()
        name = exact or next((one for one in entry.files if Path(one).suffix == suffix), source.name)
    target = store.folders[0] / name
    words = entry.id if entry else "not one of the known models; choose it by its name"
    if entry is None and found.models:
        words = " or ".join(one.id for one in found.models) + ", not as published; choose it by its name"
    if target.exists():
        if not same_content(source, target):
            raise InputError(f"{target}: exists already and is another file; move it away first.")
        if move and not source.samefile(target):
            source.unlink()
        return {"source": str(source), "file": str(target), "id": entry and entry.id, "what": words + ", was there"}
    _copy(source, target, move)
    return {"source": str(source), "file": str(target), "id": entry and entry.id, "what": words}


def _check_usable(source: Path, entry: ModelEntry | None) -> None:
    """Refuse a file that no stage could load; one that only lacks a package here is welcome. Raises ModelFileError."""
    from ..catalogue.fingerprints import look_into
    from ..checks.verify import load, missing_package

    look_into(source)
    if missing_package(source, entry) or (entry is not None and not entry.used):
        return
    try:
        load(source, entry)
    except ModelFileError:
        raise
    except FaceRestoreError as error:
        logger.info("%s: was not tried: %s", source, error)


def _copy(source: Path, target: Path, move: bool) -> None:
    """The whole file or none under its final name."""
    part = target.with_name(f".{target.name}.import.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(target.parent).free
        if free < source.stat().st_size and not move:
            raise InputError(f"{target}: the disk has {free / 2**20:,.0f} MB free, which is too little; make room.")
        if move:
            shutil.move(source, part)
        else:
            shutil.copyfile(source, part)
        part.replace(target)
    except OSError as error:
        if not move:
            part.unlink(missing_ok=True)
        raise InputError(f"{target}: could not be written ({error.strerror or error}).") from error
