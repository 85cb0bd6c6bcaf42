"""`facerestore models import`: recognises and tests the user's files, and copies them into the model folder."""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import FaceRestoreError, InputError, ModelFileError
from .arguments import store_of
from .output import FAILED, OK, print_error, print_json

if TYPE_CHECKING:
    from ..catalogue import IdentifiedFile, ModelEntry, Store

logger = logging.getLogger(__name__)


def run(settings: argparse.Namespace) -> int:
    """Import the files; one that fails does not stop the others. Returns the exit code."""
    store = store_of(settings)
    rows = []
    code = OK
    for source in settings.files:
        try:
            row = import_file(source, store, settings.move)
        except FaceRestoreError as error:
            code = FAILED
            print_error(error)
            rows.append({"source": str(source), "file": None, "error": str(error)})
            continue
        rows.append(row)
        if not settings.json:
            print(f"{source} -> {row['file']}: {row['what']}")
    if settings.json:
        print_json(rows)
    return code


def import_file(source: Path, store: Store, move: bool = False) -> dict[str, Any]:
    """Copy a file into the store's first folder, with its usual name if it is a known model.

    After an error the file is still at its old place, and there is no partial copy in the folder.

    Args:
        source: the file.
        store: the model folders.
        move: whether to move the file instead of copying it.

    Returns:
        Values by name: source, file (the new path), id (or None) and what (a description).

    Raises:
        InputError: the file cannot be copied, or another file has its name.
        ModelFileError: it is missing, not a model file, or cannot be used.
    """
    from ..catalogue import MODEL_SUFFIXES, identify
    from ..catalogue.fingerprints import same_content
    from ..catalogue.peek import check_file
    from ..images.atomic_write import copy_atomically, make_folder, move_atomically, remove_moved, tidy_folder

    check_file(source)
    if source.suffix.lower() not in MODEL_SUFFIXES:
        raise ModelFileError(f"{source}: model files end in {', '.join(MODEL_SUFFIXES)}.")
    found = identify(source, by_hash=True)
    if found.remark:
        raise ModelFileError(f"{source}: is {found.remark}.")
    entry = found.models[0] if len(found.models) == 1 else None
    _check_usable(source, entry)
    target = store.folders[0] / _usual_name(source, entry)
    row = {"source": str(source), "file": str(target), "id": entry and entry.id, "what": _in_words(found)}
    tidy_folder(target.parent)
    if os.path.exists(target):
        if not same_content(source, target):
            raise InputError(f"{target}: exists already and is another file; move it away first.")
        if move:
            remove_moved(source, target)
        return row | {"what": f"{row['what']}, already installed"}
    make_folder(target.parent)
    try:
        (move_atomically if move else copy_atomically)(source, target)
    except InputError as error:
        raise InputError(f"{error} Your file is still at {source}.") from error
    return row


def _usual_name(source: Path, entry: ModelEntry | None) -> str:
    """The file's published name, else the model's usual name; its own name if it is not a known model."""
    from ..catalogue.fingerprints import sha256_of

    if entry is None:
        return source.name
    digest = sha256_of(source)
    names = [file.name for file in entry.published if file.sha256 == digest]
    names += [name for name in entry.files if Path(name).suffix == source.suffix.lower()]
    return names[0] if names else source.name


def _in_words(found: IdentifiedFile) -> str:
    if not found.models:
        return "not one of the known models; choose it by its name"
    if len(found.models) == 1:
        return found.models[0].id
    return " or ".join(one.id for one in found.models) + ", not as published; choose it by its name"


def _check_usable(source: Path, entry: ModelEntry | None) -> None:
    """Raise ModelFileError if the file cannot be loaded, unless only because a package is missing here."""
    from ..catalogue.fingerprints import look_into
    from ..checks.verify import load, package_lacking

    look_into(source)
    if package_lacking(source, entry) or (entry is not None and not entry.used):
        return
    try:
        load(source, entry)
    except ModelFileError:
        raise
    except FaceRestoreError as error:
        logger.info("%s: was not tested: %s", source, error)
