"""Per-face overrides: what is allowed, canonical form, and the round trip through JSON."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_facerestore.errors import OptionError
from lib_facerestore.options.per_face import check_overrides, for_face, parse_overrides, show_overrides
from lib_facerestore.options.table import PER_FACE, SPECS, Options

from .test_table import values_of

choices = {name: values_of(SPECS[name]) for name in PER_FACE} | {"skip": st.booleans()}
changes = st.fixed_dictionaries({}, optional=choices)
plans = st.dictionaries(st.integers(1, 9999), changes, max_size=4)


@given(plans)
def test_a_plan_survives_being_written_and_read(plan: dict[int, dict[str, Any]]) -> None:
    canonical = check_overrides(plan)
    assert parse_overrides(show_overrides(canonical)) == canonical
    assert list(canonical) == sorted(canonical)
    assert all(canonical.values()), "faces without changes are left out"


def test_numbers_may_be_text_and_values_take_their_canonical_form() -> None:
    plan = {"3": {"keep": "mouth, eyes", "visibility": "0.50"}, " 1 ": {"skip": True}, "2": {"skip": False}}
    assert check_overrides(plan) == {1: {"skip": True}, 3: {"keep": "eyes,mouth", "visibility": 0.5}}


def test_a_face_may_be_named_by_a_number_of_any_type_and_null_changes_nothing() -> None:
    plan: dict[Any, Any] = {
        np.int64(3): {"visibility": None, "grain": " 0.5 "},
        2.0: {"skip": np.True_},
        4: {"skip": None},
    }
    assert check_overrides(plan) == {2: {"skip": True}, 3: {"grain": 0.5}}
    assert check_overrides({1: {"skip": 1, "grain": "AUTO"}, 2: {"skip": "no"}}) == {1: {"skip": True, "grain": "auto"}}


def test_for_face_makes_the_changes() -> None:
    options = for_face(Options(grain=0.2), {"fidelity": 0.9, "skip": True})
    assert (options.fidelity, options.grain) == (0.9, 0.2)


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({0: {}}, "0 is not a face number"),
        ({"x": {}}, "'x' is not a face number"),
        ({True: {}}, "True is not a face number"),
        ({"1": {}, 1: {}}, "face 1 is there twice"),
        ({1: 0.5}, "face 1 has 0.5"),
        ({1: {"visibilty": 0.5}}, "face 1: 'visibilty' cannot be set for a single face. Did you mean visibility?"),
        ({1: {"max_faces": 2}}, "face 1: 'max_faces' cannot be set for a single face"),
        ({1: {"visibility": 2}}, "face 1, visibility: 2 is not allowed"),
        ({1.5: {}}, "1.5 is not a face number"),
        ({float("nan"): {}}, "nan is not a face number"),
        ({1: {"skip": "perhaps"}}, "face 1, skip: 'perhaps' is not allowed; give true or false"),
    ],
)
def test_nonsense_is_named(plan: dict[Any, Any], message: str) -> None:
    with pytest.raises(OptionError) as told:
        check_overrides(plan)
    assert message in str(told.value)


@pytest.mark.parametrize("text", ["{", "[1]", '"x"', '{"1": {"visibility": 1, "visibility": 0}}', "[" * 100_000])
def test_text_that_is_no_plan_is_refused(text: str) -> None:
    with pytest.raises(OptionError, match="overrides: "):
        parse_overrides(text)


def test_empty_text_is_an_empty_plan() -> None:
    assert parse_overrides("  ") == {}
    assert show_overrides({}) == ""
