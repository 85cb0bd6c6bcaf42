"""Base class and blocks that VQFR v1 and v2 share, above all the branch that warps textures to the input's shape.

Gu et al., "VQFR: Blind Face Restoration with Vector-Quantized Dictionary and Parallel Decoder", 2022. Original:
TencentARC/VQFR, vqfr/archs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

from .deform import TAPS, DeformableConv2d
from .family import Restorer, Shapes, count_children
from .vqgan import ResidualBlock, group_norm
from .winograd import Conv3x3


class VQFR(Restorer):
    """Base class of both versions.

    Args:
        widths: channels at 1, 1/2, 1/4, … of the crop's side; multiples of 32.
    """

    family = "vqfr"
    size = 512

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.last = len(widths) - 1
        """Index of the coarsest level."""


class Holder(nn.Module):
    """Container that gives its children the dotted names that they have in the public file."""

    def __init__(self, **children: nn.Module) -> None:
        super().__init__()
        for name, child in children.items():
            self.add_module(name, child)

    if TYPE_CHECKING:  # nn.Module declares Tensor | Module, which would need a cast at every use

        def __getattr__(self, name: str) -> Any: ...


def level(index: int) -> str:
    """The file's name of the level at 1 / 2^index of the crop's side: Level_1, Level_2, Level_4, …"""
    return f"Level_{2**index}"


def activated(channels: int, *after: nn.Module) -> nn.Sequential:
    """Group normalisation and swish, then the modules `after`."""
    return nn.Sequential(group_norm(channels), nn.SiLU(inplace=True), *after)


def resize(x: torch.Tensor, side: tuple[int, int]) -> torch.Tensor:
    """Resize B×C×H×W to height and width `side`: bilinear, without antialiasing, as the original does."""
    return functional.interpolate(x, size=side, mode="bilinear", align_corners=False)


class TextureWarping(nn.Module):
    """Moves the textures of one decoder level to their positions in the input (the paper's texture warping module).

    Args:
        channels: channels of the level.
        guide: channels of the input's features.
        previous: channels of the offset features from the next coarser level; 0 at the coarsest.
        groups: deformable groups.
        guide_conv: whether a 3×3 convolution follows the resizing of the input's features (v1's `downsample.conv`).
    """

    def __init__(self, channels: int, guide: int, previous: int, groups: int, guide_conv: bool) -> None:
        super().__init__()
        if guide_conv:
            self.downsample = Holder(conv=Conv3x3(guide, guide))
        self.guide_conv = guide_conv
        self.offset_conv1 = nn.Sequential(
            nn.Conv2d(channels + guide, channels, 1),
            *activated(channels, nn.Conv2d(channels, channels, 7, padding=3, groups=channels)),
            *activated(channels, nn.Conv2d(channels, channels, 1)),
        )
        self.offset_conv2 = nn.Sequential(Conv3x3(channels + previous, channels), *activated(channels))
        self.dcn = DeformableConv2d(channels, groups)

    def forward(
        self, texture: torch.Tensor, guide: torch.Tensor, previous: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Warp the textures of a level.

        Args:
            texture: B×C×h×w, the level's textures.
            guide: B×G×H×W, features of the input at full size.
            previous: B×P×h/2×w/2, offset features of the next coarser level; None at the coarsest.

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
            # The level has twice the side, so distances in pixels double.
            offset = torch.cat((offset, resize(previous, side).mul_(2)), 1)
        offset = self.offset_conv2(offset)
        return self.dcn(texture, offset), offset


def main_branch(
    widths: tuple[int, ...], guide: int, groups: int, shortcut: str, *, guide_conv: bool
) -> dict[str, nn.Module]:
    """The parts that both versions have of the branch that follows the input, by their names in the files.

    Args:
        widths: channels at 1, 1/2, 1/4, … of the crop's side.
        guide: channels of the input's features.
        groups: deformable groups.
        shortcut: as for `ResidualBlock`.
        guide_conv: as for `TextureWarping`, for all levels but the finest.
    """
    last = len(widths) - 1
    joins = {level(i): ResidualBlock(2 * widths[i], widths[i], shortcut) for i in range(last)}
    warps = {
        level(i): TextureWarping(
            width, guide, 0 if i == last else widths[i + 1], groups, guide_conv=guide_conv and i > 0
        )
        for i, width in enumerate(widths)
    }
    return {"decoder_dict": nn.ModuleDict(joins), "align_func_dict": nn.ModuleDict(warps)}


def branch_sizes(shapes: Shapes, branch: str) -> tuple[tuple[int, ...], int]:
    """Channels of the levels and number of deformable groups, read off the tensors of the module named `branch`."""
    warps = f"{branch}.align_func_dict"
    levels = count_children(shapes, warps)
    widths = tuple(shapes[f"{warps}.{level(i)}.dcn.weight"][0] for i in range(levels))
    offsets = shapes[f"{warps}.{level(0)}.dcn.conv_offset.weight"][0]
    return widths, offsets // (3 * TAPS)  # dy, dx and a factor for each tap of a group
