"""The arguments of the Script for one generation, a list or one dict, checked and read into a `Request`.

Every type is checked here: the WebUI's API checks none, and settings and plots turn whole numbers into floats.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..errors import OptionError
from ..options.per_face import Overrides, check_overrides, parse_overrides
from ..options.spec import Value, read_switch
from ..options.table import SPECS, Options, specs_in
from ..wording import did_you_mean, shown

STAGES: tuple[str, ...] = ("decode", "composite", "last")
STAGE_LABELS: dict[str, str] = {
    "decode": "After decoding (whole batch at once)",
    "composite": "Before the inpaint composite",
    "last": "Last of all (after ADetailer and others)",
}
FIRST: tuple[str, ...] = ("model", "fidelity", "visibility")
"""The options that are shown without opening "More"."""

OPTION_NAMES: tuple[str, ...] = (*FIRST, *(spec.name for spec in specs_in("webui") if spec.name not in FIRST))
ARGUMENTS: tuple[str, ...] = ("enabled", *FIRST, "stage", "save_before", *OPTION_NAMES[len(FIRST) :], "overrides")
"""The arguments of the Script, in the order of its controls."""


@dataclass(frozen=True)
class Request:
    """One complete, valid request.

    Attributes:
        enabled: whether anything is to be done.
        options: how.
        stage: when, one of `STAGES`.
        save_before: whether the picture before restoration is saved too.
        overrides: options that the faces of some numbers have of their own.
    """

    enabled: bool = False
    options: Options = field(default_factory=Options)
    stage: str = "decode"
    save_before: bool = False
    overrides: Overrides = field(default_factory=dict)


def request_from_args(args: Sequence[object], changes: Mapping[str, object] | None = None) -> Request:
    """Read the arguments that the WebUI or a program passes to the Script.

    Args:
        args: values in the order of `ARGUMENTS`; what is missing or None takes its default. Or one dict of names and
            values first, which switches the restoration on unless its "enabled" is false.
        changes: values by name that replace those in `args`.

    Raises:
        OptionError: an unknown name, or a value that is not allowed.
    """
    if args and isinstance(args[0], Mapping):
        values: dict[str, object] = {"enabled": True, **{str(name): value for name, value in args[0].items()}}
    else:
        values = dict(zip(ARGUMENTS, args, strict=False))
    return request_from_values(values | dict(changes or {}))


def request_from_values(values: Mapping[str, object]) -> Request:
    """The same from names and values; absent ones and None take their defaults. Raises OptionError.

    For an option that takes a number or a word, empty text counts as None: its list gives it when it was emptied.
    """
    for name in values:
        if name not in ARGUMENTS:
            near = did_you_mean(name, ARGUMENTS)
            raise OptionError(f"There is no option {shown(name)}.{near} The options are {', '.join(ARGUMENTS)}.")
    given = {name: value for name, value in values.items() if value is not None and not _emptied(name, value)}
    options: dict[str, Value] = {name: SPECS[name].parse(given[name]) for name in OPTION_NAMES if name in given}
    overrides = _overrides(given.get("overrides", ""))
    for one in (options, *overrides.values()):
        if "model" in one:
            from ..catalogue import refuse_path  # a WebUI's start does not need it

            refuse_path(str(one["model"]))
    return Request(
        enabled=_switch("enabled", given.get("enabled", False)),
        options=Options(**options),  # type: ignore[arg-type]
        stage=_stage(given.get("stage", "decode")),
        save_before=_switch("save_before", given.get("save_before", False)),
        overrides=overrides,
    )


def _emptied(name: str, value: object) -> bool:
    return name in OPTION_NAMES and SPECS[name].kind == "number" and isinstance(value, str) and not value.strip()


def is_wanted(args: Sequence[object], changes: Mapping[str, object] | None = None) -> bool:
    """Whether the request may be enabled. Cheap, since it is called for every picture of the WebUI.

    A switch that cannot be understood counts as on: `request_from_args` then raises an error that names it.
    """
    value = args[0] if args else False
    if isinstance(value, Mapping):
        value = value.get("enabled", True)
    value = (changes or {}).get("enabled", value)
    return value is not None and read_switch(value) is not False


def _switch(name: str, value: object) -> bool:
    switch = read_switch(value)
    if switch is None:
        raise OptionError(f"{name}: {shown(value)} is not allowed; give true or false.")
    return switch


def _stage(value: object) -> str:
    """A stage by its name or by the label that the page shows."""
    for stage in STAGES:
        if isinstance(value, str) and value.strip().lower() in (stage, STAGE_LABELS[stage].lower()):
            return stage
    near = did_you_mean(str(value), STAGES)
    raise OptionError(f"stage: {shown(value)} is not allowed; give one of {', '.join(STAGES)}.{near}")


def _overrides(value: object) -> Overrides:
    return parse_overrides(value) if isinstance(value, str) else check_overrides(value)
