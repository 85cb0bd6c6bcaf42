"""The known models: reads `models.toml`, in this folder, into frozen data classes."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_args

from ..errors import ModelFileError
from ..wording import did_you_mean
from .peek import views

Kind = Literal["restorer", "detector", "parser", "upscaler"]
Commercial = Literal["yes", "no", "unclear"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class ModelFile:
    """A published file. `bytes` is 0 and `sha256` is "" if they are not published; `urls` are mirrors, best first."""

    name: str
    bytes: int = 0
    sha256: str = ""
    urls: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class ModelEntry:
    """A known model.

    Attributes:
        id: id that users know it by.
        rank: order of preference of `auto` among models of its kind; 1 is the best.
        files: all names that its file may have, the usual one first.
        kind: its task.
        family: its architecture.
        size: side of the crop in pixels, 0 if any size is allowed.
        template: template that its crop is aligned with: "ffhq", "gpen" or "" (no alignment).
        knobs: names of its settings, as in `Network.knobs`.
        good_for: one line that helps users to choose.
        licence: name of the licence of the weights.
        licence_note: its most important terms.
        commercial: whether commercial use is allowed.
        published: its published files; the first one is downloaded.
        page: page to download it from by hand, if it has no direct address.
        needs: package without which it cannot run.
        about: approximate size of its file in bytes, from its tensors, if no size is published.
        beside: further files that it needs, in the folder of its own file.
        beside_folder: name of a sub-folder there in which they may be instead.
        used: whether this package runs it; the others are listed so that they can be named.
        has: tensors that its file has; together with the next two, they are how a file with any name is recognised.
        lacks: tensors that its file does not have.
        shape: shapes of some of its tensors.
    """

    id: str
    rank: int
    files: tuple[str, ...]
    kind: Kind = "restorer"
    family: str = ""
    size: int = 0
    template: str = ""
    knobs: tuple[str, ...] = ()
    good_for: str = ""
    licence: str = ""
    licence_note: str = ""
    commercial: Commercial = "unclear"
    published: tuple[ModelFile, ...] = ()
    page: str = ""
    needs: str = ""
    about: int = 0
    beside: tuple[str, ...] = ()
    beside_folder: str = ""
    used: bool = True
    has: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    shape: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """A restorer's display name: its family's title and the rest of its id, e.g. "GFPGAN 1.4"."""
        if not self.id.startswith(self.family):
            return self.id
        return family_title(self.family) + self.id.removeprefix(self.family).replace("-", " ", 1)

    @property
    def bytes(self) -> int:
        """Size of the file that a download gets, 0 if unknown."""
        return self.published[0].bytes if self.published else 0

    def lacking(self, path: Path) -> tuple[str, ...]:
        """Names of the further files that are missing for a model file at `path`."""
        inner = path.parent / self.beside_folder
        folder = inner if self.beside_folder and inner.is_dir() else path.parent
        return tuple(name for name in self.beside if not (folder / name).is_file())

    def as_json(self) -> dict[str, Any]:
        """The model as plain values for JSON; nothing about this machine's files.

        Keys: id, kind, family, size (pixels, or None), wanted (file names), bytes and bytes_about (or None), knobs,
        licence, licence_note, commercial, good_for, needs, used, downloadable, page.
        """
        return {
            "id": self.id,
            "kind": self.kind,
            "family": self.family,
            "size": self.size or None,
            "wanted": list(self.files),
            "bytes": self.bytes or None,
            "bytes_about": self.about or None,
            "knobs": sorted(self.knobs),
            "licence": self.licence,
            "licence_note": self.licence_note,
            "commercial": self.commercial,
            "good_for": self.good_for,
            "needs": self.needs or None,
            "used": self.used,
            "downloadable": any(file.urls for file in self.published),
            "page": self.page or None,
        }

    def fits(self, shapes: Mapping[str, tuple[int, ...]]) -> bool:
        """Whether tensors with these names and shapes may be this model."""
        if not self.has or not all(name in shapes for name in self.has) or any(name in shapes for name in self.lacks):
            return False
        return all(shapes.get(name) == shape for name, shape in self.shape.items())


@dataclass(frozen=True)
class OtherFile:
    """A file that is often in the same folders but is not a model of this package: its usual names, and what it is."""

    files: tuple[str, ...]
    what: str


@lru_cache(maxsize=1)
def _data() -> dict[str, Any]:
    if sys.version_info >= (3, 11):  # imported here, because a WebUI must start without tomli
        import tomllib
    else:
        import tomli as tomllib
    return tomllib.loads(resources.files(__package__).joinpath("models.toml").read_text("utf-8"))


def _entry(row: dict[str, Any]) -> ModelEntry:
    published = tuple(
        ModelFile(one["name"], one.get("bytes", 0), one.get("sha256", ""), tuple(one["urls"]), one.get("note", ""))
        for one in row.pop("file", ())
    )
    names = tuple(dict.fromkeys([*(file.name for file in published), *row.pop("names", ())]))
    for key in ("has", "lacks", "knobs", "beside"):
        row[key] = tuple(row.get(key, ()))
    row["shape"] = {name: tuple(shape) for name, shape in row.get("shape", {}).items()}
    return ModelEntry(files=names, published=published, **row)


@lru_cache(maxsize=1)
def _all() -> tuple[ModelEntry, ...]:
    entries = [_entry(dict(row)) for row in _data()["model"]]
    return tuple(sorted(entries, key=lambda entry: (KINDS.index(entry.kind), entry.rank)))


def known_models(kind: Kind | None = "restorer") -> tuple[ModelEntry, ...]:
    """All models of a kind, the one that `auto` prefers first; None returns all kinds, restorers first."""
    return tuple(entry for entry in _all() if kind in (None, entry.kind))


def known_model(name: str) -> ModelEntry | None:
    """The model with this id (upper or lower case), or None."""
    return next((entry for entry in _all() if entry.id == name.lower()), None)


def entry_of(name: str, among: Sequence[ModelEntry], remedy: str) -> ModelEntry:
    """The entry of an id, in any case, of those `among` which one may choose.

    Raises:
        ModelFileError: there is none; the message names the nearest id, and ends with the remedy.
    """
    found = next((entry for entry in among if entry.id == name.lower()), None)
    if found is None:
        near = did_you_mean(name, [entry.id for entry in among])
        raise ModelFileError(f"model {name} is not known.{near} {remedy}")
    return found


@lru_cache(maxsize=1)
def _titles() -> dict[str, str]:
    return {row["name"]: row["title"] for row in _data()["family"]}


def family_title(name: str) -> str:
    """Display name of a family of restorers, e.g. "CodeFormer"; the name itself if it has none."""
    return _titles().get(name, name)


@lru_cache(maxsize=1)
def other_files() -> tuple[OtherFile, ...]:
    """The known files that are not models of this package."""
    return tuple(OtherFile(tuple(row["files"]), row["what"]) for row in _data()["other"])


def recognise(shapes: Mapping[str, tuple[int, ...]]) -> tuple[ModelEntry, ...]:
    """The models that tensors with these names and shapes may be: none, one, or several with the same shapes.

    Prefixes such as `module.`, and tensors of other networks in the same file, are ignored.
    """
    for view in views(shapes):
        seen = {short: shapes[full] for short, full in view.items()}
        found = tuple(entry for entry in _all() if entry.fits(seen))
        if found:
            return found
    return ()
