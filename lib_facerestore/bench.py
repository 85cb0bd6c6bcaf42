"""`facerestore bench`: each network and the whole job, ours beside the reference packages, in one run.

Ours and the reference run in turn on the same weights (the installed file, else random ones), so that whatever else the
machine does hits both; the table gives medians and ratios. Above 1 means that ours is faster.
May import everything below `cli`.
"""

from __future__ import annotations

import gc
import logging
import os
import statistics
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from . import bench_reference, compat, reference
from .archs import dfdnet, gfpgan, gpen
from .archs.dfdnet_parts import random_dictionaries
from .archs.restoreformer import RestoreFormer
from .archs.vqfr1 import VQFRv1
from .archs.vqfr2 import VQFRv2
from .catalogue import BUILT_IN, Store
from .checkpoints import Network, load_network, read_state
from .detection import looks
from .detection.postprocess import Found
from .detection.retinaface import RESNET50, RetinaFaceDetector, build_network
from .errors import FaceRestoreError, OptionError
from .faces import Face
from .options import Options
from .parsing import Parser, network_parser
from .pipeline import FaceRestorer

logger = logging.getLogger(__name__)

OWN: dict[str, Callable[[], nn.Module]] = {
    "gfpgan-1": gfpgan.public_original,
    "gpen-256": lambda: gpen.public(256),
    "gpen-512": lambda: gpen.public(512),
    "gpen-1024": lambda: gpen.public(1024),
    "gpen-2048": lambda: gpen.public(2048),
    "restoreformer++": lambda: RestoreFormer(heads=4, decoder_attending=(4, 5)),
    "vqfr-1": VQFRv1,
    "vqfr-2": VQFRv2,
    "dfdnet": dfdnet.public,
}
"""Networks whose random weights come from our own class: their original is in no package, does not start on every
machine (GFPGAN 1), or names its tensors otherwise than the public file (DFDNet)."""
NETWORKS = (*reference.PUBLIC, *OWN, BUILT_IN)
DEFAULT = ("gfpgan-1.4", "codeformer", "restoreformer", "gpen-512", BUILT_IN)
BATCH = 4


@dataclass(frozen=True)
class Row:
    """One line of the table. Seconds are medians a face (a picture for the whole job); None: there is none."""

    what: str
    weights: str
    ours: float
    ours_batch: float | None
    reference: float | None
    reference_batch: float | None
    peak: int | None
    reference_peak: int | None

    @property
    def ratio(self) -> float | None:
        """How many times faster ours is at batch 1."""
        return self.reference / self.ours if self.reference else None

    @property
    def ratio_batch(self) -> float | None:
        """How many times faster ours is at batch 4."""
        return self.reference_batch / self.ours_batch if self.reference_batch and self.ours_batch else None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"ratio": self.ratio, "ratio_batch": self.ratio_batch}


class Peak(AbstractContextManager["Peak"]):
    """The most memory in use inside the block above what was in use at its start, in bytes; None where nobody tells.

    On CUDA torch's own count, else the resident pages of the process (Linux), looked at every few milliseconds."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.bytes: int | None = None
        self._stop = threading.Event()

    def __enter__(self) -> Peak:
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            self._start = torch.cuda.memory_allocated(self.device)
        else:
            self._start = self._most = _resident()
            self._watcher = threading.Thread(target=self._watch, daemon=True)
            self._watcher.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.device.type == "cuda":
            self.bytes = torch.cuda.max_memory_allocated(self.device) - self._start
            return
        self._stop.set()
        self._watcher.join()
        self.bytes = self._most - self._start if self._start else None

    def _watch(self) -> None:
        while not self._stop.wait(0.005):
            self._most = max(self._most, _resident())


def _resident() -> int:
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return 0


def _timed(call: Callable[[], Any], device: torch.device) -> float:
    started = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def _compare(
    calls: dict[str, Callable[[], Any]], repeats: int, device: torch.device
) -> dict[str, tuple[float, int | None]]:
    """Median seconds and peak memory of each call; they run in turn, after a first run each that tells the memory."""
    peaks, seconds = {}, {name: [] for name in calls}  # type: ignore[var-annotated]
    for name, call in calls.items():
        with Peak(device) as peak:
            first = _timed(call, device)
        peaks[name] = peak.bytes
        if repeats == 0:
            seconds[name].append(first)
    for _ in range(repeats):
        for name, call in calls.items():
            seconds[name].append(_timed(call, device))
    return {name: (statistics.median(seconds[name]), peaks[name]) for name in calls}


def network_pair(model: str, store: Store, device: torch.device) -> tuple[Network, reference.Original | None, str]:
    """Ours, the original (None where there is none) and where their common weights are from.

    Raises:
        OptionError: there is no such model to measure.
        FaceRestoreError: an installed file is damaged, or lacks the files that belong beside it; or there is none, and
            no package to take the shapes from.
    """
    if model not in NETWORKS:
        raise OptionError(f"bench: {model!r} is not known; it can measure {', '.join(NETWORKS)}.")
    path = store.installed().get(model)
    torch.manual_seed(0)
    state: Mapping[str, torch.Tensor]
    if path is not None:
        state = read_state(path)
    elif model in OWN:
        with torch.inference_mode(False):
            state = OWN[model]().state_dict()
    else:
        state = reference.random_state(model)
    ours = load_network(state, device)
    companions = ours.read_companions(path.parent) if path is not None else _random_companions(ours)
    try:
        original = reference.find_original(ours, state, companions)
    except FaceRestoreError as error:
        logger.info("%s: no original to compare with: %s", model, error)
        original = None
    return ours, original, path.name if path is not None else "random"


def _random_companions(network: Network) -> Mapping[str, torch.Tensor]:
    """What would lie beside the model file, random and already set in our network: the original is to get the same."""
    if not isinstance(network.module, dfdnet.DFDNet):
        return {}
    dictionaries = random_dictionaries(network.module.widths)
    network.module.set_dictionaries(dictionaries)
    return dictionaries


def bench_network(model: str, store: Store, device: torch.device, repeats: int = 3) -> Row:
    """Seconds a face at batch 1 and 4. Raises as `network_pair`."""
    ours, original, weights = network_pair(model, store, device)
    faces = torch.rand(BATCH, 3, ours.size, ours.size, generator=torch.Generator().manual_seed(0)).to(device) * 2 - 1
    count = BATCH if ours.size <= 1024 else 1  # four faces of 2048 px take more memory than most machines have
    calls: dict[str, Callable[[], Any]] = {"ours": lambda: ours(faces[:1])}
    if count > 1:
        calls["ours_batch"] = lambda: ours(faces)
    if original is not None:
        run = torch.inference_mode()(original.run)
        calls["reference"] = lambda: run(faces[:1])
        calls["reference_batch"] = lambda: run(faces)
    measured = _compare(calls, repeats, device)

    def seconds(name: str, divisor: int) -> float | None:
        return measured[name][0] / divisor if name in measured else None

    peak = measured.get("reference_batch", (0, None))[1]
    return Row(
        model, weights, measured["ours"][0], seconds("ours_batch", count), seconds("reference", 1),
        seconds("reference_batch", BATCH), measured.get("ours_batch", measured["ours"])[1], peak,
    )  # fmt: skip


class _Finds(RetinaFaceDetector):
    """Our detector doing all its work on one picture, and finding the faces that the reference is given too, so that it
    takes its second look where it would for these faces."""

    def __init__(self, network: nn.Module, faces: Sequence[Face], device: torch.device) -> None:
        super().__init__(network, "bench", device)
        boxes = np.array([face.box for face in faces], np.float32).reshape(-1, 4)
        scores = np.array([face.score for face in faces], np.float32)
        points = np.array([face.landmarks for face in faces], np.float32).reshape(-1, 5, 2)
        self._known = Found(boxes, scores, points)

    def _run(self, pieces: Sequence[looks.Piece], confidence: float, tiles: bool = False) -> list[Found]:
        super()._run(pieces, 0.999999, tiles)
        return [Found.nothing() if tiles else self._known for _ in pieces]


def _blind(detector: nn.Module) -> nn.Module:
    """A random detector that is sure of finding nothing: as much work in the network, and no made-up boxes after it."""
    with torch.no_grad():
        for name, parameter in detector.named_parameters():
            if "ClassHead" in name and parameter.ndim > 1:
                parameter.zero_()
            elif "ClassHead" in name:
                parameter.copy_(torch.tensor([20.0, -20.0]).repeat(len(parameter) // 2))
    return detector


class _Job(FaceRestorer):
    """A `FaceRestorer` with given networks."""

    def __init__(self, network: Network, parser: Parser, detector: _Finds) -> None:
        super().__init__(device=str(network.device), detector=detector, batch_size=BATCH)
        self._given = network
        self._parser, self._parser_loaded = parser, True

    def _network(self, model: str) -> tuple[str, Network]:
        return "bench", self._given


def bench_job(
    name: str, image: NDArray[np.uint8], faces: list[Face], model: str, store: Store, device: torch.device, repeats: int
) -> Row:
    """Seconds of the whole job on one picture, with the faces known to both sides and RetinaFace-R50 run by both.

    Ours masks with BiSeNet, the reference with ParseNet, as each does by default.
    """
    ours, original, weights = network_pair(model, store, device)
    compat.prepare()
    from facexlib.parsing import bisenet, parsenet

    with torch.inference_mode(False):
        finder = _blind(build_network(RESNET50)).eval().to(device)
        parser = network_parser("bisenet", bisenet.BiSeNet(num_class=19).eval().to(device), device)
        old_parser = parsenet.ParseNet(in_size=512, out_size=512, parsing_ch=19).eval().to(device)
    job = _Job(ours, parser, _Finds(finder, faces, device))
    calls: dict[str, Callable[[], Any]] = {"ours": lambda: job.restore(image, Options(model=model))}
    if original is not None:
        theirs = bench_reference.ReferenceJob(finder, old_parser, original.run, faces, device)
        calls["reference"] = lambda: theirs(image)
    measured = _compare(calls, repeats, device)
    reference_seconds, reference_peak = measured.get("reference", (None, None))
    what = f"{name}: {len(faces)} face{'' if len(faces) == 1 else 's'}, {image.shape[1]}×{image.shape[0]}"
    return Row(what, weights, measured["ours"][0], None, reference_seconds, None, measured["ours"][1], reference_peak)


def table(rows: Sequence[Row], title: str, per: str) -> str:
    """The rows as a Markdown table."""

    def number(value: float | None) -> str:
        return "–" if value is None else f"{value:.3f}" if value < 10 else f"{value:.1f}"

    def times(value: float | None) -> str:
        return "–" if value is None else f"{value:.2f}×"

    def memory(value: int | None) -> str:
        return "–" if value is None else f"{value / 2**20:.0f}"

    lines = [
        f"| {title} | weights | ours, s {per} | at batch {BATCH} | reference | at batch {BATCH} | ratio "
        f"| at batch {BATCH} | peak MiB | reference |",
        "| --- | --- |" + " ---: |" * 8,
    ]
    lines += [
        f"| {row.what} | {row.weights} | {number(row.ours)} | {number(row.ours_batch)} | {number(row.reference)} "
        f"| {number(row.reference_batch)} | {times(row.ratio)} | {times(row.ratio_batch)} | {memory(row.peak)} "
        f"| {memory(row.reference_peak)} |"
        for row in rows
    ]
    return "\n".join(lines)
