"""GFPGAN (Wang et al. 2021, arXiv:2101.04061): a U-Net controls a StyleGAN2 generator by scale and shift maps.

There are two networks, with different tensors: the original one of GFPGAN 1 (gfpgan/archs/gfpganv1_arch.py, with
StyleGAN2's equalised layers and FIR filters) and the "clean" one of 1.2, 1.3 and 1.4 (gfpganv1_clean_arch.py, with
plain convolutions and bilinear resizing). The original tool draws new noise on every run. Here the file's noise is
used, so that a face is restored the same way each time.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import torch
from torch import nn

from .family import Restorer, Shapes, count_children
from .gfpgan_unet import CleanDown, CleanUp, Condition, OriginalDown, OriginalUp, plain_conv
from .stylegan import (
    SQRT2,
    Bias,
    Blur,
    ConstantInput,
    ConvLayer,
    EqualConv,
    EqualLinear,
    ModulatedConv,
    channels_last_on_cpu,
    double,
    leaky,
    per_channel,
)


@dataclass(frozen=True)
class Plan:
    """Hyper-parameters of a GFPGAN network.

    Attributes:
        original: true for the network of GFPGAN 1, false for the clean one.
        unet: channels of the U-Net from 4 px up to the crop's side.
        prior: channels of the generator from 4 px up to the crop's side.
        steered: how many of the generator's channels each level's maps change (the last ones), from 8 px up.
        style: width of a style vector.
        styles: number of style vectors from the encoder: one for each layer, or 1 that all layers share.
        mapping: names of the style network's layers, which are in the file but not used.
    """

    original: bool
    unet: tuple[int, ...]
    prior: tuple[int, ...]
    steered: tuple[int, ...]
    style: int
    styles: int
    mapping: tuple[str, ...]


class StyleConv(nn.Module):
    """Modulated convolution, noise, bias and leaky rectifier."""

    def __init__(self, inputs: int, outputs: int, style: int, *, original: bool, up: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(1))  # the noise's strength
        blur = "constant" if original and up else None
        self.modulated_conv = ModulatedConv(inputs, outputs, 3, style, equalised=original, blur=blur)
        self.bilinear = up and not original
        self.original = original
        if original:
            self.activate = Bias(outputs)
        else:
            self.bias = nn.Parameter(torch.empty(1, outputs, 1, 1))

    def forward(self, x: torch.Tensor, style: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """B×inputs×H×W (overwritten), B×style, 1×1×H'×W' → B×outputs×H'×W'."""
        x, demodulation = self.modulated_conv(x, style, bilinear=self.bilinear)
        # The original multiplies by √2 after the rectifier, the clean network multiplies the convolution only. Positive
        # factors commute with the rectifier, so both can be applied before it.
        if self.original:
            bias, strength = per_channel(self.activate.bias * SQRT2), self.weight * SQRT2
        else:
            bias, strength = self.bias, self.weight
        return leaky(x.mul_(per_channel(demodulation * SQRT2)).add_(noise * strength).add_(bias))


class ToRGB(nn.Module):
    """Adds a level's contribution to the image, whose side doubles at each level (StyleGAN2's skip architecture)."""

    def __init__(self, inputs: int, style: int, *, original: bool) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.empty(1, 3, 1, 1))
        self.modulated_conv = ModulatedConv(inputs, 3, 1, style, equalised=original)
        self.upsample = Blur(4.0, stored=False) if original else None

    def forward(self, x: torch.Tensor, style: torch.Tensor, image: torch.Tensor | None = None) -> torch.Tensor:
        """B×inputs×H×W, B×style and the image so far (B×3×H/2×W/2; None at 4 px) → B×3×H×W."""
        own = self.modulated_conv.image(x, style, self.bias)
        if image is None:
            return own
        return own.add_(double(image) if self.upsample is None else self.upsample.upsample(image))


class StoredNoise(nn.Module):
    """The file's noise maps: two for each level, but one at 4 px."""

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.count = 2 * levels - 1
        for index in range(self.count):
            side = 4 << ((index + 1) // 2)
            self.register_buffer(f"noise{index}", torch.zeros(1, 1, side, side))

    def maps(self) -> list[torch.Tensor]:
        """The maps, each 1×1×side×side, the same for every face."""
        return [self.get_buffer(f"noise{index}") for index in range(self.count)]


class Prior(nn.Module):
    """The StyleGAN2 generator. Each call runs one level, so that its maps are freed before the next are made."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        style, original, channels = plan.style, plan.original, plan.prior
        # not used: the encoder computes styles, not latents
        self.style_mlp = nn.ModuleDict({name: EqualLinear(style, style) for name in plan.mapping})
        self.constant_input = ConstantInput(channels[0], "weight")
        self.style_conv1 = StyleConv(channels[0], channels[0], style, original=original, up=False)
        self.to_rgb1 = ToRGB(channels[0], style, original=original)
        self.style_convs = nn.ModuleList()
        self.to_rgbs = nn.ModuleList()
        for wide, narrow in pairwise(channels):
            self.style_convs.append(StyleConv(wide, narrow, style, original=original, up=True))
            self.style_convs.append(StyleConv(narrow, narrow, style, original=original, up=False))
            self.to_rgbs.append(ToRGB(narrow, style, original=original))
        self.noises = StoredNoise(len(channels))

    def start(self, styles: torch.Tensor, noise: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Activations (B×C×4×4) and image (B×3×4×4) of the first level, from styles B×layers×style."""
        x = self.style_conv1(self.constant_input(len(styles)), styles[:, 0], noise[0])
        return x, self.to_rgb1(x, styles[:, 1])

    def level(
        self,
        index: int,
        x: torch.Tensor,
        image: torch.Tensor,
        styles: torch.Tensor,
        noise: list[torch.Tensor],
        maps: tuple[torch.Tensor, torch.Tensor],
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Activations and image at twice the side.

        Args:
            index: number of the level, 0 at 8 px.
            x: activations of the level before; overwritten.
            image: image of the level before.
            styles: B×layers×style.
            noise: all noise maps.
            maps: scale and shift of this level, both B×steered×H×W.
        """
        first = 2 * index + 1
        x = self.style_convs[2 * index](x, styles[:, first], noise[first])
        scale, shift = maps
        # the paper's channel-split spatial feature transform: the first channels are not changed by the U-Net
        x[:, x.shape[1] - scale.shape[1] :].mul_(scale).add_(shift)
        x = self.style_convs[2 * index + 1](x, styles[:, first + 1], noise[first + 1])
        return x, self.to_rgbs[index](x, styles[:, first + 2], image)


class GFPGAN(Restorer):
    """GFPGAN's whole network, original or clean."""

    family = "gfpgan"
    precisions = ("float32", "bfloat16")

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan
        self.size = 4 << (len(plan.unet) - 1)
        up, down = plan.unet, plan.unet[::-1]
        self.conv_body_first: nn.Module
        self.final_conv: nn.Module
        self.final_linear: nn.Module
        outputs = plan.styles * plan.style
        if plan.original:
            self.conv_body_first = ConvLayer(3, down[0], 1)
            self.conv_body_down = nn.ModuleList(OriginalDown(a, b) for a, b in pairwise(down))
            self.final_conv = ConvLayer(up[0], up[0], 3)
            self.conv_body_up = nn.ModuleList(OriginalUp(a, b) for a, b in pairwise(up))
            self.toRGB = nn.ModuleList(EqualConv(channels, 3, 1) for channels in up[1:])  # only for training
            self.final_linear = EqualLinear(up[0] * 16, outputs)
        else:
            self.conv_body_first = plain_conv(3, down[0], 1)
            self.conv_body_down = nn.ModuleList(CleanDown(a, b) for a, b in pairwise(down))
            self.final_conv = plain_conv(up[0], up[0], 3)
            self.conv_body_up = nn.ModuleList(CleanUp(a, b) for a, b in pairwise(up))
            self.toRGB = nn.ModuleList(plain_conv(channels, 3, 1) for channels in up[1:])  # only for training
            self.final_linear = cast(nn.Module, nn.utils.skip_init(nn.Linear, up[0] * 16, outputs))
        self.stylegan_decoder = Prior(plan)
        pairs = list(zip(up[1:], plan.steered, strict=True))
        self.condition_scale = nn.ModuleList(Condition(a, b, original=plan.original) for a, b in pairs)
        self.condition_shift = nn.ModuleList(Condition(a, b, original=plan.original) for a, b in pairs)

    def _activated(self, conv: nn.Module, x: torch.Tensor) -> torch.Tensor:
        return conv(x, SQRT2) if self.plan.original else leaky(conv(x))

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        """Restore faces.

        Args:
            faces: B×3×size×size, RGB in [-1, 1], FFHQ-aligned.

        Returns:
            A tensor of the same shape, RGB, nominally in [-1, 1] (not clipped).
        """
        x = self._activated(self.conv_body_first, channels_last_on_cpu(faces))
        skips: list[torch.Tensor] = []
        for block in self.conv_body_down:
            x = block(x)
            skips.append(x)
        x = self._activated(self.final_conv, x)
        prior = self.stylegan_decoder
        layers = 2 * len(self.plan.prior)
        styles = self.final_linear(x.flatten(1)).view(len(x), -1, self.plan.style).expand(-1, layers, -1)
        noise = prior.noises.maps()
        activations, image = prior.start(styles, noise)
        for index, block in enumerate(self.conv_body_up):
            x = block(x.add_(skips.pop()))
            maps = self.condition_scale[index](x), self.condition_shift[index](x)
            activations, image = prior.level(index, activations, image, styles, noise, maps)
        return image


RESTORER = GFPGAN


def matches(shapes: Shapes) -> bool:
    """Whether a state dict with these tensor names and shapes is a GFPGAN, original or clean."""
    first = "conv_body_first.0.weight" if _is_original(shapes) else "conv_body_first.weight"
    needed = ("stylegan_decoder.constant_input.weight", "condition_scale.0.2.weight", "final_linear.weight", first)
    return all(name in shapes for name in needed)


def _is_original(shapes: Shapes) -> bool:
    # Both have 285 tensors. Only the original has this one; the clean network has `style_conv1.bias` instead.
    return "stylegan_decoder.style_conv1.activate.bias" in shapes


def build(shapes: Shapes) -> GFPGAN:
    """A network without weights; its size, channels and styles are read off the tensors' shapes."""
    original = _is_original(shapes)
    levels = count_children(shapes, "condition_scale")
    names = [f"stylegan_decoder.style_convs.{2 * level}.modulated_conv.weight" for level in range(levels)]
    prior = [shapes["stylegan_decoder.constant_input.weight"][1], *(shapes[name][1] for name in names)]
    unet = [shapes["final_conv.0.weight" if original else "final_conv.weight"][0]]
    unet += [shapes[f"condition_scale.{level}.0.weight"][0] for level in range(levels)]
    steered = [shapes[f"condition_scale.{level}.2.weight"][0] for level in range(levels)]
    style = shapes["stylegan_decoder.style_conv1.modulated_conv.modulation.weight"][1]
    mapping = [name.split(".")[2] for name in shapes if name.startswith("stylegan_decoder.style_mlp.")]
    styles = shapes["final_linear.weight"][0] // style
    return GFPGAN(
        Plan(original, tuple(unet), tuple(prior), tuple(steered), style, styles, tuple(dict.fromkeys(mapping)))
    )
