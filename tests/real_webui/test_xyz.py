"""The X/Y/Z plot with our axes, over the API."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from .client import FailedError, Made, WebUI, lines, ours, to_pixels
from .conftest import Scene

PREFIX = "[Face Restore] "


def plot(webui: WebUI, scene: Scene, x: tuple[str, str], y: tuple[str, str] = ("Nothing", ""), **more: Any) -> Made:
    """A plot with single pictures after the grid; values are text, as typed."""
    places = [webui.axis(scene.tab, label) for label in (x[0], y[0], "Nothing")]
    args = [
        places[0], x[1], [], places[1], y[1], [], places[2], "", [],
        False, True, False, False, False, False, False, 0, True,
    ]  # fmt: skip
    # legend, single pictures, sub grids, keep -1, vary seeds (3), margin, text in place of dropdowns
    return webui.make(scene.tab, **scene.fields, script_name="x/y/z plot", script_args=args, **more)


def test_every_option_has_one_axis(webui: WebUI) -> None:
    names = [row["label"] for row in webui.get("/facerestore/v1/options")["options"]]
    for tab in ("txt2img", "img2img"):
        labels = [label for label in webui.axes(tab) if label.startswith(PREFIX)]
        assert len(labels) == len(set(labels))
        assert {PREFIX + name for name in names} <= set(labels)


def test_visibility_takes_effect_in_each_cell(webui: WebUI, repainted: Scene) -> None:
    made = plot(webui, repainted, (PREFIX + "Visibility", "0, 0.5, 1"))
    if len(made.pictures) < 4:
        pytest.skip("needs a WebUI that returns the grid and its single pictures")
    grid, cells = made.pictures[0], [to_pixels(one) for one in made.pictures[1:]]
    assert grid.width == 3 * cells[0].shape[1]
    assert np.array_equal(cells[0], repainted.plain.pixels)
    half = webui.make("img2img", **repainted.fields, alwayson_scripts=ours(visibility=0.5))
    full = webui.make("img2img", **repainted.fields, alwayson_scripts=ours(visibility=1))
    assert np.array_equal(cells[1], half.pixels) and np.array_equal(cells[2], full.pixels)
    assert [lines(text).get("visibility") for text in made.infotexts[1:]] == ["0.0", "0.5", None]


def test_enabled_against_stage(webui: WebUI, repainted: Scene) -> None:
    made = plot(webui, repainted, (PREFIX + "Enabled", "True, False"), (PREFIX + "When", "decode, last"))
    cells = [to_pixels(one) for one in made.pictures[1:]]
    assert [np.array_equal(cell, repainted.plain.pixels) for cell in cells] == [False, True, False, True]
    assert ["model" in lines(text) for text in made.infotexts[1:]] == [True, False, True, False]


def test_an_axis_goes_before_the_accordion(webui: WebUI, repainted: Scene) -> None:
    """The other options come from the Script's arguments; nothing is left for the next run."""
    made = plot(
        webui, repainted, (PREFIX + "Mask", "ellipse, box"), alwayson_scripts=ours(model="lite", visibility=0.8)
    )
    assert [lines(text).get("mask") for text in made.infotexts[1:]] == ["ellipse", "box"]
    assert {lines(text).get("visibility") for text in made.infotexts[1:]} == {"0.8"}
    after = webui.make("img2img", **repainted.fields)
    assert after.infotext == repainted.plain.infotext


def test_a_bad_value_stops_the_plot_before_it_begins(webui: WebUI, repainted: Scene) -> None:
    with pytest.raises(FailedError) as caught:
        plot(webui, repainted, (PREFIX + "Visibility", "0, 7"))
    assert caught.value.status >= 400
    assert webui.make("img2img", **repainted.fields).infotext == repainted.plain.infotext
