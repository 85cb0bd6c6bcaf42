"""The scripts of javascript/ in headless Chromium, on a small gradio page with the real controls (`browser_app`).

For what the browser needs see `chromium`. FACERESTORE_GRADIO_PYTHON names another Python for the page, so that one test
run can be made for each gradio: 3.41, 4.40, and the newest.
"""

from __future__ import annotations

import functools
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ...chromium import open_chromium, until
from .browser_page import Page, count_answers, keys

pytestmark = pytest.mark.browser

APP = Path(__file__).with_name("browser_app.py")
FLAGS = ("--window-size=1400,1400", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    driver = open_chromium(tmp_path_factory.mktemp("profile"), *FLAGS)
    count_answers(driver)
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def address(chromium: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page's address, with "/" at the end. chromium: so that no page is served where there is no browser."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    python = os.environ.get("FACERESTORE_GRADIO_PYTHON", sys.executable)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1"}
    folder = tmp_path_factory.mktemp("page")
    with (
        open(folder / "page.log", "w+b") as log,
        subprocess.Popen(
            [python, str(APP), str(port)], stdout=log, stderr=subprocess.STDOUT, env=environment, cwd=folder
        ) as server,
    ):
        url = f"http://127.0.0.1:{port}/"

        def answers() -> bool:
            assert server.poll() is None, (folder / "page.log").read_text()
            try:
                with urllib.request.urlopen(url, timeout=5) as reply:
                    return reply.status == 200
            except OSError:
                return False

        try:
            until(answers, "the page's server", 120)
            yield url
        finally:
            server.terminate()


@pytest.fixture
def page(address: str, chromium: Any) -> Iterator[Callable[..., Page]]:
    """Opens the page; when the test is over, the console must be without errors."""
    yield lambda tab="txt2img", path="": Page(chromium, address + path, tab)
    errors = [
        entry["message"]
        for entry in chromium.get_log("browser")
        # gradio's pages ask for fonts and scripts of other sites, which tests have no need to reach
        if entry["level"] == "SEVERE" and "https://" not in entry["message"]
    ]
    assert not errors


def test_strip_by_mouse_and_keyboard(page: Callable[..., Page]) -> None:
    from selenium.webdriver.common.keys import Keys

    it = page()
    it.click("#facerestore_txt2img_detect")
    assert it.status() == "There is no picture here yet."
    it.generate()
    it.detect()
    assert it.pressed() == {"1": "true", "2": "true", "3": "true"} and it.faces == "all"
    assert "120 px" in it.one(it.face(1)).text
    it.click(it.face(2))
    assert it.faces == "1,3" and it.chosen() == "13"
    keys(it, it.face(3), Keys.SPACE)
    assert it.faces == "1" and it.chosen() == "1"
    keys(it, it.face(3), Keys.ENTER)
    assert it.faces == "1,3"
    it.click("#txt2img_generate")  # gradio has taken the text
    until(lambda: it.one("#txt2img_seen textarea, #txt2img_seen input").get_property("value") == "1,3", "the server")


def test_none_all_and_typing(page: Callable[..., Page]) -> None:
    it = page()
    it.generate()
    it.detect()
    _, all_, none, _ = it.all("#facerestore_txt2img_picker .facerestore-button")
    none.click()
    assert it.chosen() == "" and it.faces == "none" and "none is chosen" in it.status()
    it.click(it.face(2))
    assert it.chosen() == "2" and it.faces == "2"
    it.click(it.face(2))
    assert it.chosen() == "" and it.faces == "none"
    it.click("#txt2img_generate")
    until(lambda: it.one("#txt2img_seen textarea, #txt2img_seen input").get_property("value") == "none", "the server")
    all_.click()
    assert it.chosen() == "123" and it.faces == "all"
    for typed, chosen in (
        ("largest", "2"),
        ("2-3", "23"),
        (" 3 , 1", "13"),
        ("nonsense", ""),
        (" None", ""),
        ("", "123"),
        ("7", ""),
    ):
        it.js("arguments[0].value = arguments[1];"
              "arguments[0].dispatchEvent(new Event('input', {bubbles: true}))", it.box, typed)  # fmt: skip
        until(functools.partial(it.shows, chosen), f"the faces of {typed!r}")


def test_slider_by_keyboard(page: Callable[..., Page]) -> None:
    from selenium.webdriver.common.keys import Keys

    it = page()
    it.generate()
    assert it.at() == 50
    slider = "#facerestore_txt2img_slider"
    assert it.one(slider).get_attribute("aria-label")
    keys(it, slider, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_UP)
    assert it.at() == 53
    keys(it, slider, Keys.PAGE_DOWN, Keys.ARROW_LEFT, Keys.ARROW_DOWN)
    assert it.at() == 41
    keys(it, slider, Keys.HOME)
    assert it.at() == 0 and it.one(slider).get_attribute("aria-valuetext").startswith("0 %")
    keys(it, slider, Keys.ARROW_LEFT)
    assert it.at() == 0
    keys(it, slider, Keys.END)
    assert it.at() == 100


@pytest.mark.parametrize("zoom", [1.0, 1.5])
def test_slider_by_mouse_and_touch(page: Callable[..., Page], zoom: float) -> None:
    from selenium.webdriver import ActionChains

    it = page()
    it.generate()
    it.js("document.body.style.zoom = arguments[0]", zoom)
    stage = it.one("#facerestore_txt2img_compare .facerestore-stage")
    it.js("arguments[0].scrollIntoView({block: 'center'})", stage)
    width = it.js("return arguments[0].getBoundingClientRect().width", stage)
    for offset, place in ((0.25, 75), (-0.25, 25)):
        drag = ActionChains(it.driver).move_to_element(stage).click_and_hold().move_by_offset(5, 0)
        drag.move_by_offset(round(width * offset) - 5, 3).release().perform()
        assert it.at() == pytest.approx(place, abs=1)
    left, top, height = it.js("const r = arguments[0].getBoundingClientRect(); return [r.left, r.top, r.height]", stage)
    for kind, share in (("touchStart", 0.3), ("touchMove", 0.6), ("touchMove", 0.8), ("touchEnd", None)):
        points = [] if share is None else [{"x": left + share * width, "y": top + height / 2}]
        it.driver.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    assert it.at() == pytest.approx(80, abs=2)


def test_panel_shows_the_picture_that_the_gallery_shows(page: Callable[..., Page]) -> None:
    it = page()
    it.generate()
    assert it.one("#facerestore_txt2img_compare .facerestore-count").text == "1 / 2"
    sources = [it.one(f"#facerestore_txt2img_compare .facerestore-{name}").get_attribute("src")
               for name in ("before", "after")]  # fmt: skip
    assert sources[0] != sources[1] and all(source.startswith("data:image/jpeg;base64,") for source in sources)
    it.click("#txt2img_gallery .thumbnail-item:nth-child(2), #txt2img_gallery .gallery-item:nth-child(2) button")
    count = it.one("#facerestore_txt2img_compare .facerestore-count")
    until(lambda: count.text == "2 / 2", "the second picture")
    it.click("#facerestore_txt2img_compare .facerestore-pager button:last-child")
    assert count.text == "1 / 2"


def test_faces_of_the_run(page: Callable[..., Page]) -> None:
    it = page()
    it.generate()
    for number, pictures in ((1, 2), (2, 2), (3, 1)):
        assert len(it.all(it.face(number) + " img")) == pictures
    skipped = it.one(it.face(3))
    assert "50 px is below Smallest face 64" in skipped.text
    assert skipped.get_attribute("aria-label") == "Face 3, 50 px, 50 px is below Smallest face 64"
    ticks = [it.js("return getComputedStyle(document.querySelector(arguments[0]), '::before').content",
                   f"{it.face(number)} .facerestore-number") for number in (1, 3)]  # fmt: skip
    assert "✓" in ticks[0] and "✓" not in ticks[1]
    assert not it.all("#facerestore_txt2img_compare .facerestore-face"), "they are in the strip"
    outline = it.one("#facerestore_txt2img_compare .facerestore-outline")
    assert not outline.is_displayed()
    it.js("arguments[0].focus()", it.one(it.face(2)))
    assert outline.is_displayed() and outline.get_attribute("style").startswith("left: 39.06")
    it.click(it.face(2))
    assert it.faces == "1,3" and it.chosen() == "13"
    it.generate()
    assert it.chosen() == "13"  # the choice outlives the run


def test_the_panel_is_folded_below_the_buttons_and_can_be_switched_off(page: Callable[..., Page]) -> None:
    it = page()
    panel = it.one("#facerestore_txt2img_compare")
    it.click("#txt2img_generate")
    until(it.panel_shown, "the panel")
    assert panel.get_property("open") is False
    assert panel.size["height"] < 60 and "restored:\n2\n·\nleft alone:\n1" in panel.text
    assert it.js("return arguments[0].previousElementSibling.id", panel) == "image_buttons_txt2img"
    it.click("#facerestore_txt2img_compare summary")
    assert it.one("#facerestore_txt2img_compare .facerestore-stage").is_displayed()
    it.click("#txt2img_generate_mixed")
    count = it.one("#facerestore_txt2img_compare .facerestore-count")

    def without_a_face() -> bool:
        if it.pressed():  # also where the run before is still shown
            for button in it.all("#facerestore_txt2img_compare .facerestore-pager button:last-child"):
                if button.is_displayed():  # not of a run of one picture
                    it.js("arguments[0].click()", button)
            it.settle()
        return not it.pressed()

    until(without_a_face, "the picture without a face")
    assert count.text == "2 / 2" and it.panel_shown()
    assert not it.one("#facerestore_txt2img_compare .facerestore-stage").is_displayed()
    it.js("window.opts = {facerestore_compare: 'off'}")
    it.click("#txt2img_generate")
    until(lambda: not it.panel_shown(), "the panel to go")
    until(lambda: len(it.pressed()) == 3, "the strip's faces")


def test_a_run_without_restoration_hides_the_panel(page: Callable[..., Page]) -> None:
    it = page()
    it.generate()
    it.click("#txt2img_generate_plain")
    until(lambda: not it.panel_shown(), "the panel to go")
    assert it.pressed() == {} and it.status() == ""
    it.generate()
    it.click("#txt2img_generate_known")
    until(lambda: not it.panel_shown(), "the panel to go from a picture that only looks the same")
    assert it.pressed() == {} and it.status() == ""
    it.generate()
    it.click("#txt2img_generate_faceless")
    until(lambda: it.pressed() == {}, "the faces to go")
    assert it.status().split("\n") == ["Last run", "·", "no face was found"]
    assert not it.panel_shown()


def test_a_run_of_before_the_page_was_opened_is_not_shown(page: Callable[..., Page]) -> None:
    page().generate()
    it = page()
    answers = until(it.answers, "the name of the earlier run")
    assert not it.panel_shown()
    it.click("#txt2img_generate_known")
    until(lambda: it.all("#txt2img_gallery img"), "the picture")
    until(lambda: it.answers() > answers, "the answer for that picture")
    it.settle()
    assert not it.panel_shown()


def test_input_picture(page: Callable[..., Page], tmp_path: Path) -> None:
    import numpy as np
    import PIL.Image

    it = page("img2img")
    file = tmp_path / "picture.png"
    PIL.Image.fromarray(np.full((3000, 4800, 3), 90, np.uint8)).save(file)
    it.one("#img2img_image input[type=file]").send_keys(str(file))
    loaded = "return [...document.querySelectorAll('#img2img_image img')].some((image) => image.naturalWidth > 0)"
    until(lambda: it.js(loaded), "the upload")
    it.detect()
    assert it.status().startswith("Input picture")
    it.js("document.querySelector('#img2img_image').style.display = 'none'")  # another tab, such as Batch
    it.click("#facerestore_img2img_detect")
    assert it.status() == "There is no picture here yet." and it.pressed() == {}
    it.js("document.querySelector('#img2img_image').style.display = ''")
    it.detect()
    assert "900 px" in it.one(it.face(1)).text  # sizes are those of the full picture
    it.click(it.face(1))
    assert it.faces == "2,3"


def test_help_shows_on_hover_and_behind_a_question_mark(page: Callable[..., Page]) -> None:
    it = page()
    rule = "#facerestore_txt2img_order [data-testid=block-info]"
    label = it.one(rule)
    until(lambda: "numbered" in label.get_attribute("title"), "the help on hover")
    assert not it.one(rule + " + div").is_displayed()
    it.click("#facerestore_txt2img_picker .facerestore-question")
    assert it.one(rule + " + div").is_displayed()
    it.click("#facerestore_txt2img_picker .facerestore-question")
    assert not it.one(rule + " + div").is_displayed()


def test_controls_stand_in_straight_rows_and_no_text_is_cut(page: Callable[..., Page]) -> None:
    it = page()
    middles = (
        "return arguments[0].map((name) => document.querySelector(`#facerestore_txt2img_${name} :is(input, textarea)`))"
        ".map((field) => field.getBoundingClientRect()).map((place) => place.top + place.height / 2)"
    )
    for row in (["faces", "order"], ["max_faces", "min_face", "max_face"]):
        heights = it.js(middles, row)
        assert max(heights) - min(heights) < 4, row
    cut = (
        "return [...document.querySelectorAll('#facerestore_txt2img :is(input, label > span)')]"
        ".filter((one) => one.clientWidth && one.type !== 'range' && one.scrollWidth > one.clientWidth + 1)"
        ".map((one) => one.value || one.textContent)"
    )
    when, save = (f"document.querySelector('#facerestore_txt2img_{name}').getBoundingClientRect()"
                  for name in ("stage", "save_before"))  # fmt: skip
    try:
        for width in (1400, 900, 400):
            it.driver.set_window_size(width, 1400)
            it.settle()
            assert it.js(cut) == []
            assert it.js("return document.documentElement.scrollWidth <= innerWidth"), "it is wider than the window"
            assert it.js(f"return {save}.top >= {when}.bottom"), "a checkbox has a row of its own"
    finally:
        it.driver.set_window_size(1400, 1400)


def test_controls_decide_what_is_found(page: Callable[..., Page]) -> None:
    it = page()
    it.generate()
    number = it.one("#facerestore_txt2img_min_face input")
    it.js("arguments[0].value = '64';"
          "for (const e of ['input', 'change', 'blur']) arguments[0].dispatchEvent(new Event(e, {bubbles: true}))",
          number)  # fmt: skip

    def skipped() -> bool:
        it.detect()  # again, where gradio had not taken the number yet
        return "below Smallest face 64" in it.one(it.face(3)).text

    until(skipped, "the reason")


def test_parts_that_are_missing_do_no_harm(page: Callable[..., Page]) -> None:
    it = page()
    for rule in ("#txt2img_gallery", "#facerestore_txt2img_strip"):
        it.js("document.querySelector(arguments[0]).remove()", rule)
    it.click("#facerestore_txt2img_detect")
    assert it.status() == "There is no picture here yet."
    it.settle()
    assert it.one("#facerestore_txt2img_detect").is_displayed()


def test_a_page_without_tabs(address: str, chromium: Any) -> None:
    chromium.get_log("browser")
    chromium.get(address + "bare")
    until(lambda: chromium.execute_script("return document.readyState") == "complete", "the page")
    assert chromium.execute_script("return called.length") == 1
    chromium.execute_script("called[0]()")
    new = chromium.execute_script("return after.filter((name) => !before.includes(name))")
    assert set(new) - {"before", "after", "called", "onAfterUiUpdate", "onUiLoaded"} == {"facerestore_parts"}
    errors = [entry["message"] for entry in chromium.get_log("browser") if entry["level"] == "SEVERE"]
    assert not [error for error in errors if "favicon" not in error]
