"""Upscaling of everything that is not a face: an upscaler's file that spandrel reads, or Lanczos without one.

The network's descriptor is called, never its bare module: it knows how the module wants its input and what it returns.
Large pictures go through in overlapping tiles. spandrel is imported only when a file is to be read.
"""

from __future__ import annotations

import importlib
import itertools
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, overload

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..catalogue.peek import views
from ..errors import FaceRestoreError, InputError, ModelFileError
from ..networks.load import State, named_tensors, read_state
from ..system import facexlib_import

if TYPE_CHECKING:
    from spandrel import ImageModelDescriptor

logger = logging.getLogger(__name__)

TILE = 288
"""Side of a tile in pixels of the picture: bounds the memory, whatever the size of the picture."""
OVERLAP = 32
"""Pixels that neighbouring tiles share at least; each keeps what is nearer to its own middle. Real-ESRGAN shares 20."""
WHOLE_TILE = 512
"""The same for networks that judge a picture as a whole: pictures of up to 512×512 pixels are not cut. Of spandrel's
networks of that kind the large SwinIR takes the most memory for it, 4 GB (16 kB a pixel, measured in float32)."""
WHOLE_OVERLAP = 64

TileProgress = Callable[[int, int], None]
"""Called with the tiles that are done and the tiles in all: once before the first, and after each."""


@dataclass(frozen=True)
class InputRules:
    """Which inputs a network takes, and in what pieces.

    Attributes:
        minimum: least width and height of an input, in pixels.
        multiple: width and height must be multiples of this.
        square: whether width and height must be equal.
        tile: side of a tile; rounded up to what the above ask for. None: pictures are never cut, since the network
            bounds its memory itself.
        overlap: pixels that neighbouring tiles share at least; rounded up to a multiple of `multiple`.
    """

    minimum: int = 1
    multiple: int = 1
    square: bool = False
    tile: int | None = TILE
    overlap: int = OVERLAP

    def __post_init__(self) -> None:
        if self.minimum < 1 or self.multiple < 1 or self.overlap < 0:
            raise InputError(f"input rules: {self} cannot be met; minimum and multiple start from 1, overlap from 0.")
        if self.tile is not None and self.tile <= self.overlap:
            raise InputError(f"tile: {self.tile} px is no more than the overlap; give more than {self.overlap}.")

    @property
    def shared(self) -> int:
        """Pixels that neighbouring tiles share at least."""
        return _round_up(self.overlap, self.multiple)

    def side(self, height: int, width: int) -> int:
        """Side of the tiles of a picture of this size. A picture of no more pixels than a tile is not cut."""
        if self.tile is None or (height * width <= self.tile**2 and not self.square):
            return self.fitting(max(height, width))
        return max(self.fitting(self.tile), 2 * self.shared)

    def fitting(self, length: int) -> int:
        """The least length that the network takes and that is not below this one."""
        return _round_up(max(length, self.minimum), self.multiple)


class Upscaler:
    """Enlarges pictures with a network, a tile at a time.

    Args:
        network: 1×3×H×W float32 RGB in [0, 1] → 1×3×(scale·H)×(scale·W), for every H and W that `rules` allow.
        scale: how many times it enlarges.
        device: where it runs.
        rules: which inputs it takes.
    """

    def __init__(
        self,
        network: Callable[[torch.Tensor], torch.Tensor],
        scale: int,
        device: str | torch.device = "cpu",
        rules: InputRules | None = None,
    ) -> None:
        self.network = network
        self.scale = scale
        self.device = torch.device(device)
        self.rules = rules or InputRules()

    def count_tiles(self, height: int, width: int) -> int:
        """In how many tiles a picture of this size goes through the network."""
        side = self.rules.side(height, width)
        tall, wide = self._padded(height, width, side)
        return len(_spans(tall, side, self.rules.shared)) * len(_spans(wide, side, self.rules.shared))

    @overload
    def __call__(
        self, pixels: NDArray[Any], progress: TileProgress | None = None, stop: None = None
    ) -> NDArray[np.float32]: ...

    @overload
    def __call__(
        self, pixels: NDArray[Any], progress: TileProgress | None, stop: Callable[[], bool] | None
    ) -> NDArray[np.float32] | None: ...

    def __call__(
        self, pixels: NDArray[Any], progress: TileProgress | None = None, stop: Callable[[], bool] | None = None
    ) -> NDArray[np.float32] | None:
        """The enlarged picture.

        Args:
            pixels: H×W×3 RGB, uint8, uint16 or float in [0, 1].
            progress: called for every tile.
            stop: asked before every tile.

        Returns:
            (scale·H)×(scale·W)×3 float32 RGB in [0, 1]; None once `stop` has said True.

        Raises:
            InputError: it is not a colour picture with pixels.
            ModelFileError: the network gave values that are not numbers.
        """
        if pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
            raise InputError(f"picture: shape {pixels.shape} cannot be enlarged; give H×W×3.")
        top = float(np.iinfo(pixels.dtype).max) if np.issubdtype(pixels.dtype, np.integer) else 1.0
        height, width = pixels.shape[:2]
        side, scale = self.rules.side(height, width), self.scale
        padded = _pad(pixels, *self._padded(height, width, side))
        rows, columns = (_spans(length, side, self.rules.shared) for length in padded.shape[:2])
        total = len(rows) * len(columns)
        output = np.empty((height * scale, width * scale, 3), np.float32)
        if progress is not None:
            progress(0, total)
        for done, (row, column) in enumerate((row, column) for row in rows for column in columns):
            if stop is not None and stop():
                return None
            tile = padded[row.start : row.start + side, column.start : column.start + side]
            enlarged = self._run(tile.astype(np.float32) / top)
            y0, y1, x0, x1 = row.first, min(row.end, height), column.first, min(column.end, width)
            inner = enlarged[
                (y0 - row.start) * scale : (y1 - row.start) * scale,
                (x0 - column.start) * scale : (x1 - column.start) * scale,
            ]
            output[y0 * scale : y1 * scale, x0 * scale : x1 * scale] = inner
            if progress is not None:
                progress(done + 1, total)
        return output

    def _padded(self, height: int, width: int, side: int) -> tuple[int, int]:
        """Height and width that the picture is padded to, so that each of its tiles is one the network takes."""
        tall, wide = self.rules.fitting(height), self.rules.fitting(width)
        if not self.rules.square:
            return tall, wide
        least = min(max(tall, wide), side)
        return max(tall, least), max(wide, least)

    def _run(self, tile: NDArray[np.float32]) -> NDArray[np.float32]:
        tensor = torch.from_numpy(np.ascontiguousarray(tile.transpose(2, 0, 1)))[None].to(self.device)
        with torch.inference_mode():
            output = self.network(tensor)[0]
        if not bool(output.isfinite().all()):  # as a damaged file's, or a picture would be black without a word
            raise ModelFileError("the upscaler gave values that are not numbers; choose another one, or upscaler none.")
        return output.float().clamp(0, 1).permute(1, 2, 0).cpu().numpy()


@dataclass(frozen=True)
class _Span:
    """Where a tile begins along one axis, and the part (first to end, end excluded) that is kept of it."""

    start: int
    first: int
    end: int


def _spans(length: int, side: int, shared: int) -> list[_Span]:
    """The tiles along an axis, each `side` long unless the axis is shorter. The last is moved inwards, so that it is
    as long as the others; two neighbours meet in the middle of what they share."""
    if length <= side:
        return [_Span(0, 0, length)]
    count = 1 - (-(length - side) // (side - shared))
    starts = [min(number * (side - shared), length - side) for number in range(count)]
    meet = [0, *((after + before + side) // 2 for before, after in itertools.pairwise(starts)), length]
    return [_Span(start, meet[number], meet[number + 1]) for number, start in enumerate(starts)]


def _pad(pixels: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """The picture with its mirror image below and to the right; where that does not suffice, with its last pixels.
    spandrel pads so as well, but its older versions fail where the mirror image does not suffice."""
    for axis, length in enumerate((height, width)):
        if length > pixels.shape[axis]:
            at = np.arange(length)
            last = pixels.shape[axis] - 1
            at = np.where(at <= last, at, np.maximum(2 * last - at, 0))
            pixels = np.take(pixels, at, axis)
    return pixels


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def load_upscaler(source: str | Path | State, device: str | torch.device = "cpu") -> Upscaler:
    """An upscaler from a file or a state dict, recognised by its tensors.

    Args:
        source: path of a .pth, .pt, .ckpt or .safetensors file, or a state dict; with or without a wrapping key such as
            "params_ema" and a prefix such as "module.".
        device: where it will run.

    Raises:
        ModelFileError: the file is missing, damaged, or no network that enlarges or cleans colour pictures; or spandrel
            cannot be imported. The message says what to do.
    """
    name = "the state dict" if isinstance(source, Mapping) else str(source)
    state = named_tensors(source, name) if isinstance(source, Mapping) else read_state(Path(source))
    spandrel = _import_spandrel(name)
    with torch.inference_mode(False), torch.no_grad():  # parameters born in a host's inference mode could not be moved
        model = _read(spandrel, state, name)
        model.model.requires_grad_(False)
        model.eval().to(torch.device(device))
    return Upscaler(model, model.scale, device, _rules(spandrel, model))


def _import_spandrel(name: str) -> ModuleType:
    try:
        facexlib_import.prepare()  # spandrel imports torchvision, which does so nowhere before this
        return importlib.import_module("spandrel")
    except Exception as error:  # a broken optional package may raise anything at import
        if not isinstance(error, (ImportError, FaceRestoreError)):
            logger.debug("spandrel fails at import", exc_info=True)
        raise ModelFileError(
            f"{name}: upscalers are read by the package spandrel, which cannot be imported ({error}); install it with "
            "`pip install spandrel`, or choose upscaler none."
        ) from error


def _read(spandrel: ModuleType, state: State, name: str) -> ImageModelDescriptor[nn.Module]:
    """The first network that spandrel knows among the ways to read the tensors' names. Raises ModelFileError."""
    loader = spandrel.ModelLoader(device="cpu")
    for view in views(state):
        try:
            model = loader.load_from_state_dict({short: state[full] for short, full in view.items()})
        except spandrel.UnsupportedModelError:
            continue
        except Exception as error:  # missing tensors and odd shapes make it fail in any way
            logger.debug("spandrel could not read %s", name, exc_info=True)
            reason = (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()
            raise ModelFileError(
                f"{name}: looks like an upscaler, but its tensors do not make one ({type(error).__name__}: {reason}); "
                "get it again."
            ) from error
        return _colour_enlarger(spandrel, model, name)
    seen = ", ".join(list(state)[:3])
    raise ModelFileError(
        f"{name}: no upscaler that spandrel {spandrel.__version__} knows ({len(state)} tensors: {seen}, …); choose "
        "another file."
    )


def _colour_enlarger(spandrel: ModuleType, model: Any, name: str) -> ImageModelDescriptor[nn.Module]:
    """The descriptor, if it takes and gives a colour picture and nothing else. Raises ModelFileError."""
    what = model.architecture.name
    if not isinstance(model, spandrel.ImageModelDescriptor):
        raise ModelFileError(
            f"{name}: {what} fills in what a mask marks (inpainting), it is no upscaler; choose another file."
        )
    if model.purpose == "FaceSR":
        raise ModelFileError(
            f"{name}: {what} restores faces, it is no upscaler; use it as the model, and choose another upscaler."
        )
    if model.input_channels != 3 or model.output_channels != 3:
        channels = f"{model.input_channels} channels in, {model.output_channels} out"
        raise ModelFileError(f"{name}: this {what} does not take colour pictures ({channels}); choose another file.")
    return model


def _rules(spandrel: ModuleType, model: ImageModelDescriptor[nn.Module]) -> InputRules:
    """What the descriptor says of its inputs, and whether they may be cut."""
    needs = model.size_requirements
    tile: int | None = TILE
    overlap = OVERLAP
    if model.tiling == spandrel.ModelTiling.DISCOURAGED:
        tile, overlap = WHOLE_TILE, WHOLE_OVERLAP
    elif model.tiling == spandrel.ModelTiling.INTERNAL:
        tile = None
    return InputRules(max(needs.minimum, 1), needs.multiple_of, needs.square, tile, overlap)


def enlarged_size(width: int, height: int, factor: float) -> tuple[int, int]:
    """Width and height of the picture that `enlarge` gives. Since they are whole numbers, the factors by which the two
    sides really grow may differ a little from `factor` and from each other."""
    return max(1, round(width * factor)), max(1, round(height * factor))


@overload
def enlarge(
    pixels: NDArray[Any],
    factor: float,
    upscaler: Upscaler | None,
    progress: TileProgress | None = None,
    stop: None = None,
) -> NDArray[Any]: ...


@overload
def enlarge(
    pixels: NDArray[Any],
    factor: float,
    upscaler: Upscaler | None,
    progress: TileProgress | None,
    stop: Callable[[], bool] | None,
) -> NDArray[Any] | None: ...


def enlarge(
    pixels: NDArray[Any],
    factor: float,
    upscaler: Upscaler | None,
    progress: TileProgress | None = None,
    stop: Callable[[], bool] | None = None,
) -> NDArray[Any] | None:
    """The picture `factor` times as wide and high, in its own depth.

    The network enlarges by its own scale and the result is brought to the size asked for; alpha, which no upscaler
    knows, and pictures without an upscaler are resized with Lanczos.

    Args:
        pixels: H×W×3 or H×W×4 uint8 or uint16, RGB(A).
        factor: from 1. 1 gives a copy.
        upscaler: what enlarges the colours; None means Lanczos.
        progress: called for every tile of the upscaler; never without one.
        stop: asked before every tile.

    Returns:
        An array of the same depth and channels, in the size that `enlarged_size` gives; None once `stop` has said True.
    """
    if factor == 1:
        return pixels.copy()
    size = enlarged_size(pixels.shape[1], pixels.shape[0], factor)
    if upscaler is None:
        return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_LANCZOS4))
    large = upscaler(pixels[..., :3], progress, stop)
    if large is None:
        return None
    if large.shape[1::-1] != size:
        shrinks = size[0] < large.shape[1]
        way = cv2.INTER_AREA if shrinks else cv2.INTER_LANCZOS4
        large = np.asarray(cv2.resize(large, size, interpolation=way), np.float32)
    colours = np.rint(np.clip(large, 0, 1) * np.float32(np.iinfo(pixels.dtype).max)).astype(pixels.dtype)
    if pixels.shape[2] == 3:
        return colours
    alpha = np.asarray(cv2.resize(pixels[..., 3], size, interpolation=cv2.INTER_LANCZOS4))
    return np.dstack([colours, alpha])
