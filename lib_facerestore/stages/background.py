"""Upscaling of the background, by a network that the package spandrel reads, or by Lanczos.

spandrel's descriptor is called, not the module in it, because it converts inputs and outputs to one form. Large
pictures are processed in overlapping tiles. spandrel is imported only when a file is read.
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
from ..networks.building import building
from ..networks.load import State, named_tensors, read_state
from ..system import facexlib_import
from ..wording import counted, pip_install

if TYPE_CHECKING:
    from spandrel import ImageModelDescriptor

logger = logging.getLogger(__name__)

TILE = 288
"""Side of a tile in pixels of the picture; it limits the memory for pictures of any size."""
OVERLAP = 32
"""Least overlap of neighbouring tiles in pixels; each result is used up to the middle of it. Real-ESRGAN has 20."""
WHOLE_TILE = 512
"""As `TILE`, for networks that need to see the whole picture: up to 512×512 pixels it is not cut. Of spandrel's
networks of that kind, the large SwinIR takes most memory for such a tile: 4 GB (16 kB for each pixel, in float32)."""
WHOLE_OVERLAP = 64
"""As `OVERLAP`, for those networks."""

TileProgress = Callable[[int, int], None]
"""Called with the number of finished tiles and of all tiles: once before the first, and after each."""


@dataclass(frozen=True)
class InputRules:
    """Which sizes of inputs a network takes, and how pictures are cut into tiles.

    Attributes:
        minimum: least width and height of an input in pixels.
        multiple: width and height must be multiples of this.
        square: whether width and height must be equal.
        tile: side of a tile in pixels, rounded up to a size that the network takes. None: pictures are never cut,
            because the network limits its memory itself.
        overlap: least overlap of neighbouring tiles in pixels, rounded up to a multiple of `multiple`.

    Raises:
        InputError: the values contradict each other.
    """

    minimum: int = 1
    multiple: int = 1
    square: bool = False
    tile: int | None = TILE
    overlap: int = OVERLAP

    def __post_init__(self) -> None:
        if self.minimum < 1 or self.multiple < 1 or self.overlap < 0:
            raise InputError(
                f"input rules: {self} is not allowed; minimum and multiple must be at least 1, overlap at least 0."
            )
        if self.tile is not None and self.tile <= self.overlap:
            raise InputError(f"tile: {self.tile} px is not more than the overlap; give more than {self.overlap}.")

    @property
    def shared(self) -> int:
        """Least overlap of neighbouring tiles in pixels, a multiple of `multiple`."""
        return _round_up(self.overlap, self.multiple)

    def side(self, height: int, width: int) -> int:
        """Side of the tiles of a picture of this size. A picture with no more pixels than a tile is not cut."""
        if self.tile is None or (height * width <= self.tile**2 and not self.square):
            return self.fitting(max(height, width))
        return max(self.fitting(self.tile), 2 * self.shared)

    def fitting(self, length: int) -> int:
        """The smallest length that the network takes and that is at least `length`."""
        return _round_up(max(length, self.minimum), self.multiple)


class Upscaler:
    """Enlarges pictures with a network, a tile at a time.

    Args:
        network: maps 1×3×H×W float32 RGB in [0, 1] to 1×3×(scale·H)×(scale·W), for all sizes that `rules` allow.
        scale: enlargement of the network.
        device: device that it runs on.
        rules: sizes of inputs that it takes.
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
        """Number of tiles that a picture of this size is cut into."""
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
        """Enlarge a picture.

        Args:
            pixels: H×W×3 RGB, uint8, uint16 or float in [0, 1].
            progress: called for every tile.
            stop: called before every tile; if it returns true, the picture is given up.

        Returns:
            (scale·H)×(scale·W)×3 float32 RGB in [0, 1]; None if `stop` returned true.

        Raises:
            InputError: the array is not H×W×3, or has no pixels.
            ModelFileError: the network's output has values that are not numbers.
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
        """Height and width that the picture is padded to, so that the network takes all of its tiles."""
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
    """A tile along one axis: its first pixel, and the pixels `first` to `end` (excluded) of the axis that it fills."""

    start: int
    first: int
    end: int


def _spans(length: int, side: int, shared: int) -> list[_Span]:
    """The tiles along an axis of `length` pixels.

    Each is `side` pixels long, unless the axis is shorter; the last one is moved inwards. Two neighbours meet in the
    middle of their overlap.
    """
    if length <= side:
        return [_Span(0, 0, length)]
    count = 1 - (-(length - side) // (side - shared))
    starts = [min(number * (side - shared), length - side) for number in range(count)]
    meet = [0, *((after + before + side) // 2 for before, after in itertools.pairwise(starts)), length]
    return [_Span(start, meet[number], meet[number + 1]) for number, start in enumerate(starts)]


def _pad(pixels: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """Pad a picture below and on the right, with its mirror image and then, if that is too short, with its first pixel.

    spandrel pads too, but its older versions fail if the mirror image is too short.
    """
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
    """Load an upscaler; its tensors decide which network it is.

    Args:
        source: path of a PyTorch checkpoint or .safetensors file, or a state dict. Wrapping keys such as "params_ema"
            and prefixes such as "module." are allowed.
        device: device to run on.

    Raises:
        ModelFileError: the file is missing or damaged, is not a network that enlarges or cleans colour pictures, or
            spandrel cannot be imported. The message says what to do.
    """
    name = "the state dict" if isinstance(source, Mapping) else str(source)
    state = named_tensors(source, name) if isinstance(source, Mapping) else read_state(Path(source))
    spandrel = _import_spandrel(name)
    with building():
        model = _read(spandrel, state, name)
        model.model.requires_grad_(False)
        model.eval().to(torch.device(device), torch.float32)
    return Upscaler(model, model.scale, device, _rules(spandrel, model))


def _import_spandrel(name: str) -> ModuleType:
    try:
        facexlib_import.prepare()  # spandrel imports torchvision, which fails on some machines without this
    except FaceRestoreError as error:  # it has the remedy; spandrel itself may be well
        raise ModelFileError(f"{name}: upscalers need torchvision, and {error}, or choose upscaler none.") from error
    try:
        return importlib.import_module("spandrel")
    except Exception as error:  # a broken optional package may raise anything at import
        if not isinstance(error, ImportError):
            logger.debug("spandrel fails at import", exc_info=True)
        raise ModelFileError(
            f"{name}: upscalers are read by the package spandrel, which cannot be imported ({error}); install it with "
            f"`{pip_install('spandrel')}`, or choose upscaler none."
        ) from error


def _read(spandrel: ModuleType, state: State, name: str) -> ImageModelDescriptor[nn.Module]:
    """The network that spandrel finds in the tensors, without prefixes of training code. Raises ModelFileError."""
    loader = spandrel.ModelLoader(device="cpu")
    for view in views(state):
        try:
            model = loader.load_from_state_dict({short: state[full] for short, full in view.items()})
        except spandrel.UnsupportedModelError:
            continue
        except Exception as error:  # missing tensors and unexpected shapes raise anything
            logger.debug("spandrel could not read %s", name, exc_info=True)
            reason = (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()
            raise ModelFileError(
                f"{name}: looks like an upscaler, but its tensors do not make one ({type(error).__name__}: {reason}); "
                "get it again."
            ) from error
        return _colour_enlarger(spandrel, model, name)
    raise ModelFileError(
        f"{name}: not an upscaler that spandrel {spandrel.__version__} knows, but {counted('tensor', state)}; choose "
        "another file."
    )


def _colour_enlarger(spandrel: ModuleType, model: Any, name: str) -> ImageModelDescriptor[nn.Module]:
    """Check that the descriptor maps one colour picture to one, and return it. Raises ModelFileError otherwise."""
    what = model.architecture.name
    if not isinstance(model, spandrel.ImageModelDescriptor):
        raise ModelFileError(f"{name}: {what} is for inpainting, not an upscaler; choose another file.")
    if model.purpose == "FaceSR":
        raise ModelFileError(
            f"{name}: {what} is a face restorer, not an upscaler; use it as the model, and choose another upscaler."
        )
    if model.input_channels != 3 or model.output_channels != 3:
        channels = f"{model.input_channels} channels in, {model.output_channels} out"
        raise ModelFileError(f"{name}: this {what} does not take colour pictures ({channels}); choose another file.")
    return model


def _rules(spandrel: ModuleType, model: ImageModelDescriptor[nn.Module]) -> InputRules:
    """The rules that the descriptor states for its inputs, and how its pictures are cut."""
    needs = model.size_requirements
    tile: int | None = TILE
    overlap = OVERLAP
    if model.tiling == spandrel.ModelTiling.DISCOURAGED:
        tile, overlap = WHOLE_TILE, WHOLE_OVERLAP
    elif model.tiling == spandrel.ModelTiling.INTERNAL:
        tile = None
    return InputRules(max(needs.minimum, 1), needs.multiple_of, needs.square, tile, overlap)


def enlarged_size(width: int, height: int, factor: float) -> tuple[int, int]:
    """Width and height in pixels of the picture that `enlarge` returns.

    Because they are rounded, the enlargements of the two sides may differ a little from `factor` and from each other.
    """
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
    """Enlarge a picture to `factor` times its width and height.

    The network enlarges the colours by its own scale, and the result is resized to the wanted size. Alpha, and colours
    without an upscaler, are resized with Lanczos.

    Args:
        pixels: H×W×3 or H×W×4 uint8 or uint16, RGB(A).
        factor: at least 1, which returns a copy.
        upscaler: network for the colours; None means Lanczos.
        progress: called for every tile of the upscaler, and never without one.
        stop: called before every tile; if it returns true, the picture is given up.

    Returns:
        An array of the same type and channels, of the size `enlarged_size`; None if `stop` returned true.
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
