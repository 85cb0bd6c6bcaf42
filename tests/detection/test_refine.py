"""The second look: geometry from the square back to the picture, scores, and the number of looks."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from lib_facerestore.detection.lite import LiteDetector
from lib_facerestore.detection.postprocess import Found
from lib_facerestore.detection.refine import CONTEXT, SIDE, RefinerNet, refine
from lib_facerestore.detection.retinaface import RetinaFaceDetector
from lib_facerestore.faces import Face

CPU = torch.device("cpu")


class Blob(nn.Module):
    """Takes the red spot of a square for a face: box of a quarter of the square round it, all five points on it."""

    def __init__(self, logit: float = 8.0) -> None:
        super().__init__()
        self.logit = logit
        self.looks = 0

    def forward(self, squares: torch.Tensor) -> torch.Tensor:
        self.looks += 1
        weight = (squares[:, 0] - squares[:, 1]).clamp(min=0) + 1e-9
        grid = (torch.arange(SIDE) - (SIDE - 1) / 2) / SIDE
        x = (weight.sum(1) * grid).sum(1) / weight.sum((1, 2))
        y = (weight.sum(2) * grid).sum(1) / weight.sum((1, 2))
        half = 0.5 / CONTEXT
        box = torch.stack([x - half, y - half, x + half, y + half], 1)
        points = torch.stack([x, y], 1).repeat(1, 5)
        return torch.cat([torch.full((len(squares), 1), self.logit), box, points], 1)


def spotted(x: int, y: int) -> np.ndarray:
    image = np.full((150, 200, 3), 90, np.uint8)
    image[y - 2 : y + 3, x - 2 : x + 3, 0] = 255
    return image


def proposal(x: float, y: float, side: float, score: float = 0.64) -> Found:
    box = np.array([[x - side / 2, y - side / 2, x + side / 2, y + side / 2]], np.float32)
    return Found(box, np.array([score], np.float32), np.zeros((1, 5, 2), np.float32))


def test_box_and_points_land_on_the_spot_even_at_the_rim() -> None:
    for x, y in ((100, 70), (4, 5), (196, 146)):
        found = refine(Blob(), spotted(x, y), proposal(x + 7, y - 5, 40), CPU)
        assert np.abs(found.landmarks[0] - (x, y)).max() < 0.6
        assert np.abs((found.boxes[0, :2] + found.boxes[0, 2:]) / 2 - (x, y)).max() < 0.6
        assert np.allclose(found.boxes[0, 2:] - found.boxes[0, :2], 40, atol=0.1)


def test_the_score_is_the_geometric_mean_and_every_round_is_a_look() -> None:
    network = Blob(logit=0.0)
    found = refine(network, spotted(100, 70), proposal(100, 70, 40), CPU, rounds=3)
    assert np.allclose(found.scores, np.sqrt(0.64 * 0.5))
    assert network.looks == 3
    assert len(refine(network, spotted(9, 9), Found.nothing(), CPU).scores) == 0
    assert network.looks == 3


def test_the_network_has_the_shapes_it_says() -> None:
    with torch.no_grad():
        assert RefinerNet().eval()(torch.zeros(2, 3, SIDE, SIDE)).shape == (2, 15)


class Proposer(RetinaFaceDetector):
    """Always proposes one good and one poor box; remembers the confidence it was asked for."""

    def __init__(self) -> None:
        super().__init__(nn.Identity(), "proposer")

    def detect(self, images: list[np.ndarray], confidence: float = 0.5) -> list[list[Face]]:  # type: ignore[override]
        self.asked = confidence
        points = np.full((5, 2), 50.0)
        return [[Face(0, (80, 50, 120, 90), points, 0.9), Face(0, (10, 10, 30, 30), points, 0.3)] for _ in images]


def test_both_stages_decide() -> None:
    proposer = Proposer()
    sure, unsure = LiteDetector(proposer, Blob(8.0)), LiteDetector(proposer, Blob(-3.0))
    (faces,) = sure.detect([spotted(100, 70)], 0.6)
    assert np.isclose(proposer.asked, 0.36)
    assert len(faces) == 1
    assert np.isclose(faces[0].score, np.sqrt(0.9), atol=1e-3)
    assert unsure.detect([spotted(100, 70)], 0.6) == [[]]
