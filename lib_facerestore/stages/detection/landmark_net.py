"""Third stage of the built-in detector: a small network that makes the landmarks of detected faces more precise.

The refiner's squares may be badly placed or show no face. Here every face is upright, centred between eyes and mouth,
and of the same size, so that a network of similar size is more precise (a cascade, as in Sun, Wang and Tang, "Deep
Convolutional Network Cascade for Facial Point Detection", CVPR 2013). It runs twice, on plain and mirrored faces.
Trained with `tools/train_lite_landmarks.py`.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from .refine import MIRRORED, Features, look, upright

logger = logging.getLogger(__name__)

SIDE = 96
"""Side of the network's input in pixels."""
MARGIN = 1.1
"""Factor of the square's side (see `frames`)."""


class LandmarkNet(Features):
    """Maps squares B×3×96×96, RGB in [-1, 1], to landmarks B×5×2.

    They are (x, y) relative to the square's centre, as fractions of its side.
    """

    def __init__(self, widths: tuple[int, int, int, int] = (24, 48, 96, 128)) -> None:
        super().__init__(SIDE, widths)
        _, quarter, _, trunk = widths
        self.maps = nn.Conv2d(quarter, 5, 1)
        self.squeeze = nn.Sequential(nn.Conv2d(trunk, 32, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU())
        self.hidden = nn.Linear(32 * (SIDE // 16) ** 2, 128)
        self.output = nn.Linear(128, 10)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, squares: torch.Tensor) -> torch.Tensor:
        quarter, trunk = self.features(squares)
        correction = self.output(functional.relu(self.hidden(self.squeeze(trunk).flatten(1))))
        # The fully connected layer corrects the heat maps, for points that are hidden.
        return self.centres(self.maps(quarter)) + correction.unflatten(1, (5, 2))


def frames(points: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """The squares around faces.

    A square's side is `MARGIN` times the larger of two lengths: 2 × the distance between the eyes, and 1.8 × the
    distance from eyes to mouth. The factors are those of FFHQ's alignment (Karras et al., "A Style-Based Generator
    Architecture for Generative Adversarial Networks", CVPR 2019). So the side is right for profiles too, and for faces
    that look up.

    Args:
        points: landmarks N×5×2, in pixels of the picture.

    Returns:
        Centres (N×2), sides (N) in pixels of the picture, and angles (N) in radians.
    """
    points = points.astype(np.float64)
    eyes, mouth = points[:, :2].mean(1), points[:, 3:].mean(1)
    wide = np.linalg.norm(points[:, 1] - points[:, 0], axis=1)
    tall = np.linalg.norm(mouth - eyes, axis=1)
    return (eyes + mouth) / 2, MARGIN * np.maximum(2.0 * wide, 1.8 * tall), upright(points)


def place(
    network: nn.Module, image: NDArray[np.uint8], points: NDArray[Any], device: torch.device
) -> NDArray[np.float32]:
    """Compute more precise landmarks.

    Args:
        network: a `LandmarkNet`, or a module with the same input and output, on `device` and in eval mode.
        image: H×W×3 uint8 RGB.
        points: landmarks N×5×2, in pixels of the picture.
        device: device of the network.

    Returns:
        N×5×2 float32, in pixels of the picture. The landmarks of a face are not changed if any is not finite,
        or would not be.
    """
    result = np.array(points, np.float32)
    sound = np.isfinite(result).all((1, 2))
    centres, sides, angles = frames(result[sound])
    if not len(sides):
        return result
    sides = np.clip(sides, 4.0, 4.0 * max(image.shape[:2]))
    total = np.zeros((len(sides), 5, 2))
    for mirrored in (False, True):
        answers, matrices = look(network, image, (centres, sides, angles), mirrored, SIDE, device)
        seen = answers @ (matrices[:, :, :2] * SIDE).transpose(0, 2, 1) + centres[:, None]
        total += seen[:, MIRRORED] if mirrored else seen
    sane = np.asarray(np.isfinite(total).all((1, 2)))
    if not sane.all():
        logger.warning(
            "%d of %d faces: landmarks are those of the second stage, as new ones are not finite",
            (~sane).sum(),
            len(sane),
        )
    result[np.flatnonzero(sound)[sane]] = total[sane] / 2
    return result
