"""`verify`: checks a model file's size, hash, tensors and family, and compares it with the original network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..catalogue import BUILT_IN, known_models, package_is_there
from ..catalogue.fingerprints import hash_file, look_into
from ..errors import FaceRestoreError, ModelFileError
from ..wording import pip_install

if TYPE_CHECKING:
    import torch

    from ..catalogue import ModelEntry
    from ..networks.load import Network

CLOSE_ENOUGH = 1e-3
"""Largest allowed difference from the original network's output, on values from -1 to 1."""


@dataclass(frozen=True)
class Check:
    """The result of one check. "warning" means that the file is usable, "skipped" that the check was not possible."""

    status: Literal["ok", "warning", "failed", "skipped"]
    subject: str
    detail: str


def verify(path: Path, entry: ModelEntry | None, device: str = "cpu", against_reference: bool = False) -> list[Check]:
    """Run all checks on one file. Faults are not raised but reported.

    Args:
        path: the file.
        entry: the model that it should be; None if it is not a known one.
        device: name of the device to load it on.
        against_reference: whether to compare with the original network.
    """
    checks = _published_checks(path, entry)
    network = None
    try:
        package = package_lacking(path, entry)
        if package:
            checks.append(Check("skipped", "load", f"needs the package {package}: {pip_install(package)}"))
        elif entry and not entry.used:
            checks.append(Check("skipped", "load", "Face Restore does not use this model and cannot load it"))
        else:
            network = load(path, entry, device)
            checks.append(Check("ok", "load", _loaded(path, entry, network)))
    except ModelFileError as error:
        checks.append(Check("failed", "load", str(error)))
    except FaceRestoreError as error:  # a package or device that cannot be used
        checks.append(Check("skipped", "load", str(error)))
    if network is not None:
        # an ONNX file does not show its family
        family = entry.family if entry and not look_into(path).is_onnx else network.family
        if entry and (network.family, network.size) != (family, entry.size):
            expected = f"{entry.id} is of family {entry.family}, {entry.size} pixels"
            checks.append(Check("failed", "family", f"{expected}; this file is something else"))
        try:
            companions = network.read_companions(path.parent)
        except ModelFileError as error:
            checks.append(Check("failed", "companions", str(error)))
            companions = {}
        if against_reference:
            checks.append(_reference(path, network, companions))
    elif against_reference:
        other = entry is not None and entry.kind != "restorer"
        why = "only restorers are compared" if other else "no network was loaded"
        checks.append(Check("skipped", "reference", why))
    return checks


def package_lacking(path: Path, entry: ModelEntry | None) -> str:
    """Name of the package that is missing for loading this file, or "". Raises ModelFileError if it is damaged."""
    needs = entry.needs if entry else "onnxruntime" if look_into(path).is_onnx else ""
    return needs if needs and not package_is_there(needs) else ""


def load(path: Path, entry: ModelEntry | None, device: str = "cpu") -> Network | None:
    """Load a file strictly, as the stage that uses it does. Further files that the network needs are not read.

    Args:
        path: the file.
        entry: the model that it should be; None for a restorer that is not a known model.
        device: name of the device.

    Returns:
        The network of a restorer, None for other kinds.

    Raises:
        ModelFileError: the file cannot be used.
        FaceRestoreError: a package or the device cannot be used.
    """
    look_into(path)  # raises an error for a damaged file of any kind
    from ..networks.shelf import choose_device

    where = choose_device(device)
    if entry is None or entry.kind == "restorer":
        from ..networks.load import load_network, read_state

        if look_into(path).is_onnx:
            return load_network(path, where)
        state = read_state(path)
        try:
            return load_network(state, where)  # from the state, since with the path it would also read further files
        except ModelFileError as error:
            raise ModelFileError(f"{path}: {str(error).removeprefix('the state dict: ')}") from error
    if entry.kind == "parser":
        from ..stages.parsing import load_parser

        is_named = load_parser(path, where).name
        if is_named != entry.id:
            raise ModelFileError(f"{path}: is {is_named}, not {entry.id}.")
    elif entry.kind == "upscaler":
        from ..stages.background import load_upscaler

        load_upscaler(path, where)
    else:
        from ..stages.detection import load_detector

        load_detector(entry.id, path, where)
    return None


def _loaded(path: Path, entry: ModelEntry | None, network: Network | None) -> str:
    how = "every tensor fits"
    if look_into(path).is_onnx:
        how = "OpenCV can load it" if network is None else "onnxruntime can load it"
    if network is None:
        return f"{how}: {entry.kind} {entry.id}" if entry else how
    knobs = ", ".join(sorted(network.knobs)) or "none"
    return f"{how}: family {network.family}, {network.size} pixels, knobs: {knobs}"


def _reference(path: Path, network: Network, companions: Mapping[str, torch.Tensor]) -> Check:
    from ..networks.load import read_state
    from .originals import compare

    try:
        state = {} if look_into(path).is_onnx else read_state(path)
        apart = compare(network, state, companions)
    except FaceRestoreError as error:
        return Check("skipped", "reference", str(error))
    detail = (
        f"{apart.source}: largest difference {apart.largest:.2e}, mean {apart.mean:.2e} "
        f"({apart.crops} crops, values from -1 to 1; {apart.share:.1e} of the picture's contrast)"
    )
    return Check("ok" if apart.largest <= CLOSE_ENOUGH else "failed", "reference", detail)


def _published_checks(path: Path, entry: ModelEntry | None) -> list[Check]:
    size = path.stat().st_size
    if entry is None:
        return [Check("warning", "name", "not a known model; size and hash cannot be compared")]
    if entry.id == BUILT_IN:
        return [Check("ok", "size", f"{size:,} bytes, part of this package")]
    sizes = {file.bytes for file in entry.published}
    digest = hash_file(path)
    theirs = next((one.id for one in known_models(None) for file in one.published if file.sha256 == digest), entry.id)
    if theirs != entry.id:
        return [Check("failed", "sha256", f"{digest}: this is the published file of {theirs}, not of {entry.id}")]
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
        checks.append(Check("skipped", "size", f"{size:,} bytes; the correct size is not published"))
    else:
        wanted = ", ".join(f"{one:,}" for one in sorted(sizes))
        checks.append(Check("warning", "size", f"{size:,} bytes; the published file has {wanted}"))
    if any(not file.sha256 for file in entry.published) or not entry.published:
        checks.append(Check("skipped", "sha256", f"{digest}; the correct one is not published"))
    else:
        checks.append(Check("warning", "sha256", f"{digest} is not a published one: converted, retrained or damaged"))
    return checks
