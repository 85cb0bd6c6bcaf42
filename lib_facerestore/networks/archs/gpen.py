"""GPEN (Yang et al. 2021, arXiv:2105.06070): a StyleGAN2 generator that gets an encoder's features at every scale.

The network of the public GPEN-BFR files of 256, 512, 1024 and 2048 px (yangxy/GPEN, face_model/gpen_model.py,
FullGenerator). In place of StyleGAN2's noise, GPEN concatenates an encoder's features to the channels. So the output of
every generator layer has twice the channels of its convolution, and nothing is random. Crops are aligned with GPEN's
own template, not FFHQ's.
"""

from __future__ import annotations

from itertools import count, pairwise
from typing import cast

import torch
from torch import nn

from .family import Restorer, Shapes
from .stylegan import (
    EPSILON,
    SQRT2,
    Bias,
    Blur,
    ConstantInput,
    ConvLayer,
    EqualLinear,
    ModulatedConv,
    channels_last_on_cpu,
    leaky,
    per_channel,
)

MLP_RATE = 0.01
"""Learning-rate factor of the style network, on its weights and its biases."""


class NoiseStrength(nn.Module):
    """Holds the factor of the encoder's features, which the files name like StyleGAN2's noise strength."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(1))


class StyledConv(nn.Module):
    """Modulated convolution; the encoder's features are concatenated, then bias and leaky rectifier act on both."""

    def __init__(self, inputs: int, outputs: int, style: int, *, up: bool) -> None:
        super().__init__()
        self.conv = ModulatedConv(inputs, outputs, 3, style, equalised=True, blur="stored" if up else None)
        self.noise = NoiseStrength()
        self.activate = Bias(2 * outputs)

    def forward(self, x: torch.Tensor, style: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        """B×inputs×H×W (overwritten), B×style, B×outputs×H'×W' → B×2·outputs×H'×W'."""
        x, demodulation = self.conv(x, style)
        strength = self.noise.weight.expand(*features.shape[:2])
        scale = torch.cat((demodulation, strength), 1) * SQRT2
        x = torch.cat((x, features), 1).mul_(per_channel(scale))
        return leaky(x.add_(per_channel(self.activate.bias * SQRT2)))


class ImageHead(nn.Module):
    """Adds a level's contribution to the image, whose side doubles at each level (StyleGAN2's skip architecture)."""

    def __init__(self, inputs: int, style: int, *, up: bool) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.empty(1, 3, 1, 1))
        self.upsample = Blur(4.0, stored=True) if up else None
        self.conv = ModulatedConv(inputs, 3, 1, style, equalised=True)

    def forward(self, x: torch.Tensor, style: torch.Tensor, image: torch.Tensor | None = None) -> torch.Tensor:
        """B×inputs×H×W, B×style and the image so far (B×3×H/2×W/2; None at 4 px) → B×3×H×W."""
        own = self.conv.image(x, style, self.bias)
        return own if image is None or self.upsample is None else own.add_(self.upsample.upsample(image))


class Generator(nn.Module):
    """The StyleGAN2 generator.

    Args:
        channels: outputs of the convolutions at 4, 8, … px.
        style: width of the style vector.
        layers: layers of the style network.
    """

    def __init__(self, channels: tuple[int, ...], style: int, layers: int) -> None:
        super().__init__()
        # in the file, index 0 of the style network is the normalisation, which has no tensors
        self.style = nn.ModuleDict({str(i): EqualLinear(style, style, MLP_RATE) for i in range(1, layers + 1)})
        self.input = ConstantInput(channels[0], "input")
        self.conv1 = StyledConv(channels[0], channels[0], style, up=False)
        self.to_rgb1 = ImageHead(2 * channels[0], style, up=False)
        self.convs = nn.ModuleList()
        self.to_rgbs = nn.ModuleList()
        for wide, narrow in pairwise(channels):
            self.convs.append(StyledConv(2 * wide, narrow, style, up=True))
            self.convs.append(StyledConv(2 * narrow, narrow, style, up=False))
            self.to_rgbs.append(ImageHead(2 * narrow, style, up=True))

    def forward(self, latent: torch.Tensor, features: list[torch.Tensor]) -> torch.Tensor:
        """Generate images.

        Args:
            latent: B×style, before the style network.
            features: the encoder's outputs from the finest (the image's side) to 4×4; the list is emptied.

        Returns:
            B×3×S×S.
        """
        style = latent * (latent.square().mean(1, keepdim=True) + EPSILON).rsqrt()
        for layer in self.style.values():
            style = cast(EqualLinear, layer).activated(style)
        x = self.conv1(self.input(len(latent)), style, features.pop())
        image = self.to_rgb1(x, style)
        for level, head in enumerate(self.to_rgbs):
            feature = features.pop()
            x = self.convs[2 * level](x, style, feature)
            x = self.convs[2 * level + 1](x, style, feature)
            image = head(x, style, image)
        return image


class GPEN(Restorer):
    """The whole network: encoder, latent, generator.

    Args:
        encoder: channels of the encoder's levels from the image's side down to 4 px; sets the size.
        prior: outputs of the generator's convolutions from 4 px up to the image's side.
        style: width of the latent.
        layers: layers of the style network.
    """

    family = "gpen"
    template = "gpen"
    precisions = ("float32", "bfloat16")

    def __init__(self, encoder: tuple[int, ...], prior: tuple[int, ...], style: int, layers: int) -> None:
        super().__init__()
        self.size = 4 << (len(encoder) - 1)
        self.levels = len(encoder)
        self.bytes_a_pixel = 48 * encoder[0]  # 38 to 42 were measured from 512 to 2048 px, two faces side by side
        self.ecd0 = nn.Sequential(ConvLayer(3, encoder[0], 1))
        for level in range(1, self.levels):
            layer = ConvLayer(encoder[level - 1], encoder[level], 3, halve=True, stored=True)
            self.add_module(f"ecd{level}", nn.Sequential(layer))
        self.final_linear = nn.Sequential(EqualLinear(encoder[-1] * 16, style))
        self.generator = Generator(prior, style, layers)

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        """Restore faces.

        Args:
            faces: B×3×size×size, RGB in [-1, 1], aligned with GPEN's template.

        Returns:
            A tensor of the same shape, RGB, nominally in [-1, 1] (not clipped).
        """
        x = channels_last_on_cpu(faces)
        features: list[torch.Tensor] = []
        for level in range(self.levels):
            x = self.get_submodule(f"ecd{level}.0")(x, SQRT2)
            features.append(x)
        latent = cast(EqualLinear, self.final_linear[0]).activated(x.flatten(1))
        del x  # the generator frees each level's features as soon as they are used
        return self.generator(latent, features)


RESTORER = GPEN


def _levels(shapes: Shapes) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Channels of the encoder (finest first) and of the generator (coarsest first)."""
    encoder: list[int] = []
    for level in count():
        name = f"ecd{level}.0.{1 if level else 0}.weight"
        if name not in shapes:
            break
        encoder.append(shapes[name][0])
    prior = [shapes["generator.conv1.conv.weight"][1]]
    while (name := f"generator.convs.{2 * len(prior) - 2}.conv.weight") in shapes:
        prior.append(shapes[name][1])
    return tuple(encoder), tuple(prior)


def matches(shapes: Shapes) -> bool:
    """Whether a state dict with these tensor names and shapes is a GPEN face restorer.

    Two variants are excluded: for super-resolution (the generator has more levels than the encoder), and with features
    that are added, not concatenated (the bias has the convolution's width, not twice that).
    """
    marks = ("generator.input.input", "generator.conv1.conv.weight", "generator.conv1.activate.bias", "ecd0.0.0.weight")
    if not all(name in shapes for name in marks) or "final_linear.0.weight" not in shapes:
        return False
    try:
        encoder, prior = _levels(shapes)
        joined = shapes["generator.conv1.activate.bias"][0] == 2 * shapes["generator.conv1.conv.weight"][1]
    except IndexError:  # a tensor of fewer dimensions than any GPEN's
        return False
    return joined and len(encoder) == len(prior)


def build(shapes: Shapes) -> GPEN:
    """A network without weights; its size, channels and style network are read off the tensors' shapes."""
    encoder, prior = _levels(shapes)
    layers = sum(name.startswith("generator.style.") and name.endswith(".weight") for name in shapes)
    return GPEN(encoder, prior, shapes["final_linear.0.weight"][0], layers)
