"""The accordion "Face Restore" of a tab, made from the options table.

The WebUI calls `Script.ui` three times for one tab, so `build` keeps nothing: everything it makes is in what it
returns. torch is not loaded.
"""

from __future__ import annotations

import html
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from ...errors import OptionError
from ...options.spec import number_choices
from ...options.table import SPECS, OptionSpec
from .. import copies, settings
from ..page_words import LABELS, help_of, in_page_words
from ..request import ARGUMENTS, FIRST, OPTION_NAMES, STAGE_LABELS, Request, request_from_values
from . import gradio_compat as compat
from . import saved_defaults
from .model_notes import detector_choices, knobs, model_ids, model_note, saved_fault

logger = logging.getLogger(__name__)

TITLE = "Face Restore"
MORE_GROUPS: dict[str, tuple[tuple[str, ...], ...]] = {
    "Which faces": (("faces", "order"), ("max_faces", "min_face", "max_face")),
    "Finding them": (("detector", "confidence"),),
    "What is replaced": (("mask", "mask_feather"), ("keep",)),
    "How it looks": (("color", "grain"), ("detail",)),
}
"""The rows behind "More" below their headings; options of the table that are not named here stand below "Others"."""

_EXAMPLE = '{"2": {"visibility": 0.5}, "3": {"skip": true}}'


@dataclass(frozen=True)
class StripParts:
    """The hidden components through which the scripts of the face strip talk to `face_strip`.

    Attributes:
        html: holds the answers.
        image: takes messages.
        detect, last: pressed for the faces of a picture, and for the last run.
    """

    html: Any
    image: Any
    detect: Any
    last: Any


@dataclass(frozen=True)
class Controls:
    """Everything that `build` made.

    Attributes:
        tab: the name in the elem ids.
        enabled: the switch; its elem id is facerestore_{tab}-checkbox, that of any other is facerestore_{tab}_{name}.
        inputs: the components that are arguments, in the order of `request.ARGUMENTS`, then others.
        by_name: the same by name.
        note: the line about the model.
        problem: the line about text that cannot be used.
        strip: the parts of the face strip, None where there is none. Its events are attached already.
    """

    tab: str
    enabled: Any
    inputs: list[Any]
    by_name: dict[str, Any]
    note: Any
    problem: Any
    strip: StripParts | None = None


def stage_box(prefix: str) -> Mapping[str, Any]:
    """The control with which the user chooses when faces are restored, by its name."""
    import gradio

    return {"stage": gradio.Dropdown(
        choices=list(STAGE_LABELS.values()), value=STAGE_LABELS[Request().stage], label=LABELS["stage"],
        info="At which point in the making of a picture its faces are restored.", elem_id=f"{prefix}_stage",
    )}  # fmt: skip


def build(
    tab: str,
    when: Callable[[str], Mapping[str, Any]] = stage_box,
    strip: bool = True,
    save_before: Literal["shown", "hidden", "none"] = "shown",
) -> Controls:
    """Make the accordion of a tab, inside of the Blocks that are open, with its events.

    Args:
        tab: "txt2img", "img2img" or "extras"; the beginning of every elem id, which must be unique in a page.
        when: makes the controls that say when faces are restored, by name; it gets the beginning of their elem ids.
        strip: whether there is a face strip.
        save_before: whether the user may ask for the picture as it was before, and whether that control is shown.
    """
    prefix = f"facerestore_{tab}"
    saved = saved_defaults.read(tab)
    to_show = saved if compat.in_page() else {}  # the API's defaults are those of the table
    opened = settings.read().accordion_open and not tab.startswith("extras")
    made: dict[str, Any] = {}
    with compat.input_accordion(False, TITLE, prefix, open=opened) as enabled:
        _message(copies.note(), f"{prefix}_copies")
        refresh, note = _model_rows(made, saved, prefix)
        with compat.form_row():
            made.update(when(prefix))
        with compat.form_row():  # of its own, so that the words of the list above have space
            if save_before != "none":
                made["save_before"] = _save_box(prefix, save_before == "shown")
        parts = _strip_parts(prefix) if strip else None
        problem = _more(made, to_show, prefix)
    made["enabled"] = enabled
    names = [name for name in ARGUMENTS if name in made]
    by_name = {name: made[name] for name in [*names, *(name for name in made if name not in ARGUMENTS)]}
    controls = Controls(tab, enabled, list(by_name.values()), by_name, note, problem, parts)
    _listen(controls, refresh)
    if parts:
        _wire_strip(controls)
    return controls


def _model_rows(made: dict[str, Any], saved: Mapping[str, object], prefix: str) -> tuple[Any, Any]:
    """The model with what is most used of it, put into `made`; returns the refresh button and the note."""
    choices, model = model_ids(), SPECS["model"].default
    with compat.form_row():
        made["model"] = _model_box(choices, prefix)
        refresh = compat.tool_button(compat.REFRESH_SYMBOL, f"{prefix}_refresh")
    told = saved_defaults.note(saved, choices, saved_fault(saved.get("model")))
    note = _message(told or model_note(model), f"{prefix}_note")
    with compat.form_row():
        made["fidelity"] = _component(SPECS["fidelity"], prefix, visible="fidelity" in knobs(model))
        made["visibility"] = _component(SPECS["visibility"], prefix)
    return refresh, note


def _more(made: dict[str, Any], saved: Mapping[str, object], prefix: str) -> Any:
    """The accordion "More" with all other options, put into `made`; returns the line that says which text cannot be
    used.

    saved: defaults that the user has saved; those that the WebUI cannot put into the controls are put there.
    """
    with compat.accordion("More", f"{prefix}_more"):
        for heading, rows in option_groups().items():
            _heading(heading)
            for row in rows:
                with compat.form_row():
                    for name in row:
                        made[name] = _component(SPECS[name], prefix, saved=saved)
        made["overrides"] = _overrides_box(prefix)
        return _message("", f"{prefix}_problem")


def option_groups() -> dict[str, tuple[tuple[str, ...], ...]]:
    """The names of the options behind "More", row by row, by the heading above them."""
    placed = {name for rows in MORE_GROUPS.values() for row in rows for name in row} | set(FIRST)
    others = tuple((name,) for name in OPTION_NAMES if name not in placed)
    return MORE_GROUPS | ({"Others": others} if others else {})


def _heading(text: str) -> None:
    import gradio

    gradio.HTML(value=_as_html(text), elem_classes=["facerestore-group"])


def _component(
    spec: OptionSpec, prefix: str, visible: bool = True, saved: Mapping[str, object] = MappingProxyType({})
) -> Any:
    """The component of an option; its value is the table's default, or for a number or word the saved one."""
    import gradio

    common: dict[str, Any] = {
        "label": LABELS[spec.name], "info": help_of(spec), "elem_id": f"{prefix}_{spec.name}", "visible": visible,
    }  # fmt: skip
    if spec.name == "detector":
        return gradio.Dropdown(choices=detector_choices(), value=spec.default, **common)
    if spec.kind == "choice":
        return gradio.Dropdown(choices=list(spec.choices), value=spec.default, **common)
    if spec.kind == "number":
        value = saved_defaults.saved_number(spec, saved)
        choices = list(dict.fromkeys([*number_choices(spec), value]))
        return gradio.Dropdown(choices=choices, value=value, allow_custom_value=True, **common)
    if spec.kind == "flags":
        return gradio.Dropdown(choices=list(spec.choices), value=[], multiselect=True, **common)
    if spec.kind in ("float", "int"):
        common |= {"value": spec.default, "minimum": spec.minimum or 0, "step": spec.step or 1}
        if spec.maximum is not None:
            return gradio.Slider(maximum=spec.maximum, **common)
        return gradio.Number(precision=0 if spec.kind == "int" else None, **common)
    return gradio.Textbox(value=str(spec.default), lines=1, max_lines=1, **common)


def _model_box(choices: list[str], prefix: str) -> Any:
    """It takes any name: a picture's infotext may ask for a model that is not here, which the note then says."""
    import gradio

    spec = SPECS["model"]
    return gradio.Dropdown(
        choices=choices, value=spec.default, allow_custom_value=True, label=LABELS[spec.name], info=help_of(spec),
        elem_id=f"{prefix}_model",
    )  # fmt: skip


def _save_box(prefix: str, visible: bool) -> Any:
    import gradio

    return gradio.Checkbox(
        value=False, label=LABELS["save_before"], elem_id=f"{prefix}_save_before", visible=visible,
    )  # fmt: skip


def _overrides_box(prefix: str) -> Any:
    """Never saved as a default, since it is about the faces of one picture."""
    import gradio

    return compat.not_saved(gradio.Textbox(
        value="", label=LABELS["overrides"], placeholder=_EXAMPLE, lines=1, elem_id=f"{prefix}_overrides",
        info="Other values for the faces of some numbers, as JSON. skip leaves a face alone.",
    ))  # fmt: skip


def _strip_parts(prefix: str) -> StripParts:
    import gradio

    return StripParts(
        html=gradio.HTML(value="", elem_id=f"{prefix}_strip"),
        image=compat.hidden_text(f"{prefix}_strip_image"),
        detect=compat.hidden_button(f"{prefix}_strip_detect"),
        last=compat.hidden_button(f"{prefix}_strip_last"),
    )


def _message(text: str, elem_id: str) -> Any:
    import gradio

    return gradio.HTML(value=_as_html(text), visible=bool(text), elem_id=elem_id, elem_classes=["facerestore-note"])


def _as_html(text: str) -> str:
    return f"<p>{html.escape(text)}</p>" if text else ""


def _say(text: str) -> Any:
    return compat.update(value=_as_html(text), visible=bool(text))


def _listen(controls: Controls, refresh: Any) -> None:
    model, fidelity = controls.by_name["model"], controls.by_name["fidelity"]
    outputs = [fidelity, controls.note]
    compat.listen(model.change, on_model_change, [model], outputs)
    compat.listen(refresh.click, on_refresh, [model], [model, *outputs, controls.by_name["detector"]])
    checked = [controls.by_name[name] for name in _CHECKED]
    for component in checked:
        compat.listen(component.change, on_text_change, checked, [controls.problem])


def on_model_change(model: object) -> tuple[Any, Any]:
    """The slider of the fidelity and the note, for the model that was chosen."""
    return compat.update(visible="fidelity" in knobs(model)), _say(model_note(model))


def on_refresh(model: object) -> tuple[Any, Any, Any, Any]:
    """The models that can be chosen now, then as `on_model_change`, then the detectors."""
    return compat.update(choices=model_ids()), *on_model_change(model), compat.update(choices=detector_choices())


_CHECKED = ("faces", "min_face", "max_face", "grain", "overrides")
"""Arguments that can be wrong: free text, and limits that exclude each other."""


def on_text_change(*values: object) -> Any:
    """The error that a run would give for this text, or nothing."""
    try:
        request_from_values(dict(zip(_CHECKED, values, strict=True)))
    except OptionError as error:
        return _say(in_page_words(str(error)))
    return _say("")


def _wire_strip(controls: Controls) -> None:
    try:
        from . import face_strip

        face_strip.wire(controls.tab, controls)
    except Exception:  # the strip is an extra: the controls must work without it
        logger.exception("the face strip cannot be set up")
