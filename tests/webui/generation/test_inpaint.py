"""The Script with an inpaint mask: nothing outside of it, one detection, a soft edge."""

from __future__ import annotations

from typing import Any

import numpy as np
import PIL.Image
import pytest

from lib_facerestore.webui import infotext
from lib_facerestore.webui.request import STAGES

from ..double import Host
from ..helpers import Known, photo
from .helpers import args, equal, keys, mask_of, start


@pytest.mark.parametrize("host", ["a1111", "forge"], indirect=True)
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("overlay", [True, False])
def test_inpaint_leaves_what_is_outside_of_the_mask(
    host: Host, known: Known, stage: str, whole: bool, overlay: bool
) -> None:
    """`init` and what is generated differ everywhere; the mask covers the upper part of the left face."""
    start(host)
    host.set_opts(overlay_inpaint=overlay)
    box = (16, 20, 92, 60)
    fields: dict[str, Any] = {
        "init_images": [PIL.Image.fromarray(photo(5))], "mask": mask_of(box), "mask_blur": 3,
        "inpaint_full_res": not whole, "inpaint_full_res_padding": 16, "decoded": [photo(6)],
    }  # fmt: skip
    plain = np.asarray(host.run("img2img", **fields).images[0])
    done = host.run("img2img", args=args(stage=stage), **fields)
    image = np.asarray(done.images[0])
    p = host.saved[-1].p
    assert image.shape == plain.shape
    mask = p.mask_for_overlay
    if not (overlay or whole):  # the crop comes out as it is
        x, y, width, height = p.paste_to
        mask = mask.crop((x, y, x + width, y + height)).resize(done.images[0].size, PIL.Image.Resampling.BILINEAR)
    outside = np.asarray(mask) == 0
    assert outside.any() and equal(image[outside], plain[outside])
    assert not equal(image, plain)
    if whole:
        assert keys(done.infotexts[0])[infotext.RESULT] == "1 restored, 1 skipped (it lies outside of the inpaint mask)"


@pytest.mark.parametrize("overlay", [True, False])
def test_inpaint_only_masked_at_the_last_stage_is_soft_along_the_mask(host: Host, known: Known, overlay: bool) -> None:
    start(host)
    host.set_opts(overlay_inpaint=overlay)
    fields: dict[str, Any] = {
        "init_images": [PIL.Image.fromarray(photo(5))], "mask": mask_of((0, 0, 96, 60)), "mask_blur": 6,
        "inpaint_full_res": True, "decoded": [photo(6)], "width": 192, "height": 128,
    }  # fmt: skip
    plain = np.asarray(host.run("img2img", **fields).images[0])
    done = host.run("img2img", args=args(stage="last"), **fields)
    p = host.saved[-1].p
    drawn = p.mask_for_overlay
    if not overlay:  # without it, the crop is not put back
        x, y, width, height = p.paste_to
        drawn = drawn.crop((x, y, x + width, y + height)).resize((192, 128), PIL.Image.Resampling.BILINEAR)
    mask = np.asarray(drawn)[..., None]
    assert 0 < (mask == 0).mean() < 0.9 and (mask == 255).any()
    free = known.restored(plain, faces="1" if overlay else "all")  # both faces touch the mask in the crop
    image = np.asarray(done.images[0])
    assert equal(image[mask[..., 0] == 255], free[mask[..., 0] == 255])
    assert equal(image[mask[..., 0] == 0], plain[mask[..., 0] == 0])
    assert np.abs(image - (plain + (free.astype(float) - plain) * (mask / 255))).max() <= 0.5


@pytest.mark.parametrize("stage", STAGES)
def test_with_a_mask_a_picture_is_detected_once(host: Host, known: Known, stage: str) -> None:
    start(host)
    fields: dict[str, Any] = {
        "init_images": [PIL.Image.fromarray(photo(5))], "mask": mask_of((0, 0, 96, 128)), "inpaint_full_res": False,
        "decoded": [photo(6)],
    }  # fmt: skip
    host.run("img2img", args=args(stage=stage), **fields)
    assert known.detector.seen == [(192,)] and known.batches == [1]


def test_a_mask_without_a_face_changes_nothing(host: Host, known: Known) -> None:
    start(host)
    fields: dict[str, Any] = {
        "init_images": [PIL.Image.fromarray(photo(5))], "mask": mask_of((90, 100, 110, 120)), "mask_blur": 0,
        "inpaint_full_res": False, "decoded": [photo(6)],
    }  # fmt: skip
    plain = host.run("img2img", **fields)
    for stage in STAGES:
        assert equal(host.run("img2img", args=args(stage=stage), **fields).images[0], plain.images[0])
    assert known.batches == []
