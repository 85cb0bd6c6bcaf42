"""What is measured around a face: noise of several kinds against clean pictures, JPEG blocks; and what removes them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from lib_facerestore.stages import noise
from lib_facerestore.stages.denoise import without_noise

from .blending_helpers import drawn_picture, film, jpeg, smooth_picture, white

EVERYWHERE = np.ones((400, 400), bool)
CLEAN = drawn_picture(400)


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return float(-10 * np.log10(np.square(one - other).mean()))


@pytest.mark.parametrize("sigma", [7, 14, 25])
def test_white_noise_is_measured_and_is_certain(sigma: float) -> None:
    found = noise.measure_noise(white(CLEAN, sigma), EVERYWHERE)
    assert found.level * 255 == pytest.approx(sigma, rel=0.1)
    assert np.sqrt(found.dct[:, 4:, 4:].mean(axis=(1, 2))) * 255 == pytest.approx([sigma] * 3, rel=0.1)
    assert found.certainty == 1


def test_a_clean_picture_has_no_certain_noise() -> None:
    assert noise.measure_noise(CLEAN, EVERYWHERE).certainty == 0
    assert noise.measure_noise(smooth_picture(400, 400), EVERYWHERE).certainty == 0
    assert noise.measure_noise(CLEAN, ~EVERYWHERE) is noise.NO_NOISE
    assert noise.measure_noise(CLEAN[:9, :9], EVERYWHERE[:9, :9]) is noise.NO_NOISE


def test_black_and_white_hide_noise_and_are_not_measured() -> None:
    picture = white(CLEAN, 14)
    picture[:, :150] = 0
    picture[:, 250:] = 1
    assert noise.measure_noise(picture, EVERYWHERE).level * 255 == pytest.approx(14, rel=0.15)


def test_the_spectrum_of_film_grain_falls() -> None:
    fine = noise.measure_noise(film(CLEAN, 40), EVERYWHERE).dct[0]
    even = noise.measure_noise(white(CLEAN, 14), EVERYWHERE).dct[0]
    assert fine[0, 4] / fine[0, 2] < 0.3  # 0.16 after a blur of one pixel
    assert fine[0, 6] / fine[0, 4] < 0.15  # 0.05
    assert even[0, 6] / even[0, 4] == pytest.approx(1, rel=0.2)


@pytest.mark.parametrize(("quality", "low", "high"), [(30, 4.0, 9.0), (60, 1.5, 6.0), (95, 0.0, 0.3)])
def test_jpeg_blocks_are_measured_wherever_the_grid_begins(quality: int, low: float, high: float) -> None:
    picture = jpeg(drawn_picture(440, texture=0.02), quality)
    for y, x in ((0, 0), (3, 5)):
        assert low <= noise.block_level(picture[y : y + 400, x : x + 400]) * 255 <= high


def test_clean_pictures_and_noise_have_no_blocks() -> None:
    assert noise.block_level(CLEAN) == 0
    assert noise.block_level(white(CLEAN, 14)) == 0
    assert noise.block_level(CLEAN[:40, :40]) == 0


def test_noise_is_removed_and_details_stay() -> None:
    noisy = white(CLEAN, 14)
    cleaned = without_noise(noisy, noise.measure_noise(noisy, EVERYWHERE).dct)
    assert psnr(cleaned, CLEAN) > psnr(noisy, CLEAN) + 7
    bilateral = cv2.bilateralFilter(noisy, 7, 40 / 255, 3)
    assert psnr(cleaned, CLEAN) > psnr(bilateral, CLEAN)
    nothing = without_noise(CLEAN, np.zeros((3, 8, 8), np.float32))
    assert np.abs(nothing - CLEAN).max() < 1e-5


def test_large_parts_are_cleaned_up_to_their_edges() -> None:
    noisy = white(drawn_picture(700), 14)  # so large that every fourth position of a block is used
    cleaned = without_noise(noisy, np.full((3, 8, 8), (14 / 255) ** 2, np.float32))
    error = np.square(cleaned - drawn_picture(700))
    for edge in (error[:4], error[-4:], error[:, :4], error[:, -4:]):
        assert edge.mean() < 0.4 * (14 / 255) ** 2
