"""`verdict`: whether faces can be restored here, and the most useful next step; the last finding of `doctor`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..catalogue import BUILT_IN, Store, weights_path
from .findings import FILE_OF, Finding
from .installs import explain
from .packages import PACKAGES, package_of_module

FIRST_DOWNLOAD = "gfpgan-1.4"
"""The restorer that a newcomer should get first; docs/models.md says why."""
SUBJECT = "verdict"

_REQUIRED = frozenset(package.name for package in PACKAGES if package.role == "required")


def verdict(findings: Sequence[Finding], store: Store | None, device: str) -> Finding:
    """The verdict. The built-in networks are run for it, so that it is no guess.

    Args:
        findings: everything else that `doctor` has found.
        store: the model folders; None if they cannot be found.
        device: name of the device.
    """
    reason = _fault(device)
    if reason:
        torch = package_of_module("torch")
        remedy = explain(reason, torch)[1] if torch else ""
        remedy = remedy or _next(findings, False)
        return Finding(SUBJECT, "broken", f"faces cannot be restored here ({reason})", remedy)
    default = next(iter(store.scan().usable()), BUILT_IN) if store else BUILT_IN
    step = _next(findings, default == BUILT_IN)
    return Finding(SUBJECT, "ok", f"faces can be restored here, by default with {default}", step)


def _fault(device: str) -> str:
    """Why the built-in networks do not run, or ""."""
    try:
        import numpy as np
        import torch

        from ..networks.load import load_network
        from ..networks.shelf import choose_device
        from ..stages.detection.lite import load_lite

        where = choose_device(device)
        load_lite(where).detect([np.full((64, 64, 3), 128, np.uint8)], 0.5)
        network = load_network(weights_path("lite_restorer.safetensors"), where)
        network(torch.zeros(1, 3, network.size, network.size))
    except Exception as error:  # a broken package may raise anything
        return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
    return ""


def _next(findings: Sequence[Finding], only_built_in: bool) -> str:
    """The most useful next step."""
    bad = [finding for finding in findings if finding.status in ("missing", "broken")]
    files = [finding for finding in findings if finding.subject.startswith(FILE_OF)]
    found = _remedy(finding for finding in bad if finding.subject in _REQUIRED) or _remedy(bad, but_packages=True)
    found = found or _remedy(files)
    if not found and only_built_in:
        found = f"`facerestore models download {FIRST_DOWNLOAD}` gets a restorer that adds detail"
    return found or _remedy(bad) or "`facerestore restore PHOTO -o RESULT.png`"


def _remedy(findings: Iterable[Finding], but_packages: bool = False) -> str:
    names = {package.name for package in PACKAGES} if but_packages else set()
    chosen = (finding for finding in findings if finding.remedy and finding.subject not in names)
    return next((f"{finding.subject}: {finding.remedy}" for finding in chosen), "")
