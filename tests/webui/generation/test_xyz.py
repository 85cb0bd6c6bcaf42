"""The axes of the X/Y/Z plot: added once, checked before the run, and of effect in their own cell only."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from lib_facerestore.errors import FaceRestoreError
from lib_facerestore.options.table import SPECS
from lib_facerestore.webui import service
from lib_facerestore.webui.generation import xyz
from lib_facerestore.webui.generation.job import CELL
from lib_facerestore.webui.request import OPTION_NAMES

from ..double import Host


def ours(module: Any) -> dict[str, Any]:
    return {option.label: option for option in module.axis_options if option.label.startswith(xyz.PREFIX)}


@pytest.fixture
def cells(host: Host) -> list[dict[str, Any]]:
    """Starts the host with the axes; what each cell asks for is noted here."""
    from modules import script_callbacks, scripts

    seen: list[dict[str, Any]] = []

    class Spy(scripts.Script):
        def title(self) -> str:
            return "Spy"

        def show(self, is_img2img: bool) -> object:
            return scripts.AlwaysVisible

        def process(self, p: Any, *args: Any) -> None:
            seen.append(getattr(p, CELL, {}))

    host.add_script(Spy)
    fire = script_callbacks.fire

    def with_ours(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "before_ui":
            xyz.add_axes()
        return fire(name, *args, **kwargs)

    script_callbacks.fire = with_ours
    host.start(load=False)
    return seen


def test_there_is_an_axis_for_every_option_and_none_twice(host: Host, cells: list[Any]) -> None:
    labels = set(ours(host.xyz_module))
    assert {f"[Face Restore] {SPECS[name].label}" for name in OPTION_NAMES} <= labels
    assert {"[Face Restore] Enabled", "[Face Restore] When", "[Face Restore] Options of single faces"} <= labels
    assert len(labels) == len(OPTION_NAMES) + 3
    count = len(host.xyz_module.axis_options)
    xyz.add_axes()
    assert len(host.xyz_module.axis_options) == count
    for _ in range(2):
        host.reload_ui(load=False)
        assert len(host.xyz_module.axis_options) == count and len(ours(host.xyz_module)) == len(labels)
    assert all(option.cost == 0 for option in ours(host.xyz_module).values())


def test_each_cell_has_its_own_typed_values(host: Host, cells: list[dict[str, Any]]) -> None:
    host.xyz("txt2img", {"[Face Restore] Visibility": "0.5, 1", "[Face Restore] Smallest face": "16, 32"})
    assert cells == [
        {"enabled": True, "visibility": 0.5, "min_face": 16}, {"enabled": True, "visibility": 1.0, "min_face": 16},
        {"enabled": True, "visibility": 0.5, "min_face": 32}, {"enabled": True, "visibility": 1.0, "min_face": 32},
    ]  # fmt: skip
    cells.clear()
    host.run("txt2img")
    assert cells == [{}]


def test_switching_off_wins_whatever_the_order_of_the_axes(host: Host, cells: list[dict[str, Any]]) -> None:
    host.xyz("txt2img", {"[Face Restore] Enabled": "False, True", "[Face Restore] Mask": "box"})
    host.xyz("txt2img", {"[Face Restore] Mask": "box", "[Face Restore] Enabled": "False, True"})
    assert [cell["enabled"] for cell in cells] == [False, True, False, True]


def test_choices_are_offered(host: Host, cells: list[Any]) -> None:
    axes = ours(host.xyz_module)
    assert axes["[Face Restore] Model"].choices() == ["auto", "lite"]
    assert axes["[Face Restore] Mask"].choices() == ["parsing", "ellipse", "box"]
    assert axes["[Face Restore] When"].choices() == ["decode", "composite", "last"]
    assert axes["[Face Restore] Enabled"].choices() == ["True", "False"]
    assert all(axes[f"[Face Restore] {name}"].choices is None for name in ("Faces", "Visibility", "Grain"))


@pytest.mark.parametrize(
    ("label", "values", "told"),
    [
        ("Model", ["gpen-512"], "gpen-512 is not installed"),
        ("Model", ["nothing"], "nothing"),
        ("Visibility", [0.5, 1.5], "visibility: 1.5 is not allowed; give a number from 0 to 1"),
        ("Mask", ["elipse"], "Did you mean ellipse?"),
        ("Faces", ["3-1"], "Did you mean 1-3?"),
        ("When", ["never"], "give one of decode, composite, last"),
        ("Enabled", ["maybe"], "give true or false"),
        ("Options of single faces", ["{"], "is not valid JSON"),
    ],
)
def test_a_bad_value_is_told_before_the_first_cell(
    host: Host, cells: list[Any], label: str, values: list[Any], told: str
) -> None:
    with pytest.raises(FaceRestoreError) as caught:
        host.xyz("txt2img", {f"[Face Restore] {label}": values})  # type: ignore[dict-item]
    assert told in str(caught.value) and cells == []


def test_values_that_a_range_has_added_up_are_rounded(host: Host, cells: list[dict[str, Any]]) -> None:
    host.xyz("txt2img", {"[Face Restore] Visibility": [0.7999999999999999, 1.0000000000000002]})  # type: ignore[dict-item]
    assert [cell["visibility"] for cell in cells] == [0.8, 1.0]


def test_grain_takes_numbers_and_its_word(host: Host, cells: list[dict[str, Any]]) -> None:
    host.xyz("txt2img", {"[Face Restore] Grain": "auto, 0, 0.5"})
    assert [cell["grain"] for cell in cells] == ["auto", 0.0, 0.5]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0-1 (+0.25)", [0, 0.25, 0.5, 0.75, 1]), ("auto, 0 - 1 [3]", ["auto", 0, 0.5, 1]),
        ("1-0(-0.5), AUTO,", [1, 0.5, 0, "auto"]), ("0-1", [0, 1]), ("0.2-.8 (+0.3)", [0.2, 0.5, 0.8]),
        ("0-1 (+0.3)", [0, 0.3, 0.6, 0.9]), ("0-0.8 (+0.1)", [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]),
        ("0.5-0.5 [1]", [0.5]), ("1e-1", [0.1]),
    ],
)  # fmt: skip
def test_grain_takes_ranges_as_other_axes_of_numbers_do(
    host: Host, cells: list[dict[str, Any]], text: str, values: list[object]
) -> None:
    host.xyz("txt2img", {"[Face Restore] Grain": text})
    assert [cell["grain"] for cell in cells] == values


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("0-1 (-0.5)", "'0-1 (-0.5)': steps of -0.5 do not lead from 0 to 1"), ("0-1 (+0)", "steps of 0 do not lead"),
        ("0-1 (+0.00001)", "has 100001 values"), ("0-1 [0]", "has 0 values"), ("0-2", "grain: 2 is not allowed"),
        ("0-1 (+0.5", "grain: '0-1 (+0.5' is not allowed"),
    ],
)  # fmt: skip
def test_a_range_that_cannot_be_is_told_before_the_first_cell(
    host: Host, cells: list[Any], text: str, told: str
) -> None:
    with pytest.raises(FaceRestoreError) as caught:
        host.xyz("txt2img", {"[Face Restore] Grain": text})
    assert told in str(caught.value) and cells == []


def test_lists_of_faces_and_plans(host: Host, cells: list[dict[str, Any]]) -> None:
    plan = '{"2": {"skip": true}}'
    host.xyz("txt2img", {"[Face Restore] Faces": ["1,3"], "[Face Restore] Options of single faces": [plan]})  # type: ignore[dict-item]
    assert cells == [{"enabled": True, "faces": "1,3", "overrides": {2: {"skip": True}}}]


def test_nothing_happens_without_a_plot(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    xyz.add_axes()
    host.modules.scripts.scripts_data.append(SimpleNamespace(path="scripts/xyz_grid.py", module=ModuleType("empty")))
    del host.modules.scripts.scripts_data[:-1]
    xyz.add_axes()
    assert caplog.text == ""


def test_nothing_happens_without_a_webui(caplog: pytest.LogCaptureFixture) -> None:
    xyz.add_axes()
    assert caplog.text == ""


def test_forge_classic_keeps_its_axes_in_another_module(host: Host) -> None:
    class AxisOption:
        def __init__(
            self, label: str, type: Any, apply: Any, format_value: Any = None, confirm: Any = None, cost: float = 0.0,
            choices: Any = None,
        ) -> None:  # fmt: skip
            self.label, self.choices = label, choices

    module = ModuleType("xyz_grid.py")
    module.AxisOption = AxisOption  # type: ignore[attr-defined]
    module.builtins = SimpleNamespace(builtin_options=[AxisOption("Nothing", str, None)])  # type: ignore[attr-defined]
    entry = SimpleNamespace(path="extensions-builtin/xyz/scripts/xyz_grid.py", module=module)
    host.modules.scripts.scripts_data.append(entry)
    xyz.add_axes()
    xyz.add_axes()
    labels = [option.label for option in module.builtins.builtin_options]
    assert labels.count("[Face Restore] Model") == 1
    (grain,) = [option for option in module.builtins.builtin_options if option.label == "[Face Restore] Grain"]
    assert grain.choices() == ["auto", "0", "0.25", "0.5", "0.75", "1"]  # this plot takes no ranges of ours


def test_models_that_cannot_be_listed_do_not_break_the_page(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Any:
        raise RuntimeError("no")

    monkeypatch.setattr(service, "models", fail)
    assert next(axis for axis in xyz.axes() if axis.name == "model").choices() == ["auto"]  # type: ignore[misc]
