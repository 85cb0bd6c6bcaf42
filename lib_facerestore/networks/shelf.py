"""`Shelf`, the cache of loaded networks, and the choice of device and precision that they run with."""

from __future__ import annotations

import logging
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import torch

from ..catalogue.fingerprints import NO_FILE, Stamp, stamp
from ..errors import OptionError
from ..options.table import PRECISIONS
from .load import Network, is_onnx, load_network, usable_device

logger = logging.getLogger(__name__)


MOST_ON_DEVICE = 3
MOST_KEPT = 6
"""Most networks on the accelerator, and in all. At 350 MB for most public restorers: about 1 GB there, 2 GB in all."""


def choose_device(name: str) -> torch.device:
    """The torch device with this name; "auto" takes CUDA, else MPS, else the CPU.

    Raises:
        OptionError: the device cannot be used.
    """
    if name == "auto":
        mps = getattr(torch.backends, "mps", None)
        name = "cuda" if torch.cuda.is_available() else "mps" if mps is not None and mps.is_available() else "cpu"
    return usable_device(name, remedy="give auto or cpu")


def choose_dtype(network: Network, precision: str) -> torch.dtype:
    """The floating-point type that a network runs in.

    bfloat16 if `precision` asks for it and the network's `precisions` allow it, else float32. "auto" means float32,
    with which every figure in docs/performance.md was measured.
    """
    return torch.bfloat16 if precision == "bfloat16" and "bfloat16" in network.precisions else torch.float32


@dataclass(frozen=True)
class _Kept:
    stamp: Stamp
    network: Network


class Shelf:
    """Cache of loaded restorers, by path. A file that has changed on disk is loaded again.

    On an accelerator, the `MOST_ON_DEVICE` most recently used networks stay there. Older ones are moved to the
    computer's memory and come back without reading their files. Of all networks, on the accelerator or not, the
    `MOST_KEPT` most recently used are kept; older ones are dropped, and read from their files when needed again.
    An onnxruntime session cannot be moved, so it is dropped where another network would be moved.

    Args:
        device: device that the networks run on.
        precision: "auto", "float32" or "bfloat16"; networks that do not allow it run in float32.

    Raises:
        OptionError: `precision` is none of these.
    """

    def __init__(self, device: torch.device, precision: str = "auto") -> None:
        if precision not in PRECISIONS:
            raise OptionError(f"precision: {precision!r} is not allowed; give one of {', '.join(PRECISIONS)}.")
        self.device, self.precision = device, precision
        self._kept: OrderedDict[Path, _Kept] = OrderedDict()

    def network(self, path: Path) -> Network:
        """The network of a file, on the device.

        Call this again before each use: the network may have been moved or dropped in the meantime. If its file was
        deleted, the loaded network is still used.

        Raises:
            ModelFileError: as for `load_network`.
        """
        now = stamp(path)
        if path in self._kept and self._kept[path].stamp != now and now != NO_FILE:
            del self._kept[path]
        if path not in self._kept:
            # Converted to its dtype before it moves, to save memory on the device. A session cannot move at all.
            self._kept[path] = _Kept(now, load_network(path, self.device if is_onnx(path) else "cpu"))
        self._kept.move_to_end(path)
        network = self._kept[path].network
        self._make_space()
        dtype = choose_dtype(network, self.precision)
        if (network.device, network.dtype) != (self.device, dtype):
            network.to(self.device, dtype)
        return network

    def free_device(self) -> None:
        """Move every network to the computer's memory; the next use brings it back without reading its file.

        Sessions of onnxruntime, which cannot be moved, are dropped.
        """
        for path in list(self._kept):
            self._move_away(path)
        self.free_cache()

    def _make_space(self) -> None:
        """Drop and move the least recently used networks; the newest, which is needed now, stays."""
        while len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
        if self.device.type == "cpu":
            return
        there = [path for path, kept in list(self._kept.items())[:-1] if kept.network.device == self.device]
        surplus = there[: max(len(there) + 1 - MOST_ON_DEVICE, 0)]
        for path in surplus:
            self._move_away(path)
        if surplus:
            self.free_cache()

    def _move_away(self, path: Path) -> None:
        network = self._kept[path].network
        if network.family == "onnx":
            del self._kept[path]
        else:
            network.to("cpu")

    def free_cache(self) -> None:
        """Give unused memory of the accelerator back, e.g. after a call ran out of it."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
