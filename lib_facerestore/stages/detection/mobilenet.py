"""RetinaFace on MobileNet-0.25 in plain torch, so that the built-in detector needs neither facexlib nor torchvision.

The architecture is that of Deng et al., CVPR 2020, with the context modules of Najibi et al., ICCV 2017. Tensor names
and results are those of facexlib's `RetinaFace(network_name="mobile0.25")`.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

SLOPE = 0.1
"""Negative slope of the leaky rectifiers."""
_STAGES = (
    ("stage1", ((8, 16, 1), (16, 32, 2), (32, 32, 1), (32, 64, 2), (64, 64, 1))),
    ("stage2", ((64, 128, 2), (128, 128, 1), (128, 128, 1), (128, 128, 1), (128, 128, 1), (128, 128, 1))),
    ("stage3", ((128, 256, 2), (256, 256, 1))),
)
"""Input channels, output channels and stride of the separable layers; stage1 starts with a plain convolution."""


class MobileRetinaFace(nn.Module):
    """Maps B×3×H×W (BGR, 0 to 255, minus the mean) to the raw outputs of N priors.

    They are box offsets B×N×4, probabilities B×N×2 (background, face) and landmark offsets B×N×10.
    """

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.ModuleDict()
        for name, layers in _STAGES:
            stem = [_convolution(3, 8, 3, stride=2)] if name == "stage1" else []
            self.body[name] = nn.Sequential(*stem, *(_separable(*layer) for layer in layers))
        self.fpn = _Pyramid((64, 128, 256), 64)
        self.ssh1, self.ssh2, self.ssh3 = _Context(64), _Context(64), _Context(64)
        self.ClassHead = nn.ModuleList(_Head(64, 2) for _ in range(3))
        self.BboxHead = nn.ModuleList(_Head(64, 4) for _ in range(3))
        self.LandmarkHead = nn.ModuleList(_Head(64, 10) for _ in range(3))

    def forward(self, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        maps, x = [], pictures
        for name, _ in _STAGES:
            x = self.body[name](x)
            maps.append(x)
        contexts = (self.ssh1, self.ssh2, self.ssh3)
        features = [context(level) for context, level in zip(contexts, self.fpn(maps), strict=True)]

        def read(heads: nn.ModuleList) -> torch.Tensor:
            return torch.cat([head(feature) for head, feature in zip(heads, features, strict=True)], dim=1)

        return read(self.BboxHead), read(self.ClassHead).softmax(-1), read(self.LandmarkHead)


class _Pyramid(nn.Module):
    """Feature pyramid: three maps, finest first, become three of `width` channels; coarser ones are added to finer."""

    def __init__(self, widths: tuple[int, int, int], width: int) -> None:
        super().__init__()
        self.output1, self.output2, self.output3 = (_convolution(before, width, 1) for before in widths)
        self.merge1, self.merge2 = _convolution(width, width, 3), _convolution(width, width, 3)

    def forward(self, maps: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        fine, middle, coarse = self.output1(maps[0]), self.output2(maps[1]), self.output3(maps[2])
        middle = self.merge2(middle + functional.interpolate(coarse, size=middle.shape[2:], mode="nearest"))
        fine = self.merge1(fine + functional.interpolate(middle, size=fine.shape[2:], mode="nearest"))
        return fine, middle, coarse


class _Context(nn.Module):
    """SSH's context module: features of 3×3, 5×5 and 7×7 neighbourhoods, concatenated to `width` channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv3X3 = _convolution(width, width // 2, 3, active=False)
        self.conv5X5_1 = _convolution(width, width // 4, 3)
        self.conv5X5_2 = _convolution(width // 4, width // 4, 3, active=False)
        self.conv7X7_2 = _convolution(width // 4, width // 4, 3)
        self.conv7x7_3 = _convolution(width // 4, width // 4, 3, active=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shared = self.conv5X5_1(x)
        parts = [self.conv3X3(x), self.conv5X5_2(shared), self.conv7x7_3(self.conv7X7_2(shared))]
        return functional.relu(torch.cat(parts, dim=1))


class _Head(nn.Module):
    """Output layer: B×width×H×W → B×(H·W·2)×values, for two priors at each position."""

    def __init__(self, width: int, values: int) -> None:
        super().__init__()
        self.values = values
        self.conv1x1 = nn.Conv2d(width, 2 * values, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv1x1(x).permute(0, 2, 3, 1).reshape(len(x), -1, self.values)


def _convolution(before: int, after: int, kernel: int, stride: int = 1, active: bool = True) -> nn.Sequential:
    layers: list[nn.Module] = [
        nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(after),
    ]
    return nn.Sequential(*layers, *([nn.LeakyReLU(SLOPE)] if active else []))


def _separable(before: int, after: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, before, 3, stride, 1, groups=before, bias=False),
        nn.BatchNorm2d(before),
        nn.LeakyReLU(SLOPE),
        nn.Conv2d(before, after, 1, bias=False),
        nn.BatchNorm2d(after),
        nn.LeakyReLU(SLOPE),
    )
