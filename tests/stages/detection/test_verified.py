"""verified: the second stage of lite drops what another detector wrongly takes for a face, and nothing else."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lib_facerestore.errors import ModelFileError
from lib_facerestore.faces.face import Face
from lib_facerestore.pipeline import FaceRestorer
from lib_facerestore.stages.detection import create_detector, lite, load_detector
from lib_facerestore.stages.detection.lite import LiteDetector
from lib_facerestore.stages.detection.retinaface import MOBILENET, RetinaFaceDetector, build_network
from lib_facerestore.stages.detection.verified import VerifiedDetector

UPRIGHT = np.array([[-12.0, -10], [12, -10], [0, 0], [-9, 14], [9, 14]])


class Gives:
    """A detector with two faces: one round (50, 50), one round (150, 50), both upright."""

    name = "gives"

    def detect(self, images: Sequence[np.ndarray], confidence: float) -> list[list[Face]]:
        return [[self.face(50, 0.9), self.face(150, 0.7)] for _ in images]

    @staticmethod
    def face(x: float, score: float) -> Face:
        return Face(0, (x - 20, 30, x + 20, 70), (UPRIGHT + np.array([x, 50])).astype(np.float32), score)


class LikesRed(nn.Module):
    """A second stage: red squares are faces, the more surely the darker they are below."""

    def forward(self, squares: torch.Tensor) -> torch.Tensor:
        red = squares[:, 0].mean((1, 2)) - squares[:, 1].mean((1, 2))
        above = squares[:, 0, 20:48].mean((1, 2)) - squares[:, 0, 48:76].mean((1, 2))
        logit = torch.where(red > 0.2, 2 + 4 * above, torch.full_like(red, -6.0))
        points = torch.from_numpy(UPRIGHT / 64).float().flatten()
        box = torch.tensor([-0.3, -0.3, 0.3, 0.3])
        return torch.cat([logit[:, None], torch.cat([box, points]).repeat(len(squares), 1)], 1)


class Same(nn.Module):
    """A third stage that leaves the landmarks about where they were."""

    def forward(self, squares: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy((UPRIGHT - (0, 2)) / 55).float().repeat(len(squares), 1, 1)


def picture(*below: int) -> np.ndarray:
    """Red round the first face, with this red in the lower half; grey round the second."""
    image = np.full((100, 200, 3), 120, np.uint8)
    image[:, :100] = (200, 110, 110)
    image[50:, :100, 0] = below[0] if below else 200
    return image


def test_what_the_second_stage_denies_is_dropped_and_the_rest_is_as_it_was() -> None:
    (faces,) = VerifiedDetector(Gives(), LikesRed(), Same()).detect([picture()], 0.5)
    assert faces == [Gives.face(50, 0.9)]


def test_landmarks_of_a_face_on_its_head_are_turned_round() -> None:
    image = picture(255)
    image[:50, :100, 0] = 90  # the bright half, the forehead, is below
    (faces,) = VerifiedDetector(Gives(), LikesRed(), Same()).detect([image], 0.5)
    assert len(faces) == 1
    assert faces[0].box == Gives.face(50, 0.9).box
    points = faces[0].landmarks
    assert points[:2, 1].min() > points[3:, 1].max() and points[0, 0] > points[1, 0]


def test_nothing_is_checked_where_nothing_is_found() -> None:
    class Never(nn.Module):
        def forward(self, squares: torch.Tensor) -> torch.Tensor:
            raise AssertionError("there is nothing to look at")

    class Blind:
        name = "blind"

        def detect(self, images: Sequence[np.ndarray], confidence: float) -> list[list[Face]]:
            return [[] for _ in images]

    assert VerifiedDetector(Blind(), Never(), Never()).detect([picture(), picture()], 0.5) == [[], []]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "detection_mobilenet0.25_Final.pth"
    torch.save(build_network(MOBILENET).state_dict(), path)
    return path


def test_every_detector_but_lite_is_checked(file: Path) -> None:
    for name in ("auto", "retinaface-mobilenet", str(file)):
        detector = create_detector(name, [file.parent])
        assert isinstance(detector, VerifiedDetector) and isinstance(detector.base, RetinaFaceDetector)
        assert detector.name == detector.base.name
    assert isinstance(create_detector("lite"), LiteDetector)
    assert isinstance(load_detector("retinaface-mobilenet", file), RetinaFaceDetector)


def test_without_lites_weights_the_detector_works_unchecked_and_says_so(
    file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def missing(name: str) -> Path:
        raise ModelFileError(f"{name} is not there")

    monkeypatch.setattr(lite, "weights_path", missing)
    with caplog.at_level(logging.WARNING):
        detector = create_detector("retinaface-mobilenet", [file.parent])
    assert isinstance(detector, RetinaFaceDetector)
    assert "retinaface-mobilenet: its faces are not checked" in caplog.text
    assert "lite_refiner.safetensors is not there" in caplog.text


def test_a_detector_that_is_given_as_an_object_is_not_touched(tmp_path: Path) -> None:
    image = picture()
    found = FaceRestorer(tmp_path, "cpu", detector=Gives()).detect(image)
    assert [face.box for face in found] == [Gives.face(50, 0.9).box, Gives.face(150, 0.7).box]
