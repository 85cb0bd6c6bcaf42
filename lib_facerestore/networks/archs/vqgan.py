"""Blocks that restorers with a codebook share: CodeFormer, RestoreFormer and VQFR.

They are those of VQGAN's encoder and decoder (Esser, Rombach, Ommer: "Taming Transformers for High-Resolution Image
Synthesis", CVPR 2021) and codebook (van den Oord et al., "Neural Discrete Representation Learning", NeurIPS 2017).
Sub-modules have the names of the public files. All feature maps are B×C×H×W.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from .groupnorm import GroupNorm
from .winograd import Conv3x3, WeightCache, winograd_layout


def group_norm(channels: int) -> GroupNorm:
    """The blocks' normalisation: 32 groups, epsilon 1e-6. `channels` must be a multiple of 32."""
    return GroupNorm(32, channels, eps=1e-6)


def swish(x: torch.Tensor) -> torch.Tensor:
    """x · sigmoid(x), in place, because on a CPU allocating memory costs more than the arithmetic."""
    return functional.silu(x, inplace=True)


class ResidualBlock(nn.Module):
    """Normalisation, swish and 3×3 convolution, twice; added to the input.

    Args:
        channels_in: channels of the input.
        channels_out: channels of the output. If it differs, the input passes through a 1×1 convolution.
        shortcut: name of that convolution, which differs between the public files.
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
        # One expression, so that the memory of each step is freed before the next.
        change = self.conv2(swish(self.norm2(self.conv1(swish(self.norm1(x))))))
        return change.add_(getattr(self, self._shortcut)(x) if self._shortcut else x)


class Downsample(nn.Module):
    """Halves height and width by a convolution of stride 2, zero-padded below and on the right only."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(functional.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Doubles height and width: each pixel is repeated 2×2 times, then a 3×3 convolution follows.

    Two of three taps in a row fall on the same source pixel. So each of the four phases of the result (even or odd row
    and column) is a 2×2 convolution of the *small* map with sums of taps: 4 multiplications per pixel instead of 9.
    For maps with few pixels compared to channels, summing the taps costs more than it saves.
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
        for row in (0, 1):  # the odd phase starts one pixel further down or right
            for column in (0, 1):
                phase = phases[:, row, column, :, row : row + height, column : column + width]
                doubled[:, :, row::2, column::2] = phase
        return doubled


def _layout(x: torch.Tensor) -> torch.memory_format:
    """The memory layout of B×C×H×W."""
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return torch.channels_last if last else torch.contiguous_format


def _phase_kernels(weight: torch.Tensor, gain: float) -> torch.Tensor:
    """Kernels of the four phases, times the gain: outputs×inputs×3×3 → (y phase, x phase, outputs)×inputs×2×2."""
    across = _phase_taps(weight * gain)  # out, in, row tap, x phase, column tap
    both = _phase_taps(across.movedim(2, -1))  # out, in, x phase, column tap, y phase, row tap
    return both.permute(4, 2, 0, 1, 5, 3).reshape(-1, weight.shape[1], 2, 2)


def _phase_taps(weight: torch.Tensor) -> torch.Tensor:
    """Taps along one axis for both phases: …×3 on the doubled axis → …×2 phases×2 on the small axis."""
    first, middle, last = weight.unbind(-1)
    even = torch.stack((first, middle + last), -1)
    odd = torch.stack((first + middle, last), -1)
    return torch.stack((even, odd), -2)


def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: int) -> torch.Tensor:
    """Scaled dot-product attention between all pixels; each head has its own group of consecutive channels.

    Args:
        query: B×C×H×W.
        key: B×C×H×W.
        value: B×C×H×W.
        heads: number of heads, which must divide C; the scale is 1/√(C / heads).

    Returns:
        B×C×H×W.
    """
    batch, channels, height, width = query.shape

    def split(x: torch.Tensor) -> torch.Tensor:
        return x.reshape(batch, heads, channels // heads, height * width).transpose(2, 3)

    mixed = functional.scaled_dot_product_attention(split(query), split(key), split(value))
    return mixed.transpose(2, 3).reshape(batch, channels, height, width)


class SelfAttention(nn.Module):
    """Single-head attention among all pixels, added to the input."""

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
    """Codebook: learned vectors (codes) that replace the pixels of a latent.

    Args:
        count: number of codes.
        width: channels of each code.
    """

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(count, width)

    def nearest(self, latent: torch.Tensor) -> torch.Tensor:
        """Index of the code nearest to each pixel of `latent` (B×C×H×W), by Euclidean distance: B×H×W, int64.

        Of equally near codes, the first. Always computed in float32, because this choice amplifies rounding errors.
        """
        batch, channels, height, width = latent.shape
        points = latent.float().permute(0, 2, 3, 1).reshape(-1, channels)
        codes = self.embedding.weight.float()
        # |p − c|² without |p|², which is the same for every code.
        distance = torch.addmm(codes.square().sum(1), points, codes.t(), alpha=-2)
        return distance.argmin(1).view(batch, height, width)

    def look_up(self, codes: torch.Tensor) -> torch.Tensor:
        """The vectors (B×C×H×W) of the indices `codes` (B×H×W)."""
        return self.embedding(codes).permute(0, 3, 1, 2).contiguous()

    def forward(self, latent: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """`latent` (B×C×H×W) with each pixel replaced by the nearest code, and the codes' indices (B×H×W)."""
        codes = self.nearest(latent)
        return self.look_up(codes), codes
