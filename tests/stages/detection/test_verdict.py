"""The score from what both stages say, and what becomes of faces of which the second stage says nothing finite."""

from __future__ import annotations

import logging

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from lib_facerestore.stages.detection import verdict
from lib_facerestore.stages.detection.landmark_net import place
from lib_facerestore.stages.detection.lite import LiteDetector
from lib_facerestore.stages.detection.postprocess import Detections
from lib_facerestore.stages.detection.refine import DOUBTFUL, confirm, judge, refine
from lib_facerestore.stages.detection.verdict import Seen
from lib_facerestore.stages.detection.verified import VerifiedDetector
from tests.stages.detection.test_looks import Agrees, Sees, Stays, empty
from tests.stages.detection.test_refine import CPU, proposal, spotted
from tests.stages.detection.test_verified import Gives, picture

BOX = (100.0, 100.0, 140.0, 150.0)


def seen(proposed: float = 0.7, logits: tuple[float, ...] = (4, 4, 4), apart: float = 0.02, side: float = 0) -> Seen:
    """What is seen of one proposal, `side` pixels to the right of another."""
    box = np.array([BOX]) + np.array([side, 0, side, 0])
    return Seen(np.array([proposed]), np.array([logits], float), np.array([apart]), box, np.zeros((1, 5, 2)))


SHARP = np.random.default_rng(0).integers(0, 256, (300, 451, 3)).astype(np.uint8)
"""As large as scikit-image's photograph of a cat."""


def scores(some: Seen, image: np.ndarray = SHARP) -> np.ndarray:
    return verdict.scores(some, image)


def score(one: Seen) -> float:
    return float(scores(one)[0])


def test_each_stage_has_its_say() -> None:
    plain = score(seen())
    assert score(seen(proposed=0.9)) > plain > score(seen(proposed=0.3))
    assert score(seen(logits=(5, 4, 4))) > plain > score(seen(logits=(2, 4, 4)))
    assert score(seen(logits=(4, 5, 5))) > plain > score(seen(logits=(4, 2, 2)))
    assert plain > score(seen(apart=0.08))


def test_a_small_face_of_which_both_stages_are_fairly_sure_counts() -> None:
    """Such scores were those of faces of 24 to 64 pixels that were missed."""
    assert score(seen(0.83, (2.7, 4.9, 3.6), 0.052)) > 0.5
    assert score(seen(0.8, (3.8, 3.2, 2.9), 0.029)) > 0.5
    assert score(seen(0.59, (5.8, 5.0, 3.2), 0.03)) > 0.5
    assert score(seen(0.4, (-1, -1, 0), 0.05)) < 0.1


def test_a_large_face_of_which_the_second_stage_is_unsure_does_not_count() -> None:
    """A cat from the front (that of scikit-image): poor logits, but sure proposals that agree."""
    cat = Seen(
        np.array([0.83, 0.71]), np.array([[1.1, 4.4, 3.2], [1.1, 0.8, -1.2]]), np.array([0.045, 0.03]),
        np.array([[88.0, 19, 330, 209], [86, 20, 332, 212]]), np.zeros((2, 5, 2)),
    )  # fmt: skip
    assert scores(cat).max() < 0.5
    assert scores(cat, cv2.GaussianBlur(SHARP, (0, 0), 8))[0] > 0.5, "a blurred face may be seen no better"
    cut = Seen(cat.proposed, cat.logits, cat.apart, cat.boxes + np.array([200, 0, 200, 0]), cat.points)
    assert scores(cut)[0] > 0.5, "nor one that the border cuts"
    assert verdict.clearly_shown(SHARP, cat.boxes[0])
    assert not verdict.clearly_shown(SHARP, cat.boxes[0] * (1, 0, 1, 0)), "a box without height"
    smaller = Seen(cat.proposed, cat.logits, cat.apart, cat.boxes / 5, cat.points / 5)
    assert scores(smaller)[0] > 0.5


def test_other_proposals_that_turn_into_the_same_face_speak_for_it() -> None:
    alone, doubtful = seen(0.3, (1, 1, 1)), seen(0.3, (1, 1, 1), side=2)
    far = seen(0.3, (1, 1, 1), side=300)
    assert np.allclose(scores(Seen.join([alone, far])), score(alone))
    together = scores(Seen.join([alone, doubtful]))
    assert (together > score(alone)).all()
    assert scores(Seen.join([alone, doubtful, seen(0.9, side=-1)]))[0] > together[0]


def test_logits_of_the_second_stage_alone_are_lower_where_it_disagrees_with_itself() -> None:
    assert verdict.agreed_logits(seen(logits=(1, 2, 6)))[0] == 3
    assert verdict.agreed_logits(seen(logits=(1, 2, 6), apart=0.07))[0] == pytest.approx(1)


class Breaks(nn.Module):
    """A second stage that gives the number `what` from its run number `after` on."""

    def __init__(self, what: float, after: int) -> None:
        super().__init__()
        self.what, self.left = what, after

    def forward(self, squares: torch.Tensor) -> torch.Tensor:
        answer = Agrees()(squares)
        if self.left <= 0:
            answer[:, 3] = self.what
            answer[:, 0] = self.what
        self.left -= 1
        return answer


@pytest.mark.parametrize("what", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("after", [0, 1, 2])
def test_without_finite_numbers_from_the_second_stage_the_firsts_values_stay(
    what: float, after: int, caplog: pytest.LogCaptureFixture
) -> None:
    first = proposal(100, 70, 40)
    with caplog.at_level(logging.WARNING):
        found = refine(Breaks(what, after), spotted(100, 70), first, CPU, any_angle=False)
    assert np.array_equal(found.boxes, first.boxes) and np.array_equal(found.landmarks, first.landmarks)
    assert np.allclose(found.scores, first.scores)
    assert "not finite" in caplog.text


class Doubts(nn.Module):
    """A second stage that doubts what it first sees, and gives NaN afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self.runs = 0

    def forward(self, squares: torch.Tensor) -> torch.Tensor:
        answer = Agrees()(squares)
        answer[:, 0] = DOUBTFUL - 0.5 if self.runs == 0 else float("nan")
        self.runs += 1
        return answer


def test_looks_from_other_angles_that_fail_are_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        judge(Doubts(), spotted(100, 70), proposal(100, 70, 40), CPU)
    assert "3 of 3 more looks at proposals: not finite" in caplog.text
    caplog.clear()
    confirm(Breaks(float("nan"), 0), spotted(100, 70), proposal(100, 70, 40), CPU)
    assert "2 of 2 more looks" in caplog.text


def test_a_detector_whose_second_stage_breaks_still_finds_faces() -> None:
    sees = Sees([(100, 100, 300, 350)], 100, 600)
    faces = LiteDetector(sees, Breaks(float("nan"), 0), Stays()).detect([empty(512, 512)], 0.5)[0]
    assert [face.box for face in faces] == [(100, 100, 300, 350)]
    assert faces[0].score == pytest.approx(0.9)


def test_a_face_stays_unchecked_where_the_second_stage_breaks(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        (faces,) = VerifiedDetector(Gives(), Breaks(float("inf"), 0), Stays()).detect([picture()], 0.5)
    assert faces == [Gives.face(50, 0.9), Gives.face(150, 0.7)]
    assert "gives: 2 faces are not checked" in caplog.text


def test_landmarks_stay_where_the_third_stage_breaks(caplog: pytest.LogCaptureFixture) -> None:
    class NotANumber(nn.Module):
        def forward(self, squares: torch.Tensor) -> torch.Tensor:
            return torch.full((len(squares), 5, 2), float("nan"))

    points = Detections.of([Gives.face(50, 0.9)]).landmarks
    assert np.array_equal(place(NotANumber(), picture(), points, CPU), points)
    assert "1 of 1 faces: landmarks are those of the second stage" in caplog.text
