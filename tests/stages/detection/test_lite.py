"""lite: the shipped weights find a face that they have never seen."""

from __future__ import annotations

from importlib import resources

import numpy as np
import pytest

from lib_facerestore.stages.detection import create_detector

WEIGHTS = resources.files("lib_facerestore") / "weights" / "lite_detector.safetensors"

pytestmark = pytest.mark.skipif(not WEIGHTS.is_file(), reason="the lite detector's weights are not there yet")


@pytest.fixture(scope="module")
def astronaut() -> np.ndarray:
    """A portrait that comes with scikit-image, 512×512 RGB, one face."""
    return np.asarray(pytest.importorskip("skimage").data.astronaut())


def test_small_enough_to_ship() -> None:
    with resources.as_file(WEIGHTS) as path:
        assert path.stat().st_size < 1_500_000


def test_auto_without_files_is_lite() -> None:
    assert create_detector("auto", []).name == "lite"


def test_finds_the_astronaut(astronaut: np.ndarray) -> None:
    faces = create_detector("lite").detect([astronaut], 0.5)[0]
    assert len(faces) == 1
    face = faces[0]
    assert face.score > 0.5
    # The face spans about x 175-275, y 70-200 of the picture.
    assert 195 < face.centre[0] < 255 and 90 < face.centre[1] < 165 and 70 < face.side < 180
    points = face.landmarks
    assert (points >= face.box[:2]).all() and (points <= face.box[2:]).all()
    assert points[0, 0] < points[1, 0] and points[3, 0] < points[4, 0], "image left first"
    assert points[:2, 1].max() < points[2, 1] < points[3:, 1].min(), "eyes above nose above mouth"


def test_finds_it_mirrored_shrunk_and_in_one_call(astronaut: np.ndarray) -> None:
    mirrored = np.ascontiguousarray(astronaut[:, ::-1])
    corner = np.zeros((512, 700, 3), np.uint8)
    corner[200:456, 300:556] = astronaut[::2, ::2]
    plain, other, small = create_detector("lite").detect([astronaut, mirrored, corner], 0.5)
    assert len(plain) == len(other) == len(small) == 1
    assert abs(plain[0].centre[0] + other[0].centre[0] - 512) < 15
    assert abs(small[0].centre[0] - (300 + plain[0].centre[0] / 2)) < 8
    assert abs(small[0].centre[1] - (200 + plain[0].centre[1] / 2)) < 8


def test_the_surest_face_is_the_astronauts(astronaut: np.ndarray) -> None:
    face = create_detector("lite").detect([astronaut], 0.5)[0][0]
    assert 195 < face.centre[0] < 255
    assert 90 < face.centre[1] < 165
    points = face.landmarks
    assert points[0, 0] < points[1, 0]
    assert points[3, 0] < points[4, 0], "image left first"
    assert points[:2, 1].max() < points[2, 1] < points[3:, 1].min(), "eyes above nose above mouth"


def test_finds_nothing_in_pictures_without_a_face() -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (160, 200, 3), dtype=np.uint8)
    ramp = np.broadcast_to(np.linspace(0, 255, 200).astype(np.uint8)[None, :, None], (160, 200, 3)).copy()
    black = np.zeros((160, 200, 3), np.uint8)
    assert create_detector("lite").detect([noise, ramp, black], 0.5) == [[], [], []]
