"""Grain: that of the picture around in power and spectrum, none where there is none; what `auto` chooses."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from lib_facerestore.faces import warping
from lib_facerestore.stages import blending, filters, surroundings

from .blending_helpers import MASK, SIZE, drawn_picture, film, jpeg, paste, placed, to_uint8, white

SIDE = 480
CLEAN = drawn_picture(SIDE)
MATRIX = placed(1.2, SIDE / 2, SIDE / 2, 5)
ALPHA = warping.warp(MASK, MATRIX, SIDE, SIDE, "zero", smooth=True)
INSIDE, OUTSIDE = ALPHA > 0.99, ALPHA < 0.01


def upscaled(picture: np.ndarray, sigma: float) -> np.ndarray:
    half = np.random.default_rng(5).standard_normal((SIDE // 2, SIDE // 2, 3)).astype(np.float32) * sigma / 255
    return np.clip(picture + cv2.resize(half, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC), 0, 1)


KINDS: dict[str, Callable[[], np.ndarray]] = {
    "white": lambda: white(CLEAN, 14),
    "film": lambda: film(CLEAN, 40),
    "upscaled": lambda: upscaled(CLEAN, 18),
    "jpeg": lambda: jpeg(white(CLEAN, 14), 80),
    "grey": lambda: film(CLEAN, 40, grey=True),
}


def pasted(noisy: np.ndarray, grain: blending.Grain, visibility: float = 1.0) -> np.ndarray:
    """A face that comes back clean, pasted into a noisy picture."""
    image = to_uint8(noisy)
    crop = warping.crop_face(image, MATRIX, SIZE)
    paste(image, warping.crop_face(CLEAN, MATRIX, SIZE), crop, MASK, MATRIX, visibility, grain=grain)
    return image.astype(np.float32) / 255


def spectrum(noise: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Mean power of patches of 32 px: the brightness's at coarse, middle and fine frequencies; that of all colours."""
    window = np.outer(np.hanning(32), np.hanning(32))[..., None]
    noise = np.concatenate([noise.mean(axis=2, keepdims=True), noise], axis=2)
    power = [
        np.square(np.abs(np.fft.fft2(noise[y : y + 32, x : x + 32] * window, axes=(0, 1))))
        for y in range(0, SIDE - 32, 16) for x in range(0, SIDE - 32, 16) if where[y : y + 32, x : x + 32].all()
    ]  # fmt: skip
    mean = np.mean(power, axis=0)
    radius = np.hypot(np.fft.fftfreq(32), np.fft.fftfreq(32)[:, None])
    bands = ((0.04, 0.12), (0.12, 0.25), (0.25, 0.7))
    grey = [mean[(radius >= low) & (radius < high), 0].mean() for low, high in bands]
    return np.array([*grey, mean[radius > 0.04, 1:].mean()])


@pytest.mark.parametrize("kind", KINDS)
def test_grain_has_the_power_and_spectrum_of_the_picture_around(kind: str) -> None:
    """Film-like grain came back with 0.27 of its power."""
    noisy = KINDS[kind]()
    around = spectrum(to_uint8(noisy) / 255 - CLEAN, OUTSIDE)
    inside = spectrum(pasted(noisy, 1.0) - CLEAN, INSIDE)
    counts = np.append(around[:3] > 0.03 * around[:3].max(), True)
    assert (inside / around)[counts] == pytest.approx(1, abs=0.25)
    assert 0.8 < inside[3] / around[3] < 1.2


def test_half_the_grain_is_half_its_amplitude() -> None:
    full, half = (spectrum(pasted(film(CLEAN, 40), grain) - CLEAN, INSIDE)[1] for grain in (1.0, 0.5))
    assert half / full == pytest.approx(0.25, abs=0.1)


def pasted_again(noisy: np.ndarray, crop: np.ndarray, visibility: float) -> np.ndarray:
    """A face that comes back as it was."""
    image = noisy.copy()
    paste(image, crop, crop, MASK, MATRIX, visibility, grain=1.0)
    return image.astype(int)


def test_a_face_that_keeps_its_grain_gets_no_other_at_any_visibility() -> None:
    """At a visibility of 0.5 and below, it got all the grain of the picture on top of its own."""
    noisy = to_uint8(film(CLEAN, 40))
    crop = warping.crop_face(noisy, MATRIX, SIZE)
    full, half, little = (
        np.abs(pasted_again(noisy, crop, visibility) - noisy.astype(int)).mean() for visibility in (1.0, 0.5, 0.2)
    )
    assert little < half < full


def test_a_clean_face_has_as_much_grain_as_the_picture_at_any_visibility() -> None:
    noisy = film(CLEAN, 40)
    around = spectrum(to_uint8(noisy) / 255 - CLEAN, OUTSIDE)[3]
    for visibility in (0.6, 0.4):
        assert spectrum(pasted(noisy, 1.0, visibility) - CLEAN, INSIDE)[3] / around == pytest.approx(1, abs=0.2)


def test_grey_grain_stays_grey() -> None:
    noise = (pasted(KINDS["grey"](), 1.0) - CLEAN)[INSIDE]
    assert (noise - noise.mean(axis=1, keepdims=True)).std() < 0.25 * noise.std()


def test_the_same_face_gets_the_same_grain() -> None:
    assert np.array_equal(pasted(film(CLEAN, 40), 0.7), pasted(film(CLEAN, 40), 0.7))


def test_auto_gives_a_face_the_grain_of_film_but_not_the_noise_of_a_camera() -> None:
    for kind, gets in (("film", True), ("grey", True), ("upscaled", True), ("white", False), ("jpeg", False)):
        noisy = KINDS[kind]()
        ours, none, full = (pasted(noisy, grain) for grain in ("auto", 0.0, 1.0))
        assert np.array_equal(ours, full if gets else none), kind
        assert not np.array_equal(full, none)
    assert np.array_equal(pasted(jpeg(film(CLEAN, 20), 20), "auto"), pasted(jpeg(film(CLEAN, 20), 20), 0.0))


def test_a_clean_picture_gets_none() -> None:
    assert np.array_equal(pasted(CLEAN, "auto"), pasted(CLEAN, 0.0))
    change = pasted(CLEAN, 1.0) - pasted(CLEAN, 0.0)
    assert np.abs(change).max() <= 3 / 255  # at most the rounding of the picture itself
    image = np.full((300, 300, 3), 102, np.uint8)
    before, crop = image.copy(), warping.crop_face(image, placed(0.9, 150, 150), SIZE)
    paste(image, crop, crop, MASK, placed(0.9, 150, 150), grain=1.0)
    assert np.array_equal(image, before)


def test_noise_is_measured_before_a_neighbour_is_restored() -> None:
    """A clean face beside a face must not be taken for what the picture is like."""
    image = to_uint8(film(CLEAN, 40))
    crop = warping.crop_face(image, MATRIX, SIZE)
    found = surroundings.look_around(image, MASK, MATRIX)
    image[OUTSIDE] = to_uint8(CLEAN)[OUTSIDE]
    paste(image, warping.crop_face(CLEAN, MATRIX, SIZE), crop, MASK, MATRIX, grain="auto", surroundings=found)
    assert np.square(image / 255 - CLEAN)[INSIDE].mean() > 0.7 * np.square(film(CLEAN, 40) - CLEAN).mean()


@pytest.mark.parametrize("side", [56, 64, 72, 80])
def test_a_small_sharp_picture_has_no_grain(side: int) -> None:
    """It has too few patches to tell whether the flattest of them are noise."""
    astronaut: np.ndarray = pytest.importorskip("skimage.data").astronaut()
    small = cv2.resize(astronaut[:260, 90:350], (side, side), interpolation=cv2.INTER_AREA)
    matrix = placed(side / 400, side / 2, side / 2)
    crop = warping.crop_face(small, matrix, SIZE)
    found = surroundings.look_around(small, MASK, matrix)
    assert found is not None and found.film == 0
    with_auto, without = small.copy(), small.copy()
    paste(with_auto, crop, crop, MASK, matrix, grain="auto")
    paste(without, crop, crop, MASK, matrix, grain=0.0)
    assert np.array_equal(with_auto, without)


@pytest.mark.parametrize("kind", ["film", "upscaled", "grey"])
def test_the_coarsest_grain_is_put_back_too(kind: str) -> None:
    """Of film grain, waves of 10 to 20 pixels came back with 0.6 of their power."""
    noisy = KINDS[kind]()
    result = pasted(noisy, 1.0)
    powers = []
    for picture in (result, noisy):
        noise = (picture - CLEAN).mean(axis=2)
        coarse = filters.gaussian(noise, 2.8) - filters.gaussian(noise, 5.6)
        powers.append([float(np.square(coarse[where]).mean()) for where in (INSIDE, OUTSIDE)])
    (here, there), (was_here, was_there) = powers
    assert 0.75 < here / was_here / (there / was_there) < 1.35
