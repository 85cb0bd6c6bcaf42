"""What a model file is.

Its tensors decide. Its name decides only between models that have the same tensors, and for ONNX files, whose tensors
have no lasting names; a published hash overrules the name.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..errors import ModelFileError
from .entries import ModelEntry, known_models, other_files, recognise
from .fingerprints import look_into, sha256_of
from .peek import Peeked


@dataclass(frozen=True)
class IdentifiedFile:
    """A file in a model folder, and what it is.

    Attributes:
        path: the file.
        models: what it may be, the likeliest first; several where its tensors fit several; none if unknown.
        told_by: what it was identified by.
        remark: what is known of a file that is none of our models, else "".
        damaged: why the file cannot be read, in words, else "".
        content: what is in it; None if it cannot be read.
    """

    path: Path
    models: tuple[ModelEntry, ...]
    told_by: Literal["name", "tensors", "hash", ""]
    remark: str = ""
    damaged: str = ""
    content: Peeked | None = field(default=None, compare=False, repr=False)


def identify(path: Path, by_hash: bool = False) -> IdentifiedFile:
    """What a file is, by its tensors.

    Where several published files have the same tensors, its hash decides, then its name (also one that the catalogue
    knows as that of another thing). Such files are hashed once, which takes a second or two; hashes are remembered.

    Args:
        path: the file.
        by_hash: also hash a file whose name and tensors are both unknown, if a published one has its size.
    """
    try:
        content = look_into(path)
    except ModelFileError as error:
        return IdentifiedFile(path, (), "", damaged=str(error).removeprefix(f"{path}: "))
    fitting = recognise(content.shapes)
    # An entry without tensors of its own is known by name alone, among files of its format.
    named = tuple(
        entry
        for entry in models_named(path)
        if (entry in fitting if entry.has else not fitting and content.is_onnx == path.name.lower().endswith(".onnx"))
    )
    name = path.name.lower()
    remark = next((other.what for other in other_files() if name in (file.lower() for file in other.files)), "")
    unknown = not named and not fitting
    if len(fitting) > 1 or (remark and fitting) or (by_hash and unknown):
        exact = identify_by_hash(path, fitting or known_models(None))
        if exact is not None:
            return IdentifiedFile(path, (exact,), "hash", content=content)
    if remark:
        return IdentifiedFile(path, (), "", remark, content=content)
    if len(named) == 1:
        return IdentifiedFile(path, named, "name", content=content)
    return IdentifiedFile(path, fitting, "tensors" if fitting else "", content=content)


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


def models_named(path: Path) -> tuple[ModelEntry, ...]:
    """The models that have a file of this name."""
    name = path.name.lower()
    return tuple(entry for entry in known_models(None) if name in (file.lower() for file in entry.files))


def name_rank(entry: ModelEntry, path: Path) -> int:
    """How usual the file's name is for the model: 0 is the usual one, names that are not listed come last."""
    names = [name.lower() for name in entry.files]
    return names.index(path.name.lower()) if path.name.lower() in names else len(names)
