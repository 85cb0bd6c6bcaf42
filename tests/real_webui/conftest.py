"""Tests against a running WebUI that has the extension installed.

    WEBUI_URL=http://127.0.0.1:7860 pytest tests/real_webui                 everything that can run there
    WEBUI_AUTH=user:password                                                where it runs with --api-auth
    WEBUI_STEPS=20 WEBUI_CHECKPOINT=name                                    for a real checkpoint (default: 2 steps)
    CHROMIUM=/path CHROMEDRIVER=/path WEBUI_SHOTS=folder                    for the tests in a browser

The WebUI must run with --api. Nothing here depends on the machine or the checkpoint: tests that need a face in a
generated picture look for it first, and say in their skip reason what is missing. Changed settings are put back.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import PIL.Image
import pytest

from ..chromium import open_chromium
from .browser import FLAGS, Page
from .client import FailedError, Made, WebUI, to_base64

URL = os.environ.get("WEBUI_URL", "")
STEPS = int(os.environ.get("WEBUI_STEPS", "2"))
PROMPT = "photo portrait of a woman, looking at the viewer"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = os.path.dirname(__file__)
    for item in items:
        if str(item.path).startswith(here + os.sep):
            item.add_marker(pytest.mark.webui)
            if not URL:
                reason = "set WEBUI_URL to a running WebUI with --api and this extension"
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def webui() -> Iterator[WebUI]:
    """The WebUI, with our Script and routes."""
    made = WebUI(URL, os.environ.get("WEBUI_AUTH", ""))
    try:
        made.get("/sdapi/v1/scripts")
    except (httpx.HTTPError, FailedError) as error:
        pytest.fail(f"WEBUI_URL={URL} does not answer as a WebUI with --api: {error}", pytrace=False)
    yield made
    made.http.close()


@pytest.fixture(scope="session")
def photo() -> PIL.Image.Image:
    """A photograph of 512×512 pixels with one large face."""
    data = pytest.importorskip("skimage.data", reason="needs scikit-image (extra `test`) for its photograph")
    whole = PIL.Image.fromarray(data.astronaut())
    return whole.crop((60, 0, 380, 320)).resize((512, 512), PIL.Image.Resampling.LANCZOS)


@pytest.fixture(scope="session")
def two_faces(photo: PIL.Image.Image) -> PIL.Image.Image:
    """The photograph twice beside each other, 1024×512: two faces of the same size."""
    pair = PIL.Image.new("RGB", (1024, 512))
    pair.paste(photo, (0, 0))
    pair.paste(photo, (512, 0))
    return pair


@dataclass(frozen=True)
class Scene:
    """A generation without us that is known to come out with faces, the same each time.

    Attributes:
        tab: "txt2img" or "img2img".
        fields: of the request.
        plain: what came of it without our Script.
        faces: as our route finds them in it.
    """

    tab: str
    fields: dict[str, Any]
    plain: Made
    faces: list[dict[str, Any]]

    @property
    def box(self) -> list[float]:
        return self.faces[0]["box"]


def scene(webui: WebUI, tab: str, fields: dict[str, Any], at_least: int = 1) -> Scene:
    """Make the picture twice without us; skips the test where it differs, or has too few faces."""
    plain, again = webui.make(tab, **fields), webui.make(tab, **fields)
    if not np.array_equal(plain.pixels, again.pixels):
        pytest.skip("needs a WebUI that makes the same picture twice (no ancestral sampler, deterministic device)")
    found = webui.post("/facerestore/v1/detect", {"image": plain.files[0]})["faces"]
    if len(found) < at_least:
        pytest.skip(
            f"needs a checkpoint whose {tab} gives {at_least} face(s) with WEBUI_STEPS={STEPS}; found {len(found)}"
        )
    return Scene(tab, fields, plain, found)


def base_fields(**more: Any) -> dict[str, Any]:
    """What every generation here has; small and reproducible."""
    fields = {
        "prompt": PROMPT, "seed": 7, "steps": STEPS, "width": 512, "height": 512, "sampler_name": "Euler",
        "cfg_scale": 5, "batch_size": 1, "n_iter": 1,
    }  # fmt: skip
    if os.environ.get("WEBUI_CHECKPOINT"):
        fields["override_settings"] = {"sd_model_checkpoint": os.environ["WEBUI_CHECKPOINT"]}
    return fields | more


@pytest.fixture(scope="session")
def portrait(webui: WebUI) -> Scene:
    """txt2img with a face."""
    return scene(webui, "txt2img", base_fields())


@pytest.fixture(scope="session")
def repainted(webui: WebUI, photo: PIL.Image.Image) -> Scene:
    """img2img of the photograph at so little denoising that its face stays."""
    return scene(webui, "img2img", base_fields(init_images=[to_base64(photo)], denoising_strength=0.05))


@pytest.fixture(scope="session")
def repainted_two(webui: WebUI, two_faces: PIL.Image.Image) -> Scene:
    """The same with two faces, at 768×384."""
    fields = base_fields(
        init_images=[to_base64(two_faces)], denoising_strength=0.05, width=768, height=384, resize_mode=0
    )
    return scene(webui, "img2img", fields, at_least=2)


@pytest.fixture
def restored_settings(webui: WebUI) -> Iterator[None]:
    """Puts back the settings that a test may change, also those that an override has left behind."""
    names = ("face_restoration", "face_restoration_model", "facerestore_default_model", "facerestore_unload")
    before = webui.get("/sdapi/v1/options")
    yield
    webui.post("/sdapi/v1/options", {name: before[name] for name in names if name in before})


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    driver = open_chromium(tmp_path_factory.mktemp("profile"), *FLAGS)
    yield driver
    driver.quit()


@pytest.fixture
def page(webui: WebUI, chromium: Any) -> Iterator[Page]:
    """The page, loaded anew; afterwards none of our scripts may have raised an error."""
    folder = os.environ.get("WEBUI_SHOTS")
    made = Page(chromium, URL + "/", Path(folder) if folder else None)
    yield made
    errors = [entry["message"] for entry in chromium.get_log("browser") if entry["level"] == "SEVERE"]
    assert not [error for error in errors if "facerestore" in error]
