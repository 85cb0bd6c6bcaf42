"""Blocks that the codebook restorers share: the encoder–decoder of VQGAN (Esser, Rombach, Ommer: "Taming Transformers
for High-Resolution Image Synthesis", CVPR 2021) and its codebook (van den Oord et al., "Neural Discrete Representation
Learning", NeurIPS 2017).

Names of sub-modules are those of the public files, so that these load strictly. All feature maps are B×C×H×W.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from .groupnorm import GroupNorm
from .winograd import Conv3x3, WeightCache, winograd_layout


def group_norm(channels: int) -> GroupNorm:
    """The normalisation of every block: 32 groups, epsilon 1e-6. `channels` must be a multiple of 32."""
    return GroupNorm(32, channels, eps=1e-6)


def swish(x: torch.Tensor) -> torch.Tensor:
    """x · sigmoid(x), written over `x`, which must be a fresh tensor: fresh memory costs a CPU more than the sum."""
    return functional.silu(x, inplace=True)


class ResidualBlock(nn.Module):
    """Twice normalise, swish, 3×3 convolution; added to the input.

    Args:
        channels_in: channels of the input.
        channels_out: channels of the output; where they differ, the input passes through a 1×1 convolution.
        shortcut: name of that convolution, which is not the same in all public files.
    """

    def __init__(self, channels_in: int, channels_out: int, shortcut: str = "nin_shortcut") -> None:
        super().__init__()
        self.norm1 = group_norm(channels_in)
        self.conv1 = Conv3x3(channels_in, channels_out)
        self.norm2 = group_norm(channels_out)
        self.conv2 = Conv3x3(channels_out, channels_out)
        self._shortcut = shortcut if channels_in != channels_out else ""
        if self._shortcut:
            self.add_module(shortcut, nn.Conv2d(channels_in, channels_out, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = winograd_layout(x)
        # One expression, so that no step's input outlives the next step.
        change = self.conv2(swish(self.norm2(self.conv1(swish(self.norm1(x))))))
        return change.add_(getattr(self, self._shortcut)(x) if self._shortcut else x)


class Downsample(nn.Module):
    """Halves both sides by a strided convolution, padded below and on the right only."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(functional.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Doubles both sides: each pixel becomes 2×2 equal ones, then a 3×3 convolution.

    Two of three taps in a row fall on the same source pixel, so that the four phases of the result are 2×2
    convolutions of the *small* picture with sums of those taps: 4 multiplications a pixel instead of 9. Not worth the
    summing where the picture is smaller still than the kernel has channels.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self._kernels = WeightCache(_phase_kernels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, channels, height, width = x.shape
        if height * width < 2 * channels:
            return self.conv(functional.interpolate(x, scale_factor=2.0, mode="nearest"))
        bias = None if self.conv.bias is None else self.conv.bias.repeat(4)
        phases = functional.conv2d(x, self._kernels(self.conv.weight), bias, padding=1).unflatten(1, (2, 2, channels))
        size = (batch, channels, 2 * height, 2 * width)
        doubled = torch.empty(size, dtype=x.dtype, device=x.device, memory_format=_layout(x))
        for row in (0, 1):  # the second phase looks one pixel further down or right
            for column in (0, 1):
                phase = phases[:, row, column, :, row : row + height, column : column + width]
                doubled[:, :, row::2, column::2] = phase
        return doubled


def _layout(x: torch.Tensor) -> torch.memory_format:
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return torch.channels_last if last else torch.contiguous_format


def _phase_kernels(weight: torch.Tensor, gain: float) -> torch.Tensor:
    """Channels×channels×3×3, times the gain → (y phase, x phase, channels)×channels×2×2."""
    across = _phase_taps(weight * gain)  # out, in, row tap, x phase, column tap
    both = _phase_taps(across.movedim(2, -1))  # out, in, x phase, column tap, y phase, row tap
    return both.permute(4, 2, 0, 1, 5, 3).reshape(-1, weight.shape[1], 2, 2)


def _phase_taps(weight: torch.Tensor) -> torch.Tensor:
    """…×3 taps on a doubled axis → …×2 phases×2 taps on the axis itself."""
    first, middle, last = weight.unbind(-1)
    even = torch.stack((first, middle + last), -1)
    odd = torch.stack((first + middle, last), -1)
    return torch.stack((even, odd), -2)


def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: int) -> torch.Tensor:
    """Scaled dot-product attention between all pixels; each head has its own run of channels.

    Args:
        query: B×C×H×W.
        key: B×C×H×W.
        value: B×C×H×W.
        heads: divides C; the scale is 1/√(C / heads).

    Returns:
        B×C×H×W.
    """
    batch, channels, height, width = query.shape

    def split(x: torch.Tensor) -> torch.Tensor:
        return x.reshape(batch, heads, channels // heads, height * width).transpose(2, 3)

    mixed = functional.scaled_dot_product_attention(split(query), split(key), split(value))
    return mixed.transpose(2, 3).reshape(batch, channels, height, width)


class SelfAttention(nn.Module):
    """Attention of one head among all pixels, added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = group_norm(channels)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        normed = self.norm(x)
        return x + self.proj_out(attend(self.q(normed), self.k(normed), self.v(normed), heads=1))


class Codebook(nn.Module):
    """The learned vectors that a picture's latent is made of.

    Args:
        count: number of codes.
        width: channels of one.
    """

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(count, width)

    def nearest(self, latent: torch.Tensor) -> torch.Tensor:
        """Codes nearest to each pixel of `latent` (B×C×H×W) in the Euclidean sense: B×H×W, int64; of equals the first.

        Computed in float32 whatever the network's precision: the choice is the one step that amplifies rounding.
        """
        batch, channels, height, width = latent.shape
        points = latent.float().permute(0, 2, 3, 1).reshape(-1, channels)
        codes = self.embedding.weight.float()
        # |p − c|² without |p|², which is the same for every code.
        distance = torch.addmm(codes.square().sum(1), points, codes.t(), alpha=-2)
        return distance.argmin(1).view(batch, height, width)

    def look_up(self, codes: torch.Tensor) -> torch.Tensor:
        """The vectors of `codes` (B×H×W): B×C×H×W."""
        return self.embedding(codes).permute(0, 3, 1, 2).contiguous()

    def forward(self, latent: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """`latent` with each pixel replaced by the nearest code, and the codes."""
        codes = self.nearest(latent)
        return self.look_up(codes), codes
