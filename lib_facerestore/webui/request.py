"""What one generation asks for: the arguments of the Script, as a list or as one dict, read into a `Request`.

Pure: no WebUI, no gradio.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..errors import OptionError
from ..options.per_face import Overrides, check_overrides, parse_overrides
from ..options.spec import Value
from ..options.table import SPECS, Options, specs_in
from ..wording import did_you_mean, shown

STAGES: tuple[str, ...] = ("decode", "composite", "last")
STAGE_LABELS: dict[str, str] = {
    "decode": "After decoding (whole batch at once)",
    "composite": "Before the inpaint composite",
    "last": "Last of all (after ADetailer and others)",
}
FIRST: tuple[str, ...] = ("model", "fidelity", "visibility")
"""The options that are seen without opening "More"."""

OPTION_NAMES: tuple[str, ...] = (*FIRST, *(spec.name for spec in specs_in("webui") if spec.name not in FIRST))
ARGUMENTS: tuple[str, ...] = ("enabled", *FIRST, "stage", "save_before", *OPTION_NAMES[len(FIRST) :], "overrides")
"""The arguments of the Script, in the order of its controls."""

_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off", "")


@dataclass(frozen=True)
class Request:
    """One complete, valid request.

    Attributes:
        enabled: whether anything is to be done.
        options: how.
        stage: when, one of `STAGES`.
        save_before: whether the picture is also saved as it was before.
        overrides: what is to be done otherwise with the faces of some numbers.
    """

    enabled: bool = False
    options: Options = field(default_factory=Options)
    stage: str = "decode"
    save_before: bool = False
    overrides: Overrides = field(default_factory=dict)


def request_from_args(args: Sequence[object], defaults: Mapping[str, object] | None = None) -> Request:
    """Read what the WebUI or a program hands over; types are not to be relied on, so everything is checked.

    Args:
        args: values in the order of `ARGUMENTS` (what is missing or None takes its default), or one dict of names and
            values first, which means enabled unless it says otherwise.
        defaults: other defaults than the table's.

    Raises:
        OptionError: an unknown name, or a value that is not allowed.
    """
    if args and isinstance(args[0], Mapping):
        values = {"enabled": True} | {str(name): value for name, value in args[0].items()}
    else:
        values = dict(zip(ARGUMENTS, args, strict=False))
    return request_from_values(values, defaults)


def request_from_values(values: Mapping[str, object], defaults: Mapping[str, object] | None = None) -> Request:
    """The same from names and values; absent ones and None take their defaults. Raises OptionError."""
    known = dict(defaults or {})
    for name, value in values.items():
        if name not in ARGUMENTS:
            near = did_you_mean(name, ARGUMENTS)
            raise OptionError(f"There is no option {shown(name)}.{near} The options are {', '.join(ARGUMENTS)}.")
        if value is not None:
            known[name] = value
    options: dict[str, Value] = {
        name: SPECS[name].parse(known[name]) for name in OPTION_NAMES if known.get(name) is not None
    }
    return Request(
        enabled=_flag("enabled", known.get("enabled", False)),
        options=Options(**options),  # type: ignore[arg-type]
        stage=_stage(known.get("stage", "decode")),
        save_before=_flag("save_before", known.get("save_before", False)),
        overrides=_overrides(known.get("overrides", "")),
    )


def _flag(name: str, value: object) -> bool:
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if isinstance(value, (str, int)) and word in _TRUE + _FALSE:
        return word in _TRUE
    raise OptionError(f"{name}: {shown(value)} is not allowed; give true or false.")


def _stage(value: object) -> str:
    """A stage by its name or by the label that the page shows."""
    for stage in STAGES:
        if isinstance(value, str) and value.strip().lower() in (stage, STAGE_LABELS[stage].lower()):
            return stage
    near = did_you_mean(str(value), STAGES)
    raise OptionError(f"stage: {shown(value)} is not allowed; give one of {', '.join(STAGES)}.{near}")


def _overrides(value: object) -> Overrides:
    return parse_overrides(value) if isinstance(value, str) else check_overrides(value)
