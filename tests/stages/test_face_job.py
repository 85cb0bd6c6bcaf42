"""The matrix that leads from an enlarged picture back to the picture."""

from __future__ import annotations

import numpy as np
import pytest

from lib_facerestore.stages import face_job


def test_a_face_is_pasted_where_it_is_when_the_sides_grow_unequally() -> None:
    """21×301 at 1.3 is 27×391: the one side grows by 1.286, the other by 1.299."""
    big = face_job._shrink((301, 21), np.zeros((27, 391, 3), np.uint8))
    for x, y in ((0, 0), (390, 26)):  # the outer corners of the pixels at the ends meet
        here = big @ (x + (0.5 if x else -0.5), y + (0.5 if y else -0.5), 1)
        assert here == pytest.approx((300.5 if x else -0.5, 20.5 if y else -0.5))
