"""/sdapi/v1/txt2img and img2img: how the API turns a request into script arguments (points 7, 9)."""

from __future__ import annotations

from typing import Any

from . import infotext


class ApiError(Exception):
    """What a client sees instead of an answer."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(f"{status}: {detail}")
        self.status, self.detail = status, detail


def generate(host: Any, tab: str, request: dict[str, Any]) -> Any:
    """One request; the answer is the `Processed`. Anything that is not caught inside is a 500."""
    runner = host.runners[tab]
    alwayson = request.pop("alwayson_scripts", None) or {}
    text = request.pop("infotext", None)
    save = request.pop("save_images", False)
    mentioned: dict[int, Any] = {}
    if text:
        mentioned = _from_infotext(host, tab, text, request)
    values = list(runner.defaults)
    for index, value in mentioned.items():
        values[index] = value
    for name, entry in alwayson.items():
        script = runner.find(name)
        if script is None:
            raise ApiError(422, f"always on script {name} not found")
        if not script.alwayson:
            raise ApiError(422, "Cannot have a selectable script in the always on scripts params")
        given = entry.get("args", [])
        for offset in range(min(script.args_to - script.args_from, len(given))):
            values[script.args_from + offset] = given[offset]
    fields = {"do_not_save_samples": not save, "do_not_save_grid": not save, **request}
    p = host.make_p(tab, scripts=False, **fields)
    p.is_api = True
    p.scripts, p.script_args = runner, values
    host.shared.state.begin(job=f"scripts_{tab}")
    try:
        return host.modules.processing.process_images(p)
    except Exception as error:
        host.last_failure = error
        raise ApiError(500, f"{type(error).__name__}: {error}") from error
    finally:
        host.shared.state.end()


def _from_infotext(host: Any, tab: str, text: str, request: dict[str, Any]) -> dict[int, Any]:
    """Values of script arguments that the text names; an `api=` that is no field of the request is a 500 (point 9)."""
    runner = host.runners[tab]
    params = infotext.parse_generation_parameters(text)
    places = {component: index for index, component in enumerate(runner.inputs) if component is not None}
    found: dict[int, Any] = {}
    for entry in runner.infotext_fields:
        field = entry if isinstance(entry, infotext.PasteField) else infotext.PasteField(*entry)
        if field.api:
            raise ApiError(500, f'"{tab}" object has no field "{field.api}"')
        if field.component not in places:
            continue
        try:
            value = infotext.field_value(field, params)
            if infotext.is_update(value):
                value = value.get("value")
            kind = type(field.component.value)
            if value is None or kind is type(None):
                continue
            found[places[field.component]] = value if isinstance(value, kind) else kind(value)
        except Exception as error:
            raise ApiError(500, str(error)) from error
    return found
