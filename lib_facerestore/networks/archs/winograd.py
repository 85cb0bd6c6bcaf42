"""3×3 convolutions on a CPU with a quarter of the multiplications: minimal filtering F(4×4, 3×3).

Winograd's algorithm as Lavin and Gray give it for networks (arXiv:1509.09308, section 4.1): tiles of 6×6 pixels become
36 values each, a matrix product for each of the 36 mixes the channels, and the sums become 4×4 pixels of the result.
torch's own convolutions (oneDNN's) do not have it on x86. The transformed kernels, four times the size of the kernels,
are kept with the layer.

What it saves in multiplications it pays for in traffic to memory, so it is for CPUs that multiply slowly: those with
AVX2 and no AVX-512. On others it was not measured, and everything is torch's own there.

With the usual interpolation points, 0, ±1, ±2, rounding errors are four times those of a plain convolution of 128
channels; with 0, ±3/4, ±3/2 they are twice as large, and as large with 512 channels (the choice of points is studied by
Barabasz et al., arXiv:1803.10986).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn import functional

CHANNELS = 128
"""Fewer channels than these, on either side, and the transforms cost more than the products save."""

PIXELS = 32 * 32
"""Smaller maps than these gain too little for kernels of four times the size."""

TILES = 256
"""Tiles in work at a time: enough for each product of matrices, few enough for little memory."""


def _slow_multiplier() -> bool:
    named = getattr(getattr(torch.backends, "cpu", None), "get_cpu_capability", None)  # torch 2.1 and later
    return named is not None and named() == "AVX2"


USED = _slow_multiplier()
"""Whether this machine is of the kind that it is for."""

_POINTS = (0.0, 0.75, -0.75, 1.5, -1.5)


def _matrices() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What makes 36 values of a tile's 6×6 pixels, 36 of a kernel's 3×3 taps, and 4×4 pixels of 36 sums.

    Cook and Toom's construction in one dimension (Lavin and Gray's B, G and A), then the product with itself for two.
    The last point is infinity, where only the leading coefficient counts.
    """
    pixels, taps = np.zeros((6, 6)), np.zeros((6, 3))
    for row, point in enumerate(_POINTS):
        others = [other for other in _POINTS if other != point]
        pixels[row, :5] = np.poly(others)[::-1]  # the polynomial that is zero at the other points
        taps[row] = [point**power / np.prod([point - other for other in others]) for power in range(3)]
    pixels[5] = np.poly(_POINTS)[::-1]
    taps[5, 2] = 1.0
    results = np.array([[point**power for point in _POINTS] + [float(power == 3)] for power in range(4)])
    values, kernels, sums = (torch.from_numpy(np.kron(one, one)).float() for one in (pixels, taps, results))
    return values, kernels, sums


_OF_PIXELS, _OF_TAPS, _OF_SUMS = _matrices()


def winograd_layout(x: torch.Tensor) -> torch.Tensor:
    """B×C×H×W channels-last, which the algorithm is fastest in, where it is used (`USED`); elsewhere `x` unchanged."""
    if USED and x.device.type == "cpu" and x.dtype == torch.float32:
        return x.contiguous(memory_format=torch.channels_last)
    return x


class WeightCache(nn.Module):
    """What is computed of a layer's weight, kept on a CPU until the weight changes: it is the same for every face.

    Other devices compute it anew, which takes them no time, and memory is scarce there.

    Args:
        compute: takes the weight, and a factor of it.
    """

    def __init__(self, compute: Callable[[torch.Tensor, float], torch.Tensor]) -> None:
        super().__init__()
        self._compute = compute
        # The weight itself keeps its memory from being used again for another one.
        self._kept: tuple[torch.Tensor, tuple[object, ...], torch.Tensor] | None = None

    def forward(self, weight: torch.Tensor, gain: float = 1.0) -> torch.Tensor:
        """What `compute` makes of them. A change of the weight in place is seen, but not through its `.data`, nor of a
        weight that was made in inference mode: torch does not count such changes."""
        if weight.device.type != "cpu":
            return self._compute(weight, gain)
        state = (weight.data_ptr(), None if weight.is_inference() else weight._version, gain)
        kept = self._kept
        if kept is None or kept[1] != state:
            kept = self._kept = (weight, state, self._compute(weight, gain))  # in one go: faces may run side by side
        return kept[2]

    def forget(self) -> None:
        """Give the memory back."""
        self._kept = None

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> WeightCache:
        self.forget()  # the weight gets another type or place
        return super()._apply(fn, recurse)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_kept": None}  # copies make their own, and files need none


class Winograd(nn.Module):
    """The convolution of one layer, by whichever way is quicker; keeps the layer's transformed kernels."""

    def __init__(self) -> None:
        super().__init__()
        self._kernels = WeightCache(transform)

    def forward(
        self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None, gain: float = 1.0
    ) -> torch.Tensor:
        """Convolve with zero padding of one pixel, so that the sides stay.

        Args:
            x: B×inputs×H×W.
            weight: outputs×inputs×3×3, always the same one (`WeightCache` says which changes are seen).
            bias: one value for each output.
            gain: factor of the weight, not of the bias.

        Returns:
            B×outputs×H×W; channels-last where the algorithm is used.
        """
        if not suits(x, weight, bias):
            return functional.conv2d(x, weight if gain == 1.0 else weight * gain, bias, padding=1)
        return convolve(x, self._kernels(weight, gain), bias)


class Conv3x3(nn.Conv2d):
    """A layer with such a convolution; its tensors are those of torch's own."""

    def __init__(
        self, inputs: int, outputs: int, *, bias: bool = True, device: torch.device | str | None = None
    ) -> None:
        super().__init__(inputs, outputs, 3, padding=1, bias=bias, device=device)
        self._winograd = Winograd()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._winograd(x, self.weight, self.bias)


def suits(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> bool:
    """Whether the algorithm is to be used: float32 on a CPU that it is for, many channels, large enough a map of whole
    tiles, and no gradient wanted."""
    height, width = x.shape[2:]
    return (
        USED
        and x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and min(weight.shape[:2]) >= CHANNELS
        and height * width >= PIXELS
        and height % 4 == width % 4 == 0
        and not (torch.is_grad_enabled() and any(one is not None and one.requires_grad for one in (x, weight, bias)))
    )


def transform(weight: torch.Tensor, gain: float) -> torch.Tensor:
    """Kernels outputs×inputs×3×3, times the gain → 36×inputs×outputs."""
    outputs, inputs = weight.shape[:2]
    taps = weight.detach().permute(2, 3, 1, 0).reshape(9, inputs * outputs)
    with torch.autocast("cpu", enabled=False):  # a host's, which would keep them in fewer bits
        return torch.mm(_OF_TAPS * gain, taps).view(36, inputs, outputs)


def convolve(x: torch.Tensor, kernels: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """The algorithm.

    Args:
        x: B×inputs×H×W float32 on the CPU, H and W multiples of 4; quickest if channels-last.
        kernels: 36×inputs×outputs of `transform`.
        bias: one value for each output.

    Returns:
        B×outputs×H×W, channels-last.
    """
    batch, _, height, width = x.shape
    rows, across, outputs = height // 4, width // 4, kernels.shape[2]
    out = x.new_empty(batch, rows, 4, across, 4, outputs)
    with torch.autocast("cpu", enabled=False):
        _fill(out, x, kernels, bias)
    return out.view(batch, height, width, outputs).permute(0, 3, 1, 2)


def _fill(out: torch.Tensor, x: torch.Tensor, kernels: torch.Tensor, bias: torch.Tensor | None) -> None:
    batch, rows, _, across, _, outputs = out.shape
    step = max(1, TILES // (batch * across))
    for top in range(0, rows, step):
        end = min(top + step, rows)
        strip = x[:, :, max(4 * top - 1, 0) : 4 * end + 1]
        strip = functional.pad(strip, (1, 1, int(top == 0), int(end == rows)))
        strip = strip.contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1)
        tiles = strip.unfold(1, 6, 4).unfold(2, 6, 4).permute(0, 1, 2, 4, 5, 3).reshape(-1, 36, x.shape[1])
        values = torch.bmm(_OF_PIXELS.expand(len(tiles), -1, -1), tiles).transpose(0, 1).contiguous()
        sums = torch.bmm(values, kernels).transpose(0, 1)
        pixels = torch.bmm(_OF_SUMS.expand(len(tiles), -1, -1), sums).view(batch, end - top, across, 4, 4, outputs)
        place = out[:, top:end].transpose(2, 3)
        if bias is None:
            place.copy_(pixels)
        else:
            torch.add(pixels, bias, out=place)
