"""The WebUI's own "Restore faces" with our restorers: `restore_faces` in the API, and Settings → Face restoration."""

from __future__ import annotations

import numpy as np
import pytest

from .client import WebUI, changed_outside, lines
from .conftest import Scene

SUFFIX = " (Face Restore)"


@pytest.fixture(scope="module")
def names(webui: WebUI) -> list[str]:
    """The restorers of the WebUI's list; skips where it has none (SD.Next)."""
    schema = webui.get("/openapi.json")["paths"]
    if "/sdapi/v1/face-restorers" not in schema:
        pytest.skip("needs a WebUI with a list of face restorers")
    return [row["name"] for row in webui.get("/sdapi/v1/face-restorers")]


def test_every_usable_model_is_listed_once(webui: WebUI, names: list[str]) -> None:
    own = [name for name in names if name.endswith(SUFFIX)]
    assert len(own) == len(set(own))
    assert "lite" + SUFFIX in own and "auto" + SUFFIX in own
    assert len(set(names)) == len(names)


@pytest.mark.usefixtures("names", "restored_settings")
def test_restore_faces_with_our_model(webui: WebUI, repainted: Scene) -> None:
    """`override_settings` names the restorer for one generation; its infotext says what really ran."""
    overrides = repainted.fields.get("override_settings", {}) | {"face_restoration_model": "lite" + SUFFIX}
    made = webui.make("img2img", **repainted.fields | {"restore_faces": True, "override_settings": overrides})
    assert (made.pixels != repainted.plain.pixels).any()
    assert changed_outside(repainted.plain.pixels, made.pixels, repainted.box) == 0
    assert f"Face restoration: lite{SUFFIX}" in made.infotext
    assert "Face restoration result: " in made.infotext and "lite, 1 restored" in made.infotext
    assert not lines(made.infotext)  # the accordion's keys belong to the accordion


@pytest.mark.usefixtures("names", "restored_settings")
def test_restore_faces_false_is_bit_identical(webui: WebUI, repainted: Scene) -> None:
    overrides = repainted.fields.get("override_settings", {}) | {"face_restoration_model": "lite" + SUFFIX}
    made = webui.make("img2img", **repainted.fields | {"restore_faces": False, "override_settings": overrides})
    assert np.array_equal(made.pixels, repainted.plain.pixels)
    assert "Face restoration" not in made.infotext


@pytest.mark.usefixtures("names", "restored_settings")
def test_the_result_of_one_run_is_not_told_in_the_next(webui: WebUI, repainted: Scene) -> None:
    former = {"face_restoration_model": "Lite" + SUFFIX}
    overrides = repainted.fields.get("override_settings", {}) | former
    webui.make("img2img", **repainted.fields | {"restore_faces": True, "override_settings": overrides})
    after = webui.make("img2img", **repainted.fields)
    assert "Face restoration" not in after.infotext
