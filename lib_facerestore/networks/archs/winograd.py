"""Winograd's algorithm for 3×3 convolutions on a CPU, with a quarter of the multiplications: F(4×4, 3×3).

It follows Lavin and Gray (arXiv:1509.09308, section 4.1): tiles of 6×6 pixels are transformed to 36 values each, a
matrix product for each of the 36 mixes the channels, and the sums are transformed to 4×4 pixels of the result.
torch's own convolutions (oneDNN's) do not use it on x86. The transformed kernels, four times as large as the original
ones, are cached in the layer.

The algorithm needs fewer multiplications but more memory traffic. It is used only on CPUs that multiply slowly, with
AVX2 and without AVX-512; on others it was not measured, and torch's own convolution is used.

Rounding errors depend on the interpolation points (Barabasz et al., arXiv:1803.10986). With the usual points 0, ±1, ±2
they are four times those of a plain convolution of 128 channels. With 0, ±3/4, ±3/2, used here, they are twice as large
at 128 channels, and equal at 512.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn import functional

CHANNELS = 128
"""Fewest input and output channels; with fewer, the transforms cost more than the products save."""

PIXELS = 32 * 32
"""Fewest pixels of a map; on smaller ones the gain is too small for kernels of four times the size."""

TILES = 256
"""Tiles per step: enough for efficient matrix products, few enough to need little memory."""


def _slow_multiplier() -> bool:
    named = getattr(getattr(torch.backends, "cpu", None), "get_cpu_capability", None)  # torch 2.1 and later
    return named is not None and named() == "AVX2"


USED = _slow_multiplier()
"""Whether the algorithm is used on this machine."""

_POINTS = (0.0, 0.75, -0.75, 1.5, -1.5)


def _matrices() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The matrices of the three transforms: of a tile's pixels (36×36), a kernel's taps (36×9) and the sums (16×36).

    Cook and Toom's construction gives them in one dimension (Lavin and Gray's Bᵀ, G and Aᵀ); the Kronecker product of
    each with itself is for two. The last point is infinity, where only the leading coefficient counts.
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
    """`x` (B×C×H×W) in channels-last layout, in which the algorithm is fastest, if it is used; otherwise `x` itself."""
    if USED and x.device.type == "cpu" and x.dtype == torch.float32:
        return x.contiguous(memory_format=torch.channels_last)
    return x


class WeightCache(nn.Module):
    """Caches a tensor that is computed from a layer's weight, until the weight changes. It is the same for every face.

    On a CPU only: other devices compute it quickly and have less memory.

    Args:
        compute: function of the weight and a factor of it.
    """

    def __init__(self, compute: Callable[[torch.Tensor, float], torch.Tensor]) -> None:
        super().__init__()
        self._compute = compute
        # The weight is part of the entry, so that its memory (and address) cannot be reused for another weight.
        self._kept: tuple[torch.Tensor, tuple[object, ...], torch.Tensor] | None = None

    def forward(self, weight: torch.Tensor, gain: float = 1.0) -> torch.Tensor:
        """`compute(weight, gain)`, from the cache if possible.

        Changes of the weight in place are noticed. The exceptions are changes through `.data` and of weights created in
        inference mode, which torch does not count.
        """
        if weight.device.type != "cpu":
            return self._compute(weight, gain)
        state = (weight.data_ptr(), None if weight.is_inference() else weight._version, gain)
        kept = self._kept
        if kept is None or kept[1] != state:
            kept = self._kept = (weight, state, self._compute(weight, gain))  # one assignment: safe with threads
        return kept[2]

    def forget(self) -> None:
        """Empty the cache."""
        self._kept = None

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> WeightCache:
        self.forget()  # the weight gets another dtype or device
        return super()._apply(fn, recurse)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_kept": None}  # copies and pickles do not include the cache


class Winograd(nn.Module):
    """A 3×3 convolution, by Winograd's algorithm if it `suits`, else by torch; caches the transformed kernels."""

    def __init__(self) -> None:
        super().__init__()
        self._kernels = WeightCache(transform)

    def forward(
        self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None, gain: float = 1.0
    ) -> torch.Tensor:
        """Convolve with stride 1 and one pixel of zero padding.

        Args:
            x: B×inputs×H×W.
            weight: outputs×inputs×3×3, the same tensor at each call (`WeightCache` says which changes are noticed).
            bias: one value for each output channel.
            gain: factor of the weight, not of the bias.

        Returns:
            B×outputs×H×W; channels-last if the algorithm was used.
        """
        if not suits(x, weight, bias):
            return functional.conv2d(x, weight if gain == 1.0 else weight * gain, bias, padding=1)
        return convolve(x, self._kernels(weight, gain), bias)


class Conv3x3(nn.Conv2d):
    """A 3×3 nn.Conv2d with one pixel of zero padding that uses `Winograd`; its tensors are those of nn.Conv2d."""

    def __init__(
        self, inputs: int, outputs: int, *, bias: bool = True, device: torch.device | str | None = None
    ) -> None:
        super().__init__(inputs, outputs, 3, padding=1, bias=bias, device=device)
        self._winograd = Winograd()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._winograd(x, self.weight, self.bias)


def suits(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> bool:
    """Whether Winograd's algorithm is used for this convolution.

    It is for float32 on a suitable CPU (`USED`), at least `CHANNELS` channels and `PIXELS` pixels, and sides that are
    multiples of 4, if no gradient is needed.
    """
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
    """Transform kernels, times the gain: outputs×inputs×3×3 → 36×inputs×outputs."""
    outputs, inputs = weight.shape[:2]
    taps = weight.detach().permute(2, 3, 1, 0).reshape(9, inputs * outputs)
    with torch.autocast("cpu", enabled=False):  # a WebUI's autocast would lower the precision
        return torch.mm(_OF_TAPS * gain, taps).view(36, inputs, outputs)


def convolve(x: torch.Tensor, kernels: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """3×3 convolution of stride 1 with one pixel of zero padding, by Winograd's algorithm.

    Args:
        x: B×inputs×H×W float32 on the CPU, H and W multiples of 4; fastest if channels-last.
        kernels: 36×inputs×outputs, from `transform`.
        bias: one value for each output channel.

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
    """Convolve into `out`, B×(H/4)×4×(W/4)×4×outputs, `TILES` tiles at a time."""
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
