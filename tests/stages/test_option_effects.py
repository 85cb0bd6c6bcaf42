"""Each option of the paste changes what it should, and nothing else."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
import safetensors.torch

from lib_facerestore import FaceRestorer
from lib_facerestore.options.table import PER_FACE, Options

from ..conftest import KnownFaces, small_lite
from .blending_helpers import drawn_picture, film, to_uint8

SIDE = 300
PICTURE = to_uint8(film(drawn_picture(SIDE), 20))
FACE = (150, 150, 130)
"""Centre and side of the face's box."""
PLAIN = Options(model="small", color="none", mask="ellipse", grain=0)


@pytest.fixture(scope="module")
def restorer(tmp_path_factory: pytest.TempPathFactory) -> FaceRestorer:
    models = tmp_path_factory.mktemp("models")
    safetensors.torch.save_file(small_lite().state_dict(), models / "small.safetensors")
    return FaceRestorer(models, "cpu", detector=KnownFaces(FACE))


def restored(restorer: FaceRestorer, **changes: Any) -> np.ndarray:
    return restorer.restore(PICTURE, PLAIN.replace(**changes)).image.astype(float)


def changed(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return (one != other).any(axis=2)


@pytest.fixture(scope="module")
def plain(restorer: FaceRestorer) -> np.ndarray:
    return restored(restorer)


CHANGES: dict[str, dict[str, Any]] = {
    "visibility": {"visibility": 0.5}, "mask": {"mask": "box"}, "mask_feather": {"mask_feather": 0.3},
    "keep": {"keep": "eyes"}, "color": {"color": "match"}, "detail": {"detail": 1.0}, "grain": {"grain": 1.0},
}  # fmt: skip


def test_every_option_of_a_single_face_is_here_or_of_the_network() -> None:
    assert set(CHANGES) == set(PER_FACE) - {"model", "fidelity"}


@pytest.mark.parametrize("name", CHANGES)
def test_it_changes_the_face_and_nothing_far_from_it(restorer: FaceRestorer, plain: np.ndarray, name: str) -> None:
    image = restored(restorer, **CHANGES[name])
    difference = changed(image, plain)
    assert difference.any()
    far = np.ones((SIDE, SIDE), bool)
    far[30:270, 30:270] = False
    assert not changed(image, PICTURE)[far].any()
    assert np.array_equal(image, restored(restorer, **CHANGES[name]))


def test_visibility_scales_the_change(restorer: FaceRestorer, plain: np.ndarray) -> None:
    half = restored(restorer, visibility=0.5)
    assert np.abs(half - (plain + PICTURE) / 2).max() <= 1


def test_masks_and_feathers_leave_the_middle_of_the_face_alone(restorer: FaceRestorer, plain: np.ndarray) -> None:
    middle = (slice(130, 180), slice(125, 175))
    for changes in ({"mask": "box"}, {"mask_feather": 0.0}, {"mask_feather": 0.3}, {"mask_feather": 0.5}):
        image = restored(restorer, **changes)
        assert changed(image, plain).any()
        assert np.abs(image[middle] - plain[middle]).max() <= 1, changes
    areas = [changed(restored(restorer, mask_feather=f), PICTURE).sum() for f in (0.0, 0.1, 0.3)]
    assert areas == sorted(areas) and areas[0] < areas[2]


def test_keep_leaves_the_parts_and_nothing_else_as_they_were(restorer: FaceRestorer, plain: np.ndarray) -> None:
    image = restored(restorer, keep="eyes")
    (face,) = restorer.detect(PICTURE, PLAIN)
    for x, y in np.round(face.landmarks[:2]).astype(int):
        assert np.array_equal(image[y - 2 : y + 3, x - 2 : x + 3], PICTURE[y - 2 : y + 3, x - 2 : x + 3])
    mouth = int(face.landmarks[3:, 1].mean())
    assert np.array_equal(image[mouth - 8 :], plain[mouth - 8 :])


def test_color_changes_the_low_frequencies_and_detail_the_high_ones(restorer: FaceRestorer, plain: np.ndarray) -> None:
    middle = (slice(100, 200), slice(110, 190))
    shares = {}
    for name in ("color", "detail"):
        difference = restored(restorer, **CHANGES[name]) - plain
        low = cv2.GaussianBlur(difference, (0, 0), 6)
        shares[name] = np.square(low[middle]).mean() / np.square(difference[middle]).mean()
    assert shares["color"] > 0.8
    assert shares["detail"] < 0.2


def test_grain_adds_noise_without_changing_the_mean(restorer: FaceRestorer, plain: np.ndarray) -> None:
    difference = (restored(restorer, grain=1.0) - plain)[110:190, 110:190]
    assert difference.std() > 1
    assert abs(difference.mean()) < 0.5
    assert np.array_equal(restored(restorer, grain="auto"), restored(restorer, grain=1.0))


def test_the_defaults_leave_a_face_alone_that_the_network_does_not_change(
    restorer: FaceRestorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = restorer.loaded.network(restorer.loaded.restorer("small", restorer.store.scan()))
    monkeypatch.setattr(type(network), "__call__", lambda self, crops, fidelity=None: crops)
    clean = to_uint8(drawn_picture(SIDE))
    image = restorer.restore(clean, Options(model="small")).image.astype(float)
    assert np.square((image - clean) / 255).mean() < 10**-4.8
