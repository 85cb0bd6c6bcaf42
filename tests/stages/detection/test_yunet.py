"""YuNet around a stand-in of OpenCV's FaceDetectorYN: what goes in, what comes out, what is said of a bad file."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from lib_facerestore.errors import ModelFileError
from lib_facerestore.stages.detection import yunet


class StandIn:
    """Finds one face at a fixed place of its input, and remembers what it was given."""

    def __init__(self, row: list[float] | None) -> None:
        self.row = row
        self.threshold = 0.0
        self.size = (0, 0)
        self.seen: NDArray[np.uint8] = np.empty((0, 0, 3), np.uint8)

    def setScoreThreshold(self, threshold: float) -> None:
        self.threshold = threshold

    def setInputSize(self, size: tuple[int, int]) -> None:
        self.size = size

    def detect(self, image: NDArray[np.uint8]) -> tuple[int, NDArray[np.float32] | None]:
        self.seen = image
        return 1, None if self.row is None else np.array([self.row], np.float32)


POINTS = [110.0, 120.0, 130.0, 120.0, 120.0, 130.0, 112.0, 140.0, 128.0, 140.0]


def detector_with(found: StandIn, monkeypatch: pytest.MonkeyPatch) -> yunet.YuNetDetector:
    monkeypatch.setattr(cv2, "FaceDetectorYN_create", lambda *_: found, raising=False)
    return yunet.YuNetDetector(Path("yunet.onnx"))


def test_a_face_of_a_reduced_picture_is_in_pixels_of_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    found = StandIn([100.0, 100.0, 40.0, 50.0, *POINTS, 0.9])
    picture = np.zeros((960, 1280, 3), np.uint8)
    picture[..., 0] = 200  # red
    (face,) = detector_with(found, monkeypatch).detect([picture], 0.7)[0]
    assert found.threshold == pytest.approx(0.7)
    assert found.size == (640, 480) == found.seen.shape[1::-1]
    assert tuple(found.seen[240, 320]) == (0, 0, 200)  # OpenCV's colour order
    assert np.allclose(face.box, (200, 200, 280, 300), atol=1.0)
    assert np.allclose(face.landmarks, np.reshape(POINTS, (5, 2)) * 2, atol=1.0)
    assert face.score == pytest.approx(0.9)


def test_no_face_is_an_empty_list(monkeypatch: pytest.MonkeyPatch) -> None:
    assert detector_with(StandIn(None), monkeypatch).detect([np.zeros((64, 64, 3), np.uint8)]) == [[]]


def test_an_opencv_without_it_and_a_bad_file_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delattr(cv2, "FaceDetectorYN_create", raising=False)
    with pytest.raises(ModelFileError, match=r"yunet\.onnx: OpenCV .* has no FaceDetectorYN; install opencv-python"):
        yunet.YuNetDetector(Path("yunet.onnx"))
    monkeypatch.undo()
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"no network")
    with pytest.raises(ModelFileError, match=r"bad\.onnx: damaged, or not a file that OpenCV can load .*get it again"):
        yunet.YuNetDetector(bad)
