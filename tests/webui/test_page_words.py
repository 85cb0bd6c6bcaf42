"""Messages on the page name options as the page does."""

from __future__ import annotations

import pytest

from lib_facerestore.errors import OptionError
from lib_facerestore.options.table import SPECS, Options
from lib_facerestore.webui.page_words import help_of, in_page_words


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("213 px is above max_face 80", "213 px is above Largest face 80"),
        ("left out by max_faces 1", "left out by Most faces 1"),
        ("faces: 'x' is not allowed", "Faces: 'x' is not allowed"),
        ("not among faces 1,3", "not among faces 1,3"),
        ("a mask: of no model", "a mask: of no model"),
        ("my_max_face.pth is damaged", "my_max_face.pth is damaged"),
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
