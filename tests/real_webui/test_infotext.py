"""What is written beside a picture, and that it leads back to the same picture."""

from __future__ import annotations

import numpy as np
import pytest

from .client import WebUI, lines, ours
from .conftest import Scene

OPTIONS = {
    "model": "lite", "visibility": 0.7, "stage": "last", "confidence": 0.4, "faces": "1", "order": "large-small",
    "mask": "ellipse", "mask_feather": 0.2, "keep": ["eyes", "mouth"], "color": "none", "detail": 0.25, "grain": 0.1,
    "overrides": {"1": {"visibility": 0.9}},
}  # fmt: skip


def test_png_info_gives_every_key_back(webui: WebUI, repainted: Scene) -> None:
    made = webui.make("img2img", **repainted.fields, alwayson_scripts=ours(**OPTIONS))
    answer = webui.post("/sdapi/v1/png-info", {"image": made.files[0]})
    assert lines(answer["info"]) == lines(made.infotext)
    parameters = answer.get("parameters") or {}
    if not parameters:
        pytest.skip("needs a WebUI whose png-info also gives `parameters`")
    found = {key.removeprefix("Face restore "): value for key, value in parameters.items()}
    assert found["model"] == "lite" and found["visibility"] == "0.7" and found["stage"] == "last"
    assert found["faces"] == "1" and found["order"] == "large-small" and found["keep"] == "eyes,mouth"
    assert found["overrides"] == '{"1": {"visibility": 0.9}}'
    # A face without noise and blur may come out as it went in.
    assert found["result"] in ("1 restored", "0 restored, 1 skipped (restoring it changes no pixel)")


def test_an_infotext_makes_the_same_picture_again(webui: WebUI, repainted: Scene) -> None:
    """Needs a WebUI whose API takes `infotext` (A1111 from 1.9)."""
    schema = webui.get("/openapi.json")["components"]["schemas"]["StableDiffusionProcessingImg2Img"]["properties"]
    if "infotext" not in schema:
        pytest.skip("needs a WebUI whose img2img API takes `infotext`")
    made = webui.make("img2img", **repainted.fields, alwayson_scripts=ours(**OPTIONS))
    again = webui.make("img2img", **repainted.fields, infotext=made.infotext)
    assert lines(again.infotext) == lines(made.infotext)
    assert np.array_equal(again.pixels, made.pixels)


def test_an_infotext_without_us_switches_us_off(webui: WebUI, repainted: Scene) -> None:
    schema = webui.get("/openapi.json")["components"]["schemas"]["StableDiffusionProcessingImg2Img"]["properties"]
    if "infotext" not in schema:
        pytest.skip("needs a WebUI whose img2img API takes `infotext`")
    again = webui.make("img2img", **repainted.fields, infotext=repainted.plain.infotext)
    assert not lines(again.infotext)
    assert np.array_equal(again.pixels, repainted.plain.pixels)


def test_one_run_leaves_nothing_to_the_next(webui: WebUI, repainted: Scene) -> None:
    webui.make("img2img", **repainted.fields, alwayson_scripts=ours(**OPTIONS))
    after = webui.make("img2img", **repainted.fields)
    assert after.infotext == repainted.plain.infotext
    assert np.array_equal(after.pixels, repainted.plain.pixels)
