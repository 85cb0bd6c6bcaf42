"""The third stage of the shipped detector: the five landmarks of a face whose place is known, more precisely.

The refiner has to cope with squares that are badly placed or show no face at all. Here every face is upright, centred
between eyes and mouth and of one size, so that a network as small places the points more precisely (a cascade, as in
Sun, Wang and Tang, Deep convolutional network cascade for facial point detection, CVPR 2013). It looks twice, plain
and mirrored. Trained by ``tools/train_lite_landmarks.py``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from .refine import MIRRORED, Features, look, upright

SIDE = 96
"""Side of the network's input in pixels."""
MARGIN = 1.1
"""Side of the square over that of the middle of the face (see `frames`)."""


class LandmarkNet(Features):
    """B×3×96×96 RGB in [-1, 1] → B×5×2: landmarks (x, y) as shares of the square's side measured from its centre."""

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
        moved = self.output(functional.relu(self.hidden(self.squeeze(trunk).flatten(1))))
        # The heat maps give the place; the fully connected layer corrects points that are hidden.
        return self.centres(self.maps(quarter)) + moved.unflatten(1, (5, 2))


def frames(points: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Centres (N×2), sides (N) and angles (N, radians) of the squares round landmarks (N×5×2).

    The side follows the eyes or the height from eyes to mouth, whichever is longer, in the proportions of FFHQ's own
    alignment (2 to 1.8; Karras et al., A style-based generator architecture, CVPR 2019), so that it is right for
    profiles and for faces that look up.
    """
    points = points.astype(np.float64)
    eyes, mouth = points[:, :2].mean(1), points[:, 3:].mean(1)
    wide = np.linalg.norm(points[:, 1] - points[:, 0], axis=1)
    tall = np.linalg.norm(mouth - eyes, axis=1)
    return (eyes + mouth) / 2, MARGIN * np.maximum(2.0 * wide, 1.8 * tall), upright(points)


def place(
    network: nn.Module, image: NDArray[np.uint8], points: NDArray[Any], device: torch.device
) -> NDArray[np.float32]:
    """Better landmarks of N faces.

    Args:
        network: a `LandmarkNet` (or what computes the same shapes) on `device`, in eval mode.
        image: H×W×3 uint8 RGB.
        points: landmarks of N faces, in pixels of the picture.

    Returns:
        N×5×2 float32, in pixels of the picture; landmarks that are not finite stay as they were.
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
    result[sound] = total / 2
    return result
