"""img2img's tab Batch, from a directory, in the page. The WebUI must see the same folders as the tests do."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import PIL.Image
import pytest

from .browser import Page, until
from .client import WebUI, changed_outside, lines, to_base64, to_pixels
from .conftest import PROMPT, STEPS, URL

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        urlsplit(URL).hostname not in ("127.0.0.1", "localhost"), reason="needs a WebUI on this very machine"
    ),
]
PANEL = "#facerestore_img2img_compare"
PRESS = (
    "const found = [...document.querySelectorAll(arguments[0])]"
    ".find((one) => one.textContent.trim().startsWith(arguments[1])); if (found) found.click(); return Boolean(found)"
)


def fill(page: Page, pictures: Path) -> None:
    """The tab Batch with a folder of pictures, little denoising and a fixed seed."""
    page.tab("img2img")
    for holder, name, field in (
        ("#mode_img2img", "Batch", "#img2img_batch_source"),
        ("#img2img_batch_source", "From", "#img2img_batch_input_dir"),
    ):
        if not page.js(PRESS, f"{holder} > .tab-nav button", name):
            pytest.skip("needs A1111's tab Batch")
        until(functools.partial(page.shown, field), name)
    time.sleep(1)  # the server is told which kind of batch it is
    page.write("img2img_batch_input_dir", str(pictures))
    for name, value in (("prompt", PROMPT), ("steps", STEPS), ("seed", 7), ("denoising_strength", 0.05)):
        page.write(f"img2img_{name}", str(value))


def process(page: Page, into: Path) -> dict[str, PIL.Image.Image]:
    """Press Generate; what was saved, by name without ending and the WebUI's number."""
    into.mkdir()
    page.write("img2img_batch_output_dir", str(into))
    page.generate("img2img")
    made: dict[str, PIL.Image.Image] = {
        file.stem.split("-")[-1]: PIL.Image.open(file) for file in sorted(into.glob("*.png"))
    }
    return made


@pytest.fixture
def original_names(webui: WebUI) -> Iterator[None]:
    """Forge names what it saves by the prompt where its settings do not say otherwise."""
    name = "img2img_batch_use_original_name"
    before = webui.get("/sdapi/v1/options").get(name)
    if before is False:
        webui.post("/sdapi/v1/options", {name: True})
    yield
    if before is False:
        webui.post("/sdapi/v1/options", {name: False})


@pytest.mark.usefixtures("original_names")
def test_from_a_directory(page: Page, webui: WebUI, photo: PIL.Image.Image, tmp_path: Path) -> None:
    """Each picture is restored and has its own infotext; strip and slider show all of them."""
    settings = webui.get("/sdapi/v1/options")
    if not settings["samples_save"] or settings["samples_format"] != "png":
        pytest.skip("needs a WebUI that saves its pictures, as PNG")
    given = tmp_path / "given"
    given.mkdir()
    photo.save(given / "1face.png")
    PIL.Image.linear_gradient("L").convert("RGB").resize((512, 512)).save(given / "2none.png")
    photo.transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT).save(given / "3mirrored.png")
    fill(page, given)
    plain = process(page, tmp_path / "plain")
    page.switch("facerestore_img2img", True)
    made = process(page, tmp_path / "made")
    assert list(made) == list(plain) == ["1face", "2none", "3mirrored"]
    faces = {
        name: webui.post("/facerestore/v1/detect", {"image": to_base64(one)})["faces"] for name, one in plain.items()
    }
    if [len(found) for found in faces.values()] != [1, 0, 1]:
        pytest.skip("needs a checkpoint that keeps the face of a photograph, and makes none of a gradient")
    for name, before in plain.items():
        told = lines(made[name].info["parameters"])
        changed = (to_pixels(before) != to_pixels(made[name])).any()
        assert told["model"] and not lines(before.info["parameters"])
        if faces[name]:
            assert told["result"] == "1 restored" and changed
            assert changed_outside(to_pixels(before), to_pixels(made[name]), faces[name][0]["box"]) == 0
        else:
            assert told["result"] == "no face was found" and not changed
    page.open_panel("img2img")
    page.shot("img2img_batch")
    assert page.one(f"{PANEL} .facerestore-count").text.endswith("/ 3")
    counts = []
    for _ in range(3):
        counts.append(len(page.all("#facerestore_img2img_picker .facerestore-face")))
        page.click(f"{PANEL} .facerestore-pager button:last-child")
    assert sorted(counts) == [0, 1, 1]
