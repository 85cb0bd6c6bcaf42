"""`facerestore models download`: shows a model's licence, asks for consent, and downloads its file."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import DownloadError
from .arguments import store_of
from .output import FAILED, OK, print_error, print_json
from .progress import Bar

if TYPE_CHECKING:
    from ..catalogue import ModelEntry, ModelFile, Store
    from ..catalogue.download import Downloaded

JsonRow = dict[str, str | None]


def run(settings: argparse.Namespace) -> int:
    """Download the models; one that fails does not stop the others. Returns the exit code.

    Raises:
        ModelFileError: an id is not known; nothing is downloaded then.
    """
    from ..catalogue import entry_of, known_models

    store = store_of(settings)
    there = known_models(None)
    entries = [entry_of(name, there, "`facerestore models list --all` shows all ids.") for name in settings.ids]
    rows = [_get(entry, store, settings) for entry in entries]
    if settings.json:
        print_json(rows)
    return FAILED if any("error" in row for row in rows) else OK


def _get(entry: ModelEntry, store: Store, settings: argparse.Namespace) -> JsonRow:
    """Download one model; returns its row for JSON, which has an "error" if that failed or was declined."""
    from ..catalogue.download import download, published_file, tidy_parts

    there = _there_already(entry, settings.file, store)
    if there is not None:
        tidy_parts(there.path)
        if not settings.json:
            print(f"{entry.id}: already installed, {there.path} ({_verified(there)})")
        return {"id": entry.id, "file": str(there.path), "verified": there.verified, "url": ""}
    try:
        chosen = published_file(entry, settings.file)
    except DownloadError as error:  # a part of this package, or it has no such file
        return _failed(entry, str(error))
    _show_terms(entry, chosen, store.folders[0])
    if not _agreed(settings):
        return _failed(entry, f"{entry.id} was not downloaded: its terms were declined")
    try:
        with Bar.of_bytes(chosen.name) as bar:
            done = download(entry, store.folders[0], name=settings.file, offline=settings.offline, progress=bar.move)
    except DownloadError as error:
        return _failed(entry, str(error))
    if not settings.json:
        print(f"{entry.id}: {'' if done.url else 'already installed, '}{done.path} ({_verified(done)})")
    return {"id": entry.id, "file": str(done.path), "verified": done.verified, "url": done.url}


def _failed(entry: ModelEntry, message: str) -> JsonRow:
    print_error(message)
    return {"id": entry.id, "file": None, "verified": None, "error": message}


def _there_already(entry: ModelEntry, name: str | None, store: Store) -> Downloaded | None:
    """The model, or its published file with this name, if it is in one of the searched folders; else None."""
    from ..catalogue import BUILT_IN
    from ..catalogue.download import Downloaded
    from ..catalogue.fingerprints import sha256_of

    path = store.scan().installed(entry.kind).get(entry.id)
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
    from ..catalogue.terms import VERIFIED

    if done.verified == "nothing" and not done.url:
        return "not known to be a published file; see `facerestore models verify`"
    return VERIFIED[done.verified]


def _show_terms(entry: ModelEntry, file: ModelFile, folder: Path) -> None:
    from ..catalogue.terms import COMMERCIAL_USE
    from .model_page import about, megabytes

    size = megabytes(file.bytes) if file.bytes else about(entry)
    lines = [f"{entry.id}: {file.name}, {size}, into {folder}"]
    if file.urls:
        lines.append(f"  from      {file.urls[0]}")
        if len(file.urls) > 1:
            lines.append(f"            {len(file.urls) - 1} more address(es) if that fails")
    lines += [f"  licence   {entry.licence}", f"            {entry.licence_note}"]
    lines.append(f"            {COMMERCIAL_USE[entry.commercial]}")
    if file.note:
        lines.append(f"  note      {file.note}")
    print("\n".join(lines), file=sys.stderr)


def _agreed(settings: argparse.Namespace) -> bool:
    """Whether the user agrees. Only a terminal is asked; a script has the licence in its log."""
    if settings.yes or not sys.stdin or not sys.stdin.isatty():
        return True
    print("Download it under these terms? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
