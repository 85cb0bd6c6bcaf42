"""Upscaling of everything that is not a face: Real-ESRGAN's networks in tiles, or Lanczos where no model is asked for.

The networks are basicsr's (RRDBNet: Wang et al., ESRGAN, ECCV workshops 2018; SRVGGNetCompact: Wang et al.,
Real-ESRGAN, ICCV workshops 2021); any other upscaler's file is handed to spandrel where that is installed. Both are
imported late.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..errors import FaceRestoreError, InputError, ModelFileError
from ..networks.load import State, read_state
from ..system import facexlib_import

logger = logging.getLogger(__name__)

TILE = 256
"""Side of a tile in pixels of the picture: bounds the memory, whatever the size of the picture."""
OVERLAP = 16
"""What every tile sees of its neighbours, and does not keep. Real-ESRGAN's own tool uses 10."""


class Upscaler:
    """Enlarges pictures with a network, a tile at a time.

    Args:
        network: B×3×H×W in [0, 1] RGB → B×3×(scale·H)×(scale·W).
        scale: how many times it enlarges.
        device: where it runs.
        multiple: its input's sides must be multiples of this (2 for the x2plus network, which folds its input).
        tile: side of a tile.
    """

    def __init__(
        self, network: nn.Module, scale: int, device: str | torch.device = "cpu", multiple: int = 1, tile: int = TILE
    ) -> None:
        if tile < 4 * OVERLAP or tile % multiple:
            raise InputError(f"tile: {tile} does not fit; give a multiple of {multiple} from {4 * OVERLAP}.")
        self.device = torch.device(device)
        self.network = network.eval().requires_grad_(False).to(self.device)
        self.scale = scale
        self.multiple = multiple
        self.tile = tile

    def __call__(self, pixels: NDArray[Any]) -> NDArray[np.float32]:
        """The enlarged picture.

        Args:
            pixels: H×W×3 RGB, uint8, uint16 or float in [0, 1].

        Returns:
            (scale·H)×(scale·W)×3 float32 RGB, clipped to [0, 1].

        Raises:
            InputError: it is not a colour picture with pixels.
        """
        if pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
            raise InputError(f"picture: shape {pixels.shape} cannot be enlarged; give H×W×3.")
        top = float(np.iinfo(pixels.dtype).max) if np.issubdtype(pixels.dtype, np.integer) else 1.0
        height, width = pixels.shape[:2]
        scale = self.scale
        output = np.empty((height * scale, width * scale, 3), np.float32)
        for y in range(0, height, self.tile):
            for x in range(0, width, self.tile):
                below, right = min(y + self.tile, height), min(x + self.tile, width)
                y0, x0 = max(y - OVERLAP, 0), max(x - OVERLAP, 0)
                y1, x1 = min(below + OVERLAP, height), min(right + OVERLAP, width)
                enlarged = self._run(pixels[y0:y1, x0:x1].astype(np.float32) / top)
                inner = enlarged[(y - y0) * scale : (below - y0) * scale, (x - x0) * scale : (right - x0) * scale]
                output[y * scale : below * scale, x * scale : right * scale] = inner
        return output

    def _run(self, tile: NDArray[np.float32]) -> NDArray[np.float32]:
        height, width = tile.shape[:2]
        tensor = torch.from_numpy(np.ascontiguousarray(tile.transpose(2, 0, 1)))[None].to(self.device)
        down, right = -height % self.multiple, -width % self.multiple
        if down or right:
            tensor = nn.functional.pad(tensor, (0, right, 0, down), mode="replicate")
        with torch.inference_mode():
            output = self.network(tensor)[0, :, : height * self.scale, : width * self.scale]
        return output.clamp(0, 1).float().permute(1, 2, 0).cpu().numpy()


def load_upscaler(source: str | Path | State, device: str | torch.device = "cpu", tile: int = TILE) -> Upscaler:
    """An upscaler from a file or a state dict, recognised by its tensors.

    Raises:
        ModelFileError: the file is missing, damaged or of no kind that runs here; the message says what is needed.
    """
    name = "the state dict" if isinstance(source, Mapping) else str(source)
    state = dict(source if isinstance(source, Mapping) else read_state(Path(source)))
    built = _real_esrgan(state, name)
    if built is None:
        return _with_spandrel(state, name, device, tile)
    network, scale, multiple = built
    try:
        network.load_state_dict({key: value.float() for key, value in state.items()})
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        remedy = "get it again"
        raise ModelFileError(f"{name}: looks like Real-ESRGAN, but does not fit it ({reason}); {remedy}.") from error
    return Upscaler(network, scale, device, multiple, tile)


def _real_esrgan(state: State, name: str) -> tuple[nn.Module, int, int] | None:
    """The empty network for these tensors, its scale, and what its input's sides must be multiples of."""
    shapes = {key: tuple(value.shape) for key, value in state.items()}
    with torch.inference_mode(False):  # a host may call from inside it; parameters born there could never be moved
        if "body.0.rdb1.conv1.weight" in shapes and "conv_first.weight" in shapes:
            rrdb = _basicsr("rrdbnet_arch", name).RRDBNet
            features, folded = shapes["conv_first.weight"][:2]
            out = shapes["conv_last.weight"][0]
            scale, multiple = {3: (4, 1), 12: (2, 2), 48: (1, 4)}.get(folded, (0, 0))
            if not scale:
                raise ModelFileError(f"{name}: an RRDBNet with {folded} input channels is not known; 3, 12 and 48 are.")
            blocks = 1 + max(int(key.split(".")[1]) for key in shapes if key.startswith("body."))
            grow = shapes["body.0.rdb1.conv1.weight"][0]
            return rrdb(3, out, scale, features, blocks, grow), scale, multiple
        if "body.0.weight" in shapes and len(shapes["body.0.weight"]) == 4:
            last = max(int(key.split(".")[1]) for key in shapes if key.startswith("body."))
            compact = _basicsr("srvgg_arch", name).SRVGGNetCompact
            features, channels = shapes["body.0.weight"][:2]
            scale = round((shapes[f"body.{last}.weight"][0] / channels) ** 0.5)
            # Only a parametric rectifier leaves a tensor; of the others, leaky is what the training code offers next.
            activation = "prelu" if "body.1.weight" in shapes else "leakyrelu"
            return compact(channels, channels, features, last // 2 - 1, scale, activation), scale, 1
    return None


def _basicsr(module: str, name: str) -> Any:
    try:
        facexlib_import.prepare()
        return importlib.import_module(f"basicsr.archs.{module}")
    except (ImportError, FaceRestoreError) as error:
        raise ModelFileError(
            f"{name}: a Real-ESRGAN file needs the package basicsr ({error}); install it with "
            "`pip install --no-deps basicsr`, or choose upscaler none."
        ) from error


def _with_spandrel(state: State, name: str, device: str | torch.device, tile: int) -> Upscaler:
    seen = ", ".join(list(state)[:3])
    try:
        spandrel = importlib.import_module("spandrel")
    except ImportError as error:
        raise ModelFileError(
            f"{name}: not a Real-ESRGAN file ({len(state)} tensors: {seen}, …); the package spandrel reads other "
            "upscalers. Install it, or choose another upscaler."
        ) from error
    try:
        model = spandrel.ModelLoader(device="cpu").load_from_state_dict(dict(state))
    except Exception as error:  # spandrel raises its own, and whatever a wrong shape makes torch raise
        raise ModelFileError(f"{name}: no upscaler that spandrel knows ({error}); choose another file.") from error
    if getattr(model, "purpose", "") not in ("SR", "Restoration") or model.input_channels != 3:
        what = model.architecture.name
        raise ModelFileError(f"{name}: {what} does not enlarge colour pictures; choose another file.")
    needed = model.size_requirements
    multiple = int(getattr(needed, "multiple_of", 1) or 1)
    return Upscaler(model.model, int(model.scale), device, multiple, max(tile // multiple, 1) * multiple)


def enlarge(pixels: NDArray[Any], factor: float, upscaler: Upscaler | None) -> NDArray[Any]:
    """The picture `factor` times as wide and high, in its own depth.

    The network enlarges by its own scale and the result is brought to the size asked for; alpha, which no upscaler
    knows, and pictures without an upscaler are resized with Lanczos.

    Args:
        pixels: H×W×3 or H×W×4 uint8 or uint16, RGB(A).
        factor: from 1. 1 gives a copy.
        upscaler: what enlarges the colours; None means Lanczos.
    """
    if factor == 1:
        return pixels.copy()
    height, width = pixels.shape[:2]
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    plain: NDArray[Any] = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_LANCZOS4))
    if upscaler is None:
        return plain
    large = upscaler(pixels[..., :3])
    if large.shape[1::-1] != size:
        shrinks = size[0] < large.shape[1]
        way = cv2.INTER_AREA if shrinks else cv2.INTER_LANCZOS4
        large = np.asarray(cv2.resize(large, size, interpolation=way), np.float32)
    top = np.iinfo(pixels.dtype).max
    plain[..., :3] = np.rint(np.clip(large, 0, 1) * np.float32(top)).astype(pixels.dtype)
    return plain
