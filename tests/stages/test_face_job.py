"""One face from its crop to its paste: the matrix from an enlarged picture back, and what is kept in between."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import pytest

from lib_facerestore.faces import alignment
from lib_facerestore.faces.face import Face
from lib_facerestore.options.table import Options
from lib_facerestore.stages import face_job
from lib_facerestore.stages.loaded_models import ChosenRestorer


def test_a_face_is_pasted_where_it_is_when_the_sides_grow_unequally() -> None:
    """21×301 at 1.3 is 27×391: the one side grows by 1.286, the other by 1.299."""
    big = face_job._shrink((301, 21), np.zeros((27, 391, 3), np.uint8))
    for x, y in ((0, 0), (390, 26)):  # the outer corners of the pixels at the ends meet
        here = big @ (x + (0.5 if x else -0.5), y + (0.5 if y else -0.5), 1)
        assert here == pytest.approx((300.5 if x else -0.5, 20.5 if y else -0.5))


@pytest.mark.parametrize(("grain", "film", "kept"), [("auto", False, False), ("auto", True, True), (0.0, True, False)])
def test_faces_that_wait_for_their_paste_keep_patches_only_if_grain_is_made_of_them(
    grain: Literal["auto"] | float, film: bool, kept: bool
) -> None:
    """1.5 MB a face: a sheet of a thousand faces took 1.5 GB."""
    noise = np.random.default_rng(3).standard_normal((400, 400, 3)).astype(np.float32)
    if film:
        noise = cv2.GaussianBlur(noise, (0, 0), 1.2) * 3.5
    canvas = np.clip(128 + 12 * noise, 0, 255).astype(np.uint8)
    face = Face(1, (120.0, 120.0, 280.0, 280.0), (alignment.ffhq_template(256) * 0.8 + 98).astype(np.float32), 1.0)
    restorer = ChosenRestorer("lite", Path("lite"), 256, "ffhq", frozenset())
    job = face_job.cut(0, face, restorer, Options.from_mapping({"grain": grain}), canvas)
    job.restored = job.crop
    face_job.prepare(job, None, canvas, (400, 400))
    found = job.surroundings
    assert found is not None and found.noise.level > 0.01
    size = found.noise.patches.nbytes + found.around.patches.nbytes
    assert size > 50_000 if kept else size == 0
    assert not grain or (found.film > 0.5) == film
    face_job.paste([job], canvas, (400, 400))
    assert job.applied
