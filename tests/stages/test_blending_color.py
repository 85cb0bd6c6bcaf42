"""Colours of a restored crop brought to those of the picture: no seam, no ghosts, texture kept, grey stays grey."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from lib_facerestore.faces import warping
from lib_facerestore.stages import color, filters, parsing

from .blending_helpers import MASK, SIZE, TEMPLATE, drawn_picture, paste, placed, smooth_picture, to_uint8


@pytest.mark.parametrize("tint", [(0.1, -0.05, 0.08), (-0.12, -0.12, -0.12), (0.0, 0.1, 0.0)])
def test_no_step_of_colour_is_left(tint: tuple[float, ...]) -> None:
    picture = smooth_picture(400, 400)
    matrix = placed(0.7, 200, 200, 15)
    crop = warping.crop_face(picture, matrix, SIZE)
    tinted = np.clip(crop + np.array(tint, np.float32), 0, 1)
    image = to_uint8(picture)
    paste(image, color.match_color(tinted, crop, MASK), crop, MASK, matrix)
    difference = np.abs(image.astype(int) - to_uint8(picture))
    assert difference.max() <= 2
    unmatched = to_uint8(picture)
    paste(unmatched, tinted, crop, MASK, matrix)
    assert np.abs(unmatched.astype(int) - to_uint8(picture)).max() > 15


def test_seam_ring_keeps_its_level_under_a_varying_tint() -> None:
    crop = smooth_picture(SIZE, SIZE, 3)
    ramp = np.linspace(-0.1, 0.1, SIZE, dtype=np.float32)[:, None, None] * np.array([1, 0.5, -1], np.float32)
    tinted = np.clip(crop * 0.9 + ramp, 0, 1).astype(np.float32)
    ring = (MASK > 0.05) & (MASK < 0.6)
    visible = np.abs(MASK[..., None] * (color.match_color(tinted, crop, MASK) - crop))[ring]
    unmatched = np.abs(MASK[..., None] * (tinted - crop))[ring]
    assert visible.mean() < 1 / 255 < 3 / 255 < unmatched.mean()
    assert np.percentile(visible, 99) < 4 / 255


def test_texture_stays_restored() -> None:
    generator = np.random.default_rng(0)
    original = smooth_picture(SIZE, SIZE, 4)
    texture = generator.standard_normal((SIZE, SIZE, 1), np.float32) * 0.05
    matched = color.match_color(np.clip(original + texture + 0.05, 0, 1), original, MASK)
    inside = MASK > 0.9
    kept = (matched - original)[inside].mean(axis=1)
    assert np.corrcoef(kept, texture[inside][:, 0])[0, 1] > 0.98
    assert 0.8 < kept.std() / texture[inside].std() < 1.25


def test_grey_stays_grey() -> None:
    grey = smooth_picture(SIZE, SIZE, 5).mean(axis=2, keepdims=True).repeat(3, axis=2)
    coloured = np.clip(grey + np.array([0.1, 0.0, -0.05], np.float32), 0, 1)
    coloured[180:200, 100:150] = (0.6, 0.2, 0.5)  # purple lips
    matched = color.match_color(coloured, grey, MASK)
    assert (matched.max(axis=2) - matched.min(axis=2)).max() < 0.5 / 255


def test_identical_crop_keeps_its_colours() -> None:
    crop = smooth_picture(SIZE, SIZE, 6, noise=0.02)
    assert np.abs(color.match_color(crop, crop, MASK) - crop).max() < 1e-3
    assert np.array_equal(color.match_color(crop, 1 - crop, np.zeros_like(MASK)), crop)


FACE = drawn_picture(SIZE)
CASTS = {
    "none": FACE,
    "warm": np.clip(FACE + np.array([0.06, 0.0, -0.06], np.float32), 0, 1),
    "dark and green": FACE * np.array([0.85, 0.95, 0.82], np.float32),
}
REMOVED = {
    "glasses": ("glasses", (0.05, 0.05, 0.06)),
    "hand": ("mouth", (0.55, 0.35, 0.25)),
    "stain": ("eyes", (0.1, 0.2, 0.6)),
}


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return float(-10 * np.log10(np.square(one - other)[MASK > 0.5].mean()))


@pytest.mark.parametrize("thing", REMOVED)
@pytest.mark.parametrize("cast", CASTS)
def test_what_the_network_removed_does_not_come_back_as_a_ghost(thing: str, cast: str) -> None:
    """It came back with 17 to 24 dB."""
    part, shade = REMOVED[thing]
    where = filters.gaussian(parsing.part_mask(None, (part,), TEMPLATE, SIZE), 1)[..., None]  # type: ignore[arg-type]
    original = np.asarray(FACE * (1 - where) + where * np.array(shade, np.float32), np.float32)
    assert psnr(color.match_color(CASTS[cast], original, MASK), FACE) > 36


@pytest.mark.parametrize("cast", CASTS)
def test_a_cast_is_removed_from_a_face_that_was_a_few_pixels_wide(cast: str) -> None:
    """Its blur is no difference of colour; it cost 17 dB."""
    small = cv2.resize(FACE, (28, 28), interpolation=cv2.INTER_AREA)
    original = np.asarray(cv2.resize(small, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC), np.float32)
    assert psnr(color.match_color(CASTS[cast], original, MASK), FACE) > 38
