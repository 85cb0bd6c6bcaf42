"""The "Face restore ..." lines of a picture's infotext: written from a run, and pasted back into the controls.

Values are plain: the WebUI quotes them where they hold a comma or a colon, and its parser gives text back.
"""

from __future__ import annotations

import functools
import json
import logging
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from ..errors import OptionError
from ..options.per_face import show_overrides
from ..options.spec import number_text
from ..options.table import SPECS
from .request import ARGUMENTS, OPTION_NAMES, STAGE_LABELS, Request, request_from_values

if TYPE_CHECKING:
    from ..results import Result

logger = logging.getLogger(__name__)

LineValue: TypeAlias = str | int | float
Text = TypeVar("Text", bound="CallableText")

PREFIX = "Face restore"
RESULT = f"{PREFIX} result"
ERROR = f"{PREFIX} error"
NOTE = f"{PREFIX} note"
"""In Extras, which has no other place for them: options that had no effect."""

KEYS: Mapping[str, str] = {name: SPECS[name].infotext for name in OPTION_NAMES} | {
    "enabled": f"{PREFIX} enabled",  # never written: a run has a model
    "stage": f"{PREFIX} stage",
    "save_before": f"{PREFIX} save before",
    "overrides": f"{PREFIX} overrides",
}
"""The infotext key of every argument."""

ALL_KEYS: tuple[str, ...] = (*KEYS.values(), RESULT, NOTE, ERROR)

_ALWAYS = ("model",)
_MOST_REASONS = 3
_LONGEST_RESULT = 300
_FOLDERS = re.compile(r"""(?:(?<=[\s"'`(])|^)(?:[A-Za-z]:)?[\\/](?:[^\\/,;:"'`\n]+[\\/])+""")
_LEAD = re.compile(r"face \d+: (?:skipped|left alone), ")


def write(request: Request, results: Sequence[Result[Any]], knobs: Collection[str]) -> dict[str, LineValue]:
    """The lines of a run, in table order; {} when nothing ran.

    Args:
        request: what was asked for.
        results: the `Result`s of the picture, or of several; their model is the one that is written.
        knobs: those that the model has. The fidelity is always written for a model that has it.
    """
    model = next((result.model for result in results if result.model), "")
    if not request.enabled or not model:
        return {}
    always = {*_ALWAYS, *({"fidelity"} & set(knobs))}
    lines: dict[str, LineValue] = {}
    for name in OPTION_NAMES:
        value = model if name == "model" else getattr(request.options, name)
        if name in always or value != SPECS[name].default:
            lines[KEYS[name]] = _guarded(value)
    if request.stage != Request().stage:
        lines[KEYS["stage"]] = request.stage
    if request.save_before:
        lines[KEYS["save_before"]] = "True"
    if request.overrides:
        lines[KEYS["overrides"]] = _guarded(show_overrides(request.overrides))
    lines[RESULT] = _guarded(describe(results))
    return lines


def describe(results: Sequence[Result[Any]]) -> str:
    """What came of a run, on one line: "3 restored, 1 skipped (412 px is above max_face 400)"."""
    reports = [report for result in results for report in result.faces]
    empty = sum(not result.faces for result in results)
    parts: list[str] = []
    if reports:
        skipped = [report for report in reports if not report.applied]
        parts.append(f"{len(reports) - len(skipped)} restored")
        if skipped:
            parts.append(f"{len(skipped)} skipped ({_reasons([report.reason for report in skipped])})")
    parts += dict.fromkeys(note for result in results for note in result.notes if result.faces or len(results) == 1)
    text = ", ".join(parts) or "no face was found"
    if len(results) > 1:
        text += f" in {len(results)} pictures"
        if empty and reports:
            text += f", {empty} of them without a face"
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST_RESULT else text[: _LONGEST_RESULT - 3].rstrip() + "..."


def error_line(message: str) -> dict[str, LineValue]:
    """The line of a run that failed."""
    return {ERROR: _guarded(without_folders(message))}


def note_line(hints: Sequence[str]) -> dict[str, LineValue]:
    """The line with the hints of a run; {} where there are none."""
    return {NOTE: _guarded(without_folders("; ".join(hints)))} if hints else {}


def without_folders(message: str) -> str:
    """The message on one line, with the last part of every path alone: pictures are shown to others."""
    return _FOLDERS.sub("", " ".join(message.split()))


class CallableText(str):
    """Text that can also be called.

    The WebUI calls those keys and values of an extension that can be called, and also compares and writes them as
    text. A plain function would be left out of "Send to", or be written as "<function … at 0x…>".
    """

    function: Callable[..., object]

    @classmethod
    def of(cls: type[Text], text: str, function: Callable[..., object]) -> Text:
        """This text, which calls `function` when it is called."""
        made = cls(text)
        made.function = function
        return made

    def __call__(self, *args: object, **kwargs: object) -> object:
        return self.function(*args, **kwargs)


def paste_fields(controls: Any) -> list[tuple[Any, CallableText]]:
    """`Script.infotext_fields`: each component that is an argument, with what finds its value in a parsed infotext.

    Args:
        controls: an object whose `by_name` maps names of arguments to components.
    """
    return [(controls.by_name[name], PASTE_KEYS[name]) for name in ARGUMENTS if name in controls.by_name]


def pasted(name: str, params: Mapping[str, object]) -> Any:
    """The value that the component of argument `name` gets from a parsed infotext, in the component's own type.

    What is absent or unreadable gives the default. None leaves the component alone, as for the model where
    the text has none of our lines.
    """
    if name == "enabled":
        return _text("model", params) is not None
    text = _text(name, params)
    if text is None and name == "model":
        return None
    try:
        request = request_from_values({name: text})
    except OptionError as error:
        logger.warning("infotext: %s The default is taken.", error)
        request = Request()
    return _SHOWN.get(name, lambda value: getattr(value.options, name))(request)


def _keep(request: Request) -> list[str]:
    return list(request.options.keep_parts)


_SHOWN: dict[str, Callable[[Request], object]] = {
    "stage": lambda request: STAGE_LABELS[request.stage],
    "save_before": lambda request: request.save_before,
    "overrides": lambda request: show_overrides(request.overrides),
    "keep": _keep,
    "grain": lambda request: number_text(request.options.grain),
}


def _text(name: str, params: Mapping[str, object]) -> str | None:
    """The text under the key of `name`. The WebUI's parser takes 640x480 apart, under any key."""
    key = KEYS[name]
    if key in params:
        return str(params[key])
    if f"{key}-1" in params and f"{key}-2" in params:
        return f"{params[f'{key}-1']}x{params[f'{key}-2']}"
    return None


def _guarded(value: LineValue) -> LineValue:
    """Text in quotation marks would lose them in the WebUI's parser, unless the WebUI itself quotes it."""
    if isinstance(value, str) and value[:1] == value[-1:] == '"' and not re.search(r"[,:\n]", value):
        return json.dumps(value, ensure_ascii=False)
    return value


def _reasons(reasons: Sequence[str]) -> str:
    distinct = list(dict.fromkeys(_LEAD.sub("", reason, count=1) for reason in reasons))
    shown = "; ".join(distinct[:_MOST_REASONS])
    return shown if len(distinct) <= _MOST_REASONS else f"{shown}; and {len(distinct) - _MOST_REASONS} more"


PASTE_KEYS: Mapping[str, CallableText] = {
    name: CallableText.of(KEYS[name], functools.partial(pasted, name)) for name in ARGUMENTS
}
"""For each argument its infotext key, which is also the function from a parsed infotext to the component's value."""

PASTE_FIELD_NAMES: list[str] = list(PASTE_KEYS.values())
"""`Script.paste_field_names`: what "Send to img2img" takes along."""

__all__ = [
    "ALL_KEYS", "ERROR", "KEYS", "NOTE", "PASTE_FIELD_NAMES", "RESULT", "CallableText", "describe", "error_line",
    "note_line", "paste_fields", "pasted", "without_folders", "write",
]  # fmt: skip
