"""`lite`, the parser that is part of the package: a small network that labels the pixels of aligned crops.

An hourglass network (Newell, Yang and Deng, ECCV 2016) for crops of 256 px, 1.4 GFLOP for a face. Unlike the public
parsers, it knows things in front of the face: hands, microphones, masks and other heads.
Trained with `tools/train_lite_parser.py`; docs/lite.md has the data, the method and the results.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from ..catalogue import weights_path
from ..errors import FaceRestoreError, InputError
from ..networks.building import building
from ..networks.checkpoint_files import read_state
from ..networks.failures import NOT_NUMBERS, are_numbers
from ..networks.strict import fill
from .detection.refine import Residual, layer
from .filters import square_of

NAME = "lite"
WEIGHTS = "lite_parser.safetensors"
SIDE = 256
"""Side of the network's input in pixels."""

Region = Literal[
    "other", "skin", "brow", "eye", "glasses", "ear", "nose", "mouth interior", "upper lip", "lower lip", "hair",
    "occluder",
]  # fmt: skip
NAMES: tuple[Region, ...] = get_args(Region)
"""The network's classes, in the order of its outputs. Eyes, brows and ears are not divided into left and right."""
_BATCH = 8


class ParserNet(nn.Module):
    """Maps crops B×3×256×256, RGB in [-1, 1], to logits B×12×128×128 for the classes `NAMES`.

    Args:
        widths: channels at 1/2, 1/4, 1/8, 1/16 and 1/32 of the side.
    """

    def __init__(self, widths: tuple[int, int, int, int, int] = (16, 32, 64, 112, 160)) -> None:
        super().__init__()
        half, quarter, eighth, sixteenth, trunk = widths
        self.stem = layer(3, half, 2)
        self.down_quarter = nn.Sequential(layer(half, quarter, 2), Residual(quarter))
        self.down_eighth = nn.Sequential(layer(quarter, eighth, 2), Residual(eighth))
        self.down_sixteenth = nn.Sequential(layer(eighth, sixteenth, 2), Residual(sixteenth))
        self.down_trunk = nn.Sequential(layer(sixteenth, trunk, 2), Residual(trunk), Residual(trunk))
        # The mean over the crop, so that each position knows about the whole face.
        self.crop = nn.Linear(trunk, trunk)
        self.to_sixteenth = nn.Conv2d(trunk, sixteenth, 1)
        self.up_sixteenth = Residual(sixteenth)
        self.to_eighth = nn.Conv2d(sixteenth, eighth, 1)
        self.up_eighth = Residual(eighth)
        self.to_quarter = nn.Conv2d(eighth, quarter, 1)
        self.up_quarter = Residual(quarter)
        # All work of the decoder is at 1/4: the finer features are folded in, and the logits are folded out.
        self.fold_half = nn.Conv2d(4 * half, quarter, 1)
        self.up_last = Residual(quarter)
        self.output = nn.Conv2d(quarter, 4 * len(NAMES), 3, padding=1)

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        half = self.stem(crops)
        quarter = self.down_quarter(half)
        eighth = self.down_eighth(quarter)
        sixteenth = self.down_sixteenth(eighth)
        trunk = self.down_trunk(sixteenth)
        trunk = trunk + self.crop(trunk.mean((2, 3)))[..., None, None]
        x = self.up_sixteenth(sixteenth + _twice(self.to_sixteenth(trunk)))
        x = self.up_eighth(eighth + _twice(self.to_eighth(x)))
        x = self.up_quarter(quarter + _twice(self.to_quarter(x)))
        x = self.up_last(x + self.fold_half(functional.pixel_unshuffle(half, 2)))
        return functional.pixel_shuffle(self.output(x), 2)


def _twice(x: torch.Tensor) -> torch.Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


class LiteParser:
    """A `parsing.Parser` around a `ParserNet`.

    Args:
        network: a `ParserNet`, or a module with the same input and output.
        device: device to run on.
    """

    knows_covers = True

    def __init__(self, network: nn.Module, device: str | torch.device = "cpu") -> None:
        self.name = NAME
        self.device = torch.device(device)
        self.network = network.eval().requires_grad_(False).to(self.device)

    def masks(
        self, crops: Sequence[NDArray[np.float32]], originals: Sequence[NDArray[np.float32]] | None = None
    ) -> list[NDArray[np.uint8]]:
        """See `Parser.masks`. Occluders are looked for in the originals too, since a restorer may have removed them.

        Raises:
            InputError: a crop is not square RGB, or the originals are not of the crops' sizes.
            FaceRestoreError: the network's output is not finite.
        """
        if originals is not None and [one.shape for one in originals] != [crop.shape for crop in crops]:
            raise InputError("parsing: give one original for each crop, of the same size")
        found = [self._labels(crop_logits, len(crop)) for crop, crop_logits in self._logits(crops)]
        if originals is not None:
            before = [self._labels(crop_logits, len(crop)) for crop, crop_logits in self._logits(originals)]
            found = [np.where(first == OCCLUDER, OCCLUDER, now) for first, now in zip(before, found, strict=True)]
        return [to_bisenet(labels) for labels in found]

    @torch.inference_mode()
    def _logits(self, crops: Sequence[NDArray[np.float32]]) -> list[tuple[NDArray[np.float32], torch.Tensor]]:
        """Each crop with its logits (12×128×128)."""
        result: list[tuple[NDArray[np.float32], torch.Tensor]] = []
        for start in range(0, len(crops), _BATCH):
            part = crops[start : start + _BATCH]
            batch = torch.from_numpy(np.stack([square_of(crop, SIDE) for crop in part]).transpose(0, 3, 1, 2)) * 2 - 1
            logits = self.network(batch.to(self.device)).float().cpu()
            if not are_numbers(logits):
                raise FaceRestoreError(NOT_NUMBERS)
            result += zip(part, logits, strict=True)
        return result

    def _labels(self, logits: torch.Tensor, size: int) -> NDArray[np.uint8]:
        """Labels (size×size, numbers in `NAMES`) from logits, which are interpolated up to 512 px."""
        fine = min(size, 512)
        logits = functional.interpolate(logits[None], (fine, fine), mode="bilinear", align_corners=False)
        labels = _argmax(logits[0].numpy())
        if fine != size:
            labels = np.asarray(cv2.resize(labels, (size, size), interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)
        return labels


def _argmax(logits: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Per pixel, the number of the largest of C×H×W, the first of equal ones. argmax() takes four times as long."""
    largest = logits[0].copy()
    labels = np.zeros(largest.shape, np.uint8)
    for number, values in enumerate(logits[1:], 1):
        labels[values > largest] = number
        np.maximum(largest, values, out=largest)
    return labels


OCCLUDER = NAMES.index("occluder")
# BiSeNet's class number for each of `NAMES`; for those in pairs, that of the left one. Occluders become cloth, which
# may lie over the face too (see `parsing.covers`).
_BISENET = np.array([0, 1, 2, 4, 6, 7, 10, 11, 12, 13, 17, 16], np.uint8)
_PAIRS = (2, 4, 7)


def to_bisenet(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Labels with the numbers of `parsing.CLASSES`, from S×S labels with the numbers of `NAMES`.

    Brows, eyes and ears in the right half of the crop become the right ones.
    """
    result = np.asarray(_BISENET[labels], np.uint8)
    right = result[:, result.shape[1] // 2 :]
    for left in _PAIRS:
        right[right == left] = left + 1
    return result


def load_lite_parser(device: str | torch.device = "cpu") -> LiteParser:
    """Load the built-in parser.

    Raises:
        ModelFileError: the package was installed without its weights, or they are damaged.
    """
    path = weights_path(WEIGHTS)
    with building():
        network = ParserNet().float()
        fill(network, read_state(path), "ParserNet", str(path))
    return LiteParser(network, device)
