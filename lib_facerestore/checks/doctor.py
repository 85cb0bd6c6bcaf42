"""`examine`: reports what is installed, which device and precision are used, what is missing and how to get it."""

from __future__ import annotations

import importlib
import os
import platform
from dataclasses import replace

from ..catalogue import Store, default_models_folder, known_model, known_models, misfit_message
from ..errors import FaceRestoreError
from ..system.torch_versions import reinstall_torchvision
from ..wording import pip_install
from .findings import FILE_OF, Finding
from .installs import PARTS_ONLY, clashes, explain, too_new_a_python, torch_build, version
from .packages import PACKAGES, Package, package_of_module
from .verdict import verdict

_HELPERS = (
    ("retinaface-resnet50", "the built-in detector is used"),
    ("retinaface-mobilenet", "the built-in detector is used"),
    ("bisenet", "the built-in parser is used"),
    ("parsenet", "the built-in parser is used"),
)
"""Models that are used if they are installed, and what is used otherwise."""


def examine(store: Store | None, device: str = "auto", everything: bool = True) -> list[Finding]:
    """Examine this machine. Faults are not raised but reported as findings; the last one is the verdict.

    Args:
        store: the model folders; None if they cannot be found.
        device: name of the device.
        everything: whether packages that only comparisons with the original networks use get a line each.
    """
    system = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    findings = [Finding("system", "ok", system)]
    findings += [_package(package) for package in PACKAGES if everything or not package.compared]
    findings += [] if everything else [_compared()]
    findings += clashes()
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


def _compared() -> Finding:
    """One line for all packages that only comparisons use."""
    missing = [package.name for package in PACKAGES if package.compared and not version(package.name)]
    what = f"not here: {', '.join(missing)}" if missing else "all here"
    return Finding("for comparisons only", "ok", f"{what}; `facerestore doctor --all` says more")


def _package(package: Package) -> Finding:
    """Whether a package is installed and can be imported."""
    name = next((name for name in (package.name, *package.others) if version(name)), package.name)
    there = version(name)
    if there and not package.tried:
        return Finding(package.name, "ok", _shown(package, name, there))
    try:
        if package.torchvision:
            from ..system import facexlib_import

            facexlib_import.prepare()
        found = importlib.import_module(package.module)
        if getattr(found, "__file__", "") is None:  # a folder without code, which a failed pip leaves
            raise ImportError(PARTS_ONLY)
    except Exception as error:  # a broken package may raise anything
        absent = isinstance(error, ModuleNotFoundError) and error.name == package.module
        if there or not absent:
            return _broken(replace(package, name=name), error)
        detail = f"needed for {package.purpose}" + (f"; without it, {package.without}" if package.without else "")
        remedy = package.install + too_new_a_python()
        return Finding(package.name, "missing" if package.role == "required" else "note", detail, remedy)
    return Finding(package.name, "ok", _shown(package, name, there or str(getattr(found, "__version__", "no version"))))


def _shown(package: Package, name: str, version: str) -> str:
    return version if name == package.name else f"{version} ({name})"


def _broken(package: Package, error: Exception) -> Finding:
    if isinstance(error, FaceRestoreError):  # of `prepare`
        detail = f"cannot be imported, because torchvision cannot be; needed for {package.purpose}"
        return Finding(package.name, "broken", detail, reinstall_torchvision())
    what, remedy = explain(error, package)
    reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
    if "torchvision::" in str(error) and _can_be_prepared():
        detail = f"{what} ({reason}); Face Restore works around it, other programs may not"
        return Finding(package.name, "note", detail, remedy)
    remedy = remedy or (package.again if package.module in ("torch", "torchvision") else "")
    detail = f"cannot be imported{': ' + what if what else ''} ({reason}); needed for {package.purpose}"
    return Finding(package.name, "broken", detail, remedy or f"{package.install} --force-reinstall")


def _can_be_prepared() -> bool:
    from ..system import facexlib_import

    try:
        facexlib_import.prepare()
    except Exception:  # as in `_package`
        return False
    return True


def _device(name: str) -> Finding:
    try:
        from ..networks.shelf import choose_device

        device = choose_device(name)
    except Exception as error:  # as in `_package`: torch may be broken
        package = package_of_module("torch")
        what, remedy = explain(error, package) if package else ("", "")
        return Finding("device", "broken", f"{what} ({error})" if what else str(error), remedy or "choose --device cpu")
    import torch

    what = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    why, remedy = torch_build(torch.version.cuda, torch.version.hip, torch.cuda.is_available())
    detail = f"{device} ({what}), precision float32"
    return Finding("device", "note" if why else "ok", f"{detail}; {why}" if why else detail, remedy)


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
