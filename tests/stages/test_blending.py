"""The paste: nothing is touched outside, values do not drift, detail, large and small faces."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib_facerestore.errors import InputError
from lib_facerestore.faces import alignment, warping
from lib_facerestore.stages import filters, masks

from .blending_helpers import MASK, SIZE, TEMPLATE, drawn_picture, paste, placed, smooth_picture, to_uint8


@pytest.mark.parametrize(("dtype", "top"), [(np.uint8, 255), (np.uint16, 65535)])
@pytest.mark.parametrize("scale", [0.2, 0.4, 1.2, 3.0])
def test_alpha_and_bit_identity(dtype: Any, top: int, scale: float) -> None:
    picture = np.random.default_rng(1).integers(0, top + 1, (500, 600, 3)).astype(dtype)
    matrix = placed(scale, 300, 250, 20)
    crop = warping.crop_face(picture, matrix, SIZE)
    image = picture.copy()
    x0, y0, x1, y1 = paste(image, np.ones_like(crop), crop, MASK, matrix)
    alpha = warping.warp(MASK, matrix, 600, 500, "zero", smooth=True)
    changed = (image != picture).any(axis=2)
    assert changed.any()
    assert not changed[alpha == 0].any()
    assert not changed[:y0].any()
    assert not changed[y1:].any()
    assert not changed[:, :x0].any()
    assert not changed[:, x1:].any()
    if scale < 0.5:  # larger faces keep the picture's own high band
        assert (image[alpha > 0.9999] >= top - 1 - top // 5000).all()
        half = picture.copy()
        paste(half, np.ones_like(crop), crop, MASK, matrix, visibility=0.5)
        where = alpha > 0.9999
        expected = picture[where].astype(float) * 0.5 + 0.5 * top
        assert np.abs(half[where] - expected).max() <= 1 + top / 5000


@pytest.mark.parametrize("extra", [{}, {"detail": 1.0, "grain": 1.0}])
def test_visibility_zero_or_empty_mask_is_a_no_op(extra: dict[str, Any]) -> None:
    picture = to_uint8(smooth_picture(200, 200, noise=0.05))
    matrix = placed(0.5, 100, 100)
    crop = warping.crop_face(picture, matrix, SIZE)
    image = picture.copy()
    assert paste(image, 1 - crop, crop, MASK, matrix, visibility=0.0, **extra) == (0, 0, 0, 0)
    assert paste(image, 1 - crop, crop, MASK * 0, matrix, **extra) == (0, 0, 0, 0)
    assert np.array_equal(image, picture)


@pytest.mark.parametrize(("dtype", "values"), [(np.uint8, (1, 127, 254)), (np.uint16, (1, 32767, 65534))])
@pytest.mark.parametrize("scale", [0.13, 0.7, 1.3, 4.0])
def test_flat_pictures_keep_their_level(dtype: Any, values: tuple[int, ...], scale: float) -> None:
    for value in values:
        picture = np.full((300, 300, 3), value, dtype)
        matrix = placed(scale, 150, 150, 33)
        crop = warping.crop_face(picture, matrix, SIZE)
        image = picture.copy()
        paste(image, crop, crop, MASK, matrix, visibility=0.7)
        assert np.array_equal(image, picture)


@pytest.mark.parametrize("scale", [0.15, 0.3, 0.6, 0.95])
def test_pasting_the_crop_itself_back_is_nearly_nothing(scale: float) -> None:
    picture = to_uint8(smooth_picture(300, 300, noise=0.0))
    matrix = placed(scale, 150.3, 149.8, 12)
    crop = warping.crop_face(picture, matrix, SIZE)
    image = picture.copy()
    paste(image, crop, crop, MASK, matrix)
    difference = image.astype(float) - picture
    assert np.abs(difference).max() <= 2
    assert abs(difference.mean()) < 0.02
    noisy = np.random.default_rng(2).integers(0, 256, (300, 300, 3), np.uint8)
    crop = warping.crop_face(noisy, matrix, SIZE)
    image = noisy.copy()
    paste(image, crop, crop, MASK, matrix)
    inside = warping.warp(MASK, matrix, 300, 300, "zero", smooth=True) > 0.5
    assert abs((image.astype(float) - noisy)[inside].mean()) < 2  # clipped cubic overshoot of pure noise


@pytest.mark.parametrize("scale", [0.15, 0.3, 0.6, 0.95])
def test_a_face_that_comes_back_as_it_was_stays_sharp(scale: float) -> None:
    """On a texture with the spectrum of a photograph (amplitude falls with the frequency)."""
    frequencies = np.fft.fftfreq(300)
    fall = np.maximum(np.hypot(frequencies, frequencies[:, None]), 1 / 300) ** -1.2
    texture = np.fft.ifft2(np.fft.fft2(np.random.default_rng(4).standard_normal((300, 300))) * fall).real
    texture = np.clip(0.5 + 0.15 * texture / texture.std(), 0, 1)
    picture = to_uint8(np.repeat(texture[..., None], 3, axis=2).astype(np.float32))
    matrix = placed(scale, 150.3, 149.8, 12)
    crop = warping.crop_face(picture, matrix, SIZE)
    image = picture.copy()
    paste(image, crop, crop, MASK, matrix)
    inside = warping.warp(MASK, matrix, 300, 300, "zero", smooth=True) > 0.9
    error = ((image.astype(float) - picture)[inside] ** 2).mean()
    assert 10 * np.log10(255**2 / error) > 40
    before, after = (cv2.Laplacian(one, cv2.CV_32F)[inside].std() for one in (picture, image))
    assert after > 0.7 * before


@pytest.mark.parametrize("scale", [0.75, 1.0, 1.5, 2.5, 6.0])
def test_large_faces_keep_the_picture_above_the_crop(scale: float) -> None:
    """The identity restoration changes nothing at all; a blurring one still leaves the finest band."""
    side = int(SIZE * max(scale, 1))
    picture = to_uint8(drawn_picture(side))
    matrix = placed(scale, side / 2, side / 2, 10)
    crop = warping.crop_face(picture, matrix, SIZE)
    image = picture.copy()
    paste(image, crop, crop, MASK, matrix)
    assert np.array_equal(image, picture)
    image = picture.copy()
    paste(image, filters.gaussian(crop, 6), crop, MASK, matrix)
    inside = warping.warp(MASK, matrix, side, side, "zero", smooth=True) > 0.95
    before, after = (np.abs(cv2.Laplacian(one, cv2.CV_32F))[inside].mean() for one in (picture, image))
    assert after > (0.7 if scale > 2 else 0.1) * before


@pytest.mark.parametrize("join", [0.4, 0.7])
def test_no_jump_where_the_modes_meet(join: float) -> None:
    """A step in scale across the join changes the result no more than the same step on one side of it."""
    results = []
    for scale in (join - 0.003, join - 0.001, join + 0.001):
        picture = to_uint8(smooth_picture(500, 500, noise=0.03))
        matrix = placed(scale, 250, 250)
        crop = warping.crop_face(picture, matrix, SIZE)
        paste(picture, crop[:, ::-1].copy(), crop, MASK, matrix)
        results.append(picture.astype(float))
    usual = np.abs(results[0] - results[1]).mean()
    assert np.abs(results[1] - results[2]).mean() < 1.3 * usual + 0.05


@pytest.mark.parametrize("scale", [0.13, 0.25, 0.5])
def test_small_faces_do_not_alias(scale: float) -> None:
    picture = np.full((120, 120, 3), 128, np.uint8)
    matrix = placed(scale, 60, 60, 7)
    crop = warping.crop_face(picture, matrix, SIZE)
    checks = (np.indices((SIZE, SIZE)).sum(axis=0) % 2).astype(np.float32)[..., None].repeat(3, axis=2)
    paste(picture, checks, crop, MASK, matrix)
    assert np.abs(picture.astype(int) - 128).max() <= 8


@settings(max_examples=40, deadline=None)
@given(
    st.floats(0.05, 3),
    st.floats(-80, 180),
    st.floats(-80, 180),
    st.floats(-180, 180),
    st.integers(1, 90),
    st.integers(1, 90),
)
def test_any_place_at_and_over_the_edge(s: float, x: float, y: float, degrees: float, height: int, width: int) -> None:
    picture = np.full((height, width, 3), 90, np.uint8)
    matrix = placed(s, x, y, degrees)
    crop = warping.crop_face(picture, matrix, SIZE)
    x0, y0, x1, y1 = paste(picture, np.ones_like(crop), crop, MASK, matrix, grain=1.0)
    assert 0 <= x0 <= x1 <= width
    assert 0 <= y0 <= y1 <= height
    outside = np.ones((height, width), bool)
    outside[y0:y1, x0:x1] = False
    assert (picture[outside] == 90).all()


def test_kept_parts_keep_their_pixels() -> None:
    picture = np.random.default_rng(4).integers(0, 256, (300, 300, 3), np.uint8)
    matrix = placed(0.8, 150, 150)
    crop = warping.crop_face(picture, matrix, SIZE)
    mask = masks.build_mask(SIZE, TEMPLATE, keep=("eyes", "mouth"))
    image = picture.copy()
    paste(image, 1 - crop, crop, mask, matrix)
    inverse = alignment.invert_affine(matrix)
    for point in alignment.apply_affine(inverse, TEMPLATE[[0, 1, 3, 4]]):
        x, y = (round(v) for v in point)
        assert np.array_equal(image[y - 3 : y + 4, x - 3 : x + 4], picture[y - 3 : y + 4, x - 3 : x + 4])
    x, y = (round(v) for v in alignment.apply_affine(inverse, TEMPLATE[[2]])[0])
    assert (image[y, x] != picture[y, x]).any()


def high(image: np.ndarray, where: np.ndarray) -> float:
    return float(cv2.Laplacian(image.astype(np.float32), cv2.CV_32F)[where].std())


def test_detail_brings_back_the_originals_texture() -> None:
    picture = to_uint8(smooth_picture(300, 300, noise=0.06))
    matrix = placed(0.9, 150, 150)
    crop = warping.crop_face(picture, matrix, SIZE)
    inside = warping.warp(MASK, matrix, 300, 300, "zero", smooth=True) > 0.95
    levels = []
    for detail in (0.0, 0.5, 1.0):
        image = picture.copy()
        paste(image, filters.gaussian(crop, 5), crop, MASK, matrix, detail=detail)
        levels.append(high(image, inside))
    assert levels[0] < 0.35 * levels[2]
    assert levels[0] < levels[1] < levels[2]


def test_cost_and_memory_do_not_depend_on_the_picture() -> None:
    """A view without memory of its own behind most rows: only the face's box is ever written."""
    picture = np.zeros((20000, 3000, 3), np.uint8)  # pages that are never touched cost nothing
    matrix = placed(0.5, 1500, 10000)
    crop = warping.crop_face(picture, matrix, SIZE)
    box = paste(picture, np.ones_like(crop), crop, MASK, matrix)
    assert 1400 < box[0] < box[2] < 1600
    assert 9900 < box[1] < box[3] < 10100


def test_bad_input_is_named() -> None:
    crop = np.zeros((SIZE, SIZE, 3), np.float32)
    matrix = placed(1, 10, 10)
    with pytest.raises(InputError, match="uint8"):
        paste(np.zeros((9, 9, 3), np.int64), crop, crop, MASK, matrix)
    with pytest.raises(InputError, match="one square size"):
        paste(np.zeros((9, 9, 3), np.uint8), crop[:9], crop, MASK, matrix)
    with pytest.raises(InputError, match="not finite"):
        paste(np.zeros((9, 9, 3), np.uint8), crop + np.nan, crop, MASK, matrix)
