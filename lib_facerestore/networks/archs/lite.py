"""`lite`: the small restorer that is part of the package, so that faces can be restored without a download.

A residual U-Net of this project, for FFHQ-aligned crops of 256 px, and of 512 px for large faces. The picture is
pixel-unshuffled before the first convolution, so that nearly all work happens at 1/4 of the side and below: about 6
GFLOP for a face of 256 px, a fraction of a second on two CPU cores. For every pixel the network predicts a 5×5 kernel
that filters the input, a correction that is added, and a gate: the share of the change that is applied. The gate also
sees the whole crop, so a face without damage is left almost as it is. An untrained network returns its input.
It was trained with `tools/train_lite_restorer.py`; docs/lite.md has the data, the method and the results.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from .family import Restorer, Shapes, count_children

MARKER = "lite_trunk.0.first.weight"
"""A tensor that only this family has."""
TAPS = 5
"""Side of the kernel that is predicted for every pixel."""


class PlainBlock(nn.Module):
    """Two 3×3 convolutions around a leaky rectifier, added to the input.

    Without normalisation, which would make brightness depend on the rest of the crop: a colour shift after pasting.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.kaiming_normal_(self.first.weight, a=0.2)
        nn.init.kaiming_normal_(self.second.weight, a=0.2)
        with torch.no_grad():
            self.second.weight.mul_(0.1)  # without normalisation, many branches of full strength diverge
            self.second.bias.zero_()  # type: ignore[union-attr]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.second(functional.leaky_relu(self.first(x), 0.2))


def filtered(faces: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Filter every pixel with its own kernel (Bako et al., "Kernel-Predicting Convolutional Networks", SIGGRAPH 2017).

    Args:
        faces: B×C×H×W.
        weights: B×(TAPS·TAPS)×H×W, taps row by row; all channels share them.

    Returns:
        B×C×H×W.
    """
    height, width = faces.shape[2:]
    # With a pixel's channels beside each other, every tap would read all of the weights: four times as slow on a CPU.
    faces, weights = faces.contiguous(), weights.contiguous()
    padded = functional.pad(faces, (TAPS // 2,) * 4, mode="replicate")
    result = torch.zeros_like(faces)
    for tap in range(TAPS**2):
        row, column = divmod(tap, TAPS)
        under = padded[..., row : row + height, column : column + width]
        result = torch.addcmul(result, weights[:, tap : tap + 1], under)
    return result


def _blocks(channels: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(PlainBlock(channels) for _ in range(count)))


def _at(x: torch.Tensor, place: torch.Tensor, corner: tuple[int, int], step: int, side: int) -> torch.Tensor:
    """Rectified features plus the learned values of their position in the crop, enlarged to that of a larger crop."""
    if side // step != place.shape[-1]:
        place = functional.interpolate(place, (side // step,) * 2, mode="bilinear", align_corners=False)
    top, left = corner[0] // step, corner[1] // step
    return functional.leaky_relu(x, 0.2) + place[..., top : top + x.shape[2], left : left + x.shape[3]]


class LiteRestorer(Restorer):
    """The `lite` restorer.

    Args:
        widths: channels at 1/2, 1/4, 1/8 and 1/16 of the crop's side.
        depths: residual blocks at 1/4 and 1/8 on the way down, in the trunk, and at 1/8, 1/4 and 1/2 on the way up.
        gated: whether the network has the gate; weights trained before it was added have none.
    """

    family = "lite"
    size = 256
    larger = (512,)
    precisions = ("float32", "bfloat16")

    def __init__(
        self,
        widths: tuple[int, int, int, int] = (24, 48, 96, 192),
        depths: tuple[int, int, int, int, int, int] = (2, 2, 4, 2, 3, 1),
        gated: bool = True,
    ) -> None:
        super().__init__()
        half, quarter, eighth, trunk = widths
        self.fold_half = nn.Conv2d(12, half, 3, padding=1)
        self.down_quarter = nn.Conv2d(half, quarter, 4, stride=2, padding=1)
        self.encode_quarter = _blocks(quarter, depths[0])
        self.down_eighth = nn.Conv2d(quarter, eighth, 4, stride=2, padding=1)
        self.encode_eighth = _blocks(eighth, depths[1])
        self.down_trunk = nn.Conv2d(eighth, trunk, 4, stride=2, padding=1)
        self.lite_trunk = _blocks(trunk, depths[2])
        # Learned values for each position. Crops are aligned, so a position always shows the same part of the face.
        self.place_eighth = nn.Parameter(torch.zeros(1, eighth, self.size // 8, self.size // 8))
        self.place_trunk = nn.Parameter(torch.zeros(1, trunk, self.size // 16, self.size // 16))
        self.up_eighth = nn.Conv2d(trunk, eighth * 4, 1)
        self.decode_eighth = _blocks(eighth, depths[3])
        self.up_quarter = nn.Conv2d(eighth, quarter * 4, 1)
        self.decode_quarter = _blocks(quarter, depths[4])
        self.up_half = nn.Conv2d(quarter, half * 4, 1)
        self.decode_half = _blocks(half, depths[5])
        self.unfold_half = nn.Conv2d(half, 12, 3, padding=1)
        self.filters = nn.Conv2d(half, 4 * TAPS**2, 3, padding=1)
        if gated:
            self.gate_local = nn.Conv2d(half, 4, 3, padding=1)
            self.gate_crop = nn.Conv2d(trunk, 4, 1)
            for layer in (self.gate_local, self.gate_crop):
                nn.init.zeros_(layer.weight)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
            with torch.no_grad():
                self.gate_crop.bias.fill_(3.0)  # type: ignore[union-attr]  # starts open: 95 % of the change
        self.gated = gated
        for head in (self.unfold_half, self.filters):
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)  # type: ignore[arg-type]
        with torch.no_grad():
            self.filters.bias[2 * TAPS**2 - 2 : 2 * TAPS**2 + 2] = 1.0  # type: ignore[index]  # the middle tap: identity

    def forward(self, faces: torch.Tensor, corner: tuple[int, int] = (0, 0), side: int | None = None) -> torch.Tensor:
        """Restore faces.

        Args:
            faces: B×3×S×S, RGB in [-1, 1], FFHQ-aligned, S 256 or 512; or a window of such crops, its sides multiples
                of 16.
            corner: (row, column) of the window's first pixel in the crop, multiples of 16. Only training uses windows.
            side: side of the crop that the window is of; None if `faces` are whole crops.

        Returns:
            A tensor of the same shape, RGB, nominally in [-1, 1] (not clipped).
        """
        side = side or faces.shape[-1]
        half = functional.leaky_relu(self.fold_half(functional.pixel_unshuffle(faces, 2)), 0.2)
        quarter = self.encode_quarter(functional.leaky_relu(self.down_quarter(half), 0.2))
        eighth = self.encode_eighth(_at(self.down_eighth(quarter), self.place_eighth, corner, 8, side))
        trunk = self.lite_trunk(_at(self.down_trunk(eighth), self.place_trunk, corner, 16, side))
        eighth = self.decode_eighth(eighth + functional.pixel_shuffle(self.up_eighth(trunk), 2))
        quarter = self.decode_quarter(quarter + functional.pixel_shuffle(self.up_quarter(eighth), 2))
        half = self.decode_half(half + functional.pixel_shuffle(self.up_half(quarter), 2))
        correction = functional.pixel_shuffle(self.unfold_half(half), 2)
        restored = correction + filtered(faces, functional.pixel_shuffle(self.filters(half), 2))
        if not self.gated:
            return restored
        crop = self.gate_crop(trunk.mean((2, 3), keepdim=True))
        share = torch.sigmoid(functional.pixel_shuffle(self.gate_local(half) + crop, 2))
        return faces + share * (restored - faces)


RESTORER = LiteRestorer


def matches(shapes: Shapes) -> bool:
    """Whether a state dict with these tensor names and shapes is a `lite` restorer."""
    return MARKER in shapes and "fold_half.weight" in shapes


def build(shapes: Shapes) -> LiteRestorer:
    """A network without weights; its widths and depths are read off the tensors' shapes."""
    half, quarter, eighth, trunk = (
        shapes[f"{name}.weight"][0] for name in ("fold_half", "down_quarter", "down_eighth", "down_trunk")
    )
    stacks = ("encode_quarter", "encode_eighth", "lite_trunk", "decode_eighth", "decode_quarter", "decode_half")
    first, second, middle, fourth, fifth, last = (count_children(shapes, name) for name in stacks)
    depths = (first, second, middle, fourth, fifth, last)
    return LiteRestorer((half, quarter, eighth, trunk), depths, gated="gate_crop.weight" in shapes)
