"""The measurements of `facerestore bench`: this package ("ours") compared with the reference packages.

Ours and the reference run alternately with the same weights (of the installed file, or random ones), so that other load
on the machine affects both. Results are medians and ratios; a ratio above 1 means that ours is faster.
"""

from __future__ import annotations

import gc
import os
import statistics
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..catalogue import Inventory, Store
from ..errors import FaceRestoreError
from ..faces.face import Face
from ..networks.failures import is_out_of_memory
from ..networks.load import Network
from ..options.table import Options
from ..pipeline import FaceRestorer
from ..stages.detection.pieces import Piece
from ..stages.detection.postprocess import Detections
from ..stages.detection.retinaface import RESNET50, RetinaFaceDetector, build_network
from ..stages.detection.stopping import Stop
from ..stages.loaded_models import ChosenRestorer, LoadedModels
from ..stages.parsing import Parser, network_parser
from ..system import facexlib_import, heap
from . import reference_job
from .networks import network_pair
from .table import BATCH, Row

OURS_BATCH, REFERENCE_BATCH = f"ours at batch {BATCH}", f"reference at batch {BATCH}"
OUT_OF_MEMORY = "out of memory; close other programs, or measure it on a machine with more"


class Peak(AbstractContextManager["Peak"]):
    """Measures the peak memory in a `with` block, in bytes above what was in use at its start; None if unknown.

    On CUDA it is torch's own count; otherwise the process's resident memory (Linux only), read every 5 ms.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.bytes: int | None = None
        self._stop = threading.Event()

    def __enter__(self) -> Peak:
        gc.collect()
        heap.give_back_freed_memory()  # memory kept from earlier calls would hide what this one needs
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


@dataclass
class _Measured:
    """Median seconds and peak bytes of each call, and the reasons of failures."""

    seconds: dict[str, float] = field(default_factory=dict)
    peaks: dict[str, int | None] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


def _compare(calls: Mapping[str, Callable[[], Any]], repeats: int, device: torch.device) -> _Measured:
    """Measure calls. A first run of each shows its memory; then they run `repeats` times in alternating order.

    The order alternates because on a machine that becomes slower or faster, the first or the last call would have an
    advantage. A call that runs out of memory, or fails in the reference's code, is not run again.
    """
    measured = _Measured()
    runs: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(repeats + 1):
        for name in list(runs) if number % 2 == 0 else list(reversed(runs)):
            try:
                if number == 0:
                    with Peak(device) as peak:
                        runs[name].append(_timed(calls[name], device))
                    measured.peaks[name] = peak.bytes
                else:
                    runs[name].append(_timed(calls[name], device))
            except Exception as error:  # the reference packages may raise anything
                if name.startswith("ours") and not is_out_of_memory(error):
                    raise
                reason = OUT_OF_MEMORY if is_out_of_memory(error) else f"{type(error).__name__} {error}".splitlines()[0]
                measured.failures.append(f"{name}: {reason}")
                del runs[name]
    for name, seconds in runs.items():
        measured.seconds[name] = statistics.median(seconds[1:] or seconds)
    measured.peaks = {name: measured.peaks[name] for name in runs}
    if None in measured.peaks.values():
        measured.failures.append("no peak memory: it is not known on this system")
    return measured


def bench_network(model: str, store: Store, device: torch.device, repeats: int = 3) -> Row:
    """Measure a network: seconds for a face, one at a time and in a batch of `BATCH`. Raises as `network_pair`.

    Both measurements restore the same faces, because a machine's speed varies within seconds.
    """
    pair = network_pair(model, store, device)
    ours, notes = pair.ours, [pair.why] if pair.why else []
    faces = torch.rand(BATCH, 3, ours.size, ours.size, generator=torch.Generator().manual_seed(0)).to(device) * 2 - 1
    count = BATCH if ours.size <= 1024 or device.type == "cpu" else 1  # on a CPU, a batch is divided to fit the memory
    calls: dict[str, Callable[[], Any]] = {"ours": lambda: [ours(face) for face in faces[:count].split(1)]}
    if count > 1:
        calls[OURS_BATCH] = lambda: ours(faces)
    else:
        notes.append(f"one face only, {BATCH} faces of {ours.size} px at a time take more memory than most GPUs have")
    if pair.original is not None:
        run = torch.inference_mode()(pair.original.run)
        calls["reference"] = lambda: [run(face) for face in faces[:count].split(1)]
        calls[REFERENCE_BATCH] = lambda: run(faces[:count])
    measured = _compare(calls, repeats, device)

    def each(call: str) -> float | None:
        seconds = measured.seconds.get(call)
        return None if seconds is None else seconds / count

    return Row(
        model, pair.weights, each("ours"), each(OURS_BATCH), each("reference"), each(REFERENCE_BATCH),
        measured.peaks.get(OURS_BATCH, measured.peaks.get("ours")), measured.peaks.get(REFERENCE_BATCH),
        (*notes, *measured.failures),
    )  # fmt: skip


def attempt(what: str, measure: Callable[[], Row]) -> Row:
    """The row that `measure` returns, or a row with the reason if it fails, so that the others are still measured."""
    try:
        return measure()
    except FaceRestoreError as error:
        return Row.unmeasured(what, str(error))
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return Row.unmeasured(what, OUT_OF_MEMORY)


class _KnownFaces(RetinaFaceDetector):
    """Our detector, which does all its work and then returns known faces, the same as the reference's.

    It takes its second look if these faces call for it.
    """

    def __init__(self, network: nn.Module, faces: Sequence[Face], device: torch.device) -> None:
        super().__init__(network, "bench", device)
        boxes = np.array([face.box for face in faces], np.float32).reshape(-1, 4)
        scores = np.array([face.score for face in faces], np.float32)
        points = np.array([face.landmarks for face in faces], np.float32).reshape(-1, 5, 2)
        self._known = Detections(boxes, scores, points)

    def look(
        self, pieces: Sequence[Piece], confidence: float, tiles: bool = False, stop: Stop | None = None
    ) -> list[Detections]:
        """The known faces in the first look, none in the second."""
        super().look(pieces, 0.999999, tiles)
        return [Detections.nothing() if tiles else self._known for _ in pieces]


def _blind(detector: nn.Module) -> nn.Module:
    """Make a detector with random weights find no faces, so that no random boxes have to be processed."""
    with torch.no_grad():
        for name, parameter in detector.named_parameters():
            if "ClassHead" in name and parameter.ndim > 1:
                parameter.zero_()
            elif "ClassHead" in name:
                parameter.copy_(torch.tensor([20.0, -20.0]).repeat(len(parameter) // 2))
    return detector


class _GivenNetworks(LoadedModels):
    """Returns a given network, parser and detector in place of loaded ones."""

    def __init__(self, network: Network, parser: Parser | None, detector: _KnownFaces | None) -> None:
        super().__init__(network.device, "auto", detector)
        self._given, self._given_parser = network, parser

    def restorer(self, model: str, there: Inventory) -> ChosenRestorer:
        """A restorer for the given network; the arguments are ignored."""
        return ChosenRestorer("bench", Path(), self._given.size, self._given.template, self._given.knobs)

    def network(self, restorer: ChosenRestorer) -> Network:
        """The given network."""
        return self._given

    def parser(self, there: Inventory) -> tuple[Parser | None, str]:
        """The given parser."""
        return self._given_parser, ""


def _job(network: Network, parser: Parser | None, detector: _KnownFaces | None) -> FaceRestorer:
    """A `FaceRestorer` with given networks; without a detector, it has the built-in one."""
    job = FaceRestorer(device=str(network.device), batch_size=BATCH)
    job.loaded = _GivenNetworks(network, parser, detector)
    return job


def bench_job(
    name: str, image: NDArray[np.uint8], faces: list[Face], model: str, store: Store, device: torch.device, repeats: int
) -> Row:
    """Measure the whole job on one picture. Raises as `network_pair`.

    Both sides run RetinaFace on ResNet-50 and then use the known faces. Ours masks with BiSeNet, the reference with
    ParseNet, as each does by default. Without facexlib, which contains these networks, only ours is measured, with the
    built-in detector and an ellipse as mask.
    """
    pair = network_pair(model, store, device)
    notes = [pair.why] if pair.why else []
    calls: dict[str, Callable[[], Any]] = {}
    try:
        bisenet, parsenet = (
            facexlib_import.import_facexlib(f"facexlib.parsing.{name}") for name in ("bisenet", "parsenet")
        )
        with torch.inference_mode(False):
            finder = _blind(build_network(RESNET50)).eval().to(device)
            parser = network_parser("bisenet", bisenet.BiSeNet(num_class=19).eval().to(device), device)
            old_parser = parsenet.ParseNet(in_size=512, out_size=512, parsing_ch=19).eval().to(device)
        job = _job(pair.ours, parser, _KnownFaces(finder, faces, device))
        if pair.original is not None:
            theirs = reference_job.ReferenceJob(finder, old_parser, pair.original.run, faces, device)
            calls["reference"] = lambda: theirs(image)
    except FaceRestoreError as error:
        notes.append(f"no reference, and ours with the built-in detector and an ellipse for a mask: {error}")
        job = _job(pair.ours, None, None)
    calls = {"ours": lambda: job.restore(image, Options(model=model)), **calls}
    measured = _compare(calls, repeats, device)
    what = job_title(name, image, faces)
    return Row(
        what, pair.weights, measured.seconds.get("ours"), None, measured.seconds.get("reference"), None,
        measured.peaks.get("ours"), measured.peaks.get("reference"), (*notes, *measured.failures),
    )  # fmt: skip


def job_title(name: str, image: NDArray[np.uint8], faces: Sequence[Face]) -> str:
    """The title of a picture's row."""
    return f"{name}: {len(faces)} face{'' if len(faces) == 1 else 's'}, {image.shape[1]}×{image.shape[0]}"
