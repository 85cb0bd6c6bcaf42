"""The section "Face Restore" of the WebUI's Settings: registered at each start of the page, read as one record.

The values are kept in the WebUI's own settings file. Whatever is in it (GET /options turns whole numbers into floats,
it may have been edited by hand), `read` gives a complete and valid `Settings`.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..options.spec import read_switch
from ..options.table import PRECISIONS
from . import host, page_words

logger = logging.getLogger(__name__)

SECTION = ("facerestore", "Face Restore")
PREFIX = "facerestore_"
COMPARE = ("closed", "open", "off")
DEVICES = ("auto", "cpu", "cuda", "cuda:1", "mps", "xpu")


@dataclass(frozen=True)
class Settings:
    """What the user has set; every field has a default.

    Attributes:
        default_model: a model id or file name, or "auto".
        folders: searched for models before the WebUI's own folders; the first takes downloads.
        device: "auto" follows the WebUI.
        precision: one of `options.table.PRECISIONS`.
        unload: whether networks leave the device after use.
        offline: whether downloads are refused.
        mirror: another address for huggingface.co, "" for none.
        accordion_open: whether the accordion starts open.
        compare: the before/after panel below the gallery: "closed" until it is opened, "open", or "off". The page's
            scripts read it themselves.
        in_restorers: whether the models are offered in the WebUI's own "Face restoration".
    """

    default_model: str = "auto"
    folders: tuple[Path, ...] = ()
    device: str = "auto"
    precision: str = "auto"
    unload: bool = False
    offline: bool = False
    mirror: str = ""
    accordion_open: bool = False
    compare: str = "closed"
    in_restorers: bool = True


@dataclass(frozen=True)
class _Row:
    """One line of the section. `choices`: a dropdown of these; "models" means those that can be chosen."""

    name: str
    label: str
    default: str | bool
    help: str
    choices: tuple[str, ...] | Literal["models"] = ()
    lines: int = 1


ROWS: tuple[_Row, ...] = (
    _Row(
        "default_model", page_words.DEFAULT_MODEL, "auto", page_words.DEFAULT_MODEL_HELP, "models",
    ),
    _Row(
        "folders", "Model folders", "",
        "one per line, searched before the WebUI's own model folders; downloads go to the first", lines=3,
    ),
    _Row("device", "Device", "auto", "auto follows the WebUI, also --use-cpu", DEVICES),
    _Row(
        "precision", "Precision", "auto",
        "auto is float32, the most exact; bfloat16 is used only by the networks for which it is safe", PRECISIONS,
    ),
    _Row(
        "unload", "Unload the networks after use", False,
        "frees memory; the next picture loads them again",
    ),
    _Row("offline", "Never download anything", False, "also where the page or the API asks for it"),
    _Row(
        "mirror", "Download mirror", "",
        "another address for https://huggingface.co; empty takes the environment variable HF_ENDPOINT, if there is one",
    ),
    _Row("accordion_open", "Accordion starts open", False, "in txt2img and img2img; needs Reload UI"),
    _Row(
        "compare", f"{page_words.COMPARE.capitalize()} below the gallery", "closed",
        "closed shows one line, which opens; nothing is shown where no face was restored", COMPARE,
    ),
    _Row(
        "in_restorers", "Offer the models in the WebUI's own Face restoration", True,
        "every usable model appears in Settings → Face restoration and in the API's list",
    ),
)  # fmt: skip


def register(models: Callable[[], Sequence[str]], changed: Callable[[], None]) -> None:
    """Add the options to the WebUI's Settings; again at every "Reload UI". Never raises.

    Args:
        models: the ids of the models that can be chosen, asked for when the page is made.
        changed: called after the user has changed a setting.
    """
    try:
        from modules import shared

        for row in ROWS:
            shared.opts.add_option(PREFIX + row.name, _option(row, shared.OptionInfo, models, changed))
    except Exception:  # the WebUI's Settings must open without ours
        logger.exception("the settings cannot be registered")


def _option(
    row: _Row, make: Callable[..., Any], models: Callable[[], Sequence[str]], changed: Callable[[], None]
) -> Any:
    """The WebUI's OptionInfo of a row. WebUIs differ in what theirs takes: only what all of them have is used."""
    import gradio

    component: Any = None
    arguments: Any = None
    if row.choices:
        # A value that is not in the list (a model that is gone, cuda:3) would make gradio 4 refuse the whole page. Not
        # among the arguments: hosts hand those to gr.update as well, where gradio 3.41 does not take it.
        component = functools.partial(gradio.Dropdown, allow_custom_value=True)
        arguments = functools.partial(_dropdown, models if row.choices == "models" else row.choices)
    elif isinstance(row.default, str):
        component, arguments = gradio.Textbox, {"lines": row.lines}
    info = make(
        row.default, row.label, component, arguments, section=SECTION, onchange=functools.partial(_call, changed)
    )
    if hasattr(info, "info"):
        info.info(row.help)
    return info


def _dropdown(choices: Callable[[], Sequence[str]] | Sequence[str]) -> dict[str, Any]:
    return {"choices": list(choices() if callable(choices) else choices)}


def _call(changed: Callable[[], None]) -> None:
    try:
        changed()
    except Exception:  # raising would make the WebUI take the change back
        logger.exception("a changed setting takes effect after a restart only")


def read(values: Mapping[str, object] | None = None) -> Settings:
    """The settings as they are now; defaults where the WebUI has none or something unusable. Never raises.

    Args:
        values: read these in place of the WebUI's, by their keys ("facerestore_device", …).
    """
    found: dict[str, Any] = {}
    for row in ROWS:
        value = _value(PREFIX + row.name, row.default, values)
        if isinstance(row.default, bool):
            switch = read_switch(value)
            found[row.name] = row.default if switch is None else switch
        else:
            found[row.name] = value.strip() if isinstance(value, str) else row.default
    found["folders"] = _folders(found["folders"])
    found["precision"] = found["precision"].lower() if found["precision"].lower() in PRECISIONS else "auto"
    found["compare"] = found["compare"] if found["compare"] in COMPARE else "closed"
    for name in ("default_model", "device"):
        found[name] = found[name] or "auto"
    return Settings(**found)


def _value(key: str, default: object, values: Mapping[str, object] | None) -> Any:
    if values is not None:
        return values.get(key, default)
    return host.option(key, default)


def _folders(text: str) -> tuple[Path, ...]:
    """One folder per line; ~ and quotation marks, as file managers copy them, are understood."""
    lines = (line.strip().strip("\"'").strip() for line in text.splitlines())
    folders = []
    for line in lines:
        if line:
            try:
                if "\0" in line:
                    raise ValueError("it has a null character")
                folders.append(Path(line).expanduser())
            except (RuntimeError, ValueError) as error:  # RuntimeError: a home folder of an unknown user
                logger.warning("settings: the model folder %r cannot be used: %s", line, error)
    return tuple(dict.fromkeys(folders))
