"""Perceptual features from the one trained vision network that is at hand: a RetinaFace detector's MobileNet body.

The usual choice, VGG-19 trained on ImageNet, is not available without a download. A detector's body has learnt faces:
its features answer to eyes, mouths and contours and ignore a brightness offset, which is what is wanted here.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from lib_facerestore.system import facexlib_import


class DetectorFeatures(nn.Module):
    """Feature maps of a MobileNet-0.25 RetinaFace body at strides 2 to 32.

    Args:
        weights: a `.pth` state dict of facexlib's `RetinaFace(network_name="mobile0.25")`.
    """

    def __init__(self, weights: Path) -> None:
        super().__init__()
        facexlib_import.prepare()
        from facexlib.detection.retinaface import RetinaFace

        detector = RetinaFace(network_name="mobile0.25")
        with open(weights, "rb") as file:
            state = torch.load(file, map_location="cpu", weights_only=True)
        detector.load_state_dict({name.removeprefix("module."): value for name, value in state.items()})
        body = detector.body
        self.layers = nn.ModuleList([*body["stage1"], *body["stage2"], *body["stage3"]])
        self.taps = {0, 2, 5, 8, len(self.layers) - 1}
        self.eval().requires_grad_(False)

    def forward(self, faces: torch.Tensor) -> list[torch.Tensor]:
        """Features of B×3×H×W RGB in [-1, 1]."""
        mean = faces.new_tensor([104.0, 117.0, 123.0]).view(1, 3, 1, 1)
        x = (faces.flip(1) + 1) * 127.5 - mean
        features = []
        for index, layer in enumerate(self.layers):
            x = layer(x)
            if index in self.taps:
                features.append(x)
        return features

    def distance(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """Mean over the taps of the squared distance between channel-normalised features, one value a picture.

        The form of LPIPS (Zhang et al., CVPR 2018, equation 1) with equal channel weights.
        """
        total = first.new_zeros(first.shape[0])
        for one, two in zip(self(first), self(second), strict=True):
            one, two = functional.normalize(one, dim=1), functional.normalize(two, dim=1)
            total = total + (one - two).square().sum(1).mean((1, 2))
        return total / len(self.taps)
