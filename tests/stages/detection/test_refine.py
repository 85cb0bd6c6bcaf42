"""The second stage: geometry from the square back to the picture, scores, and the number of looks."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lib_facerestore.stages.detection.lite import LiteDetector
from lib_facerestore.stages.detection.postprocess import Detections
from lib_facerestore.stages.detection.refine import (
    CLOSE,
    CONTEXT,
    HOPELESS,
    MIRRORED,
    SIDE,
    RefinerNet,
    look,
    refine,
    upright,
)
from lib_facerestore.stages.detection.retinaface import RetinaFaceDetector
from lib_facerestore.stages.detection.squares import square_matrix
from lib_facerestore.stages.detection.stopping import Stop

CPU = torch.device("cpu")


class Blob(nn.Module):
    """Takes the red spot of a square for a face: box of a quarter of the square round it, all five points on it."""

    def __init__(self, logit: float = 8.0) -> None:
        super().__init__()
        self.logit = logit
        self.looks = 0

    def forward(self, squares: torch.Tensor) -> torch.Tensor:
        self.looks += 1
        x, y = spot(squares, 0)
        half = 0.5 / (CONTEXT if self.looks % 3 == 1 else CLOSE)
        box = torch.stack([x - half, y - half, x + half, y + half], 1)
        points = torch.stack([x, y], 1).repeat(1, 5)
        return torch.cat([torch.full((len(squares), 1), self.logit), box, points], 1)


class Marks(nn.Module):
    """Reads the eyes and mouth corners off four coloured spots, so that left and right can be told apart."""

    def forward(self, squares: torch.Tensor) -> torch.Tensor:
        self.seen = squares
        eye_left, eye_right = torch.stack(spot(squares, 0), 1), torch.stack(spot(squares, 1), 1)
        mouth = torch.stack(spot(squares, 2), 1)
        points = torch.stack([eye_left, eye_right, (eye_left + eye_right + mouth) / 3, mouth, mouth], 1)
        if len(squares) and (eye_left[:, 0] > eye_right[:, 0]).any():  # the mirrored look: image left comes first
            points = points[:, list(MIRRORED)]
        box = torch.tensor([[-0.4, -0.4, 0.4, 0.4]]).repeat(len(squares), 1)
        return torch.cat([torch.zeros(len(squares), 1), box, points.flatten(1)], 1)


def spot(squares: torch.Tensor, channel: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Centre of gravity (x, y) of what is brighter in one channel than in the others, as shares from the centre."""
    others = [c for c in range(3) if c != channel]
    weight = (squares[:, channel] - squares[:, others].amax(1)).clamp(min=0) + 1e-9
    grid = (torch.arange(SIDE) - (SIDE - 1) / 2) / SIDE
    return (weight.sum(1) * grid).sum(1) / weight.sum((1, 2)), (weight.sum(2) * grid).sum(1) / weight.sum((1, 2))


def spotted(x: int, y: int) -> np.ndarray:
    image = np.full((150, 200, 3), 90, np.uint8)
    image[y - 2 : y + 3, x - 2 : x + 3, 0] = 255
    return image


def proposal(x: float, y: float, side: float, score: float = 0.64) -> Detections:
    box = np.array([[x - side / 2, y - side / 2, x + side / 2, y + side / 2]], np.float32)
    return Detections(box, np.array([score], np.float32), np.zeros((1, 5, 2), np.float32))


def test_box_and_points_land_on_the_spot_even_at_the_rim() -> None:
    for x, y in ((100, 70), (4, 5), (196, 146)):
        found = refine(Blob(), spotted(x, y), proposal(x + 7, y - 5, 40), CPU)
        assert np.abs(found.landmarks[0] - (x, y)).max() < 0.6
        assert np.abs((found.boxes[0, :2] + found.boxes[0, 2:]) / 2 - (x, y)).max() < 0.6
        assert np.allclose(found.boxes[0, 2:] - found.boxes[0, :2], 40, atol=0.1)


def test_a_face_that_fills_a_picture_of_80_megapixels_is_refined() -> None:
    image = np.broadcast_to(np.full((1, 1, 3), 90, np.uint8), (9000, 9000, 3))
    found = refine(Blob(), image, proposal(4500, 4500, 7000), CPU)
    assert np.abs(found.landmarks[0] - 4500).max() < 5 and np.allclose(
        found.boxes[0, 2:] - found.boxes[0, :2], 7000, 1e-3
    )


def test_there_are_three_looks_and_none_at_nothing() -> None:
    network = Blob(logit=3)
    assert len(refine(network, spotted(100, 70), proposal(100, 70, 40), CPU, any_angle=False).scores) == 1
    assert network.looks == 3
    assert len(refine(network, spotted(9, 9), Detections.nothing(), CPU).scores) == 0
    assert network.looks == 3


def test_a_hopeless_proposal_gets_no_second_look() -> None:
    network = Blob(logit=HOPELESS - 0.1)
    assert not len(refine(network, spotted(100, 70), proposal(100, 70, 40), CPU, any_angle=False).scores)
    assert network.looks == 1


@pytest.mark.parametrize("degrees", [0, 20, -35, 80])
def test_landmarks_of_a_leaning_face_come_back_in_place_and_in_order(degrees: float) -> None:
    turn = np.deg2rad(degrees)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    spots = np.array([[-12.0, -10], [12, -10], [0, 14]]) @ rotation.T + (100, 75)
    image = np.zeros((150, 200, 3), np.uint8)
    for channel, (x, y) in enumerate(spots):
        colour = tuple(255 * (c == channel) for c in range(3))
        cv2.circle(image, (round(x * 16), round(y * 16)), 3 * 16, colour, -1, 16, 4)
    network = Marks()
    found = refine(network, image, proposal(103, 73, 60), CPU)
    expected = np.array([*spots[:2], spots.mean(0), spots[2], spots[2]])
    assert np.abs(found.landmarks[0] - expected).max() < 0.7
    last = network.seen
    eyes = spot(last, 0)[1] - spot(last, 1)[1]
    assert abs(float(eyes)) < 0.03, "the last look is at the upright face"
    assert float(spot(last, 0)[0]) > float(spot(last, 1)[0]), "and mirrored"


class Keeps(nn.Module):
    """Remembers the squares."""

    def forward(self, squares: torch.Tensor) -> torch.Tensor:
        self.seen = squares
        return torch.zeros(len(squares), 15)


@pytest.mark.parametrize("noise", [0, 8])
def test_a_square_in_light_of_one_colour_is_looked_at_in_grey_with_the_contrast_of_others(noise: float) -> None:
    """In dark violet light, noisy or not, a face was not found: its contrast is a third of the usual."""
    network, where = Keeps(), (np.array([[50.0, 50]]), np.array([90.0]), np.array([0.0]))
    image = np.full((100, 100, 3), (40, 12, 160), np.float32)
    image[25:60, 30:70] *= 0.6
    image += np.random.default_rng(0).normal(0, noise, image.shape)
    look(network, np.clip(image, 0, 255).astype(np.uint8), where, False, SIDE, CPU)
    (seen,) = network.seen.numpy()
    assert np.ptp(seen, axis=0).max() < 1e-6
    assert 0.35 < seen.std() < 0.5
    flat = seen[0, 40:50, 40:60]
    assert flat.std() < 0.15 and flat.mean() < seen.mean() - 0.4, "the noise is no stronger for it"


def test_a_square_of_one_colour_with_enough_contrast_is_only_made_grey() -> None:
    """Faces that are warm and well lit are found less well if they are sharpened."""
    network, where = Keeps(), (np.array([[50.0, 50]]), np.array([90.0]), np.array([0.0]))
    image = np.full((100, 100, 3), (240, 90, 60), np.uint8)
    image[25:60, 30:70] //= 6
    look(network, image, where, False, SIDE, CPU)
    (seen,) = network.seen.numpy()
    assert np.ptp(seen, axis=0).max() < 1e-6
    assert np.isclose(seen[0, 40, 48], 65 / 3 / 127.5 - 1, atol=0.02)
    assert np.isclose(seen[0, 5, 5], 390 / 3 / 127.5 - 1, atol=0.02)


def test_other_squares_keep_their_colours() -> None:
    network, where = Keeps(), (np.array([[50.0, 50]]), np.array([40.0]), np.array([0.0]))
    look(network, np.full((100, 100, 3), (120, 90, 70), np.uint8), where, False, SIDE, CPU)
    assert np.allclose(network.seen.mean((0, 2, 3)), np.array([120, 90, 70]) / 127.5 - 1, atol=0.01)


class Upright(Marks):
    """As `Marks`, and sure of a face only where the eyes are above the mouth."""

    def forward(self, squares: torch.Tensor) -> torch.Tensor:
        answer = super().forward(squares)
        eyes, mouth = answer[:, 6], answer[:, 12]
        return torch.cat([80 * (mouth - eyes)[:, None] - 4, answer[:, 1:]], 1)


@pytest.mark.parametrize("degrees", [0, 50, 90, 135, 180, 225, 270])
def test_a_face_at_any_angle_is_found_with_its_landmarks_under_their_own_names(degrees: float) -> None:
    turn = np.deg2rad(degrees)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    spots = np.array([[-12.0, -10], [12, -10], [0, 14]]) @ rotation.T + (100, 75)
    image = np.zeros((150, 200, 3), np.uint8)
    for channel, (x, y) in enumerate(spots):
        colour = tuple(255 * (c == channel) for c in range(3))
        cv2.circle(image, (round(x * 16), round(y * 16)), 3 * 16, colour, -1, 16, 4)
    found = refine(Upright(), image, proposal(103, 73, 60), CPU)
    assert found.scores[0] > 0.7, "a first stage's proposal tells nothing of the angle"
    assert np.abs(found.landmarks[0][[0, 1, 3]] - spots).max() < 1.0


def test_a_clear_proposal_that_is_no_upright_face_is_always_turned() -> None:
    """Else a false face beside one that stands on its head is the only one that is found."""
    spots = np.array([[112.0, 85], [88, 85], [100, 61]])
    image = np.zeros((150, 200, 3), np.uint8)
    for channel, (x, y) in enumerate(spots):
        cv2.circle(image, (round(x), round(y)), 3, tuple(255 * (c == channel) for c in range(3)), -1)
    clear, poor = (refine(Upright(), image, proposal(100, 75, 60, score), CPU, any_angle=False) for score in (0.9, 0.5))
    assert clear.scores[0] > 0.7 and np.abs(clear.landmarks[0][[0, 1, 3]] - spots).max() < 1.5
    assert not len(poor.scores)


def test_where_nobody_looks_carefully_only_a_sure_face_is_one_when_turned() -> None:
    """An embroidered flower was a face that lies, of a logit of -0.1."""

    class Faint(Upright):
        def forward(self, squares: torch.Tensor) -> torch.Tensor:
            answer = super().forward(squares)
            answer[:, 0] = torch.where(answer[:, 0] > 0, 1.0, -3.0)
            return answer

    spots = np.array([[112.0, 85], [88, 85], [100, 61]])
    image = np.zeros((150, 200, 3), np.uint8)
    for channel, (x, y) in enumerate(spots):
        cv2.circle(image, (round(x), round(y)), 3, tuple(255 * (c == channel) for c in range(3)), -1)
    careful, other = (refine(Faint(), image, proposal(100, 75, 60, 0.9), CPU, any_angle) for any_angle in (True, False))
    assert len(careful.scores) == 1
    assert not len(other.scores)


def test_the_box_of_a_face_that_lies_is_as_wide_as_the_face_is_high() -> None:
    class Tall(Upright):
        def forward(self, squares: torch.Tensor) -> torch.Tensor:
            answer = super().forward(squares)
            answer[:, 1:5] = torch.tensor([-0.2, -0.4, 0.2, 0.4])
            return answer

    spots = np.array([[110.0, 63], [110, 87], [86, 75]])  # the top of the head points to the right
    image = np.zeros((150, 200, 3), np.uint8)
    for channel, (x, y) in enumerate(spots):
        cv2.circle(image, (round(x), round(y)), 3, tuple(255 * (c == channel) for c in range(3)), -1)
    found = refine(Tall(), image, proposal(100, 75, 60), CPU)
    wide, tall = found.boxes[0, 2:] - found.boxes[0, :2]
    assert np.isclose(wide / tall, 2.0, atol=0.05)


@given(st.floats(-3, 3), st.floats(4, 500), st.floats(-50, 900), st.floats(-50, 900), st.booleans())
def test_the_square_is_centred_scaled_and_turned(angle: float, side: float, x: float, y: float, mirrored: bool) -> None:
    matrix = square_matrix(np.array([x, y]), side, angle, mirrored, SIDE)
    middle = (SIDE - 1) / 2
    assert np.allclose(matrix @ (middle, middle, 1), (x, y), atol=1e-6)
    assert np.isclose(np.linalg.det(matrix[:, :2]), (-1 if mirrored else 1) * (side / SIDE) ** 2)
    down = matrix[:, :2] @ (0, 1)
    face = np.array([[[0, 0], [0, 0], [0, 0], down, down]]) * 5
    assert np.isclose(np.exp(1j * upright(face)[0]), np.exp(1j * angle)), "a face along the square's down is upright"


def test_the_network_has_the_shapes_it_says() -> None:
    with torch.no_grad():
        assert RefinerNet().eval()(torch.zeros(2, 3, SIDE, SIDE)).shape == (2, 15)


class Proposer(RetinaFaceDetector):
    """Always proposes one good and one poor box; remembers the confidence it was asked for."""

    def __init__(self) -> None:
        super().__init__(nn.Identity(), "proposer")

    def propose(
        self,
        images: Sequence[np.ndarray],
        confidence: float,
        careful: bool = False,
        stop: Stop | None = None,
        poorest: float = 1.0,
    ) -> list[tuple[Detections, bool]]:
        self.asked = confidence
        boxes = np.array([[80, 50, 120, 90], [10, 10, 30, 30]], np.float32)
        scores = np.array([0.81, 0.3], np.float32)
        return [(Detections(boxes, scores, np.full((2, 5, 2), 50, np.float32)), True) for _ in images]


class Third(nn.Module):
    """Counts the faces that it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.faces: list[int] = []

    def forward(self, squares: torch.Tensor) -> torch.Tensor:
        self.faces.append(len(squares))
        return torch.zeros(len(squares), 5, 2)


def test_both_stages_decide() -> None:
    proposer = Proposer()
    third = Third()
    sure, unsure = LiteDetector(proposer, Blob(8.0), third), LiteDetector(proposer, Blob(-1.9), third)
    (faces,) = sure.detect([spotted(100, 70)], 0.6)
    assert third.faces == [1, 1], "two looks, only at the face that is left"
    assert np.isclose(proposer.asked, 0.36)
    assert len(faces) == 1
    assert faces[0].score > 0.8
    assert unsure.detect([spotted(100, 70)], 0.6) == [[]]
