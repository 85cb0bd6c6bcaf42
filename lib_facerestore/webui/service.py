"""The one `FaceRestorer` that everything in the WebUI shares: script, Extras, "Restore faces", API and page.

Made from the settings when it is first needed, and anew when they change. Also here: which models can be chosen, and
the last run of each tab, for the face strip and the slider. Loads torch only when a picture is restored.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..catalogue import BUILT_IN, Store, identify, known_model
from ..catalogue.fingerprints import stamp
from ..catalogue.peek import Peeked
from ..errors import ModelFileError
from ..options.table import Options
from . import host, packages
from .settings import Settings, read

if TYPE_CHECKING:
    import PIL.Image

    from ..faces.face import Face, FaceReport
    from ..pipeline import FaceRestorer, Result

logger = logging.getLogger(__name__)

AUTO = "auto"
MOST_PICTURES = 8
"""Pictures of a run that are kept for the strip and the slider."""

LONGEST_SIDE = 1536
"""Pixels to which the kept pictures are reduced."""

_COMMAND = re.compile(r"with `facerestore models download [^`]*`")
_FAMILIES_WITH_FIDELITY = ("codeformer", "vqfr2")

_lock = threading.RLock()  # for what is kept here; never held while a picture is restored
_busy = threading.RLock()
_current: tuple[object, FaceRestorer] | None = None
_choices: tuple[object, list[ModelChoice]] | None = None
_runs: dict[str, list[RunPicture]] = {}
_jobs: dict[str, object] = {}


@dataclass(frozen=True)
class ModelChoice:
    """A restorer that can be chosen.

    Attributes:
        id: what `Options.model` takes: auto, an id of the catalogue, or the name of a file.
        label: for people: "codeformer", or "mine.pth (gfpgan)".
        knobs: which options only some models have: {"fidelity"} or nothing.
        installed: whether its file is there; for auto always.
        family: its architecture, "" if it is not known before it is loaded.
        needs: a package that is missing and without which it cannot run, else "".
    """

    id: str
    label: str
    knobs: frozenset[str]
    installed: bool
    family: str
    needs: str = ""


@dataclass(frozen=True)
class RunPicture:
    """One picture of the last run.

    Attributes:
        before, after: RGB or RGBA PIL images, reduced to `LONGEST_SIDE`.
        faces: the reports, whose boxes are in pixels of the full picture.
        scale: full pixels × scale = pixels of `before` and `after`.
        notes: remarks on the picture.
    """

    before: PIL.Image.Image
    after: PIL.Image.Image
    faces: tuple[FaceReport, ...]
    scale: float = 1.0
    notes: tuple[str, ...] = ()


def restorer() -> FaceRestorer:
    """The shared `FaceRestorer`. Raises FaceRestoreError where the settings name a device that is not there."""
    global _current
    from ..pipeline import FaceRestorer

    settings = read()
    with _lock:
        device = host.device(settings.device)
        wanted = (tuple(folders(settings)), device, settings.precision)
        if _current is None or _current[0] != wanted:
            named = folders(settings) or None
            made = FaceRestorer(named, device, precision=settings.precision, webui=host.models_root())
            _current = wanted, made
        return _current[1]


def folders(settings: Settings) -> list[Path]:
    """The folders that are searched first, in this order: those of the settings, of the command line, our own."""
    return list(dict.fromkeys([*settings.folders, *host.model_folders()]))


def store() -> Store:
    """What is installed, by the settings as they are now. Downloads go to its first folder."""
    return Store(folders(read()), host.models_root())


def with_default_model(options: Options) -> Options:
    """`options`, where auto means the model that the settings name as default."""
    default = read().default_model or AUTO
    return options.replace(model=default) if options.model == AUTO and default != AUTO else options


def restore(
    images: Sequence[Any], options: Options, overrides: Sequence[Mapping[Any, Any]] | None = None, origin: str = ""
) -> list[Result]:
    """Restore the faces of several pictures with the shared restorer; see `FaceRestorer.restore_many`.

    The WebUI's progress bar moves, its interrupt and skip are heeded between faces, and networks leave the device
    afterwards where the settings say so.

    Args:
        images: arrays or PIL images.
        options: the same for all.
        overrides: one plan for each picture.
        origin: who asks, for the log.

    Raises:
        FaceRestoreError: as `restore_many`, and where a package is missing. Anything else is raised as it is.
    """
    unload = read().unload or bool(host.option("face_restoration_unload", False))
    with _busy, packages.needed(), _remedies_of_the_page():
        shared = restorer()
        if shared.device.type != "cpu":
            host.free_memory()
        try:
            with host.progress_bar() as bar:
                results = shared.restore_many(
                    images, with_default_model(options), overrides=overrides, progress=bar, stop=host.interrupted
                )
        finally:
            if unload:
                shared.unload()
    done = sum(report.applied for result in results for report in result.faces)
    logger.info("%s: %d faces restored in %d pictures", origin or "restore", done, len(results))
    return results


def detect(image: Any, options: Options) -> list[Face]:
    """The faces of one picture; see `FaceRestorer.detect`. Raises FaceRestoreError."""
    with _busy, packages.needed(), _remedies_of_the_page():
        return restorer().detect(image, options)


@packages.needed()
def models() -> list[ModelChoice]:
    """Every restorer that can be chosen now, auto first and the built-in one last.

    Raises FaceRestoreError where they cannot be listed since a package is missing.
    """
    global _choices
    there = store()
    state = tuple((path, stamp(path)) for path in there.files())
    with _lock:
        if _choices is None or _choices[0] != state:
            _choices = state, _list(there)
        return list(_choices[1])


@packages.needed()
def knobs_of(model: str) -> frozenset[str]:
    """The knobs of a model that can be chosen; of one that is not installed, what the catalogue says.

    Raises FaceRestoreError as `models`.
    """
    choices = {choice.id: choice for choice in models()}
    if model == AUTO:
        model = read().default_model or AUTO
    if model in choices:
        return choices[model].knobs
    entry = known_model(model)
    return frozenset(entry.knobs) if entry else frozenset()


def reset() -> None:
    """Forget the restorer and the list of models: settings or files have changed."""
    global _current, _choices
    with _lock:
        _current, _choices = None, None  # a run that is under way keeps its restorer until it is done


def remember(tab: str, pictures: Sequence[RunPicture], add: bool = False, job: object = None) -> None:
    """Keep the pictures of a run of a tab ("txt2img", "img2img", "extras").

    add: whether they are added to those already kept.
    job: which of the WebUI's jobs this is (`host.job_start`); those of the same job stand together, since one job may
        be many generations: the pictures of a folder, the cells of a plot.
    """
    with _lock:
        add = add or (job is not None and job == _jobs.get(tab))
        _jobs[tab] = job
        kept = (_runs.get(tab, []) if add else []) + [_reduced(picture) for picture in pictures]
        _runs[tab] = kept[-MOST_PICTURES:]


def last_run(tab: str) -> list[RunPicture]:
    """The pictures of the last run of a tab; empty if there was none."""
    with _lock:
        return list(_runs.get(tab, []))


@contextlib.contextmanager
def _remedies_of_the_page() -> Iterator[None]:
    """Where a message sends its reader to the command line, send him to the page's tab, if there is a page."""
    try:
        yield
    except ModelFileError as error:
        told = _COMMAND.sub("in the tab Face Restore", str(error)) if host.kind() else str(error)
        if told == str(error):
            raise
        raise type(error)(told) from error


def _list(there: Store) -> list[ModelChoice]:
    found = []
    for name in there.installed():
        entry = known_model(name)
        assert entry is not None
        needs = entry.needs if entry.needs and importlib.util.find_spec(entry.needs) is None else ""
        label = f"{name} (needs {needs})" if needs else name
        found.append(ModelChoice(name, label, frozenset(entry.knobs), True, entry.family, needs))
    first = next((choice for choice in found if not choice.needs), found[-1])  # as the pipeline chooses
    for path in there.others():
        choice = _other(path)
        if choice is not None and all(choice.id != other.id for other in found):
            found.insert(len(found) - 1, choice)  # the built-in one stays last
    return [ModelChoice(AUTO, f"auto ({first.id})", first.knobs, True, first.family), *found]


def _other(path: Path) -> ModelChoice | None:
    """A file that the catalogue does not name: offered where its tensors are a restorer's, or cannot be told."""
    what = identify(path)
    if what.content is None or what.remark or any(entry.kind != "restorer" for entry in what.models):
        return None
    if what.models:
        entry = what.models[0]
        return ModelChoice(path.name, f"{path.name} ({entry.family})", frozenset(entry.knobs), True, entry.family)
    if what.content.is_onnx:  # whether it has a weight is seen only when it is loaded
        needs = "" if importlib.util.find_spec("onnxruntime") else "onnxruntime"
        return ModelChoice(path.name, path.name, frozenset({"fidelity"}), True, "", needs)
    return _by_family(path, what.content)


def _by_family(path: Path, content: Peeked) -> ModelChoice | None:
    """A checkpoint of a supported family that is no published one: somebody's own training, say."""
    if not content.shapes or content.asks_for:
        return None
    from ..networks.load import find_family  # needs torch, which a WebUI has loaded long before

    module, _ = find_family(content.shapes)
    if module is None:
        return None
    name = module.__name__.rsplit(".", 1)[-1]
    knobs = frozenset({"fidelity"}) if name in _FAMILIES_WITH_FIDELITY else frozenset()
    return ModelChoice(path.name, f"{path.name} ({name})", knobs, True, name)


def _reduced(picture: RunPicture) -> RunPicture:
    longest = max(picture.after.size)
    if longest <= LONGEST_SIDE:
        return picture
    scale = LONGEST_SIDE / longest
    width, height = (max(1, round(side * scale)) for side in picture.after.size)
    before, after = (one.resize((width, height)) for one in (picture.before, picture.after))
    return RunPicture(before, after, picture.faces, picture.scale * scale, picture.notes)


__all__ = [
    "AUTO", "BUILT_IN", "ModelChoice", "RunPicture", "detect", "folders", "knobs_of", "last_run", "models", "remember",
    "reset", "restore", "restorer", "store", "with_default_model",
]  # fmt: skip
