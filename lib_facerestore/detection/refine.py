"""The second stage of the embedded detector: a closer look at each face that the first stage proposes.

A small convolutional network sees a square round the proposal, says whether it is a face, and places the box and the
five landmarks anew (the idea of MTCNN's output network; Zhang et al., IEEE Signal Processing Letters 2016). It costs
about 0.1 GFLOP a face and, since every face reaches it at the same size, places landmarks better than any single-stage
detector of this size can. Trained by ``tools/train_lite_refiner.py``. May import `alignment`, `postprocess`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from lib_facerestore import alignment
from lib_facerestore.detection.postprocess import Found

SIDE = 96
"""Side of the network's input in pixels."""
CONTEXT = 1.6
"""Side of the square that it sees, over the longer side of the proposal."""


class RefinerNet(nn.Module):
    """B×3×96×96 RGB in [-1, 1] → B×15: face logit, box (x0, y0, x1, y1), five points (x, y), as shares of the square's
    side measured from its centre."""

    def __init__(self, widths: tuple[int, ...] = (16, 32, 64, 96)) -> None:
        super().__init__()
        self.down = nn.ModuleList()
        self.first = nn.ModuleList()
        self.second = nn.ModuleList()
        before = 3
        for width in widths:
            self.down.append(_layer(before, width, 2))
            self.first.append(_layer(width, width, 1))
            self.second.append(nn.Sequential(nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)))
            before = width
        self.hidden = nn.Linear(before * (SIDE // 2 ** len(widths)) ** 2, 128)
        self.output = nn.Linear(128, 15)

    def forward(self, squares: torch.Tensor) -> torch.Tensor:
        x = squares
        for down, first, second in zip(self.down, self.first, self.second, strict=True):
            x = down(x)
            x = functional.relu(x + second(first(x)))
        return self.output(functional.relu(self.hidden(x.flatten(1))))


def _layer(before: int, after: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU())


def refine(
    network: nn.Module, image: NDArray[np.uint8], found: Found, device: torch.device, rounds: int = 2
) -> Found:
    """The proposals with new scores, boxes and landmarks, in the order given.

    Args:
        network: a `RefinerNet` (or what computes the same shapes) on `device`, in eval mode.
        image: H×W×3 uint8 RGB.
        found: proposals in pixels of the picture.
        rounds: looks at each face; every further one starts from the box of the one before.

    Returns:
        As many detections; the score is the geometric mean of the proposal's and the last look's.
    """
    if not len(found.scores):
        return found
    boxes, points, sure = found.boxes, found.landmarks, np.ones(len(found.scores))
    for _ in range(rounds):
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2
        sides = np.maximum((boxes[:, 2:] - boxes[:, :2]).max(1), 4.0) * CONTEXT
        output = _look(network, image, centres, sides, device)
        sure = 1 / (1 + np.exp(-output[:, 0]))
        boxes = (output[:, 1:5] * sides[:, None] + np.tile(centres, 2)).astype(np.float32)
        points = (output[:, 5:].reshape(-1, 5, 2) * sides[:, None, None] + centres[:, None]).astype(np.float32)
    return Found(boxes, np.sqrt(found.scores * sure).astype(np.float32), points)


def _look(
    network: nn.Module, image: NDArray[np.uint8], centres: NDArray[Any], sides: NDArray[Any], device: torch.device
) -> NDArray[np.float32]:
    squares = []
    for (x, y), side in zip(centres.astype(float), sides.astype(float), strict=True):
        step = side / SIDE
        matrix = [[step, 0, x - step * (SIDE - 1) / 2], [0, step, y - step * (SIDE - 1) / 2]]
        squares.append(alignment.warp(image, matrix, SIDE, SIDE, "edge"))
    batch = torch.from_numpy(np.stack(squares).transpose(0, 3, 1, 2)) * 2 - 1
    with torch.inference_mode():
        parts = [network(part.to(device)).float().cpu() for part in batch.split(64)]
    return torch.cat(parts).numpy()
