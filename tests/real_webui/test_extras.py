"""The Extras tab over the API: its arguments are None for steps of extensions, which must mean off."""

from __future__ import annotations

import numpy as np
import PIL.Image

from .client import WebUI, from_base64, to_base64, to_pixels

NAMES = {"upscaling_resize": 1, "upscaler_1": "None"}


def test_a_single_picture_is_left_alone(webui: WebUI, photo: PIL.Image.Image) -> None:
    answer = webui.post("/sdapi/v1/extra-single-image", {"image": to_base64(photo), **NAMES})
    assert np.array_equal(to_pixels(from_base64(answer["image"])), to_pixels(photo))
    assert "Face restore" not in answer["html_info"]


def test_upscaling_works_as_without_us(webui: WebUI, photo: PIL.Image.Image) -> None:
    body = {"image": to_base64(photo), "upscaling_resize": 1.5, "upscaler_1": "Lanczos"}
    answer = webui.post("/sdapi/v1/extra-single-image", body)
    made = from_base64(answer["image"]).convert("RGB")
    assert made.size == (768, 768)
    wanted = photo.resize((768, 768), PIL.Image.Resampling.LANCZOS)
    assert np.abs(np.asarray(made).astype(int) - np.asarray(wanted)).max() <= 2


def test_several_pictures_are_left_alone(webui: WebUI, photo: PIL.Image.Image) -> None:
    pictures = [photo, photo.transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT)]
    listed = [{"data": to_base64(one), "name": f"{number}.png"} for number, one in enumerate(pictures)]
    answer = webui.post("/sdapi/v1/extra-batch-images", {"imageList": listed, **NAMES})
    assert len(answer["images"]) == 2
    for before, after in zip(pictures, answer["images"], strict=True):
        assert np.array_equal(to_pixels(from_base64(after)), to_pixels(before))
