"""Whether a model file is what it should be: size, hash, strict load, family, and the comparison with the original.

May import `catalogue`, `checkpoints`, `pipeline`, `reference` and `errors`; torch only when something is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from .errors import FaceRestoreError, ModelFileError

if TYPE_CHECKING:
    from .catalogue import ModelEntry

CLOSE_ENOUGH = 1e-3
"""Largest difference from the original network, on values from -1 to 1, that still counts as the same."""


@dataclass(frozen=True)
class Check:
    """One line of `verify`. warning: worth knowing, the file is usable; skipped: could not be tried here."""

    status: Literal["ok", "warning", "failed", "skipped"]
    subject: str
    detail: str


def verify(path: Path, entry: ModelEntry | None, device: str = "cpu", against_reference: bool = False) -> list[Check]:
    """Everything that can be checked of one file. Never raises for what it finds."""
    checks = _published_checks(path, entry)
    kind = entry.kind if entry else "restorer"
    if kind != "restorer":
        return [*checks, *_tensors(path, entry)]
    from .checkpoints import load_network, read_state
    from .runtime import choose_device

    onnx = path.suffix.lower() == ".onnx"
    try:
        state = {} if onnx else read_state(path)
        network = load_network(path if onnx else state, choose_device(device))
    except FaceRestoreError as error:
        return [*checks, Check("failed", "load", str(error))]
    knobs = ", ".join(sorted(network.knobs)) or "none"
    how = "onnxruntime takes it" if onnx else "every tensor fits"
    what = f"{how}: family {network.family}, {network.size} pixels, knobs: {knobs}"
    checks.append(Check("ok", "load", what))
    family = entry.family if entry and not onnx else network.family  # an ONNX file does not tell its family
    if entry and (network.family, network.size) != (family, entry.size):
        expected = f"{entry.id} is of family {entry.family}, {entry.size} pixels"
        checks.append(Check("failed", "family", f"{expected}; this file is not it"))
    if against_reference:
        from .reference import compare

        try:
            apart = compare(network, state, network.read_companions(path.parent))
        except FaceRestoreError as error:
            checks.append(Check("skipped", "reference", str(error)))
        else:
            same = apart.largest <= CLOSE_ENOUGH
            detail = (
                f"{apart.source}: largest difference {apart.largest:.2e}, mean {apart.mean:.2e} "
                f"({apart.crops} crops, values from -1 to 1; {apart.share:.1e} of the picture's contrast)"
            )
            checks.append(Check("ok" if same else "failed", "reference", detail))
    return checks


def _published_checks(path: Path, entry: ModelEntry | None) -> list[Check]:
    from .catalogue import BUILT_IN
    from .catalogue.fingerprints import hash_file

    size = path.stat().st_size
    if entry is None:
        return [Check("warning", "name", "not a model that is known; size and hash cannot be compared")]
    if entry.id == BUILT_IN:
        return [Check("ok", "size", f"{size:,} bytes, part of this package")]
    sizes = {file.bytes for file in entry.published}
    digest = hash_file(path)
    exact = next((file for file in entry.published if file.sha256 == digest), None)
    if exact:
        return [
            Check("ok", "size", f"{size:,} bytes"),
            Check("ok", "sha256", f"{digest}, as published for {exact.name}"),
        ]
    checks = []
    if size in sizes:
        checks.append(Check("ok", "size", f"{size:,} bytes, as published"))
    elif 0 in sizes or not sizes:
        checks.append(Check("skipped", "size", f"{size:,} bytes; nobody states the published size"))
    else:
        wanted = ", ".join(f"{one:,}" for one in sorted(sizes))
        checks.append(Check("warning", "size", f"{size:,} bytes; the published file has {wanted}"))
    if any(not file.sha256 for file in entry.published) or not entry.published:
        checks.append(Check("skipped", "sha256", f"{digest}; nobody states the published one"))
    else:
        checks.append(Check("warning", "sha256", f"{digest} is not a published one: converted, retrained or damaged"))
    return checks


def _tensors(path: Path, entry: ModelEntry | None) -> list[Check]:
    if path.suffix.lower() == ".onnx":
        return [Check("skipped", "tensors", "an ONNX file is looked into when it is used")]
    from .catalogue import recognise
    from .catalogue.peek import peek

    try:
        fitting = [one.id for one in recognise(peek(path).shapes)]
    except ModelFileError as error:
        return [Check("failed", "tensors", str(error))]
    if entry and entry.has and entry.id not in fitting:
        return [Check("failed", "tensors", f"they are not those of {entry.id}")]
    return [Check("ok", "tensors", f"names and shapes are those of {entry.id if entry else 'a model'}")]
