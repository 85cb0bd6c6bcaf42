"""Modulated deformable convolution (Zhu et al., "Deformable ConvNets v2", 2019, eq. 1) in plain torch.

torchvision's compiled operator is missing on many machines. Here every tap of the 3×3 kernel is one bilinear
`grid_sample` of the whole batch and one matrix product.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

TAPS = 9
"""Number of taps of the 3×3 kernel; they are ordered row by row."""


def deform_conv2d(
    x: torch.Tensor,
    offsets: torch.Tensor,
    mask: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    groups: int,
) -> torch.Tensor:
    """3×3 modulated deformable convolution, stride 1, one pixel of zeros around the picture.

    Args:
        x: B×C×H×W. Its channels are divided into `groups` consecutive groups, each sampled at its own positions.
        offsets: B×(groups·9·2)×H×W in pixels; for each group and tap first dy, then dx, as in torchvision.
        mask: B×(groups·9)×H×W, factors of the samples.
        weight: O×C×3×3.
        bias: O, or None.
        groups: number of deformable groups; divides C.

    Returns:
        B×O×H×W in the dtype of `x`. Samples outside the picture are zero. Positions and samples are computed in
        float32 even if `x` has fewer bits, because bfloat16 cannot represent both 300 and 301.
    """
    batch, channels, height, width = x.shape
    exact = torch.promote_types(x.dtype, torch.float32)
    source = x.to(exact).reshape(batch * groups, channels // groups, height, width)
    shifts = offsets.to(exact).reshape(batch * groups, TAPS, 2, height, width)
    factors = mask.to(exact).reshape(batch * groups, TAPS, 1, height, width)
    taps = weight.flatten(2).permute(2, 0, 1).contiguous()  # 9×O×C

    # With align_corners=True, pixel p of n is at 2p / (n - 1) - 1. max() handles a single row or column.
    step_y, step_x = 2.0 / max(height - 1, 1), 2.0 / max(width - 1, 1)
    rows = torch.arange(height, device=x.device, dtype=exact).view(1, height, 1)
    columns = torch.arange(width, device=x.device, dtype=exact).view(1, 1, width)
    grid = source.new_empty(batch * groups, height, width, 2)

    result: torch.Tensor | None = None
    for tap in range(TAPS):
        dy, dx = divmod(tap, 3)
        grid[..., 0] = (shifts[:, tap, 1] + (columns + (dx - 1))) * step_x - 1.0
        grid[..., 1] = (shifts[:, tap, 0] + (rows + (dy - 1))) * step_y - 1.0
        samples = functional.grid_sample(source, grid, mode="bilinear", padding_mode="zeros", align_corners=True)
        flat = samples.mul_(factors[:, tap]).to(x.dtype).view(batch, channels, height * width)
        if result is None:
            result = torch.matmul(taps[tap], flat)
        else:
            result.baddbmm_(taps[tap].expand(batch, -1, -1), flat)
    assert result is not None
    if bias is not None:
        result += bias.view(1, -1, 1)
    return result.view(batch, -1, height, width)


class DeformableConv2d(nn.Module):
    """A 3×3 deformable convolution whose offsets and masks come from a second feature map.

    Args:
        channels: channels of its input, of the second map, and of its output.
        groups: deformable groups.
    """

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.groups = groups
        self.weight = nn.Parameter(torch.empty(channels, channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.conv_offset = nn.Conv2d(channels, groups * TAPS * 3, 3, padding=1)
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)

    def forward(self, x: torch.Tensor, guide: torch.Tensor) -> torch.Tensor:
        """Convolve `x` (B×C×H×W) at positions computed from `guide` (B×C×H×W); returns B×C×H×W."""
        projected = self.conv_offset(guide)  # two thirds are offsets, the rest masks
        cut = 2 * self.groups * TAPS
        mask = torch.sigmoid(projected[:, cut:])
        return deform_conv2d(x, projected[:, :cut], mask, self.weight, self.bias, self.groups)
