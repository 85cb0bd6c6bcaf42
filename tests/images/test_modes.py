"""Depths: one way from 16 bits to 8."""

from __future__ import annotations

import numpy as np
import pytest

from lib_facerestore.errors import InputError
from lib_facerestore.images.modes import to_eight_bit


def test_sixteen_bits_become_the_nearest_eight() -> None:
    every = np.arange(65536, dtype=np.uint16)
    nearest = np.rint(every / 257).astype(np.uint8)
    assert np.array_equal(to_eight_bit(every), nearest)
    assert np.array_equal(to_eight_bit(every.reshape(64, 256, 4)), nearest.reshape(64, 256, 4))
    assert to_eight_bit(every).dtype == np.uint8


def test_eight_bits_stay_the_same_array() -> None:
    pixels = np.zeros((2, 3, 3), np.uint8)
    assert np.shares_memory(to_eight_bit(pixels), pixels)


def test_other_depths_are_refused() -> None:
    with pytest.raises(InputError, match="float32 is not supported"):
        to_eight_bit(np.zeros((2, 3), np.float32))  # type: ignore[arg-type]
