"""Blocks of StyleGAN2 (Karras et al. 2020, arXiv:1912.04958) that GFPGAN and GPEN share, in plain torch.

Three techniques make them fast, also for batches:

* A modulated convolution scales the activations before and after one shared convolution, not the weights (section 2.2,
  equations 1 to 3). So there is no grouped convolution, and no copy of the weights for each face.
* Gains (equalised learning rate, √2 after a leaky rectifier, 1/√2 of a residual sum) are folded into weights, biases
  and per-channel scales, which are small. Element-wise operations on activations are done in place, because on a CPU
  allocating new memory costs more than the arithmetic.
* On a CPU, activations are channels-last, which saves oneDNN two conversions for each convolution.

For inference only: activations are overwritten, so there are no gradients.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import nn
from torch.nn import functional

from .winograd import WeightCache, Winograd

SQRT2 = math.sqrt(2.0)
EPSILON = 1e-8
SLOPE = 0.2
"""Negative slope of all leaky rectifiers."""


def channels_last_on_cpu(x: torch.Tensor) -> torch.Tensor:
    """`x` (B×C×H×W) in the fastest layout for convolutions: channels-last on a CPU, contiguous on other devices."""
    return x.contiguous(memory_format=torch.channels_last) if x.device.type == "cpu" else x.contiguous()


def leaky(x: torch.Tensor) -> torch.Tensor:
    """Leaky rectifier of slope `SLOPE`, in place."""
    return functional.leaky_relu_(x, SLOPE)


def per_channel(scale: torch.Tensor) -> torch.Tensor:
    """C or B×C values, reshaped to multiply B×C×H×W activations."""
    return scale[..., None, None]


def double(x: torch.Tensor) -> torch.Tensor:
    """B×C×H×W → B×C×2H×2W, bilinear; pixels at the edges are repeated."""
    return functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


class Blur(nn.Module):
    """StyleGAN2's FIR filter [1, 3, 3, 1] ⊗ [1, 3, 3, 1] ("upfirdn").

    Args:
        gain: factor of the normalised filter; 4 where zeros were inserted between the pixels.
        stored: whether the filter is a tensor of the file (GPEN); otherwise it is a constant (GFPGAN 1).
    """

    kernel: torch.Tensor

    def __init__(self, gain: float = 1.0, *, stored: bool) -> None:
        super().__init__()
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
        self.register_buffer("kernel", torch.outer(taps, taps) * (gain / 64.0), persistent=stored)

    def forward(self, x: torch.Tensor, padding: int, stride: int = 1) -> torch.Tensor:
        """Filter each channel of B×C×H×W after zero padding; only every stride-th pixel is computed."""
        channels = x.shape[1]
        # upfirdn convolves while torch correlates, hence the flip: a stored filter may be asymmetric
        kernel = self.kernel.flip(0, 1).expand(channels, 1, 4, 4)
        return functional.conv2d(x, kernel, padding=padding, stride=stride, groups=channels)

    def upsample(self, x: torch.Tensor) -> torch.Tensor:
        """B×C×H×W → B×C×2H×2W: insert zeros between the pixels, then filter."""
        channels = x.shape[1]
        kernel = self.kernel.expand(channels, 1, 4, 4)
        return functional.conv_transpose2d(x, kernel, stride=2, padding=1, groups=channels)


class EqualLinear(nn.Module):
    """Linear layer with equalised learning rate: stored weights are multiplied by rate/√inputs, the bias by rate."""

    def __init__(self, inputs: int, outputs: int, rate: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.empty(outputs))
        self.rate = rate
        self.scale = rate / math.sqrt(inputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.linear(x * self.scale, self.weight, self.bias * self.rate)

    def activated(self, x: torch.Tensor) -> torch.Tensor:
        """The layer, then a leaky rectifier times √2."""
        return leaky(functional.linear(x * (self.scale * SQRT2), self.weight, self.bias * (self.rate * SQRT2)))


class EqualConv(nn.Module):
    """Convolution with equalised learning rate: stored weights are multiplied by 1/√(inputs · side²)."""

    def __init__(self, inputs: int, outputs: int, side: int, *, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, side, side))
        self.bias = nn.Parameter(torch.empty(outputs)) if bias else None
        self.scale = 1.0 / math.sqrt(inputs * side * side)
        self._winograd = Winograd()

    def forward(
        self,
        x: torch.Tensor,
        gain: float = 1.0,
        bias: torch.Tensor | None = None,
        stride: int = 1,
        padding: int | None = None,
    ) -> torch.Tensor:
        """gain · (convolution + bias).

        Args:
            x: B×inputs×H×W.
            gain: factor of the result.
            bias: used in place of the layer's own.
            stride: stride of the convolution.
            padding: zeros on each side; None keeps height and width (at stride 1).
        """
        bias = self.bias if bias is None else bias
        if padding is None:
            padding = self.weight.shape[-1] // 2
        bias = None if bias is None else bias * gain
        if self.weight.shape[-1] == 3 and stride == padding == 1:
            return self._winograd(x, self.weight, bias, self.scale * gain)
        return functional.conv2d(x, self.weight * (self.scale * gain), bias, stride=stride, padding=padding)


class ConstantInput(nn.Module):
    """The learned 4×4 input of a generator.

    Args:
        channels: channels of the input.
        name: name of its tensor, which differs between the public files.
    """

    def __init__(self, channels: int, name: str) -> None:
        super().__init__()
        self._name = name
        self.register_parameter(name, nn.Parameter(torch.empty(1, channels, 4, 4)))

    def forward(self, count: int) -> torch.Tensor:
        """One copy for each of `count` faces, count×channels×4×4; the caller may overwrite it."""
        return channels_last_on_cpu(self.get_parameter(self._name).expand(count, -1, -1, -1).clone())


class Bias(nn.Module):
    """Holds the bias of an activation, which is a separate layer in the public files."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.empty(channels))


class ConvLayer(nn.ModuleList):
    """Layer of the encoders: blur (if `halve`), equalised convolution, bias and leaky rectifier (if `activated`).

    Args:
        inputs: channels of the input.
        outputs: channels of the output.
        side: side of the kernel, 1 or 3.
        halve: whether the output has half the input's side.
        activated: whether bias and rectifier follow.
        stored: whether the blur's filter is a tensor of the file.
    """

    def __init__(
        self, inputs: int, outputs: int, side: int, *, halve: bool = False, activated: bool = True, stored: bool = False
    ) -> None:
        layers: list[nn.Module] = [Blur(stored=stored)] if halve else []
        layers.append(EqualConv(inputs, outputs, side, bias=False))
        if activated:
            layers.append(Bias(outputs))
        super().__init__(layers)
        self.side, self.halve, self.activated = side, halve, activated

    def forward(self, x: torch.Tensor, gain: float) -> torch.Tensor:
        """The layer without the rectifier's √2, times `gain`; a gain of √2 gives StyleGAN2's layer.

        B×inputs×H×W → B×outputs×H×W, or half the height and width.
        """
        conv = cast(EqualConv, self[1 if self.halve else 0])
        bias = cast(Bias, self[-1]).bias if self.activated else None
        if self.halve and self.side == 1:
            x = cast(Blur, self[0])(x, 1, stride=2)  # a 1×1 convolution of stride 2 needs every second pixel only
            x = conv(x, gain, bias)
        elif self.halve:
            x = conv(cast(Blur, self[0])(x, 2), gain, bias, stride=2, padding=0)
        else:
            x = conv(x, gain, bias)
        return leaky(x) if self.activated else x


class ModulatedConv(nn.Module):
    """Convolution whose input channels are scaled by a style (modulation).

    Output channels are then divided by the norm of their scaled weights (demodulation).

    Args:
        inputs: channels of the input.
        outputs: channels of the output.
        side: side of the kernel: 3, or 1 for `image`.
        style: width of the style vector.
        equalised: whether weights have StyleGAN2's equalised learning rate; plain weights otherwise ("clean" GFPGAN).
        blur: None keeps the size. "stored" and "constant" double it by a transposed convolution and a `Blur`.
    """

    def __init__(
        self, inputs: int, outputs: int, side: int, style: int, *, equalised: bool, blur: str | None = None
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(1, outputs, inputs, side, side))
        self.modulation: nn.Module
        if equalised:
            self.modulation = EqualLinear(style, inputs)
        else:
            self.modulation = cast(nn.Module, nn.utils.skip_init(nn.Linear, style, inputs))
        self.blur = Blur(4.0, stored=blur == "stored") if blur else None
        self.scale = 1.0 / math.sqrt(inputs * side * side) if equalised else 1.0
        self._winograd = Winograd()
        self._power = WeightCache(_power)

    def forward(
        self, x: torch.Tensor, style: torch.Tensor, *, bilinear: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The convolution without demodulation, and the demodulation factors, which the caller must multiply by.

        Args:
            x: B×inputs×H×W; overwritten.
            style: B×style.
            bilinear: double the side of `x` before the convolution.

        Returns:
            The convolution (B×outputs×H'×W'), and its positive factors (B×outputs).
        """
        scale = self.modulation(style) * self.scale
        weight = self.weight[0]
        x.mul_(per_channel(scale))
        # equation 3: the sum over taps is the same for all faces, so that a matrix product is left
        demodulation = (scale.square() @ self._power(weight).t() + EPSILON).rsqrt()
        if self.blur is not None:
            x = functional.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
            return self.blur(x, 1), demodulation
        if bilinear:
            x = double(x)
        return self._winograd(x, weight), demodulation

    def image(self, x: torch.Tensor, style: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        """Modulated 1×1 convolution without demodulation, which makes a level's image; `x` is not changed.

        It is one batched product with a matrix of three rows for each face, which is cheaper than scaling `x`.

        Args:
            x: B×inputs×H×W.
            style: B×style.
            bias: 1×outputs×1×1.

        Returns:
            B×outputs×H×W.
        """
        matrices = self.weight[0, :, :, 0, 0] * (self.modulation(style) * self.scale)[:, None, :]
        return torch.bmm(matrices, x.flatten(2)).unflatten(2, x.shape[2:]).add_(bias)


def _power(weight: torch.Tensor, gain: float) -> torch.Tensor:
    """Sum of the squared taps of each kernel, times gain²: outputs×inputs×S×S → outputs×inputs."""
    return weight.detach().square().sum((2, 3)).mul_(gain * gain)
