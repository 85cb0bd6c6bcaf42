"""Geometry of the crop: fit, crop, inverse. Points must survive the round trip to a quarter of a pixel."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib_facerestore.errors import InputError
from lib_facerestore.faces import alignment, warping


def transform(scale: float, degrees: float, x: float, y: float) -> np.ndarray:
    """Template at 512 → picture: crop turned, `scale` picture pixels a crop pixel, centred at (x, y)."""
    c, s = scale * math.cos(math.radians(degrees)), scale * math.sin(math.radians(degrees))
    linear = np.array([[c, -s], [s, c]])
    return np.concatenate([linear, (np.array([x, y]) - linear @ (255.5, 255.5))[:, None]], axis=1)


def blob(height: int, width: int, x: float, y: float, sigma: float) -> np.ndarray:
    ys, xs = np.mgrid[0:height, 0:width]
    spot = np.exp(-((xs - x) ** 2 + (ys - y) ** 2) / (2 * sigma**2))
    return np.repeat(spot[..., None], 3, axis=2).astype(np.float32)


def centroid(image: np.ndarray) -> np.ndarray:
    spot = image[..., 0].astype(np.float64)
    spot = np.where(spot > 0.1 * spot.max(), spot, 0)
    ys, xs = np.mgrid[0 : spot.shape[0], 0 : spot.shape[1]]
    return np.array([(spot * xs).sum(), (spot * ys).sum()]) / spot.sum()


@given(st.floats(0.05, 8), st.floats(-180, 180), st.floats(-500, 5000), st.floats(-500, 5000))
def test_similarity_recovers_any_similarity(scale: float, degrees: float, x: float, y: float) -> None:
    template = alignment.ffhq_template(512)
    points = alignment.apply_affine(transform(scale, degrees, x, y), template)
    found = alignment.similarity(points, template)
    assert np.abs(alignment.apply_affine(found, points) - template).max() < 1e-6
    back = alignment.compose(found, alignment.invert_affine(found))
    assert np.allclose(back, [[1, 0, 0], [0, 1, 0]], atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.floats(0.15, 8), st.floats(-180, 180), st.floats(-0.5, 0.5), st.floats(-0.5, 0.5), st.integers(0, 4))
def test_crop_puts_a_landmark_on_the_template(scale: float, degrees: float, dx: float, dy: float, index: int) -> None:
    """Within a quarter of a crop pixel, or of a picture pixel where that is the coarser, incl. minification by 8."""
    size = 128
    template = alignment.ffhq_template(size)
    side = int(size * scale * 1.5) + 40
    centre = side / 2
    c, s = scale * math.cos(math.radians(degrees)), scale * math.sin(math.radians(degrees))
    linear = np.array([[c, -s], [s, c]])
    shift = np.array([centre + dx, centre + dy]) - linear @ np.full(2, (size - 1) / 2)
    to_picture = np.concatenate([linear, shift[:, None]], axis=1)
    points = alignment.apply_affine(to_picture, template)
    matrix = alignment.similarity(points, template)
    picture = blob(side, side, points[index, 0], points[index, 1], sigma=max(2.0, 2.5 * scale))
    crop = warping.crop_face(picture, matrix, size)
    assert np.hypot(*(centroid(crop) - template[index])) * min(1, scale) <= 0.25
    # and back into the picture
    there = warping.warp(crop, matrix, side, side, "zero")
    assert np.hypot(*(centroid(there) - points[index])) * min(1, 1 / scale) <= 0.25


@pytest.mark.parametrize("size", [128, 256, 512, 1024])
def test_crops_of_all_sizes_show_the_same_area(size: int) -> None:
    points = alignment.apply_affine(transform(0.3, 10, 200, 150), alignment.ffhq_template(512))
    matrix = alignment.similarity(points, alignment.ffhq_template(size))
    corner = alignment.apply_affine(alignment.invert_affine(matrix), [(-0.5, -0.5)])
    assert np.allclose(corner, alignment.apply_affine(transform(0.3, 10, 200, 150), [(-0.5, -0.5)]))


def test_templates() -> None:
    assert alignment.ffhq_template(512)[0] == pytest.approx([192.98138, 239.94708])
    gpen = alignment.gpen_template(512)
    assert (gpen > 0).all()
    assert (gpen < 512).all()
    assert gpen[:, 0].mean() == pytest.approx(255.5, abs=3)


def test_one_wrong_landmark_is_left_out() -> None:
    template = alignment.ffhq_template(512)
    points = alignment.apply_affine(transform(0.5, 20, 300, 300), template)
    points[2] += (120, -60)
    found = alignment.similarity(points, template)
    rest = [0, 1, 3, 4]
    assert np.abs(alignment.apply_affine(found, points[rest]) - template[rest]).max() < 1e-6


def test_profile_is_not_mirrored_and_keeps_its_height() -> None:
    template = alignment.ffhq_template(512)
    points = template.copy()
    points[:, 0] = [256, 256, 330, 262, 262]
    found = alignment.similarity(points, template)
    assert np.linalg.det(found[:, :2]) > 0
    assert 0.7 < alignment.scale_of(found) < 1.4
    assert abs(math.degrees(math.atan2(found[1, 0], found[0, 0]))) < 15


@pytest.mark.parametrize("points", [np.zeros((5, 2)), np.full((5, 2), 77.0), np.full((5, 2), np.nan), np.zeros((5, 3))])
def test_landmarks_without_a_fit_are_input_errors(points: np.ndarray) -> None:
    with pytest.raises(InputError, match="landmarks"):
        alignment.similarity(points, alignment.ffhq_template(512))


@pytest.mark.parametrize("spread", [0.0, 0.01])
def test_face_transform_falls_back_on_the_box(spread: float) -> None:
    face: Any = SimpleNamespace(
        box=(100.0, 50.0, 180.0, 150.0), landmarks=np.full((5, 2), 140.0) + spread * alignment.ffhq_template(512) / 512
    )
    matrix = alignment.face_transform(face, 512)
    assert 512 / alignment.scale_of(matrix) == pytest.approx(137)
    centre = alignment.apply_affine(matrix, [(140, 100)])[0]
    assert 200 < centre[0] < 312
    assert 200 < centre[1] < 312


def test_face_transform_follows_good_landmarks() -> None:
    points = alignment.apply_affine(transform(0.3, 90, 200, 200), alignment.ffhq_template(512))
    face: Any = SimpleNamespace(box=(150.0, 150.0, 250.0, 250.0), landmarks=points)
    assert np.allclose(
        alignment.apply_affine(alignment.face_transform(face, 512), points), alignment.ffhq_template(512), atol=1e-6
    )


@pytest.mark.parametrize(("dtype", "top"), [(np.uint8, 255), (np.uint16, 65535), (np.float32, 1)])
def test_values_of_a_flat_picture(dtype: Any, top: int) -> None:
    picture = np.full((90, 70, 3), (0.2 * top, 0.4 * top, 0.6 * top)).astype(dtype)
    for scale in (0.1, 1.0, 3.7):
        crop = warping.crop_face(picture, alignment.invert_affine(transform(scale / 4, 33, 20, 80)), 512)
        assert crop.dtype == np.float32
        assert crop.shape == (512, 512, 3)
        assert np.abs(crop - picture[0, 0].astype(np.float32) / top).max() < 1e-5


def test_identity_returns_the_pixels() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    crop = warping.crop_face(picture, [[1, 0, 0], [0, 1, 0]], 64)
    assert np.abs(crop * 255 - picture).max() < 1e-3


@pytest.mark.parametrize("scale", [0.12, 0.4, 0.66, 1.0, 2.5])
@pytest.mark.parametrize("degrees", [0, 25, 170])
def test_a_ramp_stays_exactly_where_it_is(scale: float, degrees: float) -> None:
    """Every filter is symmetric, so a linear ramp comes out as the ramp at the mapped place, at any scale and angle."""
    ys, xs = np.mgrid[0:900, 0:900].astype(np.float32)
    picture = np.stack([xs / 900, ys / 900, (xs + ys) / 1800], axis=2)
    c, s = math.cos(math.radians(degrees)) / scale, math.sin(math.radians(degrees)) / scale
    linear = np.array([[c, -s], [s, c]])
    to_picture = np.concatenate([linear, (np.array([450.3, 449.6]) - linear @ np.full(2, 31.5))[:, None]], axis=1)
    crop = warping.crop_face(picture, alignment.invert_affine(to_picture), 64)
    grid = np.stack(np.meshgrid(np.arange(64), np.arange(64)), axis=2).reshape(-1, 2)
    expected = alignment.apply_affine(to_picture, grid).reshape(64, 64, 2)
    assert np.abs(crop[..., :2] * 900 - expected).max() < 0.05 * max(1, 1 / scale)  # pixels


@pytest.mark.parametrize("ratio", [1.5, 1.9, 2.0, 3.3, 8.0])
@pytest.mark.parametrize("degrees", [0, 30])
def test_reduction_does_not_alias(ratio: float, degrees: float) -> None:
    """A grating finer than the crop can show comes out (nearly) flat; a coarse one keeps its contrast."""
    size, side = 96, int(96 * ratio * 1.5) + 20
    c, s = math.cos(math.radians(degrees)) * ratio, math.sin(math.radians(degrees)) * ratio
    linear = np.array([[c, -s], [s, c]])
    to_picture = np.concatenate([linear, (side / 2 - linear @ np.full(2, size / 2))[:, None]], axis=1)
    matrix = alignment.invert_affine(to_picture)
    xs = np.arange(side)
    fine = 0.5 + 0.5 * np.cos(np.pi * xs)
    coarse = 0.5 + 0.5 * np.cos(2 * np.pi * xs / (12 * ratio))
    for wave, low, high in ((fine, 0.0, 0.16), (coarse, 0.29, 0.36)):
        picture = np.broadcast_to(wave[None, :, None], (side, side, 3)).astype(np.float32)
        contrast = warping.crop_face(picture, matrix, size).std()
        assert low <= contrast <= high, (ratio, contrast)


def test_outside_is_mirrored_even_from_a_tiny_picture() -> None:
    picture = np.random.default_rng(1).integers(0, 256, (7, 5, 3), np.uint8)
    crop = warping.crop_face(picture, [[1, 0, 20], [0, 1, 20]], 64)
    period = np.pad(picture, ((20, 64), (20, 64), (0, 0)), mode="reflect")[:64, :64]
    assert np.abs(crop * 255 - period).max() < 1e-3


def test_a_face_wholly_outside_gives_a_crop() -> None:
    picture = np.full((50, 60, 3), 9, np.uint8)
    for far in (500.0, 1e9, 1e18):
        crop = warping.crop_face(picture, [[1.0, 0, far], [0, 1, -far]], 64)
        assert np.abs(crop * 255 - 9).max() < 1e-3


@pytest.mark.parametrize(("size", "degrees"), [(96, 33.0), (512, 0.0)])
def test_a_face_of_any_size_is_cut(size: int, degrees: float) -> None:
    """A ramp comes out at the mapped place, to a quarter of a crop pixel. 81 megapixels that take no memory."""
    line = np.linspace(0, 65535, 9000).astype(np.uint16)
    picture = np.broadcast_to(line[None, :, None], (9000, 9000, 3))
    c, s = math.cos(math.radians(degrees)) * 6000 / size, math.sin(math.radians(degrees)) * 6000 / size
    linear = np.array([[c, -s], [s, c]])
    to_picture = np.concatenate([linear, (np.array([4500.0, 4400]) - linear @ np.full(2, (size - 1) / 2))[:, None]], 1)
    crop = warping.crop_face(picture, alignment.invert_affine(to_picture), size)
    grid = np.stack(np.meshgrid(np.arange(size), np.arange(size)), axis=2).reshape(-1, 2)
    x = alignment.apply_affine(to_picture, grid)[:, 0].reshape(size, size)
    inside = (x > 300) & (x < 8700)
    assert np.abs(crop[..., 1] * 8999 - x)[inside].max() < 0.25 * 6000 / size
    face = warping.warp(picture[:, :, 0], to_picture, size, size, "edge")
    assert face.shape == (size, size) and np.abs(face * 8999 - x)[inside].max() < 0.25 * 6000 / size


def test_a_large_face_looks_alike_on_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a part of the picture is reduced before or not makes no difference that could be seen."""
    ys, xs = np.mgrid[0:700, 0:900]
    picture = np.stack([np.cos(xs / 25), np.cos(ys / 25), np.cos((xs + ys) / 25)], 2).astype(np.float32) / 2 + 0.5
    for matrix in ([[0.1, 0.02, 5], [-0.02, 0.1, 8]], [[0.1, 0, -30], [0, 0.1, -20]], [[0.2, 0, -80], [0, 0.2, 3]]):
        plain = warping.crop_face(picture, matrix, 64)
        with monkeypatch.context() as patch:
            patch.setattr(warping, "_DIRECT_AREA", 2**12)
            reduced = warping.crop_face(picture, matrix, 64)
        assert not np.array_equal(plain, reduced) and np.abs(plain - reduced).mean() < 0.02
        grid = np.stack(np.meshgrid(np.arange(64), np.arange(64)), axis=2).reshape(-1, 2)
        there = alignment.apply_affine(alignment.invert_affine(matrix), grid).reshape(64, 64, 2)
        inside = ((there > 40) & (there < (860, 660))).all(2)
        assert np.abs(plain - reduced)[inside].max() < 0.01


def test_a_crop_of_next_to_nothing_is_flat() -> None:
    picture = np.random.default_rng(3).integers(0, 256, (8, 6, 3), np.uint8)
    for scale in (1e-4, 1e-9):
        crop = warping.crop_face(picture, [[scale, 0, 0], [0, scale, 0]], 512)
        assert np.abs(crop - picture.mean((0, 1)) / 255).max() < 1e-4


def test_only_the_face_is_read() -> None:
    """Rows outside of the face's box are never touched: a lazily mapped picture of 64 megapixels costs nothing."""
    picture = np.lib.stride_tricks.as_strided(np.full((1, 1, 3), 50, np.uint8), (80000, 80000, 3), (0, 0, 1))
    crop = warping.crop_face(picture, alignment.invert_affine(transform(0.5, 10, 40000, 40000)), 512)
    assert np.abs(crop - 50 / 255).max() < 1e-5


def test_bad_pictures_are_named() -> None:
    with pytest.raises(InputError, match="shape"):
        warping.crop_face(np.zeros((8, 8), np.uint8), [[1, 0, 0], [0, 1, 0]], 8)
    with pytest.raises(InputError, match="int32"):
        warping.crop_face(np.zeros((8, 8, 3), np.int32), [[1, 0, 0], [0, 1, 0]], 8)
    with pytest.raises(InputError, match="invertible"):
        alignment.invert_affine(np.zeros((2, 3)))
