"""Inpainting, whole picture and only masked: outside of the mask every pixel stays as it is without us."""

from __future__ import annotations

from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageDraw
import pytest

from .client import Pixels, WebUI, lines, ours, to_base64
from .conftest import Scene, base_fields

STAGES = ["decode", "composite", "last"]


def mask_over(scene: Scene, side: str) -> PIL.Image.Image:
    """White over half of the picture: "left" holds the first of two faces, "none" a strip without a face."""
    mask = PIL.Image.new("L", scene.plain.picture.size, 0)
    width, height = mask.size
    box = {"left": (0, 0, width // 2 - 1, height), "none": (0, height - 24, width, height)}[side]
    PIL.ImageDraw.Draw(mask).rectangle(box, fill=255)
    return mask


def inpaint(webui: WebUI, source: PIL.Image.Image, mask: PIL.Image.Image, full_res: bool, **more: Any) -> Pixels:
    fields = base_fields(
        init_images=[to_base64(source)], mask=to_base64(mask), denoising_strength=0.05, inpainting_fill=1,
        inpaint_full_res=full_res, inpaint_full_res_padding=32, mask_blur=4, width=768, height=384,
    )  # fmt: skip
    made = webui.make("img2img", **fields | more)
    if "alwayson_scripts" in more:
        inpaint.told = lines(made.infotext)  # type: ignore[attr-defined]
    return made.pixels


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("full_res", [False, True], ids=["whole picture", "only masked"])
def test_outside_of_the_mask_nothing_changes(webui: WebUI, repainted_two: Scene, full_res: bool, stage: str) -> None:
    """Needs a checkpoint that keeps the faces of the photograph."""
    source, mask = repainted_two.plain.picture, mask_over(repainted_two, "left")
    plain = inpaint(webui, source, mask, full_res)
    made = inpaint(webui, source, mask, full_res, alwayson_scripts=ours(model="lite", stage=stage))
    differs = (plain != made).any(axis=2)
    assert differs.any(), "the face inside of the mask was not restored"
    blurred = 3 * 4 + 2  # beyond it the blurred mask is nothing
    assert not differs[:, source.width // 2 + blurred :].any()
    assert inpaint.told["result"].startswith("1 restored")  # type: ignore[attr-defined]


@pytest.mark.parametrize("stage", STAGES)
def test_a_mask_without_a_face_restores_none(webui: WebUI, repainted_two: Scene, stage: str) -> None:
    source, mask = repainted_two.plain.picture, mask_over(repainted_two, "none")
    plain = inpaint(webui, source, mask, False)
    made = inpaint(webui, source, mask, False, alwayson_scripts=ours(model="lite", stage=stage))
    assert np.array_equal(plain, made)


def test_an_inverted_mask(webui: WebUI, repainted_two: Scene) -> None:
    source, mask = repainted_two.plain.picture, mask_over(repainted_two, "left")
    plain = inpaint(webui, source, mask, False, inpainting_mask_invert=1)
    made = inpaint(
        webui, source, mask, False, inpainting_mask_invert=1, alwayson_scripts=ours(model="lite", stage="last")
    )
    differs = (plain != made).any(axis=2)
    assert differs.any() and not differs[:, : source.width // 2 - 15].any()
