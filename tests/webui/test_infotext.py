"""Infotext: what is written pastes back to the same request, through the WebUI's own quoting and parsing."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib_facerestore.faces.face import FaceReport
from lib_facerestore.options.spec import OptionSpec
from lib_facerestore.options.table import PER_FACE, SPECS, Options
from lib_facerestore.webui import infotext
from lib_facerestore.webui.request import ARGUMENTS, OPTION_NAMES, STAGES, Request, request_from_args

from .double.infotext import parse_generation_parameters, quote

MARKS = np.array([[10, 10], [20, 10], [15, 15], [11, 20], [19, 20]], np.float32)


def report(number: int, reason: str = "") -> FaceReport:
    return FaceReport((0, 0, 30, 30), MARKS, 0.9, number, "lite", not reason, reason)


def result(*faces: FaceReport, model: str = "lite", notes: tuple[str, ...] = ()) -> Any:
    return SimpleNamespace(faces=list(faces), model=model, notes=notes)


def texts() -> st.SearchStrategy[str]:
    """Names of files, as strange as the options allow them; paths are refused."""
    letters = st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp"))
    sizes = st.tuples(st.integers(0, 9999), st.integers(0, 9999)).map(lambda pair: f"{pair[0]}x{pair[1]}")
    drawn = st.text(letters, min_size=1, max_size=12) | st.text('ab", x1', min_size=1, max_size=8) | sizes
    return drawn.map(str.strip).filter(lambda name: bool(name) and not re.search(r"^[~.]|[/\\:]", name))


def values(spec: OptionSpec) -> st.SearchStrategy[Any]:
    if spec.name == "model":
        return texts()
    if spec.kind == "choice":
        return st.sampled_from(spec.choices)
    if spec.kind == "number":
        return st.sampled_from(spec.choices) | st.floats(spec.minimum, spec.maximum)
    if spec.kind == "float":
        return st.floats(spec.minimum, spec.maximum)
    if spec.kind == "int":
        return st.integers(0, 1_000_000)
    if spec.kind == "flags":
        return st.lists(st.sampled_from(spec.choices), unique=True)
    return st.sampled_from(spec.choices) | st.lists(st.integers(1, 9999), min_size=1, max_size=4)


@st.composite
def requests(draw: st.DrawFn) -> Request:
    chosen = {name: draw(values(SPECS[name])) for name in OPTION_NAMES if draw(st.booleans())}
    if chosen.get("max_face") and chosen.get("min_face", 0) > chosen["max_face"]:
        chosen["max_face"] = 0
    plan = {
        draw(st.integers(1, 9999)): {
            name: draw(values(SPECS[name]))
            for name in draw(st.lists(st.sampled_from(PER_FACE), min_size=1, max_size=3, unique=True))
        }
        for _ in range(draw(st.integers(0, 2)))
    }
    return request_from_args([{
        **chosen, "stage": draw(st.sampled_from(STAGES)), "save_before": draw(st.booleans()), "overrides": plan,
    }])  # fmt: skip


def through_the_webui(lines: dict[str, Any]) -> dict[str, Any]:
    params = {"Steps": 20, "Sampler": "Euler", "Seed": 1, **lines, "Version": "1.10.1"}
    line = ", ".join(key if key == value else f"{key}: {quote(value)}" for key, value in params.items())
    return parse_generation_parameters(f"a cat\nNegative prompt: a dog\n{line}")


@settings(max_examples=300, deadline=None)
@given(requests(), texts())
def test_what_is_written_pastes_back_to_the_same_request(request: Request, ran: str) -> None:
    name = request.options.model if request.options.model != "auto" else ran
    lines = infotext.write(request, [result(report(1), model=name)], knobs=())
    params = through_the_webui(lines)
    pasted = request_from_args([infotext.pasted(name, params) for name in ARGUMENTS])
    wanted = Request(True, request.options.replace(model=name), request.stage, request.save_before, request.overrides)
    assert pasted == wanted


def test_keys_can_be_read_by_the_webui_and_are_unique() -> None:
    for key in infotext.ALL_KEYS:
        assert re.fullmatch(r"\w[\w \-/]+", key) and key.startswith("Face restore ")
    assert len(set(infotext.ALL_KEYS)) == len(infotext.ALL_KEYS)
    assert all(infotext.KEYS[name] == SPECS[name].infotext for name in OPTION_NAMES)
    assert set(infotext.KEYS) == set(ARGUMENTS)


def test_nothing_is_written_when_nothing_ran() -> None:
    assert infotext.write(Request(False), [result(report(1))], knobs=()) == {}
    assert infotext.write(Request(True), [], knobs=()) == {}


def test_defaults_are_left_out_but_for_the_model_and_a_knob() -> None:
    lines = infotext.write(Request(True), [result(report(1), model="codeformer")], knobs={"fidelity"})
    assert lines == {
        "Face restore model": "codeformer", "Face restore fidelity": 0.5, "Face restore result": "1 restored",
    }  # fmt: skip
    assert "Face restore fidelity" not in infotext.write(Request(True), [result(report(1))], knobs=())


def test_the_result_says_what_was_done_and_why_not() -> None:
    above = "face 4: skipped, 412 px is above max_face 400"
    four = [report(1), report(2), report(3), report(4, above)]
    assert infotext.describe([result(*four)]) == "3 restored, 1 skipped (412 px is above max_face 400)"
    both = [report(1, "face 1: skipped, visibility is 0"), report(2, "face 2: skipped, visibility is 0")]
    assert infotext.describe([result(*both)]) == "0 restored, 2 skipped (visibility is 0)"
    assert infotext.describe([result(notes=("no face was found",))]) == "no face was found"
    assert infotext.describe([result(report(1), notes=("there is no face 7",))]) == "1 restored, there is no face 7"
    several = [result(*four), result(notes=("no face was found",)), result(report(1))]
    assert infotext.describe(several) == (
        "4 restored, 1 skipped (412 px is above max_face 400) in 3 pictures, 1 of them without a face"
    )
    empty = [result(notes=("no face was found",))] * 2
    assert infotext.describe(empty) == "no face was found in 2 pictures"
    many = [report(n, f"face {n}: skipped, {n} px is below min_face 99") for n in range(1, 60)]
    assert infotext.describe([result(*many)]).endswith("; and 56 more)")


def test_a_text_without_our_keys_switches_off_and_leaves_the_model_alone() -> None:
    params = through_the_webui({})
    assert infotext.pasted("enabled", params) is False
    assert infotext.pasted("model", params) is None
    for name in OPTION_NAMES:
        if name not in ("model", "keep"):
            assert infotext.pasted(name, params) == SPECS[name].default
    assert infotext.pasted("keep", params) == []
    assert infotext.pasted("overrides", params) == ""


def test_unreadable_values_paste_the_default(caplog: pytest.LogCaptureFixture) -> None:
    params = {"Face restore model": "lite", "Face restore visibility": "7", "Face restore overrides": "{"}
    assert infotext.pasted("visibility", params) == 1.0
    assert infotext.pasted("overrides", params) == ""
    assert "visibility: 7 is not allowed" in caplog.text


def test_keys_are_text_to_send_to_another_tab_and_functions_to_paste() -> None:
    components = {name: object() for name in ARGUMENTS if name != "stage"}
    fields = infotext.paste_fields(SimpleNamespace(by_name=components))
    assert [component for component, _ in fields] == list(components.values())
    for _, key in fields:
        assert isinstance(key, str) and callable(key) and key in infotext.PASTE_FIELD_NAMES
    by_key = {str(key): key for _, key in fields}
    assert by_key["Face restore fidelity"]({"Face restore fidelity": "0.25"}) == 0.25


def test_the_values_have_the_types_of_the_components() -> None:
    lines = infotext.write(
        request_from_args([{"keep": "eyes,hair", "max_faces": 3, "stage": "last", "faces": "1,3"}]),
        [result(report(1))],
        knobs=(),
    )
    params = through_the_webui(lines)
    assert infotext.pasted("keep", params) == ["eyes", "hair"]
    assert infotext.pasted("max_faces", params) == 3 and isinstance(infotext.pasted("max_faces", params), int)
    assert infotext.pasted("stage", params) == "Last of all (after ADetailer and others)"
    assert infotext.pasted("faces", params) == "1,3"
    assert Options(keep=infotext.pasted("keep", params)).keep == "eyes,hair"


@pytest.mark.parametrize(
    ("written", "shown"), [("0.5", "0.5"), ("0.0", "0"), ("1", "1"), ("auto", "auto"), (None, "auto"), ("2", "auto")]
)
def test_grain_is_pasted_as_the_text_of_its_list(written: str | None, shown: str) -> None:
    params = {"Face restore model": "lite"} | ({"Face restore grain": written} if written else {})
    assert infotext.pasted("grain", params) == shown
    assert request_from_args([{"grain": shown}]).options.grain == (shown if shown == "auto" else float(shown))


@pytest.mark.parametrize(
    ("message", "written"),
    [
        ("put it into /srv/Jane Doe/models/facerestore, or\nchoose auto", "put it into facerestore, or choose auto"),
        (r"C:\Users\Jane\x.pth: cannot be read", "x.pth: cannot be read"),
        ("'/srv/a/b.pth' is damaged; see https://example.org/a/b", "'b.pth' is damaged; see https://example.org/a/b"),
        ("faces: 1/2 and 640x480 are not allowed", "faces: 1/2 and 640x480 are not allowed"),
    ],
)
def test_an_error_names_no_folder(message: str, written: str) -> None:
    assert infotext.error_line(message) == {infotext.ERROR: written}
