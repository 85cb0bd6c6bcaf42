"""The WebUI's page in headless Chromium: accordion, strip and slider, paste, Settings, Extras, models.

For what the browser needs see `chromium`. WEBUI_SHOTS names a folder for screenshots.
"""

from __future__ import annotations

import base64
import time
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from .browser import Page, until
from .client import WebUI, lines, ours
from .conftest import PROMPT, STEPS, Scene

pytestmark = pytest.mark.browser


def generate(page: Page, prompt: str = PROMPT) -> str:
    page.write("txt2img_prompt", prompt)
    page.write("txt2img_steps", str(STEPS))
    page.write("txt2img_seed", "7")
    return page.generate("txt2img")


def picker(page: Page, tab: str = "txt2img") -> list[Any]:
    return page.all(f"#facerestore_{tab}_picker .facerestore-face")


@pytest.mark.parametrize("tab", ["txt2img", "img2img", "extras"])
def test_every_part_is_there_once(page: Page, tab: str) -> None:
    for name in ("", "_model", "_visibility", "_more", "_faces", "_strip_image", "_picker", "_detect"):
        assert len(page.all(f"#facerestore_{tab}{name}")) == 1, name


def test_accordion_and_extras_look_alike(page: Page) -> None:
    """A1111 and Forge put 1 px between the controls of txt2img and 16 between those of Extras."""
    rules = {"more .gap": "row-gap", "more .facerestore-group p": "margin-top", "detect": "border-top-left-radius"}
    code = "return getComputedStyle(document.querySelector(arguments[0])).getPropertyValue(arguments[1])"
    looks = [
        [page.js(code, f"#facerestore_{tab}_{rule}", name) for rule, name in rules.items()]
        for tab in ("txt2img", "img2img", "extras")
    ]
    assert looks[0] == looks[1] == looks[2]
    assert all(float(size.removesuffix("px")) >= 4 for size in looks[0])


def test_accordion_opens_and_more_opens(page: Page) -> None:
    assert not page.shown("#facerestore_txt2img_model")
    assert page.checked("facerestore_txt2img-checkbox") is False
    page.open("facerestore_txt2img")
    until(lambda: page.shown("#facerestore_txt2img_model"), "the controls")
    until(lambda: page.checked("facerestore_txt2img-checkbox"), "the switch, which goes with being open")
    assert not page.shown("#facerestore_txt2img_mask")
    page.shot("accordion")
    page.open("facerestore_txt2img_more")
    until(lambda: page.shown("#facerestore_txt2img_mask"), "what is behind More")
    page.shot("more")
    assert not page.shown("#facerestore_txt2img_strip_image") and not page.shown("#facerestore_txt2img_strip_last")


def test_model_list(page: Page, webui: WebUI) -> None:
    page.open("facerestore_txt2img")
    field = page.one("#facerestore_txt2img_model input")
    page.js("arguments[0].scrollIntoView({block: 'center'})", field)
    field.click()
    rule = "#facerestore_txt2img_model ul li, ul.options li"
    until(lambda: page.all(rule), "the list")
    names = [one.text.replace("✓", "").strip() for one in page.all(rule)]
    models = webui.get("/facerestore/v1/models")["models"]
    installed = [one["id"] for one in models if one["kind"] == "restorer" and one["installed"] and not one["needs"]]
    assert names[0] == "auto" and set(installed) <= set(names)
    page.shot("model_list")


def test_run_slider_and_strip(page: Page) -> None:
    """Needs a checkpoint that gives a face."""
    from selenium.webdriver.common.keys import Keys

    page.switch("facerestore_txt2img", True)
    text = generate(page)
    result = lines(text).get("result", "")
    if "restored" not in result:
        pytest.skip(f"needs a checkpoint that gives a face with WEBUI_STEPS={STEPS}; the run said: {result or text}")
    page.open_panel("txt2img")
    page.shot("run")
    stage = page.one("#facerestore_txt2img_compare .facerestore-stage")
    slider = page.one("#facerestore_txt2img_slider")
    page.js("arguments[0].focus()", slider)
    page.driver.switch_to.active_element.send_keys(Keys.HOME, Keys.ARROW_RIGHT)
    assert page.js("return arguments[0].style.getPropertyValue('--facerestore-at')", stage) == "1%"
    faces = until(lambda: picker(page), "the strip")
    assert page.value("facerestore_txt2img_faces") == "all"
    page.js("arguments[0].click()", faces[0])
    assert page.value("facerestore_txt2img_faces") != "all"


def test_detect_faces_on_an_input_picture(page: Page, two_faces: PIL.Image.Image, tmp_path: Path) -> None:
    two_faces.save(tmp_path / "two.png")
    page.tab("img2img")
    page.open("facerestore_img2img")
    if not page.all("#img2img_image input[type=file]"):
        pytest.skip("needs a WebUI whose img2img takes a file (A1111)")
    page.upload("#img2img_image", tmp_path / "two.png")
    page.click("#facerestore_img2img_detect")
    until(lambda: len(picker(page, "img2img")) == 2, "two faces in the strip")
    page.shot("detect")
    page.js("arguments[0].click()", picker(page, "img2img")[0])
    assert page.value("facerestore_img2img_faces") == "2"


def test_a_run_without_us_shows_no_panel(page: Page) -> None:
    """Of another shape than any picture before, so that it cannot be taken for one of them."""
    page.write("txt2img_width", "640")
    text = generate(page, "a landscape")
    assert not lines(text)
    time.sleep(2)
    assert not page.shown("#facerestore_txt2img_compare")


def test_an_infotext_is_pasted_completely(page: Page, webui: WebUI, repainted: Scene) -> None:
    options = {
        "model": "lite", "visibility": 0.7, "stage": "last", "faces": "1", "order": "large-small", "mask": "ellipse",
        "mask_feather": 0.2, "keep": ["eyes"], "color": "none", "detail": 0.25, "min_face": 20,
        "overrides": {"1": {"visibility": 0.9}},
    }  # fmt: skip
    made = webui.make("img2img", **repainted.fields, alwayson_scripts=ours(**options))
    page.write("txt2img_prompt", made.infotext)
    page.click("#txt2img_tools #paste, #paste")
    prefix = "facerestore_txt2img"
    until(lambda: page.checked(f"{prefix}-checkbox"), "the switch")
    until(lambda: page.value(f"{prefix}_visibility") == "0.7", "the visibility")
    page.open(prefix)
    page.open(f"{prefix}_more")
    page.shot("pasted")
    found = {name: page.value(f"{prefix}_{name}") for name in ("model", "faces", "order", "mask", "color", "overrides")}
    assert found == {
        "model": "lite", "faces": "1", "order": "large-small", "mask": "ellipse", "color": "none",
        "overrides": '{"1": {"visibility": 0.9}}',
    }  # fmt: skip
    numbers = [float(page.value(f"{prefix}_{name}")) for name in ("mask_feather", "detail", "min_face")]
    assert numbers == [0.2, 0.25, 20]
    assert page.value(f"{prefix}_stage").startswith("Last of all")
    assert "eyes" in page.one(f"#{prefix}_keep").text
    page.write("txt2img_prompt", repainted.plain.infotext)
    page.click("#txt2img_tools #paste, #paste")
    until(lambda: not page.checked(f"{prefix}-checkbox"), "the switch to go off")
    until(lambda: page.value(f"{prefix}_visibility") == "1", "the default")
    assert page.value(f"{prefix}_overrides") == "" and page.value(f"{prefix}_faces") == "all"


def test_png_info_sends_to_txt2img(page: Page, webui: WebUI, repainted: Scene, tmp_path: Path) -> None:
    made = webui.make("img2img", **repainted.fields, alwayson_scripts=ours(model="lite", visibility=0.6))
    file = tmp_path / "made.png"
    file.write_bytes(base64.b64decode(made.files[0]))
    page.tab("PNG Info")
    page.upload("#pnginfo_image", file)
    until(lambda: "Face restore visibility: 0.6" in page.one("#tab_pnginfo").text, "the infotext")
    page.shot("png_info")
    page.click("#tab_pnginfo #txt2img_tab")
    until(lambda: page.checked("facerestore_txt2img-checkbox"), "the switch")
    until(lambda: page.value("facerestore_txt2img_visibility") == "0.6", "the visibility")


def test_settings_have_our_section(page: Page) -> None:
    page.tab("Settings")
    page.js(
        "[...document.querySelectorAll('#settings button')]"
        ".find((one) => one.textContent.trim() === 'Face Restore').click()"
    )
    names = ("default_model", "folders", "device", "precision", "unload", "offline", "mirror", "accordion_open")
    until(lambda: page.shown("#setting_facerestore_default_model"), "the section")
    assert [name for name in names if not page.shown(f"#setting_facerestore_{name}")] == []
    page.shot("settings")


def test_models_tab_names_licences_and_downloads_nothing(page: Page) -> None:
    page.tab("Face Restore models")
    table = page.one("#facerestore_models_table")
    until(lambda: "codeformer" in table.text, "the table")
    assert "S-Lab" in table.text and "built in" in table.text
    page.shot("models")
    if page.shown("#facerestore_models_download"):
        page.click("#facerestore_models_download")  # without the licence accepted
        until(lambda: "licence" in page.one("#facerestore_models_state").text.lower(), "the refusal")


def test_extras_single_upload(page: Page, photo: PIL.Image.Image, tmp_path: Path) -> None:
    photo.save(tmp_path / "photo.png")
    page.tab("Extras")
    page.switch("facerestore_extras", True)
    page.upload("#extras_image", tmp_path / "photo.png")
    text = page.generate("extras")
    assert lines(text)["result"].startswith("1 restored"), text
    page.open_panel("extras")
    page.shot("extras")


def test_extras_batch_upload(page: Page, photo: PIL.Image.Image, tmp_path: Path) -> None:
    files = [tmp_path / f"photo{number}.png" for number in (1, 2)]
    for file in files:
        photo.save(file)
    page.tab("Extras")
    page.switch("facerestore_extras", True)
    page.click("#extras_batch_process_tab-button, #mode_extras .tab-nav button:nth-child(2)")
    page.upload("#extras_image_batch", *files)
    page.click("#extras_generate")
    until(lambda: len(page.pictures("extras")) >= 2, "two pictures")
    page.open_panel("extras")
    count = page.one("#facerestore_extras_compare .facerestore-count")
    until(lambda: count.text, "the count of pictures in the panel")
    assert count.text.endswith("/ 2")
    page.shot("extras_batch")
