"""Arrays and pictures: there and back, other pixels, what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from lib_facerestore.errors import InputError
from lib_facerestore.images.files import Picture, from_array, from_pil, replace_pixels, to_array, to_pil

from .samples import DEEP, EIGHT, pil_image


def test_replace_pixels_resizes_alpha_and_guards_depth() -> None:
    array = EIGHT.copy()
    array[..., 3] = 254
    bigger = np.repeat(np.repeat(array[..., :3], 2, 0), 2, 1)
    picture = replace_pixels(from_array(array), bigger)
    assert picture.alpha is not None
    assert picture.alpha.shape == bigger.shape[:2]
    assert (picture.alpha == 254).all()
    upscaled = replace_pixels(from_pil(pil_image("CMYK")), bigger)
    assert to_pil(upscaled).mode == "CMYK"
    assert to_pil(upscaled).size == (62, 46)
    assert to_pil(replace_pixels(from_pil(pil_image("P")), bigger)).mode == "RGB"
    with pytest.raises(InputError, match="depth"):
        replace_pixels(from_array(EIGHT), DEEP[..., :3])
    with pytest.raises(InputError, match="height × width × 3"):
        replace_pixels(from_array(EIGHT), EIGHT)


@pytest.mark.parametrize("array", [EIGHT, EIGHT[..., :3], EIGHT[..., 0], DEEP, DEEP[..., :3], DEEP[..., 0]])
def test_array_round_trip(array: np.ndarray) -> None:
    back = to_array(from_array(array))
    assert back.dtype == array.dtype
    assert np.array_equal(back, array)
    assert not np.shares_memory(back, array)


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.zeros((4, 4, 3), np.float32), "uint8"),
        (np.zeros((4, 4, 2), np.uint8), "RGB"),
        (np.zeros((0, 4, 3), np.uint8), "no pixels"),
        ([[1, 2]], "numpy"),
    ],
)
def test_array_errors(array: np.ndarray, says: str) -> None:
    with pytest.raises(InputError, match=says):
        from_array(array)


def test_mismatched_alpha_is_refused() -> None:
    with pytest.raises(InputError, match="alpha"):
        Picture(EIGHT[..., :3], DEEP[..., 3])
