"""Which folders hold model files, and `Store`, which looks through them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ..errors import FaceRestoreError
from .fingerprints import same_content
from .identify import identify
from .inventory import Inventory

MODEL_SUFFIXES = (".pth", ".pt", ".ckpt", ".safetensors", ".onnx")
ENVIRONMENT = "FACERESTORE_MODELS"
OWN_FOLDER = "facerestore"
WEBUI_FOLDERS = (
    OWN_FOLDER, "GFPGAN", "Codeformer", "GPEN", "RestoreFormer", "VQFR", "DFDNet", "facexlib", "facerestore_models",
    "facedetection", "RealESRGAN", "ESRGAN",
)  # fmt: skip
"""Folders under a WebUI's models root (A1111, Forge, SD.Next, ReActor, ComfyUI) in which such files are kept."""


def default_models_folder() -> Path:
    """The folder named by FACERESTORE_MODELS, else one in the user's data folder. It need not exist.

    Raises FaceRestoreError where the variable is not set and the package platformdirs, which knows the data folder, is
    missing.
    """
    named = os.environ.get(ENVIRONMENT)
    if named:
        return Path(named).expanduser()
    try:
        import platformdirs
    except ImportError as error:
        raise FaceRestoreError(
            "the model folder cannot be found without the package platformdirs; run `pip install platformdirs`, or "
            f"name a folder (--models DIR, or the variable {ENVIRONMENT})."
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
    """A list of model folders, searched in that order, with their sub-folders.

    Args:
        folders: the folders; a missing one is passed over. Downloads go to the first. None or empty means
            `default_models_folder`.
        webui: the models root of a WebUI; the folders of GFPGAN, CodeFormer, ReActor and others in it are searched
            too, after `folders`.

    Raises:
        FaceRestoreError: as `default_models_folder`.
    """

    def __init__(self, folders: Sequence[Path] | None = None, webui: Path | None = None) -> None:
        wanted = list(folders or ())
        wanted += webui_folders(webui) if webui else ()
        self.folders: tuple[Path, ...] = tuple(dict.fromkeys(wanted)) or (default_models_folder(),)

    def files(self) -> list[Path]:
        """Every model file in the folders, in a stable order. Nothing is read from them."""
        found: dict[Path, None] = {}
        for folder in self.folders:
            paths = [Path(place, name) for place, _, names in os.walk(folder) for name in names if _is_model(name)]
            found.update(dict.fromkeys(path for path in sorted(paths) if path.is_file()))
        return list(found)

    def scan(self) -> Inventory:
        """Look through the folders once. A file's content is read only where it was not read before in this run."""
        return Inventory(self.folders, tuple(identify(path) for path in self.files()))

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


def inventory_of(models: Inventory | Sequence[Path]) -> Inventory:
    """What a stage is given to look for its files in: an inventory, or folders, which are looked through. No folder,
    no file: the default folder is not meant."""
    if isinstance(models, Inventory):
        return models
    return Store(models).scan() if models else Inventory((), ())


def _is_model(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in MODEL_SUFFIXES
