"""`facerestore bench --quality`: its arguments, and the printed tables."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError, OptionError
from .arguments import restorer_of
from .output import FAILED, OK, print_error, print_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..bench.portraits import Portrait
    from ..bench.quality_table import Table
    from ..pipeline import FaceRestorer

DEFAULT_MODEL = "lite"
COUNT, QUICK_COUNT = 12, 2
"""Faces that are measured on by default, and with --quick."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the measurement of quality to those of `bench`."""
    group = parser.add_argument_group("quality, in place of speed")
    group.add_argument(
        "--quality",
        action="store_true",
        help="measure what the paste, the restorer and the detector do to pictures, compared with facexlib's paste and "
        "plain filters; PICTURE may be a folder then",
    )
    group.add_argument(
        "--photos", type=Path, metavar="DIR", help="measure on labelled photographs: DIR/faces/faces.jsonl"
    )
    group.add_argument("--count", type=_from_one, metavar="N", help=f"most faces to measure on (default: {COUNT})")
    group.add_argument("--quick", action="store_true", help=f"fewer cases, on {QUICK_COUNT} faces")
    group.add_argument("--tables", default="", metavar="NAMES", help="of paste,restorer,detector (default: all)")
    group.add_argument("--sheet", type=Path, metavar="FILE", help="also write a contact sheet, .png or .jpg")


def _from_one(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def run(settings: argparse.Namespace) -> int:
    """Measure, and print each table when it is ready; returns the exit code, 1 if a column could not be measured.

    Raises:
        FaceRestoreError: an argument is wrong, or a package or model is missing; nothing is measured then.
    """
    from ..batch.search import find_pictures

    if settings.photos and settings.pictures:
        raise OptionError("bench --quality: give pictures or --photos, not both.")
    if settings.sheet and settings.sheet.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise OptionError(f"--sheet: {settings.sheet} is no PNG or JPEG file; name one that ends so.")
    found = find_pictures(settings.pictures) if settings.pictures else None
    pictures = found.pictures if found else ()
    for remark in found.remarks if found else ():
        print_error(remark)
    if problems := [one.problem for one in pictures if one.problem]:
        raise InputError(problems[0])
    from ..bench import metrics, quality_run
    from ..bench.sheet import Sheet

    wanted = tuple(name.strip() for name in settings.tables.split(",")) if settings.tables else quality_run.TABLES
    unknown = [name for name in wanted if name not in quality_run.TABLES]
    if unknown:
        raise OptionError(f"--tables: {unknown[0]!r} is not known; give some of {', '.join(quality_run.TABLES)}.")
    if settings.sheet and "paste" not in wanted:
        raise OptionError("--sheet: it shows the pastes; leave --tables away, or name paste too.")
    metrics.color_module()
    restorer = restorer_of(settings)
    portraits = _portraits(settings, [one.source for one in pictures], restorer)
    sheet = Sheet(settings.sheet)
    tables: list[Table] = []

    def done(table: Table) -> None:
        tables.append(table)
        if not settings.json:
            print(table.markdown() + "\n", flush=True)

    extent = quality_run.QUICK if settings.quick else quality_run.Extent()
    model = settings.job or DEFAULT_MODEL
    names = [portrait.name for portrait in portraits]
    if not settings.json:
        print(
            f"{len(names)} face{'s' if len(names) > 1 else ''} of {_source(settings)}, restorer {model}.\n", flush=True
        )
    quality_run.run(restorer, portraits, model, extent, sheet, print_error, done, wanted)
    sheet.write()
    if settings.json:
        about: dict[str, Any] = {"faces": names, "source": _source(settings), "model": model, "quick": settings.quick}
        print_json(about | {"tables": [table.to_dict() for table in tables]})
    return FAILED if any(table.name == "paste" and table.notes for table in tables) else OK


def _source(settings: argparse.Namespace) -> str:
    if settings.photos:
        return "labelled photographs"
    return f"{len(settings.pictures)} given" if settings.pictures else "the sample picture"


def _portraits(settings: argparse.Namespace, pictures: Sequence[Path], restorer: FaceRestorer) -> list[Portrait]:
    from ..bench import portraits

    count = settings.count or (QUICK_COUNT if settings.quick else COUNT)
    if settings.photos:
        return portraits.labelled(settings.photos, count)
    if pictures:
        return portraits.from_pictures(pictures, restorer, count)
    return portraits.sample(restorer, count)
