"""Arguments of the Script: lists, one dict, short lists, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lib_facerestore.errors import OptionError
from lib_facerestore.options.spec import read_switch
from lib_facerestore.options.table import Options, specs_in
from lib_facerestore.webui import settings
from lib_facerestore.webui.request import (
    ARGUMENTS,
    STAGE_LABELS,
    STAGES,
    Request,
    is_wanted,
    request_from_args,
)


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


def test_changes_count_in_place_of_the_arguments() -> None:
    changes = {"model": "lite", "visibility": 0.5}
    for args in ([True, "codeformer"], [{"model": "codeformer"}]):
        assert request_from_args(args, changes) == Request(True, Options("lite", visibility=0.5))
    assert not request_from_args([True], {"enabled": False}).enabled


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_may_be_named_by_its_label(stage: str) -> None:
    assert request_from_args([{"stage": STAGE_LABELS[stage]}]).stage == stage


SWITCHES: list[tuple[object, bool | None]] = [
    (True, True), (1, True), (1.0, True), ("true", True), (" Yes ", True), ("1", True), ("1.0", True), ("on", True),
    (False, False), (0, False), (0.0, False), ("No", False), ("0.0", False), ("off", False), ("", False),
    (np.True_, True), (np.False_, False), (np.float32(0), False), (np.int64(1), True),
    ("perhaps", None), (2, None), (0.5, None), (float("nan"), None), ([1], None), ([], None),
]  # fmt: skip
"""What may be given for a switch, and what it says."""


@pytest.mark.parametrize(("value", "says"), SWITCHES)
def test_a_switch_means_the_same_everywhere(value: object, says: bool | None) -> None:
    assert read_switch(value) is says
    for args in ([value], [{"enabled": value}]):
        assert is_wanted(args) is (says is not False)
        if says is None:
            with pytest.raises(OptionError, match=r"enabled: .* is not allowed; give true or false"):
                request_from_args(args)
        else:
            assert request_from_args(args).enabled is says
    for default in (True, False):
        row = "in_restorers" if default else "unload"
        assert getattr(settings.read({settings.PREFIX + row: value}), row) is (default if says is None else says)


@pytest.mark.parametrize("args", [[], [None], [{"enabled": None}]])
def test_what_is_not_given_is_off(args: list[object]) -> None:
    assert not is_wanted(args) and not request_from_args(args).enabled


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
        (
            [{"model": "/models/x.pth"}],
            "model: '/models/x.pth' is a path; give an id, or a file's name without its folder.",
        ),
        ([True, "..\\x.pth"], "is a path"),
        ([{"overrides": {2: {"model": "~/x.pth"}}}], "model: '~/x.pth' is a path"),
        ([{"min_face": 9, "max_face": 3}], "min_face: 9 is above max_face 3"),
    ],
)
def test_nonsense_is_named(args: list[Any], message: str) -> None:
    with pytest.raises(OptionError) as told:
        request_from_args(args)
    assert message in str(told.value)
