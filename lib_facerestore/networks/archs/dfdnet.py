"""DFDNet (Li et al., "Blind Face Restoration via Deep Multi-scale Component Dictionaries", 2020, section 3).

Features of the eyes, nose and mouth are matched with dictionaries of sharp ones, and the matches guide a decoder.
Original: csxmli2016/DFDNet (branch whole), models/networks.py, class UNetDictFace. The public file latest_net_G.pth
holds the VGG-19 too. The sixteen dictionaries are files of their own (`DICTIONARY_FILES`, in the original's folder
DictionaryCenter512), which `set_dictionaries` takes.

The boxes of the parts come from five landmarks; `dfdnet_parts` compares them with the original's, from 68.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from ...errors import ModelFileError
from ...faces.alignment import PixelBox, ffhq_template
from .dfdnet_parts import (
    COMPONENTS,
    CROP,
    DICTIONARY_FILES,
    DICTIONARY_FOLDER,
    SCALES,
    dictionary_file,
    entry_shapes,
    missing_message,
    part_boxes,
    read_dictionaries,
)
from .family import Restorer, Shapes
from .winograd import Conv3x3, Winograd, suits

# VGG-19 up to its fifth pooling: widths of the convolutions as multiples of the first width; 0 is a pooling.
_VGG = (1, 1, 0, 2, 2, 0, 4, 4, 4, 4, 0, 8, 8, 8, 8, 0, 8, 8, 8, 8)
_VGG_CUTS = (0, 8, 17, 26, 35)  # layers at which the four parts begin and end


class SpectralConv2d(nn.Module):
    """3×3 convolution with spectral norm, for inference: the weight W is divided by u·Wv, with the file's u and v.

    Tensor names are those of torch.nn.utils.spectral_norm (Miyato et al. 2018): weight_orig, weight_u, weight_v.
    """

    weight_u: torch.Tensor
    weight_v: torch.Tensor

    def __init__(self, width_in: int, width_out: int, dilation: int = 1) -> None:
        super().__init__()
        self.dilation = dilation
        self.bias = nn.Parameter(torch.zeros(width_out))
        self.weight_orig = nn.Parameter(torch.zeros(width_out, width_in, 3, 3))
        self.register_buffer("weight_u", torch.zeros(width_out))
        self.register_buffer("weight_v", torch.zeros(width_in * 9))
        self._winograd = Winograd()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        sigma = torch.dot(self.weight_u, torch.mv(self.weight_orig.flatten(1), self.weight_v))
        if self.dilation == 1 and suits(x, self.weight_orig):
            return torch.addcmul(self.bias[:, None, None], self._winograd(x, self.weight_orig), sigma.reciprocal())
        weight = self.weight_orig / sigma
        return functional.conv2d(x, weight, self.bias, padding=self.dilation, dilation=self.dilation)


def _pair(width_in: int, width_out: int, dilation: int = 1) -> nn.Sequential:
    first, second = SpectralConv2d(width_in, width_out, dilation), SpectralConv2d(width_out, width_out, dilation)
    return nn.Sequential(first, nn.LeakyReLU(0.2, True), second)


class Vgg(nn.Module):
    """VGG-19 up to conv5_4. The file holds its layers under two names, which share one layer here."""

    def __init__(self, width: int, hidden: int, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for multiple in _VGG:
            if multiple:
                layers += [Conv3x3(before, multiple * width), nn.ReLU(True)]
                before = multiple * width
            else:
                layers.append(nn.MaxPool2d(2))
        self.RGB_mean = nn.Parameter(torch.zeros(1, 3, 1, 1))
        self.RGB_std = nn.Parameter(torch.ones(1, 3, 1, 1))
        self.model = nn.Module()
        self.model.features = nn.Sequential(*layers)
        sizes = {"0": (49 * before, hidden), "3": (hidden, hidden), "6": (hidden, classes)}
        self.model.classifier = nn.ModuleDict(
            {name: nn.utils.skip_init(nn.Linear, *size) for name, size in sizes.items()}
        )
        self.features = nn.ModuleList(
            nn.Sequential(OrderedDict((str(i), layers[i]) for i in range(start, stop)))
            for start, stop in pairwise(_VGG_CUTS)
        )

    def forward(self, faces: torch.Tensor) -> list[torch.Tensor]:
        """Feature maps at 1/2, 1/4, 1/8 and 1/16 of the side, from faces B×3×S×S, RGB in [-1, 1].

        All parts but the first start with a rectifier that works in place on the map before. So the first three maps
        are rectified and the last is not, as in training.
        """
        x = ((faces + 1) / 2 - self.RGB_mean) / self.RGB_std
        maps = []
        for part in self.features:
            x = part(x)
            maps.append(x)
        return maps


class Dilated(nn.Module):
    """Four parallel pairs of convolutions with dilations 4 to 1, joined by one convolution and added to the input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.conv2, self.conv3, self.conv4 = (_pair(width, width, dilation) for dilation in (4, 3, 2, 1))
        self.convi = SpectralConv2d(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.convi(torch.cat([conv(x) for conv in (self.conv1, self.conv2, self.conv3, self.conv4)], 1))


class ChannelBlur(nn.Module):
    """3×3 blur of each channel, with the file's kernels. `weight_flip` is used in training only."""

    weight: torch.Tensor
    weight_flip: torch.Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(width, 1, 3, 3))
        self.register_buffer("weight_flip", torch.zeros(width, 1, 3, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.conv2d(x, self.weight, padding=1, groups=x.shape[1])


class StyledUp(nn.Module):
    """Blur and convolution, scale and shift computed from the matched features, then upsampling by 2."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        # The original has two leaky rectifiers of slope 0.2 in a row, which equal one of slope 0.04.
        self.conv1 = nn.Sequential(ChannelBlur(width_in), SpectralConv2d(width_in, width_out), nn.LeakyReLU(0.04, True))
        enlarge = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
        self.convup = nn.Sequential(enlarge, SpectralConv2d(width_out, width_out), nn.LeakyReLU(0.2, True))
        self.ScaleModel1 = _pair(width_in, width_out)
        self.ShiftModel1 = _pair(width_in, width_out).append(nn.Sigmoid())

    def forward(self, x: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
        return self.convup(torch.addcmul(self.ShiftModel1(style), self.conv1(x), self.ScaleModel1(style)))


class Residual(nn.Module):
    """Two plain convolutions added to the input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        first, second = (Conv3x3(width, width) for _ in range(2))
        self.Model = nn.Sequential(first, nn.LeakyReLU(0.2, True), second)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.Model(x)


class DFDNet(Restorer):
    """DFDNet. Call `set_dictionaries` before it restores faces.

    Args:
        width: channels of VGG's first layer, 64 in the public file; all others are multiples of it.
        hidden: hidden width of VGG's classifier, which is in the file but not used. It makes up half of the file, so it
            is dropped after loading.
        classes: outputs of VGG's classifier.

    Attributes:
        boxes: (x0, y0, x1, y1) in pixels of left eye, right eye, nose and mouth in a 512 px crop, the same for all
            faces: those of the FFHQ template (`part_boxes`). Only the test against the authors' numbers changes them.
    """

    family = "dfdnet"
    size = CROP

    def __init__(self, width: int = 64, hidden: int = 4096, classes: int = 1000) -> None:
        super().__init__()
        self.widths = (2 * width, 4 * width, 8 * width, 8 * width)
        for prefix, _ in COMPONENTS.values():
            for scale, channels in zip(SCALES, self.widths, strict=True):
                self.add_module(f"{prefix}_{scale}", _pair(channels, channels))
        for part in COMPONENTS:
            for scale in SCALES:
                self.register_buffer(f"dictionary_{part}_{scale}", None, persistent=False)
        self.VggExtract = Vgg(width, hidden, classes)
        self.MSDilate = Dilated(8 * width)
        ups = (8, 8, 4, 2, 1)
        for i in range(4):
            self.add_module(f"up{i}", StyledUp(ups[i] * width, ups[i + 1] * width))
        self.up4 = nn.Sequential(
            SpectralConv2d(width, width),
            nn.LeakyReLU(0.2, True),
            Residual(width),
            Residual(width),
            nn.Conv2d(width, 3, 3, padding=1),
            nn.Tanh(),
        )
        for i in range(4):  # images of each level, used in training only
            layers = (SpectralConv2d(ups[i + 1] * width, ups[i + 1] * width), SpectralConv2d(ups[i + 1] * width, 3))
            self.add_module(f"to_rgb{i}", nn.ModuleDict(dict(zip("02", layers, strict=True))))
        self.boxes: Sequence[PixelBox] = part_boxes(ffhq_template(CROP))
        self.register_load_state_dict_post_hook(_drop_classifier)

    def set_dictionaries(self, dictionaries: Mapping[str, torch.Tensor]) -> None:
        """Set the dictionaries.

        Args:
            dictionaries: by file name (`DICTIONARY_FILES`), each with N entries as N×(C·s·s) or N×C×s×s.

        Raises:
            ModelFileError: a dictionary is missing, or its entries have the wrong size.
        """
        missing = [name for name in DICTIONARY_FILES if name not in dictionaries]
        if missing:
            raise ModelFileError(missing_message(missing, "what was given"))
        like = self.get_parameter("up4.4.weight")
        for (part, scale), shape in entry_shapes(self.widths).items():
            name = dictionary_file(part, scale)
            entries = dictionaries[name]
            if entries.ndim < 2 or entries[0].numel() != math.prod(shape):
                raise ModelFileError(
                    f"{name}: shape {tuple(entries.shape)}, expected entries × {math.prod(shape)}; "
                    "get the file that belongs to the model."
                )
            entries = entries.reshape(-1, *shape).float()
            mean, deviation = _statistics(entries)
            setattr(self, f"dictionary_{part}_{scale}", ((entries - mean) / deviation).to(like))

    def read_companions(self, folder: Path) -> dict[str, torch.Tensor]:
        """Read the dictionaries from `folder`, or from its sub-folder `DICTIONARY_FOLDER` if there is one.

        Args:
            folder: folder of the model file.

        Returns:
            The dictionaries as stored, by file name.

        Raises:
            ModelFileError: dictionaries are missing or damaged; names the files.
        """
        inner = folder / DICTIONARY_FOLDER
        dictionaries = read_dictionaries(inner if inner.is_dir() else folder)
        self.set_dictionaries(dictionaries)
        return dictionaries

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        """Restore faces.

        Args:
            faces: B×3×512×512, RGB in [-1, 1], FFHQ-aligned.

        Returns:
            A tensor of the same shape, RGB in [-1, 1].

        Raises:
            ModelFileError: `set_dictionaries` was not called; names the missing files.
        """
        absent = [
            dictionary_file(p, s) for p in COMPONENTS for s in SCALES if getattr(self, f"dictionary_{p}_{s}") is None
        ]
        if absent:
            raise ModelFileError(missing_message(absent, "memory"))
        maps = self.VggExtract(faces)
        x = self.MSDilate(maps[3])
        for i in range(4):
            matched = self._match(maps[3 - i], SCALES[3 - i], self.boxes)
            x = getattr(self, f"up{i}")(x, matched)
        return self.up4(x)

    def _match(self, features: torch.Tensor, scale: int, boxes: Sequence[PixelBox]) -> torch.Tensor:
        """Move the four parts of a feature map towards their best dictionary entries (dictionary feature transfer)."""
        result = features.clone()
        for (part, (prefix, _)), box in zip(COMPONENTS.items(), boxes, strict=True):
            x0, y0, x1, y1 = (edge * scale // CROP for edge in box)
            own = features[:, :, y0:y1, x0:x1]
            entries = getattr(self, f"dictionary_{part}_{scale}")
            side = entries.shape[2:]
            resized = functional.interpolate(own, size=side, mode="bilinear", align_corners=False)
            mean, deviation = _statistics(resized)
            # The original gives each entry the face's statistics (AdaIN) before the inner product. The face's mean adds
            # the same to every score, and its deviation can multiply the face instead: one product for all faces.
            best = torch.matmul((resized * deviation).flatten(1), entries.flatten(1).t()).argmax(1)
            swap = functional.interpolate(entries[best] * deviation + mean, size=own.shape[2:], mode="nearest")
            confidence = getattr(self, f"{prefix}_{scale}")(swap - own)
            result[:, :, y0:y1, x0:x1] = torch.addcmul(own, confidence, swap)
        return result


def _statistics(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of each channel, B×C×1×1 each; the variance is unbiased, plus 1e-5."""
    variance, mean = torch.var_mean(x, (2, 3), keepdim=True)
    return mean, (variance + 1e-5).sqrt()


def _drop_classifier(module: nn.Module, _: object) -> None:
    module.get_submodule("VggExtract.model").classifier = nn.ModuleDict()


RESTORER = DFDNet


def matches(shapes: Shapes) -> bool:
    """Whether a state dict with these tensor names and shapes is DFDNet's generator."""
    return "MSDilate.convi.weight_orig" in shapes and "VggExtract.RGB_mean" in shapes


def build(shapes: Shapes) -> DFDNet:
    """A network without weights, its sizes read off the tensors' shapes."""
    classes, hidden = shapes["VggExtract.model.classifier.6.weight"]
    return DFDNet(shapes["VggExtract.model.features.0.weight"][0], hidden, classes)
