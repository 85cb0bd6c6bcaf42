"""Where networks run and which are kept: the device, the precision, and `Shelf`, the networks that were loaded."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Literal, get_args

import torch

from ..catalogue.fingerprints import stamp
from ..errors import OptionError
from .load import Network, is_onnx, load_network, usable_device

logger = logging.getLogger(__name__)

Precision = Literal["auto", "float32", "bfloat16"]
PRECISIONS: tuple[str, ...] = get_args(Precision)


def choose_device(name: str) -> torch.device:
    """The torch device that `name` stands for; "auto" takes CUDA, else MPS, else the CPU. Raises OptionError."""
    if name == "auto":
        mps = getattr(torch.backends, "mps", None)
        name = "cuda" if torch.cuda.is_available() else "mps" if mps is not None and mps.is_available() else "cpu"
    return usable_device(name, remedy="give auto or cpu")


def choose_dtype(network: Network, precision: str) -> torch.dtype:
    """The type that a network runs in: what is asked for where that is safe for it, else float32.

    auto is float32: it is what every figure in docs/performance.md was measured with.
    """
    return torch.bfloat16 if precision == "bfloat16" and "bfloat16" in network.precisions else torch.float32


class Shelf:
    """The restorers that were loaded, by path. A file that was replaced on the disk is loaded anew.

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
        self._networks: dict[Path, tuple[tuple[int, int], Network]] = {}

    def network(self, path: Path) -> Network:
        """The network of a file, on the device. Raises ModelFileError."""
        found = stamp(path)
        if path not in self._networks or self._networks[path][0] != found:
            # Moved once it has its type, so that the device never holds more; a session stays where it was made.
            network = load_network(path, self.device if is_onnx(path) else "cpu")
            network.to(self.device, choose_dtype(network, self.precision))
            self._networks[path] = found, network
        network = self._networks[path][1]
        if network.device != self.device:
            network.to(self.device)
        return network

    def park(self) -> None:
        """Move every network to the computer's own memory; the next use brings it back without reading its file."""
        for path, (_, network) in list(self._networks.items()):
            if network.family == "onnx":
                del self._networks[path]  # onnxruntime has no way to move a session
            else:
                network.to("cpu")
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
