"""Faces that overlap: each pixel is changed once, and the order of the faces does not matter."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lib_facerestore import FaceRestorer, Options
from lib_facerestore.networks.load import Network
from lib_facerestore.stages import blending

from .conftest import KnownFaces
from .stages.blending_helpers import smooth_picture, white

SIDE = 420
PLACES = [(150 + 40 * (k % 4), 150 + 45 * (k // 4), 300) for k in range(10)]
"""Faces larger than their crops, each over all the others."""


def enlarged(face: float) -> tuple[NDArray[np.float32], list[tuple[float, float, float]]]:
    """Picture and places for faces of this size in place of 300."""
    side = round(SIDE * face / 300)
    return smooth_picture(side, side), [(x * face / 300, y * face / 300, face) for x, y, _ in PLACES]


@pytest.fixture
def clean() -> NDArray[np.float32]:
    return smooth_picture(SIDE, SIDE)


def restored(
    noisy: NDArray[np.uint8], places: Sequence[tuple[float, float, float]], options: Options
) -> NDArray[np.uint8]:
    return FaceRestorer(device="cpu", detector=KnownFaces(*places)).restore(noisy, options).image


def decibels(one: NDArray[np.uint8], two: NDArray[np.float32]) -> float:
    part = slice(len(two) // 7, len(two) * 5 // 7)
    return float(-10 * np.log10(np.mean((one[part, part] / 255.0 - two[part, part]) ** 2)))


@pytest.fixture
def smoother(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that removes noise perfectly well: a mean of 5×5 pixels."""

    def smooth(network: Network, faces: torch.Tensor, *, fidelity: float | None = None) -> torch.Tensor:
        padded = torch.nn.functional.pad(faces, (2, 2, 2, 2), mode="replicate")
        return torch.nn.functional.avg_pool2d(padded, 5, 1)

    monkeypatch.setattr(Network, "__call__", smooth)


@pytest.mark.parametrize(("count", "face"), [(2, 400), (3, 360), (10, 320)])
def test_overlapping_faces_change_a_pixel_once(smoother: None, count: int, face: float) -> None:
    clean, places = enlarged(face)
    options = Options(model="lite", mask="box", color="none", grain=0)
    noisy = (white(clean, 12) * 255).round().astype(np.uint8)
    alone = decibels(restored(noisy, places[:1], options), clean)
    together = decibels(restored(noisy, places[:count], options), clean)
    assert alone > decibels(noisy, clean) + 1.5
    assert together > alone - 0.1  # it was 0.6 dB below it with two faces, 2.4 with three, 2.5 with ten


def test_the_order_of_overlapping_faces_does_not_matter(clean: NDArray[np.float32], smoother: None) -> None:
    options = Options(model="lite", color="none", grain=0)
    noisy = (white(clean, 12) * 255).round().astype(np.uint8)
    orders = ((0, 1, 2), (2, 1, 0), (1, 2, 0))
    results = [restored(noisy, [PLACES[k] for k in order], options) for order in orders]
    assert not np.array_equal(results[0], noisy)
    for other in results[1:]:
        assert np.array_equal(results[0], other)


def test_faces_side_by_side_are_pasted_as_if_alone(clean: NDArray[np.float32], smoother: None) -> None:
    options = Options(model="lite", color="none", grain=0)
    noisy = (white(np.hstack([clean, clean]), 12) * 255).round().astype(np.uint8)
    left, right = (200.0, 200.0, 200.0), (620.0, 200.0, 200.0)
    both = restored(noisy, [left, right], options)
    middle = SIDE
    assert np.array_equal(both[:, :middle], restored(noisy, [left], options)[:, :middle])
    assert np.array_equal(both[:, middle:], restored(noisy, [right], options)[:, middle:])


def test_a_row_of_touching_faces_needs_no_memory_for_the_box_around_all() -> None:
    picture = np.zeros((2000, 3000, 3), np.uint8)
    places = [(x, round(x * 0.6)) for x in range(0, 2700, 150)]
    layers = [
        blending.Layer(
            (x, y, x + 180, y + 180), np.full((180, 180, 3), 0.2, np.float32), np.ones((180, 180), np.float32)
        )
        for x, y in places
    ]
    tracemalloc.start()
    blending.apply(picture, layers)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * 2**20  # it was 130 MiB
    assert set(np.unique(picture)) == {0, 51}
    assert (picture[90, 90] == 51).all() and (picture[100, 170] == 51).all()
