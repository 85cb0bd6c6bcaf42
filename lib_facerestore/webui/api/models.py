"""What the routes answer about models, downloads and the options table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from ...catalogue import IdentifiedFile, ModelEntry, Store, known_models, misfit_message
from ...catalogue.terms import licence_text
from ...errors import ModelFileError
from ...options.spec import OptionSpec, Scope
from ...options.table import PER_FACE, specs_in
from ..downloads import Download, DownloadManager, LicenceError, downloadable
from .guard import RefusedError
from .private import without_folders
from .schema import DownloadState, ModelInfo, ModelList, OptionInfo, OptionList


class Choice(Protocol):
    """What is needed of an entry of `service.models()`; see `service.ModelChoice`."""

    @property
    def id(self) -> str: ...
    @property
    def family(self) -> str: ...
    @property
    def knobs(self) -> frozenset[str]: ...


def list_models(store: Store, choices: Sequence[Choice], downloads: DownloadManager) -> ModelList:
    """Every model that this package can use, restorers first, and the files that the user has added."""
    inventory = store.scan()
    installed, misfits = inventory.installed(None), inventory.misfits(None)
    found = [
        _known(entry, installed.get(entry.id), misfits.get(entry.id), downloads)
        for entry in known_models(None)
        if entry.used
    ]
    ids = {"auto", *(one.id for one in found)}
    sizes = {path.name: _bytes(path) for path in (file.path for file in inventory.files)}
    own = [_own(choice, sizes.get(choice.id)) for choice in choices if choice.id not in ids]
    return ModelList(models=[*own, *found], closed=[without_folders(one) for one in inventory.closed])


def _known(
    entry: ModelEntry, path: Path | None, misfit: IdentifiedFile | None, downloads: DownloadManager
) -> ModelInfo:
    state = downloads.state(entry.id)
    return ModelInfo(
        **entry.as_json()
        | {
            "installed": path is not None,
            "fault": fault_of(misfit) if misfit else None,
            "file": path.name if path else entry.files[0] if entry.files else "",
            "bytes": _bytes(path) if path else entry.bytes or None,
            "download": shown_state(state) if state else None,
        }
    )


def fault_of(misfit: IdentifiedFile) -> str:
    """What is wrong with a file that has a model's name, e.g. "x.pth: damaged, …", without the path of its folder."""
    return misfit.path.name + misfit_message(misfit).removeprefix(str(misfit.path))


def _own(choice: Choice, size: int | None) -> ModelInfo:
    """A restorer that the user has added, of which no more is known than its file says."""
    note = "A file of your own: its licence is not known here."
    knobs = tuple(choice.knobs)
    entry = ModelEntry(choice.id, 0, (choice.id,), family=choice.family, knobs=knobs, licence_note=note)
    return ModelInfo(
        **entry.as_json() | {"installed": True, "fault": None, "file": choice.id, "bytes": size, "download": None}
    )


def _bytes(path: Path | None) -> int | None:
    try:
        return path.stat().st_size if path else None
    except OSError:
        return None


def shown_state(state: Download) -> DownloadState:
    """A download as the API shows it."""
    return DownloadState(
        id=state.id,
        file=state.file,
        state=state.state,
        done=state.done,
        total=state.total,
        speed=round(state.speed, 1),
        message=without_folders(state.message),
    )


def start_download(downloads: DownloadManager, model: str, accepted: bool, file: str | None) -> DownloadState:
    """Start a model's download. Raises RefusedError (404, 403 with the licence), DownloadError."""
    try:
        return shown_state(downloads.start(model, accepted, file))
    except ModelFileError as error:
        raise RefusedError(404, str(error)) from error
    except LicenceError as error:
        raise RefusedError(
            403, f"{licence_text(downloadable(model))} Send accept_licence: true to accept it."
        ) from error


def download_state(downloads: DownloadManager, model: str) -> DownloadState:
    """A model's last download; `state` is "none" where there was none. Raises RefusedError (404)."""
    try:
        entry = downloadable(model)
    except ModelFileError as error:
        raise RefusedError(404, str(error)) from error
    state = downloads.state(entry.id)
    if state is not None:
        return shown_state(state)
    name = entry.files[0] if entry.files else ""
    total = entry.bytes or None
    return DownloadState(id=entry.id, file=name, state="none", done=0, total=total, speed=0.0, message="")


def list_options(scope: Scope) -> OptionList:
    """The options that are offered in `scope`."""
    rows = specs_in(scope)
    infos = [
        OptionInfo(
            name=spec.name,
            label=spec.label,
            kind=spec.kind,
            default=spec.default,
            minimum=spec.minimum,
            maximum=spec.maximum,
            step=spec.step,
            choices=list(spec.choices),
            help=spec.help,
            per_face=spec.name in PER_FACE,
            infotext=spec.infotext,
        )
        for spec in rows
    ]
    return OptionList(options=infos, json_schema=options_schema(scope))


def options_schema(scope: Scope) -> dict[str, Any]:
    """A JSON schema (draft 2020-12) of the object `options`: what it lets through is accepted, ranges included."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Options",
        "type": "object",
        "additionalProperties": False,
        "properties": {spec.name: _schema(spec) for spec in specs_in(scope)},
    }


def _schema(spec: OptionSpec) -> dict[str, Any]:
    return {"title": spec.label, "description": spec.help, "default": spec.default} | dict(_type(spec))


def _type(spec: OptionSpec) -> Iterator[tuple[str, Any]]:
    """The part of an option's schema that says which values are allowed; null always means the default."""
    if spec.kind in ("float", "int"):
        yield "type", ["integer" if spec.kind == "int" else "number", "null"]
        if spec.minimum is not None:
            yield "minimum", spec.minimum
        if spec.maximum is not None:
            yield "maximum", spec.maximum
    elif spec.kind == "number":
        number = {"type": "number", "minimum": spec.minimum, "maximum": spec.maximum}
        yield "anyOf", [number, {"enum": list(spec.choices)}, {"type": "null"}]
    elif spec.kind == "choice":
        yield "enum", [*spec.choices, None]
    elif spec.kind == "flags":
        parts = {"type": "array", "items": {"enum": list(spec.choices)}}
        yield "anyOf", [parts, {"type": "string"}, {"type": "null"}]
    elif spec.kind == "faces":
        numbers = {"type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 1}
        yield "anyOf", [numbers, {"type": "string", "minLength": 1}, {"type": "null"}]
    else:
        yield "type", ["string", "null"]
