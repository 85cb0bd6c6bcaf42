"""`examine`: reports what is installed, which device and precision are used, what is missing and how to get it."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform

from ..catalogue import Store, default_models_folder, known_model, known_models, misfit_message
from ..errors import FaceRestoreError
from ..wording import pip_install
from .findings import FILE_OF, Finding
from .packages import PACKAGES, Package
from .verdict import verdict

_HELPERS = (
    ("retinaface-resnet50", "the built-in detector is used"),
    ("retinaface-mobilenet", "the built-in detector is used"),
    ("bisenet", "the built-in parser is used"),
    ("parsenet", "the built-in parser is used"),
)
"""Models that are used if they are installed, and what is used otherwise."""


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def examine(store: Store | None, device: str = "auto") -> list[Finding]:
    """Examine this machine. Faults are not raised but reported as findings; the last one is the verdict.

    Args:
        store: the model folders; None if they cannot be found.
        device: name of the device.
    """
    system = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    findings = [Finding("system", "ok", system)]
    findings += [_package(package) for package in PACKAGES]
    findings.append(_device(device))
    findings += _models(store) if store else [_no_folder()]
    return [*findings, verdict(findings, store, device)]


def _no_folder() -> Finding:
    try:
        return Finding("model folder", "note", f"{default_models_folder()}")
    except FaceRestoreError as error:
        package_lacks = isinstance(error.__cause__, ImportError)
        remedy = pip_install("platformdirs") if package_lacks else "name a folder with --models DIR"
        return Finding("model folder", "broken", str(error), remedy)


def _package(package: Package) -> Finding:
    """Whether a package is installed and can be imported."""
    version = _version(package.name)
    if version and not package.tried:
        return Finding(package.name, "ok", version)
    try:
        if package.torchvision:
            from ..system import facexlib_import

            facexlib_import.prepare()
        found = importlib.import_module(package.module)
    except Exception as error:  # a broken package may raise anything
        if version:
            remedy = f"{package.install} --force-reinstall"
            return Finding(
                package.name, "broken", f"cannot be imported ({error}); needed for {package.purpose}", remedy
            )
        detail = f"needed for {package.purpose}" + (f"; without it, {package.without}" if package.without else "")
        return Finding(package.name, "missing" if package.role == "required" else "note", detail, package.install)
    return Finding(package.name, "ok", version or str(getattr(found, "__version__", "version unknown")))


def _device(name: str) -> Finding:
    try:
        from ..networks.shelf import choose_device

        device = choose_device(name)
    except Exception as error:  # as in `_package`: torch may be broken
        return Finding("device", "broken", str(error), "choose --device cpu")
    import torch

    what = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    return Finding("device", "ok", f"{device} ({what}), precision float32")


def _closed(sentence: str) -> Finding:
    detail, _, remedy = sentence.rstrip(".").rpartition("; ")
    return Finding("model folder", "broken", detail, remedy)


def _models(store: Store) -> list[Finding]:
    folder = store.folders[0]
    exists = os.path.isdir(folder)
    remedy = "" if exists else "put model files there, or name another folder with --models or FACERESTORE_MODELS"
    findings = [Finding("model folder", "ok" if exists else "note", f"{folder}", remedy)]
    try:
        inventory = store.scan()
        findings += [_closed(sentence) for sentence in inventory.closed]
        installed = inventory.installed(None)
    except (FaceRestoreError, ImportError) as error:
        return [*findings, Finding("restorers", "broken", str(error), "install lib_facerestore again")]
    there = [entry for entry in known_models() if entry.id in installed]
    restorers = [entry.id for entry in there]
    incomplete = {entry.id: lacking for entry in there if (lacking := entry.lacking(installed[entry.id]))}
    findings.append(Finding("restorers", "ok", ", ".join(name for name in restorers if name not in incomplete)))
    for name, lacking in incomplete.items():
        detail = f"{installed[name]}: its folder lacks {', '.join(lacking)}"
        findings.append(Finding(f"{FILE_OF}{name}", "note", detail, "copy these files there"))
    misfits = inventory.misfits(None)
    for name, otherwise in _HELPERS:
        entry = known_model(name)
        subject = f"{entry.kind if entry else 'model'} {name}"
        if name in installed:
            findings.append(Finding(subject, "ok", installed[name].name))
        elif name not in misfits:
            file = entry.files[0] if entry else name
            remedy = f"put {file} into {folder}, or get it with `facerestore models download {name}`"
            findings.append(Finding(subject, "note", f"not installed: {otherwise}", remedy))
    for name, misfit in misfits.items():
        remedy = f"move it away, then `facerestore models download {name}`"
        if misfit.fault == "unreadable":
            remedy = misfit.damaged.rpartition("; ")[2].rstrip(".")
        findings.append(Finding(f"{FILE_OF}{name}", "note", misfit_message(misfit), remedy))
    return findings
