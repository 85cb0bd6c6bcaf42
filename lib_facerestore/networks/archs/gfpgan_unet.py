"""Blocks of GFPGAN's U-Net: residual blocks that halve or double the side, and `Condition`, which makes the maps.

Original blocks follow gfpgan/archs/gfpganv1_arch.py and basicsr/archs/stylegan2_arch.py, clean ones
gfpgan/archs/gfpganv1_clean_arch.py. A 1×1 convolution without bias commutes with resizing: both are linear, and one
acts on channels, the other on positions. So the shortcut of a doubling block is computed before it is resized.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import nn
from torch.nn import functional

from .stylegan import SQRT2, Bias, ConvLayer, EqualConv, double, leaky
from .winograd import Conv3x3


def plain_conv(inputs: int, outputs: int, side: int, *, bias: bool = True) -> nn.Conv2d:
    """A convolution that keeps height and width, its weights not initialised. `side` is that of its kernel."""
    if side == 3:
        conv = nn.utils.skip_init(Conv3x3, inputs, outputs, bias=bias)
    else:
        conv = nn.utils.skip_init(nn.Conv2d, inputs, outputs, side, padding=side // 2, bias=bias)
    return cast(nn.Conv2d, conv)


class _CleanBlock(nn.Module):
    """The convolutions of a residual block of the clean network, with their names in the public files."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = plain_conv(inputs, inputs, 3)
        self.conv2 = plain_conv(inputs, outputs, 3)
        self.skip = plain_conv(inputs, outputs, 1, bias=False)


class CleanDown(_CleanBlock):
    """Residual block of the clean network to half the side: B×inputs×H×W → B×outputs×H/2×W/2."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # bilinear resizing to exactly one half is the mean of each 2×2 square
        out = leaky(self.conv2(functional.avg_pool2d(leaky(self.conv1(x)), 2)))
        return out.add_(self.skip(functional.avg_pool2d(x, 2)))


class CleanUp(_CleanBlock):
    """Residual block of the clean network that doubles the side: B×inputs×H×W → B×outputs×2H×2W."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = leaky(self.conv2(double(leaky(self.conv1(x)))))
        return out.add_(double(self.skip(x)))


class OriginalDown(nn.Module):
    """StyleGAN2's residual block that halves the side, (main + shortcut)/√2: B×inputs×H×W → B×outputs×H/2×W/2.

    In the main branch, the division cancels the rectifier's factor √2.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = ConvLayer(inputs, inputs, 3)
        self.conv2 = ConvLayer(inputs, outputs, 3, halve=True)
        self.skip = ConvLayer(inputs, outputs, 1, halve=True, activated=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv2(self.conv1(x, SQRT2), 1.0).add_(self.skip(x, 1.0 / SQRT2))


class UpConv(EqualConv):
    """Equalised convolution that follows resizing; `activation` holds its bias, as in the file."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3, bias=False)
        self.activation = Bias(outputs)


class OriginalUp(nn.Module):
    """The original's residual block that doubles the side, (main + shortcut)/√2: B×inputs×H×W → B×outputs×2H×2W."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = ConvLayer(inputs, inputs, 3)
        self.conv2 = UpConv(inputs, outputs)
        self.skip = EqualConv(inputs, outputs, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = leaky(self.conv2(double(self.conv1(x, SQRT2)), bias=self.conv2.activation.bias))
        return out.add_(double(self.skip(x, 1.0 / SQRT2)))


class Condition(nn.ModuleList):
    """Two convolutions that make a scale or a shift map of the U-Net's features: B×inputs×H×W → B×outputs×H×W.

    In the file, index 1 is a rectifier without tensors.
    """

    def __init__(self, inputs: int, outputs: int, *, original: bool) -> None:
        if original:
            layers: list[nn.Module] = [EqualConv(inputs, inputs, 3), nn.Identity(), EqualConv(inputs, outputs, 3)]
        else:
            layers = [plain_conv(inputs, inputs, 3), nn.Identity(), plain_conv(inputs, outputs, 3)]
        super().__init__(layers)
        self.original = original

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self[0](x, SQRT2) if self.original else self[0](x)
        return self[2](leaky(x))
