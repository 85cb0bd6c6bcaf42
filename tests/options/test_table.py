"""Options: the table and the dataclass stay in step, values are checked and canonical, round trips lose nothing."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import json
import pickle
import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any, Literal, get_args, get_type_hints

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_facerestore.errors import FaceRestoreError, OptionError
from lib_facerestore.options.per_face import check_overrides
from lib_facerestore.options.spec import EVERYWHERE, OUTSIDE_WEBUI, Kind, OptionSpec
from lib_facerestore.options.table import PER_FACE, SPECS, TABLE, Options, Part, spec_for, specs_in
from lib_facerestore.webui.request import request_from_values

DESIGN_DEFAULTS = {
    "model": "auto", "fidelity": 0.5, "visibility": 1.0, "detector": "auto", "confidence": 0.5, "faces": "all",
    "order": "left-right", "max_faces": 0, "min_face": 0, "max_face": 0, "mask": "parsing", "mask_feather": 0.1,
    "keep": "none", "color": "match", "detail": 0.0, "grain": "auto", "upscale": 1.0, "upscaler": "none",
}  # fmt: skip
BY_NAME = [pytest.param(spec, id=spec.name) for spec in TABLE]
NUMERIC = [pytest.param(spec, id=spec.name) for spec in TABLE if spec.kind in ("float", "int")]

one_line = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1).filter(str.strip)


def values_of(spec: OptionSpec) -> st.SearchStrategy[Any]:
    """Allowed values of one option, canonical or not."""
    if spec.kind == "choice":
        return st.sampled_from(spec.choices)
    if spec.kind == "text":
        return one_line
    if spec.kind == "flags":
        return st.lists(st.sampled_from(spec.choices)).map(",".join)
    if spec.kind == "faces":
        numbers = st.lists(st.integers(1, 60), min_size=1, max_size=8).map(lambda found: ", ".join(map(str, found)))
        return st.sampled_from(spec.choices) | numbers
    if spec.kind == "number":
        return st.sampled_from(spec.choices) | st.floats(spec.minimum, spec.maximum)
    if spec.kind == "float":
        return st.floats(spec.minimum, spec.maximum)
    return st.integers(0, 1000)


@st.composite
def settings(draw: st.DrawFn) -> Options:
    values = {spec.name: draw(values_of(spec)) for spec in TABLE}
    if values["max_face"] and values["min_face"] > values["max_face"]:
        values["min_face"], values["max_face"] = values["max_face"], values["min_face"]
    return Options(**values)


def message_of(**values: Any) -> str:
    with pytest.raises(OptionError) as caught:
        Options(**values)
    return str(caught.value)


# The table


def test_table_and_dataclass_are_in_step() -> None:
    fields = dataclasses.fields(Options)
    assert [field.name for field in fields] == [spec.name for spec in TABLE]
    assert [field.default for field in fields] == [spec.default for spec in TABLE]
    types = {"float": float, "int": int}
    hints = get_type_hints(Options)
    for spec in TABLE:
        if spec.kind == "number":
            assert hints[spec.name] == float | Literal[spec.choices] and spec.default in spec.choices
        elif spec.kind == "choice":
            assert get_args(hints[spec.name]) == spec.choices and spec.default in spec.choices
        else:
            assert hints[spec.name] is types.get(spec.kind, str)


def test_names_and_defaults_are_those_promised() -> None:
    assert Options().to_dict() == DESIGN_DEFAULTS
    assert list(Options().to_dict()) == list(DESIGN_DEFAULTS)


@pytest.mark.parametrize("spec", BY_NAME)
def test_every_row_is_complete(spec: OptionSpec) -> None:
    assert spec.kind in get_args(Kind)
    assert spec.check(spec.default) == spec.default
    assert type(spec.check(spec.default)) is type(spec.default)
    assert spec.label
    assert spec.help.endswith(".")
    assert spec.help[0] != " "
    assert "  " not in spec.help
    assert bool(spec.choices) == (spec.kind in ("choice", "number", "flags", "faces"))
    assert (spec.minimum is not None and spec.step is not None) == (spec.kind in ("float", "int", "number"))
    assert "cli" in spec.scope <= EVERYWHERE


@pytest.mark.parametrize("spec", BY_NAME)
def test_infotext_keys_are_ones_that_the_webui_can_read_back(spec: OptionSpec) -> None:
    assert re.fullmatch(r"\w[\w \-/]+", spec.infotext)
    assert spec.infotext.startswith("Face restore ")


@pytest.mark.parametrize("column", ["name", "label", "infotext", "help"])
def test_rows_do_not_share(column: str) -> None:
    entries = [getattr(spec, column).lower() for spec in TABLE]
    assert len(set(entries)) == len(entries)


def test_only_upscaling_is_hidden_from_the_webui() -> None:
    assert {spec.name for spec in TABLE} - {spec.name for spec in specs_in("webui")} == {"upscale", "upscaler"}
    assert specs_in("cli") == TABLE


def test_what_a_face_may_have_of_its_own() -> None:
    assert PER_FACE == (
        "model", "fidelity", "visibility", "mask", "mask_feather", "keep", "color", "detail", "grain",
    )  # fmt: skip


def test_keep_offers_the_parts_that_parsing_can_find() -> None:
    parsing = pytest.importorskip("lib_facerestore.stages.parsing")
    assert get_args(Part) == tuple(parsing.PARTS)
    assert {"eyes", "mouth", "teeth", "glasses", "hair"} <= set(get_args(Part))


def test_spec_for_names_the_nearest_option() -> None:
    assert spec_for("mask") is SPECS["mask"]
    with pytest.raises(OptionError, match=r"'visibilty'.*Did you mean visibility\?"):
        spec_for("visibilty")


# Validation


@pytest.mark.parametrize("spec", NUMERIC)
@pytest.mark.parametrize(
    "bad", [float("nan"), float("inf"), -float("inf"), True, False, np.True_, None, "one", 1j, [1]]
)
def test_numbers_refuse_what_is_not_a_finite_number(spec: OptionSpec, bad: object) -> None:
    message = message_of(**{spec.name: bad})
    assert message.startswith(f"{spec.name}: ")
    assert repr(bad)[:80] in message
    assert "number from" in message


@pytest.mark.parametrize("spec", NUMERIC)
def test_ranges_include_their_ends_and_nothing_beyond(spec: OptionSpec) -> None:
    assert spec.minimum is not None
    high = 1_000_000 if spec.maximum is None else spec.maximum
    for end in (spec.minimum, high):
        assert spec.check(end) == end
    for beyond in (spec.minimum - 0.001, high + 0.001, spec.minimum - 1, high + 1, 10**400, -(10**400)):
        with pytest.raises(OptionError, match=rf"^{spec.name}: .*number from {spec.minimum:g} to {high:.12g}"):
            spec.check(beyond)


def test_a_number_may_also_be_one_of_its_words() -> None:
    assert Options().grain == Options(grain="auto").grain == Options.from_mapping({"grain": " AUTO "}).grain == "auto"
    for given_grain in (0.5, "0.5", " .5 "):  # text is what infotexts of older versions and the command line have
        assert Options.from_mapping({"grain": given_grain}).grain == 0.5
    assert Options.from_mapping({"grain": 0}).grain == 0.0
    for bad in ("of film", "nan", 1.5, -0.1, True, [0.5], float("nan")):
        with pytest.raises(OptionError, match=r"^grain: .*give auto, or a number from 0 to 1\."):
            Options.from_mapping({"grain": bad})
    with pytest.raises(OptionError, match=r"Did you mean auto\?"):
        Options.from_mapping({"grain": "aut"})


ALIKE: list[tuple[str, Any, Any]] = [
    ("fidelity", " 0.50 ", 0.5), ("fidelity", np.float32(0.5), 0.5), ("fidelity", np.str_("0.5"), 0.5),
    ("grain", "0.5", 0.5), ("grain", " AUTO ", "auto"), ("grain", np.float64(0.5), 0.5), ("grain", np.int64(1), 1.0),
    ("max_faces", "3", 3), ("max_faces", " 3.0 ", 3), ("max_faces", np.int8(3), 3), ("max_faces", np.float64(3), 3),
    ("mask", " BOX ", "box"), ("mask", np.str_("Box"), "box"), ("keep", ["Eyes", " mouth "], "eyes,mouth"),
    ("keep", np.array(["mouth", "eyes"]), "eyes,mouth"), ("keep", {"eyes"}, "eyes"), ("keep", "", "none"),
    ("faces", np.array([3, 1]), "1,3"), ("faces", np.int64(2), "2"), ("faces", " ALL ", "all"),
]  # fmt: skip
REFUSED_ALIKE: list[tuple[str, Any]] = [
    *((spec.name, bad) for spec in TABLE if spec.kind in ("float", "int", "number")
      for bad in (True, np.False_, "True", "", " ", "nan", "0,5", b"0.5", np.array(0.5), 1j)),
    *((spec.name, bad) for spec in TABLE if spec.kind == "choice" for bad in (True, 1, "", ["auto"], b"auto")),
    *((spec.name, bad) for spec in TABLE if spec.kind == "flags" for bad in (True, 1, [1], b"eyes", "none,eyes")),
]  # fmt: skip


def everywhere(name: str, value: Any) -> list[Callable[[], Any]]:
    """Every way into the options; those of single faces, and of the WebUI, where the option is offered there."""
    ways: list[Callable[[], Any]] = [
        lambda: getattr(Options(**{name: value}), name),
        lambda: getattr(Options().replace(**{name: value}), name),
        lambda: getattr(Options.from_mapping({name: value}), name),
        lambda: getattr(request_from_values({name: value}).options, name),
    ]
    return ways + ([lambda: check_overrides({1: {name: value}})[1][name]] if name in PER_FACE else [])


@pytest.mark.parametrize(("name", "value", "canonical"), ALIKE)
def test_every_way_into_the_options_takes_the_same_values(name: str, value: Any, canonical: Any) -> None:
    for way in everywhere(name, value):
        found = way()
        assert (found, type(found)) == (canonical, type(canonical))


@pytest.mark.parametrize(("name", "value"), REFUSED_ALIKE)
def test_every_way_into_the_options_refuses_the_same_values(name: str, value: Any) -> None:
    for index, way in enumerate(everywhere(name, value)):
        if index == 3 and (SPECS[name].scope == OUTSIDE_WEBUI or (name == "grain" and value in ("", " "))):
            continue  # the page's list gives empty text when it was emptied
        with pytest.raises(OptionError, match=f"{name}: "):
            way()


def test_numbers_become_plain_int_and_float() -> None:
    numbers: dict[str, Any] = {"max_faces": 3.0, "min_face": np.int64(8), "upscale": 2, "fidelity": Fraction(1, 4)}
    options = Options(**numbers | {"detail": np.float32(0.5)})
    assert [repr(value) for value in (options.max_faces, options.min_face, options.upscale)] == ["3", "8", "2.0"]
    assert (repr(options.fidelity), repr(options.detail)) == ("0.25", "0.5")
    assert repr(Options(grain=-0.0).grain) == "0.0"
    assert "2.5" in message_of(max_faces=2.5)


@pytest.mark.parametrize(
    ("values", "suggestion"),
    [({"detector": "retinaface"}, "retinaface-"), ({"mask": "elipse"}, "ellipse"),
     ({"order": "large_small"}, "large-small"),
     ({"color": "mach"}, "match"), ({"keep": "eyes,glases"}, "glasses"), ({"faces": "largst"}, "largest"),
     ({"faces": "3-1"}, "1-3")],
)  # fmt: skip
def test_misspelt_choices_get_the_nearest_suggestion(values: dict[str, str], suggestion: str) -> None:
    ((name, value),) = values.items()
    message = message_of(**values)
    assert message.startswith(f"{name}: {value!r} is not allowed; give ")
    assert f"Did you mean {suggestion}" in message
    assert all(choice in message for choice in SPECS[name].choices)


@pytest.mark.parametrize("spec", BY_NAME)
@pytest.mark.parametrize("bad", [None, object(), b"all", {"a": 1}, float("nan"), "", "x" * 10_000 + "\n1"])
def test_every_refusal_is_an_option_error_of_readable_length(spec: OptionSpec, bad: object) -> None:
    if spec.kind == "flags" and bad == "":
        return
    with pytest.raises(OptionError) as caught:
        spec.check(bad)
    assert str(caught.value).startswith(f"{spec.name}: ")
    assert len(str(caught.value)) < 300
    assert isinstance(caught.value, FaceRestoreError)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("value", ["  ", "a\nb", "a\tb", "\x00", "a\u2028b"])
def test_text_is_one_line_and_not_empty(value: str) -> None:
    assert "not empty" in message_of(model=value)
    assert Options(model=" my model.pth ", upscaler="None") == Options(model="my model.pth")
    assert Options(model="AUTO").model == "auto"
    assert Options(model="Mine").model == "Mine"


def test_face_sizes_must_leave_room_for_a_face() -> None:
    message = message_of(min_face=100, max_face=99)
    assert message.startswith("min_face: 100 is above max_face 99")
    assert Options(min_face=100, max_face=100)
    assert Options(min_face=100, max_face=0)
    with pytest.raises(OptionError, match="min_face"):
        Options(max_face=50).replace(min_face=51)


# Canonical forms


@pytest.mark.parametrize(
    ("given_faces", "canonical"),
    [("All", "all"), (" largest ", "largest"), ("3,1,3", "1,3"), ("1-3", "1,2,3"), ("4 - 5, 2 ,1-2", "1,2,4,5"),
     ("01", "1"), ("10 9", "9,10"), ([3, 1.0, "5-6"], "1,3,5,6"), ((2,), "2"), (7, "7"), (7.0, "7")],
)  # fmt: skip
def test_faces_are_canonical(given_faces: Any, canonical: str) -> None:
    options = Options(faces=given_faces)
    assert options.faces == canonical
    assert options.face_numbers == (tuple(map(int, canonical.split(","))) if canonical[0].isdigit() else ())


@pytest.mark.parametrize(
    "bad",
    ["0", "0-2", "-1", "1-", "1.5", ",", "all,1", "10000", "1-9999999", "1e3", [], [True], [None], [10**5000], 0, 0.5],
)
def test_faces_refuses(bad: Any) -> None:
    message = message_of(faces=bad)
    assert message.startswith("faces: ")
    assert "all, none, largest, or face numbers from 1" in message


@given(st.lists(st.integers(1, 300), min_size=1))
def test_face_numbers_are_unique_and_ascending(numbers: list[int]) -> None:
    options = Options(faces=",".join(map(str, numbers)))
    assert options.face_numbers == tuple(sorted(set(numbers)))
    assert Options(faces=options.faces) == options


@given(st.lists(st.sampled_from(get_args(Part))))
def test_keep_is_in_table_order(parts: list[str]) -> None:
    options = Options(keep=", ".join(part.upper() for part in parts))
    assert options.keep_parts == tuple(part for part in get_args(Part) if part in parts)
    assert options == Options(keep=parts) == Options(keep=options.keep)  # type: ignore[arg-type]
    assert options.keep == (",".join(options.keep_parts) or "none")


def test_keep_none_stands_alone() -> None:
    assert Options(keep="None").keep == Options(keep="").keep == "none"
    assert "cannot be combined" in message_of(keep="none,eyes")


# In and out


@given(settings())
def test_round_trips_lose_nothing(options: Options) -> None:
    values = options.to_dict()
    for back in (
        Options.from_mapping(values),
        Options.from_mapping(json.loads(json.dumps(values, allow_nan=False))),  # as the API has them
        Options.from_mapping({name: str(value) for name, value in values.items()}),  # as text has them
        Options(**values),  # type: ignore[arg-type]
        options.replace(),
    ):
        assert back == options
        assert hash(back) == hash(options)
        assert repr(back) == repr(options)
    assert list(values) == [spec.name for spec in TABLE]


@given(st.data())
def test_canonical_values_are_fixed_points(data: st.DataObject) -> None:
    spec = data.draw(st.sampled_from(TABLE))
    value = spec.check(data.draw(values_of(spec)))
    assert spec.check(value) == value == spec.parse(str(value)) == spec.parse(value)


def test_from_mapping_reads_strings_and_none() -> None:
    options = Options.from_mapping(
        {"fidelity": " .25 ", "visibility": "5e-1", "max_faces": "2.0", "min_face": "64", "faces": None, "mask": "Box"}
    )
    assert options == Options(fidelity=0.25, visibility=0.5, max_faces=2, min_face=64, mask="box")
    assert Options.from_mapping({spec.name: None for spec in TABLE}) == Options() == Options.from_mapping({})


@pytest.mark.parametrize(
    "bad", ["", " ", "nan", "inf", "1e999", "0,5", "1_0", "0x1", "True", "50%", "9" * 5000, "\u0661"]
)
@pytest.mark.parametrize("name", ["fidelity", "max_faces"])
def test_from_mapping_refuses_strings_that_are_no_allowed_numbers(name: str, bad: str) -> None:
    with pytest.raises(OptionError, match=f"^{name}: "):
        Options.from_mapping({name: bad})


def test_unknown_names_are_refused_with_a_suggestion() -> None:
    with pytest.raises(OptionError, match=r"Did you mean color\?"):
        Options().replace(colour="none")
    with pytest.raises(OptionError, match=r"Did you mean max_faces\?"):
        Options.from_mapping({"maxfaces": 2})
    with pytest.raises(OptionError, match="no option 5"):
        Options.from_mapping({5: 2})  # type: ignore[dict-item]
    with pytest.raises(OptionError, match=r"no option 'visiblity'\. Did you mean visibility\?"):
        Options(visiblity=1)  # type: ignore[call-arg]
    with pytest.raises(OptionError, match=r"no option 'visiblity'\. Did you mean visibility\?"):
        Options("lite", visiblity=1)  # type: ignore[call-arg]
    with pytest.raises(OptionError, match=r"options: 'lite' is not a table"):
        Options.from_mapping("lite")  # type: ignore[arg-type]


def test_options_keep_their_signature_and_can_be_copied() -> None:
    assert list(inspect.signature(Options).parameters) == [spec.name for spec in TABLE]
    options = Options(grain=0.5, faces="1,3")
    assert copy.deepcopy(options) == pickle.loads(pickle.dumps(options)) == options


def test_replace_changes_a_copy() -> None:
    before = Options()
    after = before.replace(faces="2-3", fidelity=1)
    assert (after.faces, after.fidelity) == ("2,3", 1.0)
    assert before == Options() != after
    assert before.replace(fidelity=" 1 ") == before.replace(fidelity=1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        before.fidelity = 1.0  # type: ignore[misc]
