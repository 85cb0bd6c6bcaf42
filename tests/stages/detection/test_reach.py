"""Small faces that may have been missed in large pictures are told, in plain words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from lib_facerestore.batch.folder import detect_files
from lib_facerestore.batch.search import Input
from lib_facerestore.faces.face import Face
from lib_facerestore.images.files import from_array, write_picture
from lib_facerestore.pipeline import FaceRestorer
from lib_facerestore.stages.detection import create_detector
from lib_facerestore.stages.detection.reach import ReducingDetector, remark
from lib_facerestore.stages.detection.verified import verified

from ...conftest import KnownFaces
from ...pipeline_helpers import SMALL

PLACES = ((60, 70, 60), (190, 100, 120))


def sized(width: int, height: int) -> NDArray[np.uint8]:
    """A picture of this size that takes no memory."""
    return np.broadcast_to(np.uint8(0), (height, width, 3))


def face(side: float) -> Face:
    return Face(0, (0.0, 0.0, side, side), np.zeros((5, 2), np.float32), 0.9)


class Reducing(KnownFaces):
    """It says that it looks at a sixth of the size."""

    least = 10.0

    def finest(self, image: NDArray[np.uint8], faces: list[Face]) -> float:
        return 1 / 6


@pytest.mark.parametrize(
    ("width", "height", "told"),
    [
        (512, 512, ""),
        (4032, 3024, ""),
        (8000, 6000, "at a sixth of its size: faces smaller than about 90 pixels may have been missed"),
        (6000, 4000, "at a fifth of its size: faces smaller than about 70 pixels may have been missed"),
        (24000, 12000, "at 1/19 of its size"),
    ],
)
def test_a_large_picture_is_told_in_plain_words(width: int, height: int, told: str) -> None:
    said = remark(create_detector("lite"), sized(width, height), [])
    assert said.startswith("the picture is so large that it was searched ") is bool(told) and told in said


def test_further_looks_count() -> None:
    lite = create_detector("lite")
    assert isinstance(lite, ReducingDetector)
    picture = sized(8000, 6000)
    assert lite.finest(picture, []) == pytest.approx(0.16)
    assert lite.finest(picture, [face(2000.0)] * 5) == pytest.approx(0.16)
    assert lite.finest(picture, [face(200.0)] * 5) == pytest.approx(0.32)
    assert lite.finest(picture, [face(60.0)] * 5) > 0.5 and lite.finest(sized(100, 90), []) == 1.0
    assert remark(lite, picture, [face(60.0)] * 5) == ""


def test_a_detector_that_does_not_say_it_is_not_spoken_for() -> None:
    assert remark(KnownFaces(), sized(8000, 6000), []) == remark(verified(KnownFaces()), sized(8000, 6000), []) == ""
    assert "at a sixth of its size" in remark(verified(Reducing()), sized(8000, 6000), [])


def test_it_is_told_where_faces_are_restored_or_found(models: Path, tmp_path: Path, photo: np.ndarray) -> None:
    restorer = FaceRestorer(models, "cpu", detector=Reducing(*PLACES))
    said = remark(Reducing(), photo, [])
    assert said.endswith("faces smaller than about 60 pixels may have been missed")
    result = restorer.restore(photo, SMALL)
    assert result.hints == (said,) and result.changed
    write_picture(from_array(photo), tmp_path / "a.png")
    ((_, faces, notes, error),) = detect_files(restorer, [Input(tmp_path / "a.png", Path("a.png"))], SMALL)
    assert (len(faces), notes, error) == (2, (f"{tmp_path / 'a.png'}: {said}",), "")
