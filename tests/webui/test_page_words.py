"""Messages on the page name options as the page does."""

from __future__ import annotations

from pathlib import Path

import pytest

from lib_facerestore.errors import OptionError
from lib_facerestore.options.table import SPECS, Options
from lib_facerestore.webui import settings
from lib_facerestore.webui.generation.xyz import PREFIX, axes
from lib_facerestore.webui.page_words import COMPARE, DEFAULT_MODEL_HELP, LABELS, help_of, in_page_words
from lib_facerestore.webui.request import ARGUMENTS

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("213 px is above max_face 80", "213 px is above Largest face 80"),
        ("left out by max_faces 1", "left out by Most faces 1"),
        ("faces: 'x' is not allowed", "Faces: 'x' is not allowed"),
        ("only faces 1, 3 were asked for", "only faces 1, 3 were asked for"),
        ("a mask: of no model", "a mask: of no model"),
        ("my_max_face.pth is damaged", "my_max_face.pth is damaged"),
        ("overrides: is not valid JSON", "Options of single faces: is not valid JSON"),
        ("stage: 'x' is not allowed", "When: 'x' is not allowed"),
    ],
)
def test_options_have_their_labels(message: str, shown: str) -> None:
    assert in_page_words(message) == shown


def test_an_error_of_two_options() -> None:
    with pytest.raises(OptionError) as told:
        Options(min_face=60, max_face=50)
    assert in_page_words(str(told.value)).startswith("Smallest face: 60 is above Largest face 50, so no face could")
    assert "max_face" not in in_page_words(str(told.value))


@pytest.mark.parametrize("name", sorted(set(SPECS) - {"upscale", "upscaler"}))
def test_help_on_the_page_is_short_and_about_the_page(name: str) -> None:
    told = help_of(SPECS[name])
    assert len(told) <= 170
    assert "model id" not in told and "such as eyes,glasses" not in told


def test_every_place_has_the_same_label_for_the_same_thing() -> None:
    """The WebUI saves defaults in ui-config.json under the labels, so a changed one would lose them."""
    assert set(LABELS) == set(ARGUMENTS) | set(SPECS)
    assert {LABELS[name] for name in ARGUMENTS} == {
        "Enabled", "Model", "Fidelity (CodeFormer weight)", "Visibility", "When", "Save the picture before restoration",
        "Detector", "Confidence", "Faces", "Order", "Most faces", "Smallest face", "Largest face", "Mask",
        "Mask feather", "Keep", "Color", "Original detail", "Grain", "Options of single faces",
    }  # fmt: skip
    assert {axis.label for axis in axes()} == {PREFIX + LABELS[name] for name in set(ARGUMENTS) - {"save_before"}}
    rows = {row.name: row for row in settings.ROWS}
    assert rows["default_model"].label == "Default model" and LABELS["model"] == "Model"
    assert rows["compare"].label.lower().startswith(COMPARE)
    assert f"Face Restore: {COMPARE}" in (ROOT / "javascript" / "facerestore_compare.js").read_text("utf-8")


def test_the_model_has_the_same_help_in_the_accordion_and_in_the_settings() -> None:
    told = help_of(SPECS["model"])
    assert told == "The network that restores the faces. auto takes the best installed one."
    assert DEFAULT_MODEL_HELP.startswith("the network that restores the faces where Model is auto")
    assert DEFAULT_MODEL_HELP.endswith(told.partition(". ")[2])
