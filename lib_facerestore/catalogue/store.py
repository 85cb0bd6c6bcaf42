"""The store: which folders are searched, what lies in them, and what an id, a name or a path stands for.

A file is what its tensors say. Its name decides only between models that have the same tensors, and for ONNX files,
whose tensors have no names that last; a published hash overrules it. A file that cannot be read is nothing at all.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..errors import ModelFileError
from ..wording import did_you_mean
from .entries import Kind, ModelEntry, known_model, known_models, other_files, recognise
from .fingerprints import look_into, same_content, sha256_of
from .peek import Peeked

MODEL_SUFFIXES = (".pth", ".pt", ".ckpt", ".safetensors", ".onnx")
ENVIRONMENT = "FACERESTORE_MODELS"
BUILT_IN = "lite"
OWN_FOLDER = "facerestore"
WEBUI_FOLDERS = (
    OWN_FOLDER, "GFPGAN", "Codeformer", "GPEN", "RestoreFormer", "VQFR", "DFDNet", "facexlib", "facerestore_models",
    "facedetection", "RealESRGAN", "ESRGAN",
)  # fmt: skip
"""Folders under a WebUI's models root (A1111, Forge, SD.Next, ReActor, ComfyUI) in which such files are kept."""


@dataclass(frozen=True)
class Found:
    """A file, and what it is.

    Attributes:
        path: where it lies.
        models: what it may be, the likeliest first; several where its tensors fit several; none if unknown.
        told_by: what told: its name, its tensors, or its hash.
        remark: what is known of a file that is none of our models, else "".
        damaged: why the file cannot be used whatever it was meant to be, in words, else "".
        content: what was seen in it; None if it is damaged.
    """

    path: Path
    models: tuple[ModelEntry, ...]
    told_by: Literal["name", "tensors", "hash", ""]
    remark: str = ""
    damaged: str = ""
    content: Peeked | None = field(default=None, compare=False, repr=False)


def weights_path(name: str) -> Path:
    """Path of a file of weights that ships inside the package, e.g. "lite_restorer.safetensors"."""
    path = Path(__file__).resolve().parents[1] / "weights" / name
    if not path.is_file():
        raise ModelFileError(f"{path}: the package's own weights are missing; install lib_facerestore again.")
    return path


def default_models_folder() -> Path:
    """The folder named by FACERESTORE_MODELS, else one in the user's data folder. It need not exist.

    Raises ModelFileError where neither is known: the latter needs the package platformdirs.
    """
    named = os.environ.get(ENVIRONMENT)
    if named:
        return Path(named).expanduser()
    try:
        import platformdirs  # here, since a WebUI must start without it
    except ImportError as error:
        raise ModelFileError(
            f"the model folder cannot be told, since the package platformdirs is missing; pip install platformdirs, "
            f"or name the folder in the environment variable {ENVIRONMENT}."
        ) from error
    return Path(platformdirs.user_data_dir("facerestore", False)) / "models"


def webui_folders(root: Path) -> tuple[Path, ...]:
    """The folders under a WebUI's models root that may hold our files, our own (it need not exist) first."""
    own = root / OWN_FOLDER
    try:
        there = {child.name.casefold(): child for child in root.iterdir() if child.is_dir()}
    except OSError:
        there = {}
    others = [there[name.casefold()] for name in WEBUI_FOLDERS[1:] if name.casefold() in there]
    return (there.get(OWN_FOLDER, own), *others)


class Store:
    """What is installed in a list of model folders (searched in that order, with their sub-folders).

    Args:
        folders: the folders; a missing one is passed over. Downloads go to the first.
        webui: the models root of a WebUI; the folders of GFPGAN, CodeFormer, ReActor and others in it are searched
            too, after `folders`.
    """

    def __init__(self, folders: Sequence[Path] | None = None, webui: Path | None = None) -> None:
        wanted = list(folders or ())
        wanted += webui_folders(webui) if webui else ()
        self.folders: tuple[Path, ...] = tuple(dict.fromkeys(wanted)) or (default_models_folder(),)

    def files(self) -> list[Path]:
        """Every model file in the folders, in a stable order."""
        found: dict[Path, None] = {}
        for folder in self.folders:
            if folder.is_dir():
                paths = (p for p in folder.rglob("*") if p.suffix.lower() in MODEL_SUFFIXES and p.is_file())
                found.update(dict.fromkeys(sorted(paths)))
        return list(found)

    def installed(self, kind: Kind | None = "restorer") -> dict[str, Path]:
        """Path of each known model of a kind that is installed, the preferred one first; the built-in one comes last.

        Files that may be several models (GFPGAN 1.2 to 1.4, not as published, under a name of somebody's own) are left
        out, and so is everything that cannot be read.
        """
        paths = self._by_id(identify(path) for path in self.files())
        found = {entry.id: paths[entry.id] for entry in known_models(kind) if entry.id in paths}
        if kind in (None, "restorer"):
            found.pop(BUILT_IN, None)
            found[BUILT_IN] = weights_path("lite_restorer.safetensors")
        return found

    def others(self) -> list[Path]:
        """The model files that `installed` does not name: unknown ones, undecided ones, second copies, damaged ones."""
        told = [identify(path) for path in self.files()]
        used = set(self._by_id(told).values())
        return [one.path for one in told if one.path not in used]

    def misfits(self, kind: Kind | None = "restorer") -> dict[str, Found]:
        """For each model of a kind that is not installed although a file has its name: that file. It is damaged, or
        something else."""
        told = [identify(path) for path in self.files()]
        there = self._by_id(told)
        bearers: dict[str, Found] = {}
        for one in told:
            for entry in _named(one.path):
                bearers.setdefault(entry.id, one)
        wanted = [entry.id for entry in known_models(kind) if entry.id not in there]
        return {name: bearers[name] for name in wanted if name in bearers}

    @staticmethod
    def _by_id(told: Iterable[Found]) -> dict[str, Path]:
        # A file of the usual name is preferred to one of another; where both have it, the one that is found first.
        found: dict[str, Path] = {}
        for one in told:
            if len(one.models) == 1:
                best = one.models[0]
                here = found.get(best.id)
                if here is None or _place(best, one.path) < _place(best, here):
                    found[best.id] = one.path
        return found

    def find(self, model: str, kind: Kind | None = "restorer") -> Path:
        """The file that a model id, a file name in the folders, or a path stands for.

        Args:
            model: id, name (with or without suffix), or path.
            kind: what is wanted; None takes any kind.

        Raises:
            ModelFileError: it is not installed; the message says which file is wanted where, or what there is.
        """
        entry = known_model(model)
        if entry is not None and kind is not None and entry.kind != kind:
            raise ModelFileError(f"model {entry.id} is a {entry.kind}, not a {kind}; see `facerestore models list`.")
        installed = self.installed(kind)
        if entry is not None:
            if entry.id in installed:
                return installed[entry.id]
            misfit = self.misfits(entry.kind).get(entry.id)
            if misfit is not None:
                raise ModelFileError(f"model {entry.id}: {misfit_message(misfit)}")
            raise ModelFileError(
                f"model {entry.id} is not installed: put its file {entry.files[0]} into {self.folders[0]}, "
                f"get it with `facerestore models download {entry.id}`, or choose "
                + ("model auto." if entry.kind == "restorer" else "another.")
            )
        for path in self.files():
            if model in (path.name, path.stem):
                return path
        if Path(model).is_file():
            return Path(model)
        ids = [*installed, *(path.name for path in self.files())]
        near = did_you_mean(model, [*ids, *(entry.id for entry in known_models(kind))])
        raise ModelFileError(f"model {model} is not known.{near} Installed: {', '.join(dict.fromkeys(ids))}.")

    def duplicates(self) -> list[list[Path]]:
        """Groups of files that hold the same bytes, links to one file not counted."""
        by_size: dict[int, list[Path]] = {}
        for path in self.files():
            by_size.setdefault(path.stat().st_size, []).append(path)
        groups: list[list[Path]] = []
        for paths in by_size.values():
            sorts: list[list[Path]] = []
            for path in paths:
                if any(path.samefile(other) for sort in sorts for other in sort):
                    continue
                sort = next((sort for sort in sorts if same_content(sort[0], path)), None)
                if sort is None:
                    sorts.append([path])
                else:
                    sort.append(path)
            groups += [sort for sort in sorts if len(sort) > 1]
        return groups


def installed_in(folders: Sequence[Path], kind: Kind) -> tuple[dict[str, Path], dict[str, Path]]:
    """For a stage that looks for its own files: which of its models are installed in the folders, and the misfits."""
    if not folders:  # a store without folders would look into the default one
        return {}, {}
    store = Store(folders)
    return store.installed(kind), {name: found.path for name, found in store.misfits(kind).items()}


def misfit_message(found: Found) -> str:
    """What to tell somebody whose file has a model's name and cannot be it."""
    what = " or ".join(entry.id for entry in found.models) or "something else"
    return f"{found.path}: {found.damaged or f'is {what}, in spite of its name; get it again.'}"


def _named(path: Path) -> tuple[ModelEntry, ...]:
    """The models that a file's name stands for."""
    name = path.name.lower()
    return tuple(entry for entry in known_models(None) if name in (file.lower() for file in entry.files))


def _place(entry: ModelEntry, path: Path) -> int:
    """Where a file's name stands in the entry's list: its usual name first, names of somebody's own last."""
    names = [name.lower() for name in entry.files]
    return names.index(path.name.lower()) if path.name.lower() in names else len(names)


def identify(path: Path, by_hash: bool = False) -> Found:
    """What a file is: what its tensors say.

    Where several published files have the same tensors, its hash decides, then its name (also one that the catalogue
    knows as that of another thing). Such files are hashed once, which takes a second or two; hashes are remembered.

    Args:
        path: the file.
        by_hash: also hash a file of which neither name nor tensors tell anything, if a published one has its size.
    """
    try:
        content = look_into(path)
    except ModelFileError as error:
        return Found(path, (), "", damaged=str(error).removeprefix(f"{path}: "))
    fitting = recognise(content.shapes)
    # An entry without tensors of its own is known by name alone, among files of its format.
    named = tuple(
        entry
        for entry in _named(path)
        if (entry in fitting if entry.has else not fitting and content.is_onnx == path.name.lower().endswith(".onnx"))
    )
    name = path.name.lower()
    remark = next((other.what for other in other_files() if name in (file.lower() for file in other.files)), "")
    unknown = not named and not fitting
    if len(fitting) > 1 or (remark and fitting) or (by_hash and unknown):
        exact = identify_by_hash(path, fitting or known_models(None))
        if exact is not None:
            return Found(path, (exact,), "hash", content=content)
    if remark:
        return Found(path, (), "", remark, content=content)
    if len(named) == 1:
        return Found(path, named, "name", content=content)
    return Found(path, fitting, "tensors" if fitting else "", content=content)


def identify_by_hash(path: Path, among: Iterable[ModelEntry]) -> ModelEntry | None:
    """The model whose published file has these very bytes. Only files of a published size are hashed."""
    try:
        size = path.stat().st_size
        digest = ""
        for entry in among:
            for file in entry.published:
                if file.sha256 and file.bytes in (0, size):
                    if file.bytes == 0 and path.suffix.lower() != Path(file.name).suffix.lower():
                        continue
                    digest = digest or sha256_of(path)
                    if digest == file.sha256:
                        return entry
    except OSError:
        return None
    return None
