"""The one `FaceRestorer` that everything in the WebUI shares: script, Extras, "Restore faces", API and page.

It is made from the settings when it is first needed, and made again when they change. This module also lists the
models that can be chosen. torch is loaded only when a picture is restored.
"""

from __future__ import annotations

import contextlib
import logging
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ..catalogue import BUILT_IN, IdentifiedFile, Inventory, Store, known_model, package_is_there
from ..catalogue.fingerprints import stamp
from ..catalogue.peek import Peeked
from ..errors import FaceRestoreError, InputError, ModelFileError
from ..options.per_face import OverridesLike
from ..options.table import Options
from ..wording import pip_install
from . import clients, host, packages
from .runs import RunPicture, Runs
from .settings import Settings, read

if TYPE_CHECKING:
    from ..pipeline import FaceRestorer, Found, LeaveAlone, Result

logger = logging.getLogger(__name__)

AUTO = "auto"
MODELS_TAB = "Face Restore models"
"""The title of the tab in which models are downloaded; messages name it."""

_COMMAND = re.compile(r"with `facerestore models download [^`]*`")
_PIP = re.compile(r"install (?:it|them) with `[^`]*pip install [^`]*`(?!, then restart)")

Made = TypeVar("Made")


class _Memo(Generic[Made]):
    """The last value that was made, kept for as long as its key stays the same. Safe to use from threads."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._kept: tuple[object, Made] | None = None

    def get(self, key: object, make: Callable[[], Made]) -> Made:
        with self._lock:
            if self._kept is None or self._kept[0] != key:
                self._kept = key, make()
            return self._kept[1]

    def forget(self) -> None:
        with self._lock:
            self._kept = None


@dataclass(frozen=True)
class ModelChoice:
    """A restorer that can be chosen.

    Attributes:
        id: what `Options.model` takes: auto, an id of the catalogue, or the name of a file.
        label: for people: "codeformer", or "mine.pth (gfpgan)".
        knobs: which options only some models have: {"fidelity"} or nothing.
        installed: whether its file is there; for auto always.
        family: its architecture, "" if it is not known before it is loaded.
        fault: why it cannot be used although its file is there, with the remedy; else "".
    """

    id: str
    label: str
    knobs: frozenset[str]
    installed: bool
    family: str
    fault: str = ""


_restorer: _Memo[FaceRestorer] = _Memo()
_choices: _Memo[list[ModelChoice]] = _Memo()
_after_reset: list[Callable[[], None]] = []
_at_work = threading.RLock()  # one job at a time; the lists and the last run do not wait for it
_runs = Runs()
remember = _runs.remember
last_run = _runs.last
last_run_name = _runs.name


def restorer() -> FaceRestorer:
    """The shared `FaceRestorer`. Raises FaceRestoreError where the settings name a device that is not there."""
    from ..pipeline import FaceRestorer

    settings = read()
    named, device, root = folders(settings), host.device(settings.device), host.models_root()
    return _restorer.get(
        (tuple(named), device, settings.precision),
        lambda: FaceRestorer(named or None, device, precision=settings.precision, webui=root, paths=False),
    )


def folders(settings: Settings) -> list[Path]:
    """The folders that are searched first, in this order: those of the settings, of the command line, our own."""
    return list(dict.fromkeys([*settings.folders, *host.model_folders()]))


def store() -> Store:
    """The model folders that the settings name now, and those of the WebUI. Downloads go to the first."""
    return Store(folders(read()), host.models_root(), paths=False)


def with_default_model(options: Options) -> Options:
    """`options`, where auto means the model that the settings name as default."""
    default = read().default_model or AUTO
    return options.replace(model=default) if options.model == AUTO and default != AUTO else options


def restore(
    images: Sequence[Any],
    options: Options,
    overrides: Sequence[OverridesLike] | None = None,
    origin: str = "",
    leave_alone: LeaveAlone | None = None,
) -> list[Result[Any]]:
    """Restore the faces of several pictures with the shared restorer; see `FaceRestorer.restore_many`.

    The WebUI's progress bar moves. Between faces it is asked for its interrupt and skip, and `clients` whether anyone
    still waits for the answer.

    Args:
        images: arrays or PIL images.
        options: the same for all.
        overrides: one plan for each picture.
        origin: the name of the caller, for the log.
        leave_alone: asked for each face, as `FaceRestorer.restore_many` does.

    Raises:
        FaceRestoreError: as `restore_many`, and where a package is missing. Anything else is raised unchanged.
    """
    with _working() as shared, host.progress_bar() as bar:
        results = shared.restore_many(
            images,
            with_default_model(options),
            overrides=overrides,
            progress=bar,
            stop=lambda: host.interrupted() or clients.current().gone,
            leave_alone=leave_alone,
        )
    if host.kind():
        results = [
            replace(result, hints=_of_page(result.hints), failures=_of_page(result.failures)) for result in results
        ]
    done = sum(report.applied for result in results for report in result.faces)
    logger.info("%s: %d faces restored in %d pictures", origin or "restore", done, len(results))
    return results


def detect(image: Any, options: Options, reduced: float = 1.0) -> Found:
    """The faces of one picture, and which may have been missed; see `FaceRestorer.search`. Raises FaceRestoreError.

    Between parts of the picture, `clients` is asked whether anyone still waits for the answer.
    """
    with _working() as shared:
        return shared.search(image, options, stop=lambda: clients.current().gone, reduced=reduced)


@contextlib.contextmanager
def _working() -> Iterator[FaceRestorer]:
    """The shared restorer for one job. Its networks leave the device afterwards where the settings say so."""
    unload = read().unload or bool(host.option("face_restoration_unload", False))
    with _at_work, packages.needed(), _remedies_of_the_page():
        shared = restorer()
        if shared.device.type != "cpu":
            host.free_memory()
        try:
            yield shared
        finally:
            if unload:
                shared.unload()


@packages.needed()
def models() -> list[ModelChoice]:
    """Every restorer that can be chosen now, auto first and the built-in one last.

    Raises FaceRestoreError where they cannot be listed since a package is missing.
    """
    inventory = store().scan()
    files = tuple((file.path, stamp(file.path)) for file in inventory.files)
    faults = inventory.faults()  # these also change with files that are none of the models'
    return list(_choices.get((files, faults), lambda: _list(inventory, faults)))


def model_ids() -> list[str]:
    """The ids of `models` for a dropdown; only auto where they cannot be listed. Never raises."""
    try:
        return list(dict.fromkeys([AUTO, *(choice.id for choice in models())]))
    except FaceRestoreError as error:
        logger.warning("the models cannot be listed: %s", error)
    except Exception:  # the page and the Settings must open whatever is in a model folder
        logger.exception("the models cannot be listed")
    return [AUTO]


@packages.needed()
def knobs_of(model: str) -> frozenset[str]:
    """The knobs of a model that can be chosen; of one that is not installed, those of the catalogue.

    Raises FaceRestoreError as `models`.
    """
    choices = {choice.id: choice for choice in models()}
    if model == AUTO:
        model = read().default_model or AUTO
    if model in choices:
        return choices[model].knobs
    entry = known_model(model)
    return frozenset(entry.knobs) if entry else frozenset()


def knobs_of_run(results: Sequence[Result[Any]]) -> frozenset[str]:
    """The knobs of the model that ran, for the infotext; none where they are not known. Never raises."""
    model = next((result.model for result in results if result.model), "")
    try:
        return knobs_of(model) if model else frozenset()
    except Exception as error:  # a model file that went away during the run must not cost the picture its infotext
        logger.debug("the knobs of %s are not known: %s", model, error)
        return frozenset()


def reset() -> None:
    """Forget the restorer and the list of models when settings or files have changed, and make the calls that were
    asked for. A running job keeps its restorer until it is done. Never raises."""
    _restorer.forget()
    _choices.forget()
    for call in list(_after_reset):
        try:
            call()
        except Exception:  # raising would make the WebUI take back the setting that was changed
            logger.exception("a change takes effect after a restart only")


def call_after_reset(call: Callable[[], None]) -> None:
    """Make `call` at the end of every `reset`; only once each, although "Reload UI" asks for it again."""
    if call not in _after_reset:
        _after_reset.append(call)


def _of_page(messages: Sequence[str]) -> tuple[str, ...]:
    """Messages with the remedies that the page offers; see `_remedies_of_the_page`."""
    named = [_COMMAND.sub(f"in the tab {MODELS_TAB}", message) for message in messages]
    return tuple(_PIP.sub(lambda found: found[0] + packages.RESTART, message) for message in named)


@contextlib.contextmanager
def _remedies_of_the_page() -> Iterator[None]:
    """Where there is a page, messages name its tab in place of the command line's `models download`, and say that the
    WebUI must be restarted after a package was installed."""
    try:
        yield
    except (ModelFileError, InputError) as error:
        message = _of_page([str(error)])[0] if host.kind() else str(error)
        if message == str(error):
            raise
        raise type(error)(message) from error


def _list(inventory: Inventory, faults: Mapping[str, str]) -> list[ModelChoice]:
    found = []
    for name in inventory.installed():
        entry = known_model(name)
        assert entry is not None
        fault = faults.get(name, "")
        label = f"{name} (cannot be used)" if fault else name
        found.append(ModelChoice(name, label, frozenset(entry.knobs), True, entry.family, fault))
    first = next((choice for choice in found if not choice.fault), found[-1])  # as the pipeline chooses
    for file in inventory.others():
        choice = _other(file)
        if choice is not None and all(choice.id != other.id for other in found):
            found.insert(len(found) - 1, choice)  # the built-in one stays last
    return [ModelChoice(AUTO, f"auto ({first.id})", first.knobs, True, first.family), *found]


def _other(what: IdentifiedFile) -> ModelChoice | None:
    """A file that the catalogue does not name: offered where its tensors are a restorer's, or do not say."""
    path = what.path
    if what.content is None or what.remark or any(entry.kind != "restorer" for entry in what.models):
        return None
    if what.models:
        entry = what.models[0]
        return ModelChoice(path.name, f"{path.name} ({entry.family})", frozenset(entry.knobs), True, entry.family)
    if what.content.is_onnx:  # whether it has a weight is seen only when it is loaded
        needs = f"{path}: needs the package onnxruntime; install it with `{pip_install('onnxruntime')}`."
        fault = "" if package_is_there("onnxruntime") else needs
        return ModelChoice(path.name, path.name, frozenset({"fidelity"}), True, "", fault)
    return _by_family(path, what.content)


def _by_family(path: Path, content: Peeked) -> ModelChoice | None:
    """A checkpoint of a supported family that is not in the catalogue, such as one that the user has trained."""
    if not content.shapes or content.asks_for:
        return None
    from ..networks.load import find_family  # needs torch, which a WebUI has loaded long before

    recognised = find_family(content.shapes)
    if recognised is None:
        return None
    network = recognised[0].RESTORER
    return ModelChoice(path.name, f"{path.name} ({network.family})", network.knobs, True, network.family)


__all__ = [
    "AUTO", "BUILT_IN", "MODELS_TAB", "ModelChoice", "RunPicture", "call_after_reset", "detect", "folders", "knobs_of",
    "knobs_of_run", "last_run", "model_ids", "models", "remember", "reset", "restore", "restorer", "store",
    "with_default_model",
]  # fmt: skip
