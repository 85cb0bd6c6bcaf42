"""Where networks run and which are kept: the device, the precision, and `Shelf`, the networks that were loaded."""

from __future__ import annotations

import logging
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import torch

from ..catalogue.fingerprints import Stamp, stamp
from ..errors import OptionError
from ..options.table import PRECISIONS
from .load import Network, is_onnx, load_network, usable_device

logger = logging.getLogger(__name__)


MOST_ON_DEVICE = 3
MOST_KEPT = 6
"""With 350 MB of most public restorers, about 1 GB on the device and 2 GB in all."""


def choose_device(name: str) -> torch.device:
    """The torch device of that name; "auto" takes CUDA, else MPS, else the CPU. Raises OptionError."""
    if name == "auto":
        mps = getattr(torch.backends, "mps", None)
        name = "cuda" if torch.cuda.is_available() else "mps" if mps is not None and mps.is_available() else "cpu"
    return usable_device(name, remedy="give auto or cpu")


def choose_dtype(network: Network, precision: str) -> torch.dtype:
    """The type that a network runs in: what is asked for where that is safe for it, else float32.

    auto is float32: it is what every figure in docs/performance.md was measured with.
    """
    return torch.bfloat16 if precision == "bfloat16" and "bfloat16" in network.precisions else torch.float32


@dataclass(frozen=True)
class _Kept:
    stamp: Stamp
    network: Network


class Shelf:
    """The restorers that were loaded, by path. A file that was replaced on the disk is loaded again.

    On an accelerator the `MOST_ON_DEVICE` networks that were used last stay there; an older one moves to the
    computer's memory, from where it comes back without reading its file. Of all networks, wherever they are, the
    `MOST_KEPT` that were used last are kept; an older one is let go, and read from its file when it is needed again.
    An onnxruntime session cannot be moved, so it is let go where another network would move.

    Args:
        device: where they run.
        precision: "auto", "float32" or "bfloat16"; a network for which it is not safe runs in float32.

    Raises:
        OptionError: there is no such precision.
    """

    def __init__(self, device: torch.device, precision: str = "auto") -> None:
        if precision not in PRECISIONS:
            raise OptionError(f"precision: {precision!r} is not allowed; give one of {', '.join(PRECISIONS)}.")
        self.device, self.precision = device, precision
        self._kept: OrderedDict[Path, _Kept] = OrderedDict()

    def network(self, path: Path) -> Network:
        """The network of a file, on the device. Ask again before each use: it may have been moved or let go since.

        Raises ModelFileError.
        """
        now = stamp(path)
        if path in self._kept and self._kept[path].stamp != now:
            del self._kept[path]
        if path not in self._kept:
            # Moved once it has its type, so that the device never holds more; a session stays where it was made.
            self._kept[path] = _Kept(now, load_network(path, self.device if is_onnx(path) else "cpu"))
        self._kept.move_to_end(path)
        network = self._kept[path].network
        self._make_space()
        dtype = choose_dtype(network, self.precision)
        if (network.device, network.dtype) != (self.device, dtype):
            network.to(self.device, dtype)
        return network

    def free_device(self) -> None:
        """Move every network to the computer's memory; the next use brings it back without reading its file."""
        for path in list(self._kept):
            self._move_away(path)
        self._free_cache()

    def _make_space(self) -> None:
        """Let the networks go that were not used for the longest; the newest, which is needed now, stays."""
        while len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
        if self.device.type == "cpu":
            return
        there = [path for path, kept in list(self._kept.items())[:-1] if kept.network.device == self.device]
        surplus = there[: max(len(there) + 1 - MOST_ON_DEVICE, 0)]
        for path in surplus:
            self._move_away(path)
        if surplus:
            self._free_cache()

    def _move_away(self, path: Path) -> None:
        network = self._kept[path].network
        if network.family == "onnx":
            del self._kept[path]
        else:
            network.to("cpu")

    def _free_cache(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
