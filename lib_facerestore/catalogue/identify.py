"""`identify`: recognises which model a file is.

The tensors decide. The name decides only between models with the same tensors, and for ONNX files, whose tensors have
no fixed names. A published hash takes precedence over the name.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..errors import ModelFileError, UnreadableFileError
from .entries import ModelEntry, known_models, other_files, recognise
from .fingerprints import look_into, sha256_of
from .peek import Peeked


@dataclass(frozen=True)
class IdentifiedFile:
    """A file in a model folder, and the models that it may be.

    Attributes:
        path: the file.
        models: the models that it may be: several if its tensors fit several, none if it is unknown.
        told_by: how it was identified.
        remark: what the file is, if it is known but not a model of this package, else "".
        fault: "damaged"; or "unreadable", because of its permissions, the disk or a missing package; else "".
        damaged: the fault with its reason and remedy, else "".
        content: its content; None if it cannot be read.
    """

    path: Path
    models: tuple[ModelEntry, ...]
    told_by: Literal["name", "tensors", "hash", ""]
    remark: str = ""
    damaged: str = ""
    fault: Literal["damaged", "unreadable", ""] = ""
    content: Peeked | None = field(default=None, compare=False, repr=False)


def identify(path: Path, by_hash: bool = False) -> IdentifiedFile:
    """Recognise which model a file is.

    If several published files have its tensors, its hash decides, and then its name, which may also be that of a known
    file that is not a model. Hashing takes a second or two, once: hashes are remembered.

    Args:
        path: the file.
        by_hash: whether to hash files with unknown name and tensors too, if a published file has the same size.
    """
    try:
        content = look_into(path)
    except ModelFileError as error:
        reason = str(error).removeprefix(f"{path}: ")
        fault: Literal["damaged", "unreadable"] = "unreadable" if isinstance(error, UnreadableFileError) else "damaged"
        return IdentifiedFile(path, (), "", damaged=reason, fault=fault)
    fitting = recognise(content.shapes)
    # A model without tensors in the catalogue is recognised by its name and format only.
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
    """The model whose published file has the same hash, or None. The file is hashed only if it has a published size."""
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
    """The models that have a file with this name (upper or lower case)."""
    name = path.name.lower()
    return tuple(entry for entry in known_models(None) if name in (file.lower() for file in entry.files))


def name_rank(entry: ModelEntry, path: Path) -> int:
    """Position of the file's name among the model's names: 0 for the usual one, the highest for unknown names."""
    names = [name.lower() for name in entry.files]
    return names.index(path.name.lower()) if path.name.lower() in names else len(names)
