"""The page of `facerestore models list`: `survey` collects the known and installed models, `page` makes the text."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..catalogue import (
    BUILT_IN,
    IdentifiedFile,
    ModelEntry,
    Store,
    identify,
    known_models,
    misfit_message,
    misfit_state,
    package_is_there,
)
from ..catalogue.terms import COMMERCIAL_USE
from ..wording import with_article

_HEADINGS = {
    "restorer": "Restorers",
    "onnx": "Restorers for onnxruntime",
    "detector": "Face detectors",
    "parser": "Face parsers",
    "upscaler": "Upscalers for the background",
}
_BESIDES = {"detector": ", and the built-in one", "parser": ", and the built-in one"}
"""What is used if no model of a group is installed."""

_ONE_LINE = 106
"""Terminal width from which the licence is in a model's first line; the longest one just fits."""


@dataclass(frozen=True)
class Survey:
    """The known models, and the files in the model folders.

    Attributes:
        folders: the folders that were searched; downloads go to the first.
        models: all known models, each with its file or None.
        others: the other model files.
        duplicates: groups of files with the same content.
        families: families of those `others` that are restorers outside the catalogue.
        misfits: by id of a model that is not installed, a file with its name that is damaged or something else.
        closed: a sentence for each folder that cannot be opened.
    """

    folders: tuple[Path, ...]
    models: tuple[tuple[ModelEntry, Path | None], ...]
    others: tuple[IdentifiedFile, ...]
    duplicates: tuple[tuple[Path, ...], ...]
    families: dict[Path, str]
    misfits: dict[str, IdentifiedFile]
    closed: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "folders": [str(folder) for folder in self.folders],
            "closed": list(self.closed),
            "models": [_row(entry, path, self.misfits.get(entry.id)) for entry, path in self.models],
            "other_files": [str(found.path) for found in self.others],
            "others": [
                {
                    "file": str(found.path),
                    "may_be": [entry.id for entry in found.models],
                    "family": self.families.get(found.path) or (found.models[0].family if found.models else None),
                    "told_by": found.told_by or None,
                    "remark": found.remark or None,
                    "damaged": found.damaged or None,
                }
                for found in self.others
            ],
            "duplicates": [[str(path) for path in group] for group in self.duplicates],
        }


def survey(store: Store) -> Survey:
    """Search the store's folders."""
    there = store.scan()
    installed = there.installed(None)
    models = tuple((entry, installed.get(entry.id)) for entry in known_models(None))
    others = tuple(identify(file.path, by_hash=True) for file in there.others())
    duplicates = tuple(tuple(group) for group in store.duplicates())
    unknown = [found for found in others if not found.models and not found.remark]
    return Survey(
        store.folders, models, others, duplicates, _families(unknown), there.misfits(None), tuple(there.closed)
    )


def _families(unknown: list[IdentifiedFile]) -> dict[Path, str]:
    """The family of each file that belongs to one. torch is imported only if there are files to examine."""
    found: dict[Path, str] = {}
    for one in unknown:
        if one.content is None or not one.content.shapes:
            continue
        from ..networks.load import find_family

        recognised = find_family(one.content.shapes)
        if recognised is not None:
            family, _ = recognised
            found[one.path] = family.RESTORER.family
    return found


def _state(entry: ModelEntry, path: Path | None, misfit: IdentifiedFile | None) -> str:
    if entry.id == BUILT_IN:
        return "built in"
    if path is None:
        return misfit_state(misfit) if misfit else "not installed"
    return "incomplete" if entry.lacking(path) else "installed"


def _row(entry: ModelEntry, path: Path | None, misfit: IdentifiedFile | None) -> dict[str, Any]:
    fault = misfit_message(misfit) if misfit else None
    state = _state(entry, path, misfit)
    return entry.as_json() | {"state": state, "file": str(path) if path else None, "fault": fault}


def megabytes(count: int) -> str:
    """A number of bytes as text, e.g. "332 MB" or "1.7 MB"; a megabyte is 2^20 bytes."""
    value = count / 2**20
    return f"{value:.0f} MB" if value >= 10 else f"{value:.1f} MB"


def page(survey: Survey, everything: bool = False, width: int = 110, encoding: str = "utf-8") -> str:
    """The text of the page.

    Args:
        survey: from `survey`.
        everything: whether to include models that are not shown by default.
        width: width of the terminal in columns.
        encoding: encoding of the terminal.
    """
    return "\n".join(_lines(survey, everything, max(60, min(width, 120)), _mark(encoding)))


def _mark(encoding: str) -> str:
    try:
        "●".encode(encoding)
    except (UnicodeError, LookupError):
        return "*"
    return "●"


def _lines(survey: Survey, everything: bool, width: int, mark: str) -> Iterator[str]:
    yield f"Model folder: {survey.folders[0]}{'' if os.path.lexists(survey.folders[0]) else '  (does not exist yet)'}"
    for folder in survey.folders[1:]:
        yield f"Also searched: {folder}"
    for sentence in survey.closed:
        yield from textwrap.wrap(f"NOT SEARCHED: {sentence}", width, break_long_words=False, break_on_hyphens=False)
    for group, heading in _HEADINGS.items():
        rows = [(entry, path) for entry, path in survey.models if _group(entry) == group]
        shown = [
            row
            for row in rows
            if everything or row[1] or row[0].id in survey.misfits or (row[0].used and group != "onnx")
        ]
        hidden = len([row for row in rows if row not in shown and (row[0].used or group == "onnx")])
        if not shown and not hidden:
            continue
        here = sum(path is not None for _, path in rows)
        yield ""
        count = len([row for row in rows if row[0].used or row[1]])
        yield f"{heading}  ({here} of {count} here{_BESIDES.get(group, '')})"
        for entry, path in sorted(shown, key=lambda row: row[1] is None):
            yield from _model(entry, path, survey, width, mark)
        if hidden:
            yield f"  {hidden} more; `facerestore models list --all` shows them."
    yield from _rest(survey, width)
    yield ""
    yield "Download:   facerestore models download gfpgan-1.4  (shows the licence first)"
    yield "Add a file: facerestore models import FILE"
    yield "Check all:  facerestore models verify"


def _group(entry: ModelEntry) -> str:
    return "onnx" if entry.kind == "restorer" and entry.needs == "onnxruntime" else entry.kind


def _model(entry: ModelEntry, path: Path | None, survey: Survey, width: int, mark: str) -> Iterator[str]:
    crop = f"{entry.size} px" if entry.size else ""
    head = f"  {mark if path else ' '} {entry.id:<21} {crop:>7} {_size(entry, path):>13}"
    terms = f"{entry.licence}, {COMMERCIAL_USE[entry.commercial]}"
    if width >= _ONE_LINE:
        yield f"{head}  {terms}"
    else:
        yield head
        yield from _indented(terms, width)
    knobs = f" Knobs: {', '.join(entry.knobs)}." if entry.knobs else ""
    yield from _indented(entry.good_for + knobs, width)
    if entry.id == BUILT_IN:
        return
    if path:
        yield f"      {_short(path, survey.folders)}"
        lacking = entry.lacking(path)
        if lacking:
            names = f"{lacking[0]} and {len(lacking) - 1} more" if lacking[1:] else lacking[0]
            folder = f"; copy its folder {entry.beside_folder} there" if entry.beside_folder else ""
            yield from _indented(f"INCOMPLETE: its folder lacks {names}{folder}", width)
    elif entry.id in survey.misfits:
        misfit = survey.misfits[entry.id]
        how = misfit_message(misfit).removeprefix(f"{misfit.path}: ")
        yield from _indented(f"CANNOT BE USED: {_short(misfit.path, survey.folders)}: {how}", width)
    else:
        hint = "" if any(file.urls for file in entry.published) else f"; get it by hand from {entry.page}"
        yield from _indented(f"not installed, needs {entry.files[0]}{hint}", width)
    if not entry.used:
        yield "      known, but not used by Face Restore"
    elif entry.needs and not package_is_there(entry.needs):
        yield f"      needs the package {entry.needs}, which is not installed"


def _size(entry: ModelEntry, path: Path | None) -> str:
    if path:
        return megabytes(path.stat().st_size)
    return megabytes(entry.bytes) if entry.bytes else about(entry)


def about(entry: ModelEntry) -> str:
    """The approximate size of a file without a published size, e.g. "about 270 MB"."""
    return f"about {megabytes(entry.about)}" if entry.about else "size unknown"


def _indented(text: str, width: int) -> list[str]:
    indent = " " * 6
    return textwrap.wrap(
        text, width, initial_indent=indent, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def _short(path: Path, folders: tuple[Path, ...]) -> str:
    """The path relative to the first folder, or the full path if it is elsewhere."""
    try:
        return str(path.relative_to(folders[0]))
    except ValueError:
        return str(path)


def _rest(survey: Survey, width: int) -> Iterator[str]:
    copies = {path for group in survey.duplicates for path in group[1:]}
    said = {misfit.path for misfit in survey.misfits.values() if misfit.fault}
    others = [found for found in survey.others if found.path not in copies | said]
    if others:
        yield ""
        yield "Other files in these folders"
    for found in others:
        ids = " or ".join(entry.id for entry in found.models)
        if found.path in survey.families:
            restorer = with_article(f"{survey.families[found.path]} restorer")
            what = f"{restorer} that is not in the catalogue; choose it by its name"
        elif ids:
            what = f"{ids}, recognised by its {found.told_by}"
        elif found.damaged:
            what = f"cannot be used: {found.damaged}"
        else:
            what = found.remark or "unknown"
        yield from _indented(f"{_short(found.path, survey.folders)}: {what}", width)
    if survey.duplicates:
        yield ""
        yield "The same content more than once"
        for group in survey.duplicates:
            size = megabytes(group[0].stat().st_size)
            names = ", ".join(_short(path, survey.folders) for path in group)
            yield from _indented(f"{size} each: {names}", width)
