"""`facerestore models import`: files that the user has, recognised, tried, and brought into the model folder."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import FaceRestoreError, InputError, ModelFileError
from .arguments import store_of
from .output import FAILED, OK, print_error, print_json

if TYPE_CHECKING:
    from ..catalogue import IdentifiedFile, ModelEntry, Store

logger = logging.getLogger(__name__)


def run(settings: argparse.Namespace) -> int:
    """Bring in each file; one that fails does not stop the others. Returns the exit code."""
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
    """Bring a file into the store's first folder, under its usual name where it is one of the known models.

    Whatever goes wrong, the file is still where it was, and nothing half done is left in the folder.

    Args:
        move: take it away from where it was.

    Returns:
        source, file (where it is now), id (or None) and what (in words).

    Raises:
        InputError: the file is missing or cannot be copied, or another one has its name.
        ModelFileError: it is no model file that could be used.
    """
    from ..catalogue import MODEL_SUFFIXES, identify
    from ..catalogue.fingerprints import same_content
    from ..images.atomic_write import copy_atomically, make_folder, move_atomically

    if not source.is_file():
        raise InputError(f"{source}: there is no such file.")
    if source.suffix.lower() not in MODEL_SUFFIXES:
        raise ModelFileError(f"{source}: model files end in {', '.join(MODEL_SUFFIXES)}.")
    found = identify(source, by_hash=True)
    if found.remark:
        raise ModelFileError(f"{source}: is {found.remark}.")
    entry = found.models[0] if len(found.models) == 1 else None
    _check_usable(source, entry)
    target = store.folders[0] / _usual_name(source, entry)
    row = {"source": str(source), "file": str(target), "id": entry and entry.id, "what": _in_words(found)}
    if target.exists():
        if not same_content(source, target):
            raise InputError(f"{target}: exists already and is another file; move it away first.")
        if move and not source.samefile(target):
            source.unlink()
        return row | {"what": f"{row['what']}, was there"}
    make_folder(target.parent)
    try:
        (move_atomically if move else copy_atomically)(source, target)
    except InputError as error:
        raise InputError(f"{error} Your file is still {source}.") from error
    return row


def _usual_name(source: Path, entry: ModelEntry | None) -> str:
    """The name that the file is published under, the model's usual one, or its own where it is no known model."""
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
    """Refuse a file that no stage could load; one that only lacks a package here is welcome. Raises ModelFileError."""
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
        logger.info("%s: was not tried: %s", source, error)
