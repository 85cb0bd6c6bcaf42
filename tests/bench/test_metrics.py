"""The measures of quality on pictures whose values are known."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from lib_facerestore.bench import metrics
from lib_facerestore.errors import FaceRestoreError

pytest.importorskip("skimage", reason="comes with the extra `test`")
SIDE = 120
Y, X = np.mgrid[0:SIDE, 0:SIDE]
DISC = np.hypot(X - 60, Y - 60) < 30


def flat(level: int) -> np.ndarray:
    return np.full((SIDE, SIDE, 3), level, np.uint8)


def test_psnr_of_a_known_error_and_of_identical_pictures() -> None:
    assert metrics.psnr(flat(110), flat(100)) == pytest.approx(20 * np.log10(25.5))
    assert metrics.psnr(flat(100), flat(100)) is None
    half = flat(100)
    half[:, :60] = 110
    left = X < 60
    assert metrics.psnr(half, flat(100), left) == pytest.approx(20 * np.log10(25.5))
    assert metrics.psnr(half, flat(100), ~left) is None
    nearly = flat(100).astype(np.float32)
    nearly[0, 0] += 1e-4
    assert metrics.psnr(nearly, flat(100)) == metrics.SAME, "never above what identical pictures count as"


def step_between(inner: int, outer: int) -> float:
    one, two = (metrics.to_lab(np.full((1, 3), level)) for level in (inner, outer))
    return float(metrics.delta_e(one, two)[0])


def test_a_hard_seam_has_the_difference_of_its_colours() -> None:
    before, crop = flat(120), flat(140)
    result = np.where(DISC[..., None], crop, before)
    seam = metrics.seam_delta_e(result, (before, crop), DISC.astype(np.float32))
    assert seam == pytest.approx(step_between(140, 120), rel=0.01)


def test_a_soft_mask_has_a_small_seam_and_an_edge_of_the_sources_is_none() -> None:
    before, crop = flat(120), flat(140)
    alpha = np.clip((38 - np.hypot(X - 60, Y - 60)) / 16, 0, 1).astype(np.float32)
    soft = np.rint(before + alpha[..., None] * (crop.astype(np.float32) - before)).astype(np.uint8)
    assert metrics.seam_delta_e(soft, (before, crop), alpha) < 0.15 * step_between(140, 120)
    edged = np.where(DISC[..., None], flat(200), before)
    assert metrics.seam_delta_e(edged, (edged, edged), DISC.astype(np.float32)) == 0
    assert metrics.seam_delta_e(before, (before, crop), np.zeros((SIDE, SIDE), np.float32)) == 0, "nothing pasted"


def test_noise_is_no_seam() -> None:
    rng = np.random.default_rng(0)
    before = np.clip(flat(120) + rng.normal(0, 8, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)
    result = np.where(DISC[..., None], np.clip(flat(120) + rng.normal(0, 8, (SIDE, SIDE, 3)), 0, 255), before)
    seam = metrics.seam_delta_e(result.astype(np.uint8), (before, flat(120)), DISC.astype(np.float32))
    assert seam < 0.35 * metrics.delta_e(*(metrics.to_lab(part) for part in (before, flat(120)))).mean()


def test_the_low_band_sees_a_shift_of_colour_and_no_texture() -> None:
    rng = np.random.default_rng(1)
    truth = flat(120)
    shifted = flat(120) + np.array([0, 0, 12], np.uint8)
    expected = float(metrics.delta_e(metrics.to_lab(truth[0]), metrics.to_lab(shifted[0]))[0])
    assert metrics.low_band_delta_e(shifted, truth, DISC, 6) == pytest.approx(expected, rel=1e-3)
    outside = np.where(DISC[..., None], truth, flat(10))
    assert metrics.low_band_delta_e(outside, truth, DISC, 6) < 1e-3, "what is around the region does not leak in"
    textured = np.clip(np.rint(truth + rng.normal(0, 10, truth.shape)), 0, 255).astype(np.uint8)
    shift = metrics.low_band_delta_e(flat(130), truth, DISC, 6)
    assert metrics.low_band_delta_e(textured, truth, DISC, 6) < 0.3 * shift


@pytest.mark.parametrize(("factor", "power"), [(1.0, 1.0), (0.5, 0.25), (2.0, 4.0), (0.0, 0.0)])
def test_grain_of_another_strength_has_the_ratio_of_powers(factor: float, power: float) -> None:
    rng = np.random.default_rng(2)
    truth = flat(128)
    noise = np.repeat(rng.normal(0, 12, (SIDE, SIDE, 1)), 3, axis=2)
    before = np.rint(truth + noise).astype(np.uint8)
    result = np.where(DISC[..., None], np.rint(truth + factor * noise).astype(np.uint8), before)
    total, worst = metrics.grain_ratios(result, before, truth, DISC, ~DISC)
    assert total == pytest.approx(power, rel=0.03, abs=5e-3)
    assert worst == pytest.approx(max(power, 1 / power), rel=0.1) if power else worst == metrics.WORST


def test_grain_of_the_same_power_and_another_spectrum_shows_in_a_band() -> None:
    rng = np.random.default_rng(3)
    truth = flat(128)
    white = rng.normal(0, 12, (SIDE, SIDE))
    clumped = metrics.gaussian(rng.normal(0, 1, (SIDE, SIDE)).astype(np.float32), 1.2)
    clumped *= 12 / clumped[DISC].std()
    before = np.rint(truth + white[..., None]).clip(0, 255).astype(np.uint8)
    pasted = np.where(DISC, clumped, white)
    result = np.rint(truth + pasted[..., None]).clip(0, 255).astype(np.uint8)
    total, worst = metrics.grain_ratios(result, before, truth, DISC, ~DISC)
    assert 0.7 < total < 1.3
    assert worst > 2


def test_landmarks_boxes_and_changed_pixels() -> None:
    eyes = np.array([[10, 10], [30, 10], [20, 20], [12, 30], [28, 30]], np.float64)
    assert metrics.landmark_shift(eyes + np.array([3, 4]), eyes) == pytest.approx(5 / 20)
    assert metrics.overlap((0, 0, 10, 10), (5, 0, 15, 10)) == pytest.approx(1 / 3)
    assert metrics.overlap((0, 0, 10, 10), (20, 20, 30, 30)) == 0
    result = flat(100)
    result[10, 10] = result[60, 60] = 0
    assert metrics.changed_outside(result, flat(100), (50, 50, 70, 70)) == 1
    result[60, 74] = 0  # within 1.5 times the box, 45 to 75
    assert metrics.changed_outside(result, flat(100), (50, 50, 70, 70)) == 1
    assert metrics.changed_outside(flat(100), flat(100), (50, 50, 70, 70)) == 0


def test_without_scikit_image_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "skimage"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(
        FaceRestoreError, match=r"need the package scikit-image; install it with `.*-m pip install scikit-image`"
    ):
        metrics.to_lab(flat(1))
