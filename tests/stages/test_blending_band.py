"""What is finer than the crop: kept as it is in clean pictures, cleaned of noise and JPEG blocks in others."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import pytest

from lib_facerestore.faces import warping
from lib_facerestore.stages import blending

from .blending_helpers import MASK, SIZE, drawn_picture, film, jpeg, placed, to_uint8, white


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
    blending.paste(image, restored, crop, MASK, matrix, grain=0)
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
    blending.paste(image, crop, crop, MASK, matrix, grain="auto")
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
        blending.paste(image, crop, crop, MASK, matrix, grain=grain)
        images.append(image)
    inside = warping.warp(MASK, matrix, picture.shape[1], picture.shape[0], "zero", smooth=True) > 0.99
    cleaned, kept = (np.corrcoef((image / 255 - picture)[inside].ravel(), (noisy / 255 - picture)[inside].ravel())[0, 1]
                     for image in images)  # fmt: skip
    assert cleaned < 0.8 < 0.97 < kept
