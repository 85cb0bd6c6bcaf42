"""`facerestore bench`: its arguments, and the printed report."""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ..bench import table as bench_table
from ..errors import InputError, OptionError
from . import bench_quality
from .arguments import Commands, common, restorer_of, store_of
from .output import FAILED, OK, print_error, print_json

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from ..faces.face import Face
    from ..pipeline import FaceRestorer

Pixels: TypeAlias = "NDArray[np.uint8]"

DEFAULT_JOB = "gfpgan-1.4"


def add_command(commands: Commands) -> None:
    """Add `bench` to the command line."""
    parser = commands.add_parser(
        "bench",
        help="measure the networks and the whole job, compared with the reference packages",
        description="Measure the time and memory of each network (one face, and four at once) and of the whole job, "
        "compared with gfpgan, basicsr, spandrel and facexlib if they are installed (`pip install .[reference]`). "
        "Both sides have the same weights: those of the installed file, or random ones.",
        parents=[common(detector=True)],
    )
    parser.add_argument(
        "pictures", nargs="*", type=Path, metavar="PICTURE", help="picture for the whole job (default: two samples)"
    )
    parser.add_argument(
        "--networks",
        default="",
        metavar="IDS",
        help="networks to measure, e.g. gfpgan-1.4,gpen-512, all, or none (default: all but the slow ones)",
    )
    parser.add_argument("--job", default="", metavar="ID", help=f"model of the whole job, or none ({DEFAULT_JOB})")
    parser.add_argument("--repeats", type=_count, default=3, help="measured runs after the first one (default: 3)")
    parser.add_argument("--threads", type=_count, default=0, help="threads of the CPU (default: torch's choice)")
    bench_quality.add_arguments(parser)
    parser.set_defaults(run=run)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0")
    return int(text)


def run(settings: argparse.Namespace) -> int:
    """Measure, and print each row when it is ready; returns the exit code, 1 if something could not be measured.

    With --quality, `bench_quality` does this.

    Raises:
        FaceRestoreError: an argument is wrong; nothing is measured then.
    """
    if settings.quality:
        return bench_quality.run(settings)
    absent = next((path for path in settings.pictures if not os.path.isfile(path)), None)
    if absent is not None:
        raise InputError(f"{absent}: there is no such file; check the path.")
    import torch

    from ..bench import measure as measuring
    from ..bench.networks import HEAVY
    from ..networks.shelf import choose_device

    names = _networks(settings.networks)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    store = store_of(settings)
    device = choose_device(settings.device)
    job = settings.job or DEFAULT_JOB
    pictures, left_out = _pictures(settings)
    if not settings.networks:
        left_out.insert(0, f"{', '.join(HEAVY)}: minutes or gigabytes each, measured with --networks all")
    report = _Report(_facts(device, settings.repeats), settings.json)
    with report:
        report.begin("networks", "network", "a face")
        for name in names:
            print_error(f"{name} …")
            measure = functools.partial(measuring.bench_network, name, store, device, settings.repeats)
            report.add(measuring.attempt(name, measure))
        report.begin("jobs", f"the whole job with {job}", "a picture")
        for title, image, faces in pictures:
            print_error(f"the whole job on {title} …")
            measure = functools.partial(measuring.bench_job, title, image, faces, job, store, device, settings.repeats)
            report.add(measuring.attempt(measuring.job_title(title, image, faces), measure))
        report.finish(left_out)
    return FAILED if any(row.ours is None for row in report.measured) else OK


class _Report(contextlib.AbstractContextManager["_Report"]):
    """Prints the report. Rows are printed one by one, so that an interruption loses only the one being measured.

    JSON is printed at the end, or after an interruption with the rows so far.
    """

    def __init__(self, facts: dict[str, Any], json: bool) -> None:
        self.measured: list[bench_table.Row] = []
        self._facts, self._json = facts, json
        self._tables: dict[str, list[bench_table.Row]] = {}
        self._open = ""
        self._heading: tuple[str, str] = ("", "")
        self._left_out: list[str] = []
        self._complete = False
        if not json:
            count = max(facts["repeats"], 1)
            print(f"{facts['machine']}; medians of {count}. A ratio above 1 means that ours is faster.\n", flush=True)

    def begin(self, key: str, title: str, per: str) -> None:
        """Start a table; its head is printed with the first row."""
        self._close()
        self._open, self._tables[key], self._heading = key, [], (title, per)

    def add(self, row: bench_table.Row) -> None:
        """Add a row to the current table."""
        rows = self._tables[self._open]
        rows.append(row)
        self.measured.append(row)
        if not self._json:
            lines = [bench_table.head(*self._heading)] if len(rows) == 1 else []
            print("\n".join([*lines, bench_table.line(row)]), flush=True)

    def finish(self, left_out: Sequence[str]) -> None:
        """Mark the report as complete; `left_out` says what was not measured, and why."""
        self._left_out, self._complete = list(left_out), True

    def _close(self) -> None:
        """End the current table with its notes."""
        rows = self._tables.get(self._open)
        if rows and not self._json:
            remarks = bench_table.notes(rows)
            print(("\n" + remarks if remarks else "") + "\n", flush=True)

    def __exit__(self, *_: object) -> None:
        self._close()
        if self._json:
            rows = {key: [row.to_dict() for row in rows] for key, rows in {"jobs": [], **self._tables}.items()}
            about = {"complete": self._complete, "left_out": self._left_out}
            print_json(self._facts | rows | about)
        else:
            for line in self._left_out:
                print(f"Not measured: {line}.")


def _networks(given: str) -> tuple[str, ...]:
    from ..bench.networks import DEFAULT, NETWORKS, measurable

    chosen: dict[str, tuple[str, ...]] = {"": DEFAULT, "all": NETWORKS, "none": ()}
    names = chosen[given] if given in chosen else tuple(name.strip() for name in given.split(","))
    unknown = [name for name in names if name not in measurable()]
    if unknown:
        raise OptionError(f"networks: {unknown[0]!r} is not known; give all, none, or of {', '.join(measurable())}.")
    return names


def _facts(device: torch.device, repeats: int) -> dict[str, Any]:
    """The circumstances of the measurement, for JSON; `machine` is their description in words."""
    import torch

    threads, name = torch.get_num_threads(), str(device)
    if device.type == "cuda":
        name = f"{device} ({torch.cuda.get_device_name(device)})"
    machine = f"{platform.machine()}, {os.cpu_count()} CPUs, {threads} threads, {name}, torch {torch.__version__}"
    return {
        "machine": machine, "cpus": os.cpu_count(), "threads": threads, "device": name, "torch": torch.__version__,
        "batch": bench_table.BATCH, "repeats": repeats,
    }  # fmt: skip


def _pictures(settings: argparse.Namespace) -> tuple[list[tuple[str, Pixels, list[Face]]], list[str]]:
    """Name, pixels and faces of the pictures of the whole job, and reasons why there are none."""
    from ..bench.networks import measurable
    from ..bench.samples import sample_pictures
    from ..images import files as image_files
    from ..images.modes import to_eight_bit

    job = settings.job or DEFAULT_JOB
    if job == "none":
        return [], []
    if job not in measurable():
        raise OptionError(f"job: {job!r} is not known; give none, or of {', '.join(measurable())}.")
    if settings.pictures:
        samples = [(path.name, to_eight_bit(image_files.read_picture(path).pixels)) for path in settings.pictures]
    else:
        try:
            samples = sample_pictures()
        except InputError as error:
            if settings.job:
                raise
            return [], [f"the whole job ({str(error).rstrip('.')})"]
    restorer = restorer_of(settings)
    return [(name, pixels, _faces(restorer, pixels, name)) for name, pixels in samples], []


def _faces(restorer: FaceRestorer, image: Pixels, title: str) -> list[Face]:
    faces = restorer.detect(image)
    if not faces:
        raise InputError(f"bench: no face was found in {title}; name a picture with faces, or a --detector-file.")
    return faces
