""" "Skip": the picture in hand ends early and claims nothing; those after it are restored as always."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from .browser import Page, until
from .client import Made, WebUI, lines, ours
from .conftest import PROMPT, STEPS, Scene, base_fields

LONG = max(40, STEPS)
"""Steps that leave the time to press the button."""


def progress(webui: WebUI) -> Any:
    return webui.get("/sdapi/v1/progress", skip_current_image="true")


def in_second(webui: WebUI) -> bool:
    """Whether the second picture of the run is being sampled."""
    state = progress(webui)["state"]
    return str(state["job"]).startswith("Batch 2") and 2 <= state["sampling_step"] < LONG // 2


def meanwhile(webui: WebUI, tab: str, fields: dict[str, Any], act: Callable[[Callable[[], bool]], None]) -> Made:
    """A generation, and what is done during it; `act` is told whether it still goes on."""
    answers: list[Made | Exception] = []

    def generate() -> None:
        try:
            answers.append(webui.make(tab, **fields))
        except Exception as error:
            answers.append(error)

    thread = threading.Thread(target=generate)
    thread.start()
    try:
        act(thread.is_alive)
    finally:
        thread.join(300)
    assert len(answers) == 1 and isinstance(answers[0], Made), answers
    return answers[0]


@pytest.mark.parametrize("stage", ["decode", "last"])
def test_while_the_second_of_three_is_made(webui: WebUI, stage: str) -> None:
    fields = base_fields(steps=LONG, alwayson_scripts=ours(model="lite", stage=stage))

    def skip(alive: Callable[[], bool]) -> None:
        until(lambda: in_second(webui) or not alive(), "the second picture")
        if not alive():
            pytest.skip("needs a slower machine: the second picture was done before it could be skipped")
        webui.post("/sdapi/v1/skip")

    made = meanwhile(webui, "txt2img", fields | {"n_iter": 3}, skip)
    assert len(made.pictures) == 3
    first, second, third = (lines(text) for text in made.infotexts[-3:])
    assert not second
    assert first["model"] == "lite" and first["result"]
    alone = webui.make("txt2img", **fields | {"seed": 9})
    assert np.array_equal(np.asarray(made.pictures[2]), alone.pixels)
    assert third and third == lines(alone.infotext)


def test_while_faces_are_restored(webui: WebUI, repainted: Scene) -> None:
    """What is said of each picture is what was done to it, and the second batch is as always."""
    fields = repainted.fields | {"batch_size": 4, "n_iter": 2}
    plain = webui.make("img2img", **fields)
    fields["alwayson_scripts"] = ours(model="lite")
    whole = webui.make("img2img", **fields)
    landed: list[bool] = []

    def restoring() -> bool:
        return str(progress(webui).get("textinfo") or "").startswith(("Finding faces", "Restoring faces"))

    def skip(alive: Callable[[], bool]) -> None:
        while alive() and not restoring():
            time.sleep(0.01)
        if alive():
            webui.post("/sdapi/v1/skip")
            landed.append(restoring())  # else it may have come too late, and have hit the next batch

    for _ in range(3):
        landed.clear()
        made = meanwhile(webui, "img2img", fields, skip)
        if landed == [True]:
            break
    else:
        pytest.skip("needs a slower machine: restoration was over before it could be skipped")
    results = [lines(text)["result"] for text in made.infotexts[-8:]]
    for index, (result, picture) in enumerate(zip(results, made.pictures, strict=True)):
        told_restored = result.startswith("1 restored")
        # "stopped" alone: while its faces were being looked for
        assert told_restored or result == "stopped" or result.startswith("0 restored, 1 skipped (stopped)"), result
        wanted = (whole if told_restored else plain).pictures[index]
        assert np.array_equal(np.asarray(picture), np.asarray(wanted)), (index, result)
    assert all(result.startswith("1 restored") for result in results[4:])


@pytest.mark.browser
def test_the_button(page: Page, webui: WebUI) -> None:
    """Skip in the page, of which only the pictures that were not skipped are told below the gallery."""
    page.switch("facerestore_txt2img", True)
    for name, value in (("prompt", PROMPT), ("steps", LONG), ("seed", 7), ("batch_count", 3)):
        page.write(f"txt2img_{name}", str(value))
    page.click("#txt2img_generate")
    until(lambda: in_second(webui), "the second picture")
    assert page.shown("#txt2img_skip")
    page.click("#txt2img_skip")
    until(lambda: page.pictures("txt2img"), "the pictures")
    time.sleep(1.5)
    page.shot("skip")
    told = [lines(text) for text in json.loads(page.value("generation_info_txt2img"))["infotexts"][-3:]]
    assert [bool(one) for one in told] == [True, False, True]
    page.open_panel("txt2img")
    assert page.one("#facerestore_txt2img_compare .facerestore-count").text.endswith("/ 2")
