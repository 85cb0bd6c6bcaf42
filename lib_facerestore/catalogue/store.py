"""The folders that model files may be in, and `Store`, which searches them."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

from ..errors import FaceRestoreError
from ..system.walk import walk
from ..wording import pip_install
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
"""Sub-folders of a WebUI's models folder (A1111, Forge, SD.Next, ReActor, ComfyUI) that may hold models for faces."""


def default_models_folder() -> Path:
    """The folder that FACERESTORE_MODELS names, else one in the user's data folder. It need not exist.

    Raises:
        FaceRestoreError: the variable is not set, and the package platformdirs, which finds that folder, is missing;
            or the folder is in a home folder, and the user has none (an id without an account, as in a container).
    """
    named = os.environ.get(ENVIRONMENT)
    if named:
        try:
            return Path(named).expanduser()
        except RuntimeError as error:
            raise FaceRestoreError(
                f"{ENVIRONMENT} names {named}, but that home folder cannot be found; give the folder's full path."
            ) from error
    try:
        import platformdirs
    except ImportError as error:
        raise FaceRestoreError(
            "the model folder cannot be found without the package platformdirs; install it with "
            f"`{pip_install('platformdirs')}`, or name a folder (--models DIR, or the variable {ENVIRONMENT})."
        ) from error
    try:
        return Path(platformdirs.user_data_dir("facerestore", False)).expanduser() / "models"
    except RuntimeError as error:
        raise FaceRestoreError(
            "the model folder cannot be found, because this user has no home folder; name a folder (--models DIR, or "
            f"the variable {ENVIRONMENT})."
        ) from error


def webui_folders(root: Path) -> tuple[Path, ...]:
    """The existing sub-folders of a WebUI's models folder that may hold models for faces, also those that cannot be
    opened.

    The first is this extension's own folder, whether it exists or not.
    """
    own = root / OWN_FOLDER
    try:
        there = {child.name.casefold(): child for child in root.iterdir() if _may_be(child, stat.S_ISDIR)}
    except OSError:
        there = {}
    others = [there[name.casefold()] for name in WEBUI_FOLDERS[1:] if name.casefold() in there]
    return (there.get(OWN_FOLDER, own), *others)


class Store:
    """A list of model folders, which are searched in this order, with their sub-folders.

    Args:
        folders: the folders; they need not exist. Downloads go to the first.
        webui: the models folder of a WebUI; its sub-folders for GFPGAN, CodeFormer, ReActor and others are searched
            after `folders`. Without both arguments, `default_models_folder` is searched.
        paths: whether a model may also be named by the path of a file elsewhere.
        required: whether there must be a folder. Otherwise the store has none if the default cannot be found, and
            `scan` says why: a restoration needs no folder, only a download does.

    Raises:
        FaceRestoreError: as for `default_models_folder`, if `required`.
    """

    def __init__(
        self,
        folders: Sequence[Path] | None = None,
        webui: Path | None = None,
        *,
        paths: bool = True,
        required: bool = True,
    ) -> None:
        self.paths = paths
        self._absent = ""
        self._webui = webui
        wanted = list(folders or ())
        wanted += webui_folders(webui) if webui else ()
        self.folders: tuple[Path, ...] = tuple(dict.fromkeys(wanted))
        if not self.folders:
            try:
                self.folders = (default_models_folder(),)
            except FaceRestoreError as error:
                if required:
                    raise
                self._absent = str(error)

    def files(self) -> list[Path]:
        """All model files in the folders, in a stable order. They are not opened."""
        return self._search()[0]

    def scan(self) -> Inventory:
        """Search the folders and identify their files. A file is read only if it was not read before in this run."""
        files, closed = self._search()
        return Inventory(self.folders, tuple(identify(path) for path in files), self.paths, closed)

    def _search(self) -> tuple[list[Path], tuple[str, ...]]:
        """The model files, and a sentence for each folder that cannot be opened."""
        found: dict[Path, None] = {}
        closed: list[OSError] = []
        visited: set[str] = set()
        for folder in self.folders:
            inside = walk(folder, closed, visited=visited)
            paths = [place / name for place, names in inside for name in names if _is_model(name)]
            found.update(dict.fromkeys(path for path in sorted(paths) if _may_be(path, stat.S_ISREG)))
        if self._webui is not None:
            try:
                os.scandir(self._webui).close()
            except OSError as error:
                closed.append(error)
        refused = (error for error in closed if not isinstance(error, (FileNotFoundError, NotADirectoryError)))
        sentences = [*([self._absent] if self._absent else []), *(_closed(error) for error in refused)]
        return list(found), tuple(dict.fromkeys(sentences))

    def duplicates(self) -> list[list[Path]]:
        """Groups of files with the same content; links to one file are counted once."""
        by_size: dict[int, list[Path]] = {}
        for path in self.files():
            with contextlib.suppress(OSError):  # unreadable, as `scan` says
                by_size.setdefault(path.stat().st_size, []).append(path)
        groups: list[list[Path]] = []
        for paths in by_size.values():
            of_size: list[list[Path]] = []
            for path in paths:
                if any(path.samefile(other) for group in of_size for other in group):
                    continue
                group = next((group for group in of_size if same_content(group[0], path)), None)
                if group is None:
                    of_size.append([path])
                else:
                    group.append(path)
            groups += [group for group in of_size if len(group) > 1]
        return groups


def inventory_of(models: Inventory | Sequence[Path]) -> Inventory:
    """The inventory that is given, or that of the folders. An empty list of folders has no files."""
    if isinstance(models, Inventory):
        return models
    return Store(models).scan() if models else Inventory((), ())


def _closed(error: OSError) -> str:
    reason = error.strerror or error
    remedy = "check its name" if error.errno in (errno.ENAMETOOLONG, errno.EINVAL) else "check its permissions"
    return f"{error.filename}: cannot be opened ({reason}), so its models are not seen; {remedy}."


def _may_be(path: Path, kind: Callable[[int], bool]) -> bool:
    """Whether the path is of a kind, such as `stat.S_ISREG`. True if that is unknown: opening it raises the error."""
    try:
        return kind(os.stat(path).st_mode)
    except PermissionError:
        return True
    except (OSError, ValueError):  # a broken link, a circle of links
        return False


def _is_model(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in MODEL_SUFFIXES
