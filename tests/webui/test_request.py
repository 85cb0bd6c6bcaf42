"""Arguments of the Script: lists, one dict, short lists, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from lib_facerestore.errors import OptionError
from lib_facerestore.options.table import Options, specs_in
from lib_facerestore.webui.request import ARGUMENTS, STAGE_LABELS, STAGES, Request, request_from_args


def test_the_arguments_are_all_options_of_the_webui_once() -> None:
    own = {"enabled", "stage", "save_before", "overrides"}
    assert sorted(ARGUMENTS) == sorted(own | {spec.name for spec in specs_in("webui")})
    assert ARGUMENTS[:6] == ("enabled", "model", "fidelity", "visibility", "stage", "save_before")


@pytest.mark.parametrize("args", [[], [False], [None] * len(ARGUMENTS)])
def test_nothing_given_is_off_with_every_default(args: list[Any]) -> None:
    assert request_from_args(args) == Request()


def test_a_short_list_takes_defaults_for_the_rest() -> None:
    request = request_from_args([True, "codeformer", "0.7", None, "last"])
    assert request == Request(True, Options(model="codeformer", fidelity=0.7), "last")


def test_superfluous_values_are_dropped() -> None:
    assert request_from_args([True, *[None] * len(ARGUMENTS), "more"]) == Request(True)


def test_one_dict_means_enabled_and_may_hold_anything() -> None:
    request = request_from_args([{"model": "lite", "faces": [3, 1], "overrides": {"1": {"visibility": 0.5}}}, 0.3])
    assert request == Request(True, Options(model="lite", faces="1,3"), overrides={1: {"visibility": 0.5}})
    assert not request_from_args([{"enabled": False}]).enabled


def test_other_defaults_may_be_given() -> None:
    assert request_from_args([True], {"model": "lite", "visibility": 0.5}).options == Options("lite", visibility=0.5)
    assert request_from_args([True, "auto"], {"model": "lite"}).options.model == "auto"


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_may_be_named_by_its_label(stage: str) -> None:
    assert request_from_args([{"stage": STAGE_LABELS[stage]}]).stage == stage


@pytest.mark.parametrize(("value", "wanted"), [("true", True), ("No", False), (1, True), ("", False)])
def test_a_flag_may_be_text(value: object, wanted: bool) -> None:
    assert request_from_args([value]).enabled is wanted


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([{"visibilty": 1}], "There is no option 'visibilty'. Did you mean visibility?"),
        ([{"upscale": 2}], "There is no option 'upscale'."),
        ([True, "auto", "high"], "fidelity: 'high' is not allowed"),
        ([True, "auto", 0.5, 1, "middle"], "stage: 'middle' is not allowed; give one of decode, composite, last"),
        (["perhaps"], "enabled: 'perhaps' is not allowed; give true or false"),
        ([{"save_before": [1]}], "save_before: [1] is not allowed"),
        ([{"overrides": "{"}], "overrides: '{' is not valid JSON"),
        ([{"overrides": 3}], "overrides: 3 is not a table"),
        ([{"min_face": 9, "max_face": 3}], "min_face: 9 is above max_face 3"),
    ],
)
def test_nonsense_is_named(args: list[Any], message: str) -> None:
    with pytest.raises(OptionError) as told:
        request_from_args(args)
    assert message in str(told.value)
