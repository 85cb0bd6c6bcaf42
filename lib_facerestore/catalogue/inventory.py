"""`Inventory`: what is in the model folders at one moment, and what an id, a name or a path means there."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ..errors import ModelFileError
from ..wording import did_you_mean, with_article
from .entries import Kind, ModelEntry, known_model, known_models
from .identify import IdentifiedFile, models_named, name_rank
from .weights import weights_path

BUILT_IN = "lite"
_SHOWN = 3  # file names that a message lists


@dataclass(frozen=True)
class Inventory:
    """The model files of some folders, as `Store.scan` found them. Never changes; a later scan sees later files.

    Attributes:
        folders: where was looked, in this order; downloads go to the first.
        files: every model file there, in a stable order, and what it is.
    """

    folders: tuple[Path, ...]
    files: tuple[IdentifiedFile, ...]

    def installed(self, kind: Kind | None = "restorer") -> dict[str, Path]:
        """Path of each known model of a kind that is installed, the preferred one first; the built-in one comes last.

        Files that may be several models (GFPGAN 1.2 to 1.4, not as published, under a name of somebody's own) are left
        out, and so is everything that cannot be read. Not all of them can be used; see `usable`.
        """
        found = {entry.id: self._paths[entry.id] for entry in known_models(kind) if entry.id in self._paths}
        if kind in (None, "restorer"):
            found.pop(BUILT_IN, None)
            found[BUILT_IN] = weights_path("lite_restorer.safetensors")
        return found

    def usable(self, kind: Kind | None = "restorer") -> dict[str, Path]:
        """Those of `installed` that can run here: nothing they need is missing. This is what auto chooses from."""
        return {name: path for name, path in self.installed(kind).items() if not _lacking(name, path)}

    def faults(self, kind: Kind | None = "restorer") -> dict[str, str]:
        """For each model of a kind that seems to be there and cannot be used: why, naming the file and the remedy.

        Its file is damaged or another model's, or what it needs besides (dictionaries, a package) is missing.
        """
        found = {name: misfit_message(file) for name, file in self.misfits(kind).items()}
        for name, path in self.installed(kind).items():
            if lacking := _lacking(name, path):
                found[name] = f"{path}: {lacking}"
        return found

    def others(self) -> list[IdentifiedFile]:
        """The files that `installed` does not name: unknown ones, undecided ones, second copies, damaged ones."""
        used = set(self._paths.values())
        return [file for file in self.files if file.path not in used]

    def misfits(self, kind: Kind | None = "restorer") -> dict[str, IdentifiedFile]:
        """For each model of a kind that is not installed although a file has its name: that file. It is damaged, or
        something else."""
        bearers: dict[str, IdentifiedFile] = {}
        for file in self.files:
            for entry in models_named(file.path):
                bearers.setdefault(entry.id, file)
        wanted = [entry.id for entry in known_models(kind) if entry.id not in self._paths]
        return {name: bearers[name] for name in wanted if name in bearers}

    def find(self, model: str, kind: Kind | None = "restorer") -> Path:
        """The file that a model id, a file name in the folders, or a path means.

        Args:
            model: id, name (with or without suffix), or path.
            kind: what is wanted; None takes any kind.

        Raises:
            ModelFileError: it is not installed; the message says which file is wanted where, or what there is.
        """
        entry = known_model(model)
        if entry is not None:
            return self._known(entry, kind)
        for file in self.files:
            if model in (file.path.name, file.path.stem):
                return file.path
        if os.path.isfile(model):  # unlike Path, no error for a name that is too long
            return Path(model)
        ids = [*self.installed(kind), *(file.path.name for file in self.files)]
        near = did_you_mean(model, [*ids, *(entry.id for entry in known_models(kind))])
        there = ", ".join(dict.fromkeys(ids)) or "none"
        raise ModelFileError(f"model {model} is not known.{near} Installed: {there}.")

    def _known(self, entry: ModelEntry, kind: Kind | None) -> Path:
        if kind is not None and entry.kind != kind:
            what = f"is {with_article(entry.kind)}, not {with_article(kind)}"
            raise ModelFileError(f"model {entry.id} {what}; see `facerestore models list`.")
        installed = self.installed(entry.kind)
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

    @cached_property
    def _paths(self) -> dict[str, Path]:
        # A file of the usual name is preferred to one of another; where both have it, the one that is found first.
        found: dict[str, Path] = {}
        for file in self.files:
            if len(file.models) == 1:
                model = file.models[0]
                best = found.get(model.id)
                if best is None or name_rank(model, file.path) < name_rank(model, best):
                    found[model.id] = file.path
        return found


def misfit_message(file: IdentifiedFile) -> str:
    """What to say of a file that has a model's name and cannot be it."""
    what = " or ".join(entry.id for entry in file.models) or "something else"
    return f"{file.path}: {file.damaged or f'is {what}, in spite of its name; get it again.'}"


def package_is_there(name: str) -> bool:
    """Whether a package can be found; it is not imported."""
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):  # a half removed package has a name and no spec
        return False


def _lacking(name: str, path: Path) -> str:
    """What an installed model needs and does not have, with the remedy, else ""."""
    entry = known_model(name)
    assert entry is not None
    if entry.needs and not package_is_there(entry.needs):
        return f"needs the package {entry.needs}; install it (`pip install {entry.needs}`)."
    missing = entry.lacking(path)
    return f"{_missing(missing, len(entry.beside))}; put them beside it." if missing else ""


def _missing(names: Sequence[str], of: int) -> str:
    more = ", …" if len(names) > _SHOWN else ""
    return f"{len(names)} of the {of} files that it needs are missing ({', '.join(names[:_SHOWN])}{more})"
