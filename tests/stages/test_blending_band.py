"""What is finer than the crop: kept as it is in clean pictures, cleaned of noise and JPEG blocks in others."""

from __future__ import annotations

import functools
from collections.abc import Callable

import cv2
import numpy as np
import pytest

from lib_facerestore.faces import warping
from lib_facerestore.stages import blending

from .blending_helpers import MASK, SIZE, drawn_picture, film, jpeg, paste, placed, to_uint8, white


@functools.cache
def clean(side: int) -> np.ndarray:
    return drawn_picture(round(side * 1.4))


def gain(side: int, damage: Callable[[np.ndarray], np.ndarray]) -> float:
    """Decibels that the face gains when its crop comes back clean; `side` is that of the crop in the picture."""
    picture = clean(side)
    damaged = to_uint8(damage(picture))
    matrix = placed(side / SIZE, picture.shape[1] / 2, picture.shape[0] / 2, 5)
    image = damaged.copy()
    restored, crop = (warping.crop_face(one, matrix, SIZE) for one in (picture, damaged))
    paste(image, restored, crop, MASK, matrix, grain=0)
    inside = warping.warp(MASK, matrix, picture.shape[1], picture.shape[0], "zero", smooth=True) > 0.99
    before, after = (np.square(one / 255 - picture)[inside].mean() for one in (damaged, image))
    return float(10 * np.log10(before / after))


@pytest.mark.parametrize("side", [256, 384, 512, 1024])
def test_noise_does_not_come_back_with_the_details_of_a_large_face(side: int) -> None:
    """512 px gained 2.4 dB when all of the noise above the crop came back."""
    assert gain(side, lambda picture: white(picture, 14)) > 8
    assert gain(side, lambda picture: film(picture, 40)) > 4


@pytest.mark.parametrize("side", [512, 1024])
def test_jpeg_blocks_do_not_come_back_either(side: int) -> None:
    assert gain(side, lambda picture: jpeg(picture, 30)) > 1.5


@pytest.mark.parametrize("side", [180, 256, 512, 900])
def test_a_clean_face_keeps_its_details(side: int) -> None:
    """48 dB and more, if the network changes nothing. 256 px came back with 42 dB."""
    picture = to_uint8(clean(side))
    matrix = placed(side / SIZE, picture.shape[1] / 2, picture.shape[0] / 2, 5)
    crop = warping.crop_face(picture, matrix, SIZE)
    image = picture.copy()
    paste(image, crop, crop, MASK, matrix, grain="auto")
    inside = warping.warp(MASK, matrix, picture.shape[1], picture.shape[0], "zero", smooth=True) > 0.99
    assert np.square((image.astype(float) - picture) / 255)[inside].mean() < 10**-4.8


def test_what_grain_keeps_is_not_cleaned_off() -> None:
    """The own noise of a large face is better grain than any that is made."""
    picture = clean(512)
    noisy = to_uint8(white(picture, 14))
    matrix = placed(2.0, picture.shape[1] / 2, picture.shape[0] / 2)
    images = []
    for grain in (0.0, 1.0):
        image = noisy.copy()
        crop = warping.crop_face(noisy, matrix, SIZE)
        paste(image, crop, crop, MASK, matrix, grain=grain)
        images.append(image)
    inside = warping.warp(MASK, matrix, picture.shape[1], picture.shape[0], "zero", smooth=True) > 0.99
    cleaned, kept = (np.corrcoef((image / 255 - picture)[inside].ravel(), (noisy / 255 - picture)[inside].ravel())[0, 1]
                     for image in images)  # fmt: skip
    assert cleaned < 0.8 < 0.97 < kept


def test_a_sharp_clean_picture_is_not_changed_by_what_the_restorer_changes_in_any_picture() -> None:
    """Faces of JPEG quality 90 lost up to 0.6 dB by changes of less than a level."""
    side = 512
    truth = to_uint8(drawn_picture(side))
    matrix = placed(side / SIZE, (side - 1) / 2, (side - 1) / 2, 4)
    crop = warping.crop_face(truth, matrix, SIZE)
    rng = np.random.default_rng(8)
    error = cv2.GaussianBlur(rng.standard_normal(crop.shape).astype(np.float32), (0, 0), 1.5)
    error *= 0.8 / 255 / error.std()
    image = truth.copy()
    paste(image, crop + error, crop, MASK, matrix)
    assert (image != truth).mean() < 0.001, "as the picture was"
    image = truth.copy()
    paste(image, np.clip(crop + 10 * error, 0, 1), crop, MASK, matrix)
    whole = warping.warp(10 * error, matrix, side, side)
    left_out = np.abs((image - truth.astype(np.float32)) / 255 - whole)[200:300, 200:300]
    assert left_out.mean() < 0.3 * np.abs(whole).mean()
    blurred = to_uint8(cv2.GaussianBlur(drawn_picture(side), (0, 0), 3))
    crop = warping.crop_face(blurred, matrix, SIZE)
    image = blurred.copy()
    paste(image, crop + 2 * error, crop, MASK, matrix)
    change = image.astype(np.float32) / 255 - blurred.astype(np.float32) / 255
    whole = warping.warp(2 * error, matrix, side, side)
    assert np.corrcoef(change[200:300, 200:300].ravel(), whole[200:300, 200:300].ravel())[0, 1] > 0.9


def test_visibility_does_not_decide_which_changes_are_left_out() -> None:
    """At 0.5 and below, all changes of sharp faces were made."""
    side = 512
    truth = to_uint8(drawn_picture(side))
    matrix = placed(side / SIZE, (side - 1) / 2, (side - 1) / 2, 4)
    crop = warping.crop_face(truth, matrix, SIZE)
    error = cv2.GaussianBlur(np.random.default_rng(8).standard_normal(crop.shape).astype(np.float32), (0, 0), 1.5)
    error *= 0.8 / 255 / error.std()
    for visibility in (1.0, 0.5, 0.3):
        found = blending.layer(truth, crop + error, crop, MASK, matrix, visibility)
        assert found is None or np.abs(found.change).mean() < 0.05 / 255, visibility
