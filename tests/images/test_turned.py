"""PIL images that a camera stored lying: faces are found upright, and come back where the caller's pixels are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lib_facerestore import FaceRestorer, Options
from lib_facerestore.images.metadata import turn_back

from ..conftest import KnownFaces

SMALL = Options(model="small", color="none")


def stored(photo: np.ndarray, orientation: int) -> Image.Image:
    """The photo as a camera held that way stores it, with the EXIF that says so."""
    image = Image.fromarray(turn_back(photo, orientation))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.info["exif"] = exif.tobytes()
    return image


@pytest.mark.parametrize(("orientation", "upscale"), [*((lying, 1) for lying in range(1, 9)), (3, 2), (5, 2), (6, 2)])
def test_a_lying_pil_image_is_restored_upright(models: Path, photo: np.ndarray, orientation: int, upscale: int) -> None:
    finder = KnownFaces((60, 70, 60))
    restorer = FaceRestorer(models, "cpu", detector=finder)
    options = SMALL.replace(upscale=upscale)
    plain = restorer.restore(photo, options)
    given = stored(photo, orientation)
    result = restorer.restore(given, options)
    assert {width for widths in finder.seen for width in widths} == {280}, "the detector sees it upright"
    assert result.image.size == (given.width * upscale, given.height * upscale)
    assert result.image.info["exif"] == given.info["exif"]
    assert np.array_equal(np.asarray(result.image), turn_back(plain.image, orientation))
    assert result.faces[0].face == restorer.detect(given, SMALL)[0]
    marks = np.zeros(photo.shape[:2], np.uint8)
    for x, y in plain.faces[0].landmarks:
        marks[int(y), int(x)] = 1
    turned = turn_back(marks, orientation)
    for (x, y), box in ((spot, result.faces[0].box) for spot in result.faces[0].landmarks):
        assert turned[round(y) - 1 : round(y) + 2, round(x) - 1 : round(x) + 2].any()
        assert box[0] < x < box[2] and box[1] < y < box[3]


def test_the_left_eye_of_a_mirrored_face_is_the_one_on_the_left(models: Path, photo: np.ndarray) -> None:
    restorer = FaceRestorer(models, "cpu", detector=KnownFaces((60, 70, 60)))
    (face,) = restorer.detect(stored(photo, 2))
    assert face.landmarks[0, 0] < face.landmarks[1, 0] and face.landmarks[3, 0] < face.landmarks[4, 0]


def test_nothing_to_do_gives_the_image_as_it_was(models: Path, photo: np.ndarray) -> None:
    given = stored(photo, 6)
    result = FaceRestorer(models, "cpu", detector=KnownFaces()).restore(given, SMALL)
    assert (result.image.size, result.image.tobytes()) == (given.size, given.tobytes())
    assert result.image.info == given.info
