"""`facerestore bench` on the command line: what to measure, the sample pictures, and the printed tables."""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib
import json
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..bench import table as bench_table
from ..errors import InputError, OptionError
from .models import folder

DEFAULT_JOB = "gfpgan-1.4"
Pixels = NDArray[np.uint8]


def add_command(commands: Any) -> None:
    """Add `bench` to the sub-parsers of the command line."""
    parser = commands.add_parser(
        "bench",
        help="measure the networks and the whole job, beside the reference packages",
        description="Seconds and memory of each network (one face, and four at once) and of the whole job, ours "
        "beside gfpgan's, basicsr's, spandrel's and facexlib's where they are installed "
        "(`pip install .[reference]`), on the same weights: those of the installed file, else random ones.",
    )
    parser.add_argument("pictures", nargs="*", type=Path, metavar="PICTURE", help="for the whole job (two samples)")
    parser.add_argument(
        "--networks",
        default="",
        metavar="IDS",
        help="which, e.g. gfpgan-1.4,gpen-512, all, or none (all but the heavy ones)",
    )
    parser.add_argument("--job", default="", metavar="ID", help=f"of the whole job, or none ({DEFAULT_JOB})")
    parser.add_argument("--repeats", type=_count, default=3, help="runs of each after the first; 0: only that one (3)")
    parser.add_argument("--threads", type=_count, default=0, help="of the CPU (as many as torch takes)")
    parser.add_argument("--models", type=folder, dest="models_folder", metavar="DIR", help="the model folder")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps … (auto)")
    parser.add_argument("--detector-file", type=Path, metavar="FILE", help="a RetinaFace .pth file to detect with")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--verbose", action="store_true", help="say what is done and why")
    parser.set_defaults(run=run)


def _count(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0")
    return int(text)


def run(settings: argparse.Namespace) -> int:
    """Measure and print each row as it comes; returns the exit code: 1 where something could not be measured.

    Raises:
        FaceRestoreError: an argument is wrong; nothing is measured then.
    """
    import torch

    from ..bench import measure as measuring
    from ..bench.networks import HEAVY
    from ..catalogue import Store
    from ..networks.shelf import choose_device

    names = _networks(settings.networks)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    store = Store([settings.models_folder] if settings.models_folder else None)
    device = choose_device(settings.device)
    job = settings.job or DEFAULT_JOB
    pictures, left_out = _pictures(settings)
    if not settings.networks:
        left_out.insert(0, f"{', '.join(HEAVY)}: minutes or gigabytes each, measured with --networks all")
    report = _Report(_facts(device, settings.repeats), settings.json)
    with report:
        report.begin("networks", "network", "a face")
        for name in names:
            print(f"facerestore: {name} …", file=sys.stderr)
            measure = functools.partial(measuring.bench_network, name, store, device, settings.repeats)
            report.add(measuring.attempt(name, measure))
        report.begin("jobs", f"the whole job with {job}", "a picture")
        for title, image, faces in pictures:
            print(f"facerestore: the whole job on {title} …", file=sys.stderr)
            measure = functools.partial(measuring.bench_job, title, image, faces, job, store, device, settings.repeats)
            report.add(measuring.attempt(measuring.job_title(title, image, faces), measure))
        report.finish(left_out)
    return int(any(row.ours is None for row in report.measured))


class _Report(contextlib.AbstractContextManager["_Report"]):
    """What is printed. Rows come out one by one, so that an interruption loses no more than the one being measured;
    JSON, which is one value, comes out at the end, and on an interruption too, with what there is by then."""

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
        """Start a table; it is printed if there will be a row."""
        self._close()
        self._open, self._tables[key], self._heading = key, [], (title, per)

    def add(self, row: bench_table.Row) -> None:
        """A row of the table begun last."""
        rows = self._tables[self._open]
        rows.append(row)
        self.measured.append(row)
        if not self._json:
            lines = [bench_table.head(*self._heading)] if len(rows) == 1 else []
            print("\n".join([*lines, bench_table.line(row)]), flush=True)

    def finish(self, left_out: Sequence[str]) -> None:
        """All is measured that was to be; `left_out` says what was not, and why."""
        self._left_out, self._complete = list(left_out), True

    def _close(self) -> None:
        """End the table begun last with its notes."""
        rows = self._tables.get(self._open)
        if rows and not self._json:
            remarks = bench_table.notes(rows)
            print(("\n" + remarks if remarks else "") + "\n", flush=True)

    def __exit__(self, *_: object) -> None:
        self._close()
        if self._json:
            rows = {key: [row.to_dict() for row in rows] for key, rows in {"jobs": [], **self._tables}.items()}
            about = {"complete": self._complete, "left_out": self._left_out}
            print(json.dumps(self._facts | rows | about, indent=1, ensure_ascii=False))
        else:
            for line in self._left_out:
                print(f"Not measured: {line}.")


def _networks(given: str) -> tuple[str, ...]:
    from ..bench.networks import DEFAULT, NETWORKS

    chosen: dict[str, tuple[str, ...]] = {"": DEFAULT, "all": NETWORKS, "none": ()}
    names = chosen[given] if given in chosen else tuple(name.strip() for name in given.split(","))
    unknown = [name for name in names if name not in NETWORKS]
    if unknown:
        raise OptionError(f"networks: {unknown[0]!r} is not known; give all, none, or of {', '.join(NETWORKS)}.")
    return names


def _facts(device: Any, repeats: int) -> dict[str, Any]:
    """What a measurement depends on, for JSON; `machine` is the same in words."""
    import torch

    threads, name = torch.get_num_threads(), str(device)
    if device.type == "cuda":
        name = f"{device} ({torch.cuda.get_device_name(device)})"
    machine = f"{platform.machine()}, {os.cpu_count()} CPUs, {threads} threads, {name}, torch {torch.__version__}"
    return {
        "machine": machine, "cpus": os.cpu_count(), "threads": threads, "device": name, "torch": torch.__version__,
        "batch": bench_table.BATCH, "repeats": repeats,
    }  # fmt: skip


def _pictures(settings: argparse.Namespace) -> tuple[list[tuple[str, Pixels, list[Any]]], list[str]]:
    """Name, pixels and faces of the pictures of the whole job; and why there are none, if nobody asked for any."""
    from ..bench.networks import NETWORKS
    from ..images import files as image_files
    from ..images.modes import to_eight_bit

    job = settings.job or DEFAULT_JOB
    if job == "none":
        return [], []
    if job not in NETWORKS:
        raise OptionError(f"job: {job!r} is not known; give none, or of {', '.join(NETWORKS)}.")
    if settings.pictures:
        samples = [(path.name, to_eight_bit(image_files.read_picture(path).pixels)) for path in settings.pictures]
    else:
        try:
            samples = _samples()
        except InputError as error:
            if settings.job:
                raise
            return [], [f"the whole job ({str(error).rstrip('.')})"]
    return [(name, pixels, _faces(pixels, settings, name)) for name, pixels in samples], []


def _samples() -> list[tuple[str, Pixels]]:
    try:
        face = importlib.import_module("skimage.data").astronaut()
    except ImportError as error:
        raise InputError(
            "bench: no picture given, and the sample of scikit-image is not installed; name a picture, install "
            "scikit-image, or say --job none."
        ) from error
    head = face[0:200, 124:324]
    group = np.full((460, 1060, 3), 96, np.uint8)
    for row in range(2):
        for column in range(5):
            group[20 + row * 220 : 220 + row * 220, 10 + column * 210 : 210 + column * 210] = head
    return [("one face", face), ("a group", group)]


def _faces(image: Pixels, settings: argparse.Namespace, title: str) -> list[Any]:
    from ..pipeline import FaceRestorer

    faces = FaceRestorer(settings.models_folder, settings.device, detector=settings.detector_file).detect(image)
    if not faces:
        raise InputError(f"bench: no face was found in {title}; name a picture with faces, or a --detector-file.")
    return faces
