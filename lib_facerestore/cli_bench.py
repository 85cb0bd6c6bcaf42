"""`facerestore bench` on the command line: what to measure, the sample pictures, and the printed tables."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .cli_models import folder
from .errors import InputError, OptionError


def add_command(commands: Any) -> None:
    """Add `bench` to the sub-parsers of the command line."""
    parser = commands.add_parser(
        "bench",
        help="measure the networks and the whole job, beside the reference packages",
        description="Seconds and memory of each network (one face, and four at once) and of the whole job, ours "
        "beside gfpgan's, basicsr's, spandrel's and facexlib's where they are installed "
        "(`pip install .[reference]`), on the same weights.",
    )
    parser.add_argument("pictures", nargs="*", type=Path, metavar="PICTURE", help="for the whole job (two samples)")
    parser.add_argument("--networks", default="", metavar="IDS", help="which, e.g. gfpgan-1.4,gpen-512, all, or none")
    parser.add_argument("--job", default="gfpgan-1.4", metavar="ID", help="of the whole job, or none (gfpgan-1.4)")
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
    """Measure and print; returns the exit code. Raises FaceRestoreError for what cannot be measured."""
    import torch

    from . import bench
    from .catalogue import Store
    from .runtime import choose_device

    if settings.threads:
        torch.set_num_threads(settings.threads)
    store = Store([settings.models_folder] if settings.models_folder else None)
    device = choose_device(settings.device)
    chosen = {"": bench.DEFAULT, "all": bench.NETWORKS, "none": ()}.get(settings.networks)
    names = tuple(settings.networks.split(",")) if chosen is None else chosen
    unknown = [name for name in names if name not in bench.NETWORKS]
    if unknown:
        raise OptionError(f"networks: {unknown[0]!r} is not known; give all, none, or of {', '.join(bench.NETWORKS)}.")
    networks, jobs = [], []
    for name in names:
        print(f"facerestore: {name} …", file=sys.stderr)
        networks.append(bench.bench_network(name, store, device, settings.repeats))
    if settings.job != "none":
        for title, image in _pictures(settings.pictures):
            print(f"facerestore: the whole job on {title} …", file=sys.stderr)
            faces = _faces(image, settings, title)
            jobs.append(bench.bench_job(title, image, faces, settings.job, store, device, settings.repeats))
    threads = torch.get_num_threads()
    machine = f"{platform.machine()}, {os.cpu_count()} CPUs, {threads} threads, {device}, torch {torch.__version__}"
    if settings.json:
        rows = {"networks": [row.to_dict() for row in networks], "jobs": [row.to_dict() for row in jobs]}
        print(json.dumps({"machine": machine, "repeats": settings.repeats, **rows}, indent=1, ensure_ascii=False))
        return 0
    print(f"{machine}; medians of {max(settings.repeats, 1)}. A ratio above 1 means that ours is faster.\n")
    if networks:
        print(bench.table(networks, "network", "a face") + "\n")
    if jobs:
        print(bench.table(jobs, f"the whole job with {settings.job}", "a picture"))
    return 0


def _pictures(paths: list[Path]) -> list[tuple[str, NDArray[np.uint8]]]:
    from . import imageio

    if paths:
        pictures = [(path.name, imageio.read_picture(path).pixels) for path in paths]
        return [(name, _eight_bit(pixels)) for name, pixels in pictures]
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


def _eight_bit(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    colours = np.ascontiguousarray(pixels[..., :3])
    return colours if colours.dtype == np.uint8 else np.rint(colours / 257).astype(np.uint8)


def _faces(image: NDArray[np.uint8], settings: argparse.Namespace, title: str) -> list[Any]:
    from .pipeline import FaceRestorer

    faces = FaceRestorer(settings.models_folder, settings.device, detector=settings.detector_file).detect(image)
    if not faces:
        raise InputError(f"bench: no face was found in {title}; name a picture with faces, or a --detector-file.")
    return faces
