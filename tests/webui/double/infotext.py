"""Infotext: written as the host writes it, read as the host reads it, pasted as the host pastes it (point 9)."""

from __future__ import annotations

import json
import re
from types import ModuleType
from typing import Any

from .module import HostModule

_ENTRY = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')
_SIZE = re.compile(r"^(\d+)x(\d+)$")


class PasteField(tuple[Any, Any]):
    def __new__(cls, component: Any, target: Any, *, api: str | None = None) -> PasteField:
        return super().__new__(cls, (component, target))

    def __init__(self, component: Any, target: Any, *, api: str | None = None) -> None:
        self.component, self.api = component, api
        self.label = target if isinstance(target, str) else None
        self.function = target if callable(target) else None


def quote(text: Any) -> Any:
    if all(mark not in str(text) for mark in ",\n:"):
        return text
    return json.dumps(text, ensure_ascii=False)


def unquote(text: str) -> str:
    if len(text) < 2 or text[0] != '"' or text[-1] != '"':
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def parse_generation_parameters(text: str, skip_fields: list[str] | None = None) -> dict[str, Any]:
    """The keys of the last line, all as strings, plus Prompt and Negative prompt. "3x4" becomes two keys."""
    found: dict[str, Any] = {}
    *lines, last = text.strip().split("\n")
    if len(_ENTRY.findall(last)) < 3:
        lines.append(last)
        last = ""
    for key, value in _ENTRY.findall(last):
        value = unquote(value)
        size = _SIZE.match(value)
        if size:
            found[f"{key}-1"], found[f"{key}-2"] = size[1], size[2]
        else:
            found[key] = value
    found["Prompt"] = "\n".join(line for line in lines if not line.startswith("Negative prompt:"))
    return found


def create_infotext(
    host: Any, p: Any, all_prompts: list[str], all_seeds: list[int], all_subseeds: list[int] | None = None,
    comments: Any = None, iteration: int = 0, position_in_batch: int = 0, use_main_prompt: bool = False,
    index: int | None = None, all_negative_prompts: Any = None,
) -> str:  # fmt: skip
    """The text of one picture. A list is indexed by `index`, a callable gets every local variable."""
    opts = host.shared.opts
    if use_main_prompt:
        index = 0
    elif index is None:
        index = position_in_batch + iteration * p.batch_size
    restoration = getattr(opts, "face_restoration_model", None) if p.restore_faces else None
    params = {
        "Steps": p.steps,
        "Sampler": p.sampler_name,
        "Seed": p.all_seeds[0] if use_main_prompt else all_seeds[index],
        "Face restoration": restoration,
        "Size": f"{p.width}x{p.height}",
        **p.extra_generation_params,
        "Version": "double",
    }
    for key, value in list(params.items()):
        try:
            if isinstance(value, list):
                params[key] = value[index]
            elif callable(value):
                params[key] = value(**{name: item for name, item in locals().items() if name != "value"})
        except Exception as error:
            host.report(f'creating infotext for key "{key}"', error)
            params[key] = None
    given = {key: value for key, value in params.items() if value is not None}
    line = ", ".join(key if key == value else f"{key}: {quote(value)}" for key, value in given.items())
    return f"{all_prompts[index]}\n{line}".strip()


def field_value(field: PasteField, params: dict[str, Any]) -> Any:
    if field.function:
        return field.function(params)
    return params.get(field.label) if field.label else None


def is_update(value: Any) -> bool:
    return isinstance(value, dict) and value.get("__type__") in ("update", "generic_update")


def paste(host: Any, fields: list[Any], text: str) -> dict[Any, Any]:
    """What "read generation parameters" sets: component -> value, for those that the text says something of."""
    params = parse_generation_parameters(text)
    found: dict[Any, Any] = {}
    for entry in fields:
        field = entry if isinstance(entry, PasteField) else PasteField(*entry)
        try:
            value = field_value(field, params)
        except Exception as error:
            host.report("pasting a field", error)
            continue
        if value is None:
            continue
        if is_update(value):
            if "value" in value:
                found[field.component] = value["value"]
            continue
        kind = type(field.component.value)
        try:
            if kind is bool and value == "False":
                found[field.component] = False
            else:
                found[field.component] = float(value) if kind is int else kind(value)
        except (TypeError, ValueError):
            continue  # the host leaves the control alone, without a word
    return found


def make(host: Any) -> ModuleType:
    module = HostModule("modules.infotext_utils")
    module.PasteField, module.quote, module.unquote = PasteField, quote, unquote
    module.parse_generation_parameters = parse_generation_parameters
    module.paste_fields = {}
    return module
