"""The third stage: squares that follow the face's middle, geometry back to the picture, shapes."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lib_facerestore.stages.detection.landmark_net import MARGIN, SIDE, LandmarkNet, frames, place
from lib_facerestore.stages.detection.refine import MIRRORED

CPU = torch.device("cpu")
FRONTAL = np.array([[-20.0, -18], [20, -18], [0, 2], [-15, 22], [15, 22]])
COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255))


class Spots(nn.Module):
    """Reads five landmarks off the picture: each is the centre of gravity of one colour."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[torch.Tensor] = []

    def forward(self, squares: torch.Tensor) -> torch.Tensor:
        self.seen.append(squares)
        grid = (torch.arange(SIDE) - (SIDE - 1) / 2) / SIDE
        points = []
        for colour in COLOURS:
            wanted = torch.tensor(colour)[None, :, None, None] / 127.5 - 1
            weight = (0.9 - (squares - wanted).abs().amax(1)).clamp(min=0) + 1e-9
            across, down = weight.sum(1) @ grid, weight.sum(2) @ grid
            points.append(torch.stack([across, down], 1) / weight.sum((1, 2))[:, None])
        found = torch.stack(points, 1)
        mirrored = len(self.seen) % 2 == 0  # then the colours' order is the wrong way round: image left comes first
        return found[:, list(MIRRORED)] if mirrored else found


def painted(points: np.ndarray) -> np.ndarray:
    image = np.zeros((240, 320, 3), np.uint8)
    for colour, (x, y) in zip(COLOURS, points, strict=True):
        cv2.circle(image, (round(x * 16), round(y * 16)), 5 * 16, colour, -1, cv2.LINE_8, 4)
    return image


def turned(points: np.ndarray, degrees: float, scale: float) -> np.ndarray:
    angle = np.deg2rad(degrees)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return points @ turn.T + (160, 120)


@pytest.mark.parametrize("degrees", [0, 25, -50, 170])
def test_rough_landmarks_come_back_on_their_spots(degrees: float) -> None:
    true = turned(FRONTAL, degrees, 1.5)
    rough = true + np.random.default_rng(0).normal(0, 3, true.shape)
    network = Spots()
    placed = place(network, painted(true), rough[None], CPU)
    assert placed.dtype == np.float32
    assert np.abs(placed[0] - true).max() < 0.7
    plain, mirrored = network.seen
    assert len(network.seen) == 2
    assert float((plain - mirrored.flip(3)).abs().max()) < 1e-3, "the second look sees the first one's mirror image"


def test_several_faces_keep_their_order_and_nothing_stays_nothing() -> None:
    true = np.stack([turned(FRONTAL, 0, 1.0) + shift for shift in ([-80, -40], [60, 30])])
    image = np.maximum(painted(true[0]), painted(true[1]))
    placed = place(Spots(), image, true + 2, CPU)
    assert np.abs(placed - true).max() < 0.7
    assert place(Spots(), image, np.zeros((0, 5, 2)), CPU).shape == (0, 5, 2)


def test_landmarks_that_are_no_numbers_stay_and_do_no_harm() -> None:
    true = turned(FRONTAL, 0, 1.0)
    broken = true.copy()
    broken[2] = np.nan
    placed = place(Spots(), painted(true), np.stack([broken, true + 2]), CPU)
    assert np.array_equal(placed[0], broken.astype(np.float32), equal_nan=True)
    assert np.abs(placed[1] - true).max() < 0.7


@pytest.mark.parametrize("points", [np.zeros((5, 2)), np.full((5, 2), 1e6), FRONTAL * 1e-3])
def test_odd_landmarks_give_numbers(points: np.ndarray) -> None:
    assert np.isfinite(place(LandmarkNet().eval(), painted(FRONTAL + 100), points[None], CPU)).all()


@given(st.floats(-180, 180), st.floats(0.1, 20), st.floats(0.0, 1.0))
def test_the_square_follows_the_face(degrees: float, scale: float, openness: float) -> None:
    face = FRONTAL * [openness, 1]  # 0 is a profile
    (centre,), (side,), (angle,) = frames(turned(face, degrees, scale)[None])
    assert np.allclose(centre, turned(np.array([[0.0, 2.0]]), degrees, scale)[0])
    assert np.isclose(np.exp(1j * angle), np.exp(1j * np.deg2rad(degrees)))
    assert np.isclose(side, MARGIN * scale * max(2.0 * 40 * openness, 1.8 * 40))


def test_the_network_has_the_shapes_it_says() -> None:
    with torch.no_grad():
        assert LandmarkNet().eval()(torch.zeros(2, 3, SIDE, SIDE)).shape == (2, 5, 2)
