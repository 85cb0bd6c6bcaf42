"""The X/Y/Z script as an extension meets it: a module that is in no sys.modules, and cells that are `copy(p)`."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from itertools import product
from types import ModuleType
from typing import Any

from .module import HostModule
from .scripts import AlwaysVisible, Script, ScriptClassData


def format_value_add_label(p: Any, opt: Any, x: Any) -> str:
    return f"{opt.label}: {round(x, 8) if isinstance(x, float) else x}"


def format_value(p: Any, opt: Any, x: Any) -> Any:
    return round(x, 8) if isinstance(x, float) else x


class AxisOption:
    def __init__(
        self, label: str, type: Any, apply: Callable[..., None], format_value: Any = format_value_add_label,
        confirm: Any = None, cost: float = 0.0, choices: Any = None, prepare: Any = None,
    ) -> None:  # fmt: skip
        self.label, self.type, self.apply, self.format_value = label, type, apply, format_value
        self.confirm, self.cost, self.choices, self.prepare = confirm, cost, choices, prepare


def register(host: Any) -> ModuleType:
    """Put the script into scripts_data, as the host does at every load: a new module each time."""
    module = HostModule("xyz_grid.py")
    for item in (AxisOption, format_value, format_value_add_label):
        setattr(module, item.__name__, item)

    def set_steps(p: Any, x: Any, xs: Any) -> None:
        p.steps = x

    module.axis_options = [
        AxisOption("Nothing", str, lambda p, x, xs: None), AxisOption("Steps", int, set_steps),
    ]  # fmt: skip

    class XYZ(Script):
        def title(self) -> str:
            return "X/Y/Z plot"

        def show(self, is_img2img: bool) -> object:
            return True

    assert AlwaysVisible is not True
    folder = "extensions-builtin/xyz/scripts" if host.kind == "classic" else "scripts"
    path = str(host.root / folder / "xyz_grid.py")
    host.modules.scripts.scripts_data.append(ScriptClassData(XYZ, path, str(host.root), module))
    return module


def run(host: Any, tab: str, axes: dict[str, str], p: Any) -> list[Any]:
    """Every combination, the first axis fastest. What `confirm` or the conversion raises reaches the caller."""
    options = {option.label: option for option in host.xyz_module.axis_options}
    values: list[list[Any]] = []
    for label, text in axes.items():
        option = options[label]
        given = [part.strip() for part in text.split(",")] if isinstance(text, str) else list(text)
        if option.prepare is not None:
            given = option.prepare(text)
        typed = [option.type(item) for item in given]
        if option.confirm is not None:
            option.confirm(p, typed)
        values.append(typed)
    p.do_not_save_grid = True
    done = []
    for combination in product(*reversed(values)):
        cell = copy(p)
        cell.styles = cell.styles[:]
        for (label, _), chosen, xs in zip(axes.items(), reversed(combination), values, strict=True):
            options[label].apply(cell, chosen, xs)
            options[label].format_value(cell, options[label], chosen)
        done.append(host.modules.processing.process_images(cell))
    return done
