"""`Inventory`: the model files found by one scan of the model folders, and how to find one by id, name or path."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ..errors import ModelFileError, OptionError
from ..wording import did_you_mean, pip_install, shown, with_article
from .entries import Kind, ModelEntry, known_model, known_models
from .identify import IdentifiedFile, models_named, name_rank
from .weights import weights_path

BUILT_IN = "lite"
_SHOWN = 3  # file names that a message lists


@dataclass(frozen=True)
class Inventory:
    """The model files that `Store.scan` found. It does not change; scan again to see new files.

    Attributes:
        folders: the folders, in the order in which they were searched; downloads go to the first.
        files: all model files in them, identified, in a stable order.
        paths: whether `find` also takes the path of any other file.
        closed: a sentence for each folder, also inside these, that cannot be opened, so that its files are not seen; or
            why no folder was found.
    """

    folders: tuple[Path, ...]
    files: tuple[IdentifiedFile, ...]
    paths: bool = True
    closed: tuple[str, ...] = ()

    def installed(self, kind: Kind | None = "restorer") -> dict[str, Path]:
        """Paths of the installed models of a kind by id, the best first; the built-in restorer is last.

        Files that may be one of several models are left out (e.g. GFPGAN 1.2 to 1.4, if neither hash nor name is
        known), and so are files that cannot be read. Some of these models may lack something; see `usable`.
        """
        found = {entry.id: self._paths[entry.id] for entry in known_models(kind) if entry.id in self._paths}
        if kind in (None, "restorer"):
            found.pop(BUILT_IN, None)
            found[BUILT_IN] = weights_path("lite_restorer.safetensors")
        return found

    def usable(self, kind: Kind | None = "restorer") -> dict[str, Path]:
        """The models of `installed` that have everything they need. `auto` chooses from these."""
        return {name: path for name, path in self.installed(kind).items() if not _lacking(name, path)}

    def faults(self, kind: Kind | None = "restorer") -> dict[str, str]:
        """Why models of a kind cannot be used although there is a file with their name, by id.

        The file is damaged or another model, or something else that the model needs is missing (dictionaries, a
        package). The text names the file and the remedy.
        """
        found = {name: misfit_message(file) for name, file in self.misfits(kind).items()}
        for name, path in self.installed(kind).items():
            if lacking := _lacking(name, path):
                found[name] = f"{path}: {lacking}"
        return found

    def others(self) -> list[IdentifiedFile]:
        """The files that are not in `installed`: unknown, ambiguous and damaged files, and further copies."""
        used = set(self._paths.values())
        return [file for file in self.files if file.path not in used]

    def misfits(self, kind: Kind | None = "restorer") -> dict[str, IdentifiedFile]:
        """The files with the name of a model of this kind that are not this model, by id of a model not installed.

        They are damaged, or something else.
        """
        bearers: dict[str, IdentifiedFile] = {}
        for file in self.files:
            for entry in models_named(file.path):
                bearers.setdefault(entry.id, file)
        wanted = [entry.id for entry in known_models(kind) if entry.id not in self._paths]
        return {name: bearers[name] for name in wanted if name in bearers}

    def find(self, model: str, kind: Kind | None = "restorer") -> Path:
        """Find a model's file.

        Args:
            model: id of a model, name of a file in the folders (with or without suffix), or path if `paths` allows it.
            kind: kind that the model must have; None allows all.

        Raises:
            ModelFileError: it is not installed, or has another kind; the message says how to get it, or what is
                installed.
            OptionError: it is a path, which `paths` does not allow.
        """
        entry = known_model(model)
        if entry is not None:
            return self._known(entry, kind)
        for file in self.files:
            if model in (file.path.name, file.path.stem):
                return file.path
        if not self.paths:
            refuse_path(model)
        elif os.path.isfile(model):  # unlike Path, no error for a name that is too long
            return Path(model)
        of_kind = (one for one in self.files if not one.models or any(kind in (None, two.kind) for two in one.models))
        ids = [*self.installed(kind), *(file.path.name for file in of_kind)]
        near = did_you_mean(model, [*(entry.id for entry in known_models(kind)), *ids])
        there = ", ".join(dict.fromkeys(ids)) or "none"
        told = f"model {model} is not known.{near} Installed: {there}."
        raise ModelFileError(" ".join([told, *self.closed]))

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
        folder = self.folders[0] if self.folders else "a model folder"
        raise ModelFileError(
            f"model {entry.id} is not installed: put its file {entry.files[0]} into {folder}, "
            f"get it with `facerestore models download {entry.id}`, or choose "
            + ("model auto." if entry.kind == "restorer" else "another.")
            + "".join(f" {sentence}" for sentence in self.closed)
        )

    @cached_property
    def _paths(self) -> dict[str, Path]:
        # If a model has several files, the one with the most usual name is used, and of these the first.
        found: dict[str, Path] = {}
        for file in self.files:
            if len(file.models) == 1:
                model = file.models[0]
                best = found.get(model.id)
                if best is None or name_rank(model, file.path) < name_rank(model, best):
                    found[model.id] = file.path
        return found


def refuse_path(name: str, option: str = "model") -> None:
    """Refuse a path as the value of an option: inside a WebUI, and over the network, no one chooses which file of the
    machine is opened. The library and the command line take paths.

    Raises:
        OptionError: the name is a path.
    """
    if any(sign in name for sign in "/\\:\0") or name.startswith(("~", ".")):
        raise OptionError(f"{option}: {shown(name)} is a path; give an id, or a file's name without its folder.")


def misfit_state(file: IdentifiedFile) -> str:
    """In a word what a file is that has a model's name but is not that model: damaged, unreadable, or another file."""
    return file.fault or "another file"


def misfit_message(file: IdentifiedFile) -> str:
    """The message for a file that has a model's name but is damaged, unreadable or something else."""
    what = " or ".join(entry.id for entry in file.models) or "something else"
    return f"{file.path}: {file.damaged or f'is {what}, in spite of its name; get it again.'}"


def package_is_there(name: str) -> bool:
    """Whether a package is installed; it is not imported."""
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):  # raised for a package that is only partly removed
        return False


def _lacking(name: str, path: Path) -> str:
    """What is missing for an installed model, with the remedy, or ""."""
    entry = known_model(name)
    assert entry is not None
    if entry.needs and not package_is_there(entry.needs):
        return f"needs the package {entry.needs}; install it with `{pip_install(entry.needs)}`."
    missing = entry.lacking(path)
    return f"{_missing(missing, len(entry.beside))}; put them beside it." if missing else ""


def _missing(names: Sequence[str], of: int) -> str:
    more = ", …" if len(names) > _SHOWN else ""
    return f"{len(names)} of the {of} files that it needs are missing ({', '.join(names[:_SHOWN])}{more})"
