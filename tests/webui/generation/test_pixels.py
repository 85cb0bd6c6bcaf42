"""The arithmetic of the Script: tensors to pixels and back, masks, blending."""

from __future__ import annotations

import numpy as np
import PIL.Image
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lib_facerestore.webui.generation import pixels as job_pixels

from ...conftest import face_at
from ..double.processing import to_tensor

ALL = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_every_value_comes_back_as_it_was_written(dtype: torch.dtype) -> None:
    tensor = to_tensor(ALL[::-1].copy()).to(dtype)
    before = job_pixels.pixels_of(tensor)
    made = job_pixels.write_back(tensor, before, ALL)
    assert made.dtype == dtype and np.array_equal(job_pixels.pixels_of(made), ALL)
    changed = torch.from_numpy((before != ALL).transpose(2, 0, 1).copy())
    middle = torch.from_numpy(ALL.transpose(2, 0, 1) + 0.5)
    assert (made.double() * 255 - middle)[changed].abs().max() < 0.1


def test_a_tensor_without_a_change_is_the_same_one() -> None:
    tensor = torch.rand(3, 8, 8)
    pixels = job_pixels.pixels_of(tensor)
    assert job_pixels.write_back(tensor, pixels, pixels.copy()) is tensor


def test_only_changed_values_are_written_and_the_tensor_given_is_left() -> None:
    tensor = torch.rand(3, 8, 8)
    kept, before = tensor.clone(), job_pixels.pixels_of(tensor)
    after = before.copy()
    after[2, 3, 1] ^= 64
    made = job_pixels.write_back(tensor, before, after)
    assert torch.equal(tensor, kept) and (made != kept).sum() == 1 and made[1, 2, 3] != kept[1, 2, 3]


@pytest.mark.parametrize("shape", [(8, 8), (1, 8, 8), (4, 8, 8), (2, 3, 8, 8)])
def test_what_is_no_decoded_picture(shape: tuple[int, ...]) -> None:
    assert job_pixels.is_decoded(torch.zeros(3, 8, 8))
    assert not job_pixels.is_decoded(torch.zeros(shape))
    assert not job_pixels.is_decoded(np.zeros((3, 8, 8)))
    assert not job_pixels.is_decoded(PIL.Image.new("RGB", (3, 3)))


@given(st.integers(0, 255), st.integers(0, 255), st.integers(0, 255))
def test_blending_is_a_share_of_the_way(old: int, new: int, share: int) -> None:
    before, after = np.full((2, 2, 3), old, np.uint8), np.full((2, 2, 3), new, np.uint8)
    made = job_pixels.blend(before, after, np.full((2, 2), share, np.uint8))
    assert np.abs(made.astype(float) - (old + (new - old) * share / 255)).max() <= 0.5 + 1e-4
    if share in (0, 255):
        assert made[0, 0, 0] == (old if share == 0 else new)


@pytest.mark.parametrize("mode", job_pixels.MASKED_MODES)
def test_blending_keeps_mode_and_alpha(mode: str) -> None:
    rng = np.random.default_rng(1)
    before, after = (PIL.Image.fromarray(rng.integers(0, 256, (6, 5, 4), np.uint8)).convert(mode) for _ in range(2))
    after.info["parameters"] = "kept"
    made = job_pixels.blend(before, after, np.full((6, 5), 255, np.uint8))
    assert made.mode == mode and made.info == {"parameters": "kept"}
    if mode in ("LA", "RGBA"):
        assert np.array_equal(np.asarray(made)[..., -1], np.asarray(before)[..., -1])
        assert np.array_equal(np.asarray(made)[..., :-1], np.asarray(after)[..., :-1])
    else:
        assert np.array_equal(np.asarray(made), np.asarray(after))


def test_a_mode_that_cannot_be_blended_is_left_alone() -> None:
    before = PIL.Image.new("P", (4, 4))
    assert job_pixels.blend(before, before.copy(), np.zeros((4, 4), np.uint8)) is before


def test_masks_follow_the_crop_and_the_size() -> None:
    mask = PIL.Image.new("L", (40, 20))
    mask.paste(255, (10, 5, 20, 15))
    whole, crop = job_pixels.mask_for(mask, (40, 20)), job_pixels.mask_for(mask, (20, 20), (10, 5, 10, 10))
    assert whole is not None and np.array_equal(whole, np.asarray(mask))
    assert crop is not None and crop.shape == (20, 20) and (crop == 255).all()
    assert job_pixels.mask_for(None, (4, 4)) is None


def test_faces_touch_the_mask_by_their_boxes() -> None:
    mask = np.zeros((50, 50), np.uint8)
    mask[30, 30] = 1
    assert job_pixels.touches(mask, face_at(25, 25, 20))
    assert not job_pixels.touches(mask, face_at(10, 10, 20))
    assert not job_pixels.touches(np.full((50, 50), 255, np.uint8), face_at(-40, 10, 20))
