"""The axes "[Face Restore] ..." of the X/Y/Z plot script, one for each option.

A cell's values are kept on its own `p`, where the Script finds them; the WebUI's settings are not touched.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...options.spec import number_choices
from ...options.table import SPECS
from .. import host, service
from ..page_words import LABELS
from ..request import OPTION_NAMES, STAGES, request_from_values
from . import ranges
from .job import CELL

logger = logging.getLogger(__name__)

PREFIX = "[Face Restore] "
_DIGITS = 8  # for a range such as 0.1-1 (+0.1) the plot script adds up steps, which gives 0.7999999999999999


@dataclass(frozen=True)
class Axis:
    """One axis.

    Attributes:
        name: the argument that it sets.
        label: its name in the plot.
        kind: type of its values.
        choices: what it offers to choose from; None for text.
        prepare: makes the values of the text; None for the plot's own way.
    """

    name: str
    label: str
    kind: Callable[[Any], object]
    choices: Callable[[], list[str]] | None = None
    prepare: Callable[[str], list[str]] | None = None

    def value(self, given: object) -> object:
        """The value as the request has it. Raises OptionError."""
        number = round(given, _DIGITS) if isinstance(given, float) else given
        request = request_from_values({self.name: number})
        return getattr(request if hasattr(request, self.name) else request.options, self.name)

    def apply(self, p: Any, x: object, xs: Sequence[object]) -> None:
        """Set the value in a cell. One of our axes switches restoration on, unless the axis Enabled is False."""
        setattr(p, CELL, {"enabled": True, **getattr(p, CELL, {}), self.name: self.value(x)})

    def confirm(self, p: Any, xs: Sequence[object]) -> None:
        """Called before the first cell. Raises FaceRestoreError, which stops the plot and is shown."""
        for x in xs:
            value = self.value(x)
            if self.name == "model":
                _check_model(str(value))


def axes() -> list[Axis]:
    """Every axis, in the order of the controls."""
    rows = {
        "enabled": Axis("enabled", "", str, lambda: ["True", "False"]),
        **{name: _option_axis(name) for name in OPTION_NAMES},
        "stage": Axis("stage", "", str, lambda: list(STAGES)),
        "overrides": Axis("overrides", "", str),
    }
    return [replace(axis, label=PREFIX + LABELS[name]) for name, axis in rows.items()]


def add_axes() -> None:
    """Add our axes to the X/Y/Z plot, once; for `script_callbacks.on_before_ui`. Never raises.

    "Reload UI" runs the plot's script again, whose new list lacks our axes.
    """
    try:
        for module in _plot_modules():
            _add_to(module)
    except Exception:  # a plot script of another shape must not keep the page from being made
        logger.exception("the axes of the X/Y/Z plot cannot be added")


def _plot_modules() -> Iterator[Any]:
    """The modules of the plot script; they are not in sys.modules."""
    for entry in getattr(host.module("scripts"), "scripts_data", None) or ():
        module = getattr(entry, "module", None)
        if "xyz" in str(getattr(entry, "path", "")).lower() and _options_of(module) is not None:
            yield module


def _options_of(module: Any) -> list[Any] | None:
    """The plot's list of axes; Forge Classic keeps it in a module that its script imports as `builtins`."""
    for holder, name in ((module, "axis_options"), (getattr(module, "builtins", None), "builtin_options")):
        options = getattr(holder, name, None)
        if isinstance(options, list) and options:
            return options
    return None


def _add_to(module: Any) -> None:
    options = _options_of(module) or []
    make = getattr(module, "AxisOption", None) or type(options[0])
    present = {getattr(option, "label", "") for option in options}
    for axis in axes():
        if axis.label not in present:
            options.append(_made(make, axis))


def _made(make: Callable[..., Any], axis: Axis) -> Any:
    """The plot's own object for an axis. Where it takes no `prepare` (older plots), it offers the usual values."""
    common: dict[str, Any] = {"confirm": axis.confirm, "cost": 0.0, "choices": axis.choices}
    if axis.prepare is None:
        return make(axis.label, axis.kind, axis.apply, **common)
    try:
        return make(axis.label, axis.kind, axis.apply, prepare=axis.prepare, **common)
    except TypeError:
        usual = functools.partial(number_choices, SPECS[axis.name])
        return make(axis.label, axis.kind, axis.apply, **common | {"choices": usual})


def _option_axis(name: str) -> Axis:
    spec = SPECS[name]
    if name == "model":
        return Axis(name, "", str, service.model_ids)
    if spec.kind == "choice":
        return Axis(name, "", str, lambda: list(spec.choices))
    if spec.kind == "number":  # text, as for the plot's other axes of numbers
        return Axis(name, "", str, prepare=ranges.expand)
    return Axis(name, "", {"float": float, "int": int}.get(spec.kind, str))


def _check_model(name: str) -> None:
    if name not in service.model_ids():
        service.store().scan().find(name)  # also takes names without suffix; raises a sentence that names the remedy


__all__ = ["PREFIX", "Axis", "add_axes", "axes"]
