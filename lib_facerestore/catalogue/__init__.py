"""Known model files as data, and the store: which folders are searched and what lies in them.

`models.toml` beside this file is the data. May import `errors`, `options` and nothing above.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path

import platformdirs

from ..errors import ModelFileError
from ..options import did_you_mean

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MODEL_SUFFIXES = (".pth", ".pt", ".ckpt", ".safetensors")
ENVIRONMENT = "FACERESTORE_MODELS"
BUILT_IN = "lite"


@dataclass(frozen=True)
class ModelEntry:
    """A model that is known by an id. `files`: the names its file may have; `rank`: 1 is what `auto` prefers."""

    id: str
    rank: int
    files: tuple[str, ...]


@lru_cache(maxsize=1)
def known_models() -> tuple[ModelEntry, ...]:
    """Every model id, the one that `auto` prefers first."""
    text = resources.files(__package__).joinpath("models.toml").read_text("utf-8")
    entries = [ModelEntry(row["id"], row["rank"], tuple(row["files"])) for row in tomllib.loads(text)["model"]]
    return tuple(sorted(entries, key=lambda entry: entry.rank))


def weights_path(name: str) -> Path:
    """Path of a file of weights that ships inside the package, e.g. "lite_restorer.safetensors"."""
    path = Path(__file__).resolve().parents[1] / "weights" / name
    if not path.is_file():
        raise ModelFileError(f"{path}: the package's own weights are missing; install lib_facerestore again.")
    return path


def default_models_folder() -> Path:
    """The folder named by FACERESTORE_MODELS, else one in the user's data folder. It need not exist."""
    named = os.environ.get(ENVIRONMENT)
    return Path(named).expanduser() if named else Path(platformdirs.user_data_dir("facerestore", False)) / "models"


class Store:
    """What is installed in a list of model folders (searched in that order, with their sub-folders).

    Args:
        folders: the folders; a missing one is passed over.
    """

    def __init__(self, folders: Sequence[Path] | None = None) -> None:
        self.folders: tuple[Path, ...] = tuple(folders) if folders else (default_models_folder(),)

    def files(self) -> list[Path]:
        """Every model file in the folders, in a stable order."""
        found = []
        for folder in self.folders:
            if folder.is_dir():
                found += sorted(p for p in folder.rglob("*") if p.suffix.lower() in MODEL_SUFFIXES and p.is_file())
        return found

    def subfolders(self) -> tuple[Path, ...]:
        """The folders and every folder in them that holds a model file: for stages that look for a file by its name."""
        return tuple(dict.fromkeys([*self.folders, *(path.parent for path in self.files())]))

    def installed(self) -> dict[str, Path]:
        """Path of each known model that is installed, the preferred one first; the built-in one comes last."""
        by_name: dict[str, Path] = {}
        for path in self.files():
            by_name.setdefault(path.name.lower(), path)
        found: dict[str, Path] = {}
        for entry in known_models():
            paths = [by_name[name.lower()] for name in entry.files if name.lower() in by_name]
            if paths:
                found[entry.id] = paths[0]
        found[BUILT_IN] = weights_path("lite_restorer.safetensors")
        return found

    def find(self, model: str) -> Path:
        """The file that a model id, a file name in the folders, or a path stands for.

        Raises:
            ModelFileError: it is not installed; the message says which file is wanted where, or what there is.
        """
        installed = self.installed()
        if model.lower() in installed:
            return installed[model.lower()]
        for entry in known_models():
            if entry.id == model.lower():
                raise ModelFileError(
                    f"model {entry.id} is not installed: put its file {entry.files[0]} into {self.folders[0]}, "
                    "or choose model auto."
                )
        for path in self.files():
            if model in (path.name, path.stem):
                return path
        if Path(model).is_file():
            return Path(model)
        ids = [*installed, *(path.name for path in self.files())]
        near = did_you_mean(model, [*ids, *(entry.id for entry in known_models())])
        raise ModelFileError(f"model {model} is not known;{near} Installed: {', '.join(dict.fromkeys(ids))}.")
