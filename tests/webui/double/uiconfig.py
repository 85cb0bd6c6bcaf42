"""The frozen ui-config (point 6) and the `InputAccordion` of each kind of host."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import inspect
import os
import tempfile
import warnings
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from .module import HostModule

_FIELDS = {
    "Slider": ("value", "minimum", "maximum", "step"), "Radio": ("value",), "Checkbox": ("value",),
    "Textbox": ("value",), "Number": ("value",), "Dropdown": ("value",), "InputAccordion": ("value",),
}  # fmt: skip


def freeze(host: Any, tab: str, blocks: Any) -> None:
    """Note every labelled control's value and range at first sight; later, force the noted ones on the control."""
    seen: dict[str, Any] = {}
    for component in _walk(blocks):
        kind, label = type(component).__name__, getattr(component, "label", None)
        if kind == "InputAccordionImpl":
            kind = "InputAccordion"
        if label is None or kind not in _FIELDS or getattr(component, "do_not_save_to_config", False):
            continue
        source = getattr(component, "custom_script_source", None)
        path = f"customscript/{source}/{tab}/{label}" if source else f"{tab}/{label}"
        if path in seen and seen[path] is not component:
            host.duplicates.append(path)
            warnings.warn(f"two controls share the ui-config key {path!r}: one saves over the other", stacklevel=2)
        seen[path] = component
        for field in _FIELDS[kind]:
            key = f"{path}/{field}"
            if key not in host.ui_config:
                host.ui_config[key] = getattr(component, field)
            elif _usable(component, field, host.ui_config[key]):
                setattr(component, field, host.ui_config[key])


def _usable(component: Any, field: str, value: Any) -> bool:
    choices = getattr(component, "choices", None)
    if field != "value" or not choices:
        return True
    known = [choice[0] if isinstance(choice, tuple) else choice for choice in choices]
    return all(item in known for item in value) if isinstance(value, list) else value in known


def _walk(block: Any) -> list[Any]:
    found = []
    for child in getattr(block, "children", []):
        found.append(child)
        found.extend(_walk(child))
    return found


def mark(controls: list[Any], filename: str) -> None:
    """What the host does to the controls that `ui()` returns."""
    for control in controls:
        control.custom_script_source = os.path.basename(filename)


def make_ui_components(host: Any) -> ModuleType:
    """`modules.ui_components`: made when first asked for, as it needs gradio."""
    module = HostModule("modules.ui_components")

    def __getattr__(name: str) -> Any:
        if name.startswith("__"):  # hypothesis asks all modules for their files
            raise AttributeError(name)
        if host.kind == "sdnext" and name == "InputAccordion":
            raise AttributeError(name)
        made = _make_components(host)
        module.__dict__.update(made)
        if name in made:
            return made[name]
        raise AttributeError(name)

    module.__dict__["__getattr__"] = __getattr__
    return module


@contextlib.contextmanager
def unserved_blocks() -> Iterator[None]:
    """Newer gradios make a whole web server for each Blocks, which takes a second and is never used here."""
    from gradio.routes import App

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(App, "create_app", staticmethod(lambda *args, **kwargs: None))
        yield


@contextlib.contextmanager
def quick_blocks() -> Iterator[None]:
    """Blocks of which nobody reads the configuration either."""
    from gradio.blocks import Blocks

    with unserved_blocks(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(Blocks, "get_config_file", lambda *args, **kwargs: {})
        if importlib.util.find_spec("gradio.component_meta"):  # a signature takes long, and each component asks for one
            cached = vars(inspect) | {"getfullargspec": functools.cache(inspect.getfullargspec)}
            patch.setattr("gradio.component_meta.inspect", SimpleNamespace(**cached))
            folder = tempfile.gettempdir()  # each component resolves it anew
            patch.setattr("gradio.blocks.get_upload_folder", lambda: folder, raising=False)
            patch.setattr("gradio.components.base.get_upload_folder", lambda: folder, raising=False)
        patch.setattr("gradio.blocks.check_function_inputs_match", lambda *args, **kwargs: None, raising=False)
        yield


def _make_components(host: Any) -> dict[str, Any]:
    import gradio as gr

    with pytest.MonkeyPatch.context() as patch:
        if importlib.util.find_spec("gradio.component_meta"):  # gradio would write a .pyi beside this file
            patch.setattr("gradio.component_meta.create_or_modify_pyi", lambda *_: None, raising=False)

        class InputAccordion(gr.Checkbox):
            """A hidden checkbox that follows an accordion."""

            def __init__(self, value: bool = False, **kwargs: Any) -> None:
                self.accordion_id = kwargs.get("elem_id") or "input-accordion"
                super().__init__(
                    value, label=kwargs.get("label"), elem_id=f"{self.accordion_id}-checkbox", visible=False
                )
                self.accordion = gr.Accordion(label=kwargs.get("label"), elem_id=self.accordion_id, open=value)

            def extra(self) -> Any:
                return gr.Column(elem_id=f"{self.accordion_id}-extra")

            def __enter__(self) -> InputAccordion:
                self.accordion.__enter__()
                return self

            def __exit__(self, *error: Any) -> None:
                self.accordion.__exit__(*error)

            def get_block_name(self) -> str:
                return "checkbox"

    def tool_button(*args: Any, **kwargs: Any) -> Any:
        classes = kwargs.pop("elem_classes", [])
        return gr.Button(*args, elem_classes=["tool", *classes], **kwargs)

    made: dict[str, Any] = {"FormRow": gr.Row, "FormColumn": gr.Column, "FormGroup": gr.Group, "FormHTML": gr.HTML}
    made["ToolButton"] = tool_button
    if host.kind == "forge":  # F8: a function; no isinstance, no subclass
        InputAccordion.__name__ = "InputAccordionImpl"
        made["InputAccordion"] = lambda value=None, **kwargs: InputAccordion(bool(value), **kwargs)
    elif host.kind != "sdnext":
        made["InputAccordion"] = InputAccordion
    return made
