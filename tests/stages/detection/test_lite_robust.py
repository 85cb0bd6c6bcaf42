"""lite, with the shipped weights: faces that are damaged, tilted, cut by the border, or of an unusual size."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from lib_facerestore.faces.face import Face
from lib_facerestore.stages.detection import Detector, create_detector
from tools.photographs import PHOTOS, TEACHER, read_labels, read_rgb

CASES = PHOTOS.parent / "cases"
photographs = pytest.mark.skipif(not PHOTOS.exists(), reason=f"needs the photographs of {PHOTOS}")


@pytest.fixture(scope="module")
def lite() -> Detector:
    return create_detector("lite")


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    """The face of scikit-image's astronaut, 256×256 RGB; it spans about x 70-180, y 60-190."""
    image = np.asarray(pytest.importorskip("skimage").data.astronaut())[20:190, 140:310]
    return np.asarray(cv2.resize(image, (256, 256), interpolation=cv2.INTER_CUBIC), np.uint8)


def only(faces: Sequence[Face]) -> Face:
    assert len(faces) == 1
    return faces[0]


def sent(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    return points @ matrix[:, :2].T + matrix[:, 2]


def test_a_large_portrait_is_found_blurred_noisy_and_coarse(lite: Detector, portrait: np.ndarray) -> None:
    large = np.asarray(cv2.resize(portrait, (512, 512), interpolation=cv2.INTER_CUBIC), np.uint8)
    noise = np.random.default_rng(0).normal(0, 50, large.shape)
    small = cv2.resize(large, (43, 43), interpolation=cv2.INTER_AREA)
    damaged = [
        np.asarray(cv2.GaussianBlur(large, (0, 0), 8), np.uint8),
        np.clip(large + noise, 0, 255).astype(np.uint8),
        np.asarray(cv2.resize(small, (512, 512), interpolation=cv2.INTER_CUBIC), np.uint8),
    ]
    right = only(lite.detect([large], 0.5)[0])
    for faces in lite.detect(damaged, 0.5):
        assert np.abs(np.array(only(faces).box) - right.box).max() < 40


@pytest.mark.parametrize("degrees", [30, 50, 90, 135, 180, 270])
def test_a_tilted_face_is_found_with_its_landmarks_the_right_way_round(
    lite: Detector, portrait: np.ndarray, degrees: int
) -> None:
    upright = only(lite.detect([portrait], 0.5)[0]).landmarks
    matrix = np.array(cv2.getRotationMatrix2D((127.5, 127.5), -degrees, 1.0))
    matrix[:, 2] += 52
    turned = cv2.warpAffine(portrait, matrix, (360, 360), borderMode=cv2.BORDER_REPLICATE)
    found = only(lite.detect([np.asarray(turned, np.uint8)], 0.5)[0]).landmarks
    assert np.linalg.norm(found - sent(upright, matrix), axis=1).max() < 12


def test_a_face_that_the_border_cuts_is_found_and_its_landmarks_go_on_outside(
    lite: Detector, portrait: np.ndarray
) -> None:
    whole = only(lite.detect([portrait], 0.5)[0])
    x0, y0, x1, y1 = whole.box
    left, low = round(x0 + 0.3 * (x1 - x0)), round(y1 - 0.45 * (y1 - y0))
    cut = only(lite.detect([np.ascontiguousarray(portrait[:, left:])], 0.5)[0])
    assert np.linalg.norm(cut.landmarks + np.array([left, 0]) - whole.landmarks, axis=1).max() < 14
    assert cut.box[0] >= 0
    half = only(lite.detect([np.ascontiguousarray(portrait[:low])], 0.5)[0])
    assert np.linalg.norm(half.landmarks - whole.landmarks, axis=1).mean() < 16
    assert half.landmarks[3:, 1].min() > low - 5, "the mouth is below the border"
    assert half.box[3] <= low


@photographs
def test_all_thirty_faces_of_a_very_wide_group_are_found(lite: Detector) -> None:
    assert len(lite.detect([read_rgb(CASES / "group8000_150px.jpg")], 0.5)[0]) == 30


@photographs
def test_a_face_that_fills_the_picture_is_found(lite: Detector) -> None:
    face = only(lite.detect([read_rgb(CASES / "closeup_missed_by_lite.jpg")], 0.5)[0])
    assert face.side > 1300


@photographs
def test_a_retinaface_takes_fewer_other_things_for_faces_and_finds_the_same_ones() -> None:
    every = [label for label in read_labels(PHOTOS, "val") if label["faces"] == 1]
    labels = [every[at] for at in (0, 24, 50, 80, 103, 130)]  # it takes part of a suit and of a dress for faces
    images: list[NDArray[np.uint8]] = []
    for label in labels:
        image = read_rgb(PHOTOS / "faces" / label["file"])
        size = (max(1, image.shape[1] // 8), max(1, image.shape[0] // 8))
        images.append(np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8))
    checked = create_detector(str(PHOTOS / TEACHER)).detect(images, 0.5)
    assert [len(faces) for faces in checked] == [1] * len(images)
