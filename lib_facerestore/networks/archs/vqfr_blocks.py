"""What VQFR v1 and v2 share: residual blocks, codebook look-up, and the warping of textures to the input's shape.

Gu et al., "VQFR: Blind Face Restoration with Vector-Quantized Dictionary and Parallel Decoder", 2022. Upstream:
TencentARC/VQFR, vqfr/archs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

from .deform import DeformableConv2d
from .groupnorm import GroupNorm
from .winograd import Conv3x3, own_layout

Shapes = Mapping[str, tuple[int, ...]]
OFFSET_CHANNELS = 27
"""Channels that one deformable group needs for its offsets and masks: nine taps of dy, dx and factor."""


def norm(channels: int) -> GroupNorm:
    """Group normalisation as everywhere in VQFR: 32 groups (no tensor shows their number)."""
    return GroupNorm(32, channels, eps=1e-6)


def conv3(width_in: int, width_out: int) -> nn.Conv2d:
    """3×3 convolution that keeps height and width."""
    return Conv3x3(width_in, width_out)


def level(index: int) -> str:
    """Name of the rooms at 1 / 2^index of the crop's side: Level_1, Level_2, Level_4, …"""
    return f"Level_{2**index}"


def count(shapes: Shapes, prefix: str) -> int:
    """How many numbered or named children stand under `prefix` (which ends in a dot)."""
    return len({name[len(prefix) :].split(".", 1)[0] for name in shapes if name.startswith(prefix)})


def resize(x: torch.Tensor, side: tuple[int, int]) -> torch.Tensor:
    """Bilinear, without antialiasing, as the original does it in both directions."""
    return functional.interpolate(x, size=side, mode="bilinear", align_corners=False)


def nearest_codes(z: torch.Tensor, codebook: torch.Tensor) -> torch.Tensor:
    """Indices (B×H×W) of the rows of `codebook` (N×C) nearest to the vectors of `z` (B×C×H×W).

    |z - e|² without |z|², which is the same for every code.
    """
    flat = z.movedim(1, 3)
    return (codebook.square().sum(1) - 2 * torch.matmul(flat, codebook.t())).argmin(3)


def look_up(codes: torch.Tensor, codebook: torch.Tensor) -> torch.Tensor:
    """Feature map B×C×H×W of the codes B×H×W."""
    return functional.embedding(codes, codebook).movedim(3, 1).contiguous()


class Holder(nn.Module):
    """Gives children the dotted names that they have in the public file; computes nothing."""

    def __init__(self, **children: nn.Module) -> None:
        super().__init__()
        for name, child in children.items():
            self.add_module(name, child)

    if TYPE_CHECKING:  # nn.Module promises a tensor or a module; what is held here is known

        def __getattr__(self, name: str) -> Any: ...


class ResidualBlock(nn.Module):
    """Norm, SiLU, convolution, twice, added to the input.

    Args:
        width_in, width_out: channels; where they differ, a 1×1 convolution brings the input to the output's width.
        shortcut: the name of that convolution, which the two versions spell differently.
    """

    def __init__(self, width_in: int, width_out: int, shortcut: str) -> None:
        super().__init__()
        self.norm1 = norm(width_in)
        self.conv1 = conv3(width_in, width_out)
        self.norm2 = norm(width_out)
        self.conv2 = conv3(width_out, width_out)
        self.shortcut = shortcut if width_in != width_out else ""
        if self.shortcut:
            self.add_module(shortcut, nn.Conv2d(width_in, width_out, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = own_layout(x)
        branch = self.conv1(functional.silu(self.norm1(x), inplace=True))
        branch = self.conv2(functional.silu(self.norm2(branch), inplace=True))
        return branch.add_(getattr(self, self.shortcut)(x) if self.shortcut else x)


class SelfAttention(nn.Module):
    """One head over all places of the map, with a residual."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = norm(channels)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.norm(x)
        q, k, v = (part(h).flatten(2).transpose(1, 2) for part in (self.q, self.k, self.v))
        mixed = functional.scaled_dot_product_attention(q, k, v)
        return x + self.proj_out(mixed.transpose(1, 2).reshape(x.shape))


class TextureWarping(nn.Module):
    """Moves the textures of one decoder level to where the input has them (the texture warping module).

    Args:
        channels: width of the level.
        guide: channels of the input's features.
        previous: channels of the offset features that come from the next coarser level; 0 at the coarsest.
        groups: deformable groups.
        guide_conv: v1 has a 3×3 convolution after the reduction of the input's features (`downsample.conv`).
    """

    def __init__(self, channels: int, guide: int, previous: int, groups: int, guide_conv: bool) -> None:
        super().__init__()
        if guide_conv:
            self.downsample = Holder(conv=conv3(guide, guide))
        self.guide_conv = guide_conv
        self.offset_conv1 = nn.Sequential(
            nn.Conv2d(channels + guide, channels, 1),
            norm(channels),
            nn.SiLU(inplace=True),
            nn.Conv2d(channels, channels, 7, padding=3, groups=channels),
            norm(channels),
            nn.SiLU(inplace=True),
            nn.Conv2d(channels, channels, 1),
        )
        self.offset_conv2 = nn.Sequential(conv3(channels + previous, channels), norm(channels), nn.SiLU(inplace=True))
        self.dcn = DeformableConv2d(channels, groups)

    def forward(
        self, texture: torch.Tensor, guide: torch.Tensor, previous: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Warp a level.

        Args:
            texture: B×C×h×w, the level's textures.
            guide: B×G×H×W, features of the input at full size.
            previous: B×P×h/2×w/2, the offset features that the coarser level returned; None at the coarsest.

        Returns:
            The warped textures and the offset features, both B×C×h×w.
        """
        side = (texture.shape[2], texture.shape[3])
        if side != tuple(guide.shape[2:]):
            guide = resize(guide, side)
        if self.guide_conv:
            guide = self.downsample.conv(guide)
        offset = self.offset_conv1(torch.cat((guide, texture), 1))
        if previous is not None:
            # Twice as many pixels, hence twice the distance in pixels.
            offset = torch.cat((offset, resize(previous, side).mul_(2)), 1)
        offset = self.offset_conv2(offset)
        return self.dcn(texture, offset), offset
