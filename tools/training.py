"""What the trainers of the embedded networks share: options, the schedule, the moving average, checkpoints and export.

The length of a training is given in minutes over all runs of a folder, so that it can be stopped and run again.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import cv2
import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import nn

from tools.photographs import PHOTOS

logger = logging.getLogger(__name__)
NetworkT = TypeVar("NetworkT", bound=nn.Module)


class Stateful(Protocol):
    """A network, an average or an optimiser: what a checkpoint holds."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state_dict: dict[str, Any], /) -> object: ...


def parser(description: str | None, minutes: float, rate: float, threads: int = 1) -> argparse.ArgumentParser:
    """The options that every trainer has, with these defaults."""
    options = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--photos", type=Path, default=PHOTOS)
    options.add_argument("--checkpoints", type=Path, required=True, help="folder for checkpoints and caches")
    options.add_argument("--minutes", type=float, default=minutes, help="length of the whole schedule, over all runs")
    options.add_argument("--rate", type=float, default=rate, help="the highest learning rate")
    options.add_argument("--threads", type=int, default=threads)
    options.add_argument("--export", type=Path, help="write the averaged weights here and stop")
    return options


def prepare(threads: int, log: Path | None = None) -> None:
    """Logging (to standard error, and to `log`) and the number of threads. OpenCV works in this thread."""
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    if log:
        log.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(log, encoding="utf-8"))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", handlers=handlers)
    torch.set_num_threads(threads)
    cv2.setNumThreads(1)


def channels_last(network: NetworkT) -> NetworkT:
    """The network, its weights laid out as the CPU's convolutions like them."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack this form
    return network


def scheduled_rate(rate: float, step: int, progress: float, warm_up: int, floor: float) -> float:
    """The learning rate of a step: up over `warm_up` steps, then down along half a cosine to `floor` times `rate`.

    Args:
        rate: the highest.
        step: from 1.
        progress: share of the schedule that is over, 0 to 1.
    """
    cosine = 0.5 + 0.5 * math.cos(math.pi * progress)
    return rate * min(1.0, step / warm_up) * (floor + (1 - floor) * cosine)


class Average(Generic[NetworkT]):
    """An exponential moving average of a network's weights, which forgets faster at first."""

    def __init__(self, network: NetworkT, decay: float = 0.998, delay: int = 10) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.decay = decay
        self.delay = delay

    @torch.no_grad()
    def update(self, network: NetworkT, step: int) -> None:
        """Take in the weights after step number `step`, from 1; counters are copied."""
        decay = min(self.decay, (step + 1) / (step + self.delay))
        for slow, fast in zip(self.network.state_dict().values(), network.state_dict().values(), strict=True):
            if slow.is_floating_point():
                slow.lerp_(fast, 1 - decay)
            else:
                slow.copy_(fast)

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return self.network.state_dict()

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """From a checkpoint, or from the network at the start."""
        self.network.load_state_dict(state)


class Run:
    """The steps of a training, timed over all runs, with a checkpoint every few minutes and at the end.

    Args:
        path: the checkpoint; what it holds is loaded into `parts`, if it is there.
        parts: what is saved, by its name in the checkpoint.
        minutes: length of the whole schedule.
        every: minutes between checkpoints.
        clock: the name of the time in the checkpoint, and its unit in seconds.
    """

    def __init__(
        self,
        path: Path,
        parts: Mapping[str, Stateful],
        minutes: float,
        every: float = 1.0,
        clock: tuple[str, float] = ("minutes", 60.0),
    ) -> None:
        self.path, self.parts, self.length, self.every = path, parts, minutes, every
        self.clock_name, self.clock_unit = clock
        self.step, self.minutes = 0, 0.0
        self.resumed = path.exists()
        self._last = time.monotonic()
        if self.resumed:
            state = read_checkpoint(path)
            for name, part in parts.items():
                part.load_state_dict(state[name])
            self.step, self.minutes = state["step"], state[self.clock_name] * self.clock_unit / 60
            logger.info("resumed at step %d, minute %.1f", self.step, self.minutes)

    @property
    def progress(self) -> float:
        """Share of the schedule that is over."""
        return self.minutes / self.length

    def steps(self) -> Iterator[int]:
        """Numbers of the steps, from 1 over all runs, until the minutes are used up."""
        self._last, saved = time.monotonic(), self.minutes
        while self.minutes < self.length:
            yield self.step + 1
            self.step += 1
            now = time.monotonic()
            self.minutes, self._last = self.minutes + (now - self._last) / 60, now
            if self.minutes - saved > self.every or self.minutes >= self.length:
                self.save()
                saved = self.minutes

    @contextlib.contextmanager
    def untimed(self) -> Iterator[None]:
        """What is done inside does not count as training."""
        started = time.monotonic()
        yield
        self._last += time.monotonic() - started

    def save(self) -> None:
        """Write the checkpoint aside and rename it, so that a reader never sees half a file."""
        state: dict[str, Any] = {name: part.state_dict() for name, part in self.parts.items()}
        state |= {"step": self.step, self.clock_name: self.minutes * 60 / self.clock_unit}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_suffix(".part")
        torch.save(state, part)
        part.replace(self.path)


class Means:
    """Mean losses since they were last asked for."""

    def __init__(self) -> None:
        self._rows: list[list[float]] = []

    def add(self, losses: Sequence[torch.Tensor]) -> None:
        """The losses of one step."""
        self._rows.append([float(loss.detach()) for loss in losses])

    def take(self) -> NDArray[np.float64]:
        """The mean of each loss; counting starts again."""
        means = np.mean(self._rows, axis=0)
        self._rows.clear()
        return means


def run(
    arguments: argparse.Namespace,
    train: Callable[[argparse.Namespace], None],
    checkpoint: str,
    about: tuple[str, str],
    log: Path | None = None,
) -> None:
    """What a trainer does once its options are read: train, or with --export write what was trained.

    Args:
        arguments: those of `parser`, and the trainer's own.
        train: trains.
        checkpoint: name of the checkpoint's file.
        about: name of the script, and kind of network, for the metadata of an export.
        log: where the log goes besides standard error.
    """
    prepare(arguments.threads, log)
    if arguments.export:
        export(arguments.checkpoints / checkpoint, arguments.export, *about)
    else:
        train(arguments)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What `Run.save` wrote."""
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def export(checkpoint: Path, target: Path, trainer: str, network: str) -> None:
    """Write the averaged weights of a checkpoint as half-precision safetensors.

    Args:
        trainer: the file name of the script, and
        network: the kind of network: both go into the file's metadata.
    """
    state = read_checkpoint(checkpoint)
    weights = {name: value.half().contiguous() for name, value in state["average"].items() if value.is_floating_point()}
    about = {"format": "pt", "network": network, "training": f"tools/{trainer}, {state['step']} steps"}
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".partial")
    safetensors.torch.save_file(weights, partial, metadata=about)
    partial.replace(target)
    logger.info("%s: %d bytes, %d steps", target, target.stat().st_size, state["step"])
