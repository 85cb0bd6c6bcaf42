"""Makes facexlib, spandrel, basicsr and gfpgan importable if the installed torchvision is incomplete.

All four import torchvision. On some machines one of two faults makes that fail, although this package does not need the
missing parts. Both faults can only be corrected for the whole process:

* The compiled part was built for another torch and cannot be loaded. The import then fails, because the operators
  `torchvision::nms` and `torchvision::qnms` are not defined. They are registered with torch here, and the function
  `torchvision.ops.nms`, which requires the compiled part, is replaced.
* The old module `torchvision.transforms.functional_tensor`, from which basicsr imports one name, no longer exists. A
  module with that name is added.

Existing parts are never replaced. `prepare` imports torchvision; importing this module does not.
"""

from __future__ import annotations

import importlib
import logging
import sys
import threading
import types
from typing import Any

import numpy as np
import torch

from ..errors import FaceRestoreError
from ..wording import pip_install
from .torch_versions import reinstall_torchvision

logger = logging.getLogger(__name__)

_FUNCTIONAL_TENSOR = "torchvision.transforms.functional_tensor"
_lock = threading.RLock()
_prepared = False
_libraries: list[torch.library.Library] = []  # kept, because operators vanish with their Library object


def nms(boxes: torch.Tensor, scores: torch.Tensor, iou: float) -> torch.Tensor:
    """Greedy non-maximum suppression: a box is dropped if it overlaps a better one by more than `iou`.

    Args:
        boxes: N×4 (x0, y0, x1, y1), of any real dtype and unit. A box with reversed corners has area 0.
        scores: N, higher is better; of equal scores the earlier box is better.
        iou: largest allowed overlap (intersection over union), 0 to 1.

    Returns:
        int64 indices of the remaining boxes, best first, on the device of `boxes`.

    Raises:
        ValueError: the shapes do not fit.
    """
    if boxes.ndim != 2 or boxes.shape[1] != 4 or scores.shape != boxes.shape[:1]:
        raise ValueError(f"nms needs boxes N×4 and scores N, got {tuple(boxes.shape)} and {tuple(scores.shape)}")
    corners = boxes.detach().to("cpu", torch.float32).numpy()
    order = np.argsort(-scores.detach().to("cpu", torch.float32).numpy(), kind="stable")
    x0, y0, x1, y1 = corners[order].T
    area = np.maximum(x1 - x0, 0) * np.maximum(y1 - y0, 0)
    alive = np.ones(len(order), dtype=bool)
    kept: list[int] = []
    for best in range(len(order)):
        if not alive[best]:
            continue
        kept.append(int(order[best]))
        rest = slice(best + 1, None)
        width = np.minimum(x1[best], x1[rest]) - np.maximum(x0[best], x0[rest])
        height = np.minimum(y1[best], y1[rest]) - np.maximum(y0[best], y0[rest])
        common = np.maximum(width, 0) * np.maximum(height, 0)
        alive[rest] &= common <= iou * (area[best] + area[rest] - common)
    return torch.tensor(kept, dtype=torch.int64, device=boxes.device)


def prepare() -> None:
    """Correct torchvision's faults. Call this before importing facexlib, spandrel, basicsr or gfpgan.

    Further calls do nothing. It may be called from several threads.

    Raises:
        FaceRestoreError: torchvision is not installed, or has another fault.
    """
    global _prepared
    with _lock:
        if _prepared:
            return
        torchvision = _import_torchvision()
        _replace_nms_if_missing(torchvision)
        _add_functional_tensor()
        _prepared = True


def import_facexlib(module: str) -> types.ModuleType:
    """Import a module of facexlib by its full name, e.g. "facexlib.detection.retinaface".

    Raises:
        FaceRestoreError: facexlib, or a package that it needs, cannot be imported.
    """
    prepare()
    try:
        return importlib.import_module(module)
    except Exception as error:  # a broken optional package may raise anything at import
        raise FaceRestoreError(
            f"{module} cannot be imported ({error}); install it with `{pip_install('facexlib')}`. "
            "Without it only detectors and parsers that do not need it work, such as the built-in ones."
        ) from error


def _import_torchvision() -> types.ModuleType:
    try:
        return importlib.import_module("torchvision")
    except ImportError as error:
        raise FaceRestoreError(
            f"torchvision cannot be imported ({error}); install the one that belongs to torch {torch.__version__}: "
            f"`{reinstall_torchvision()}`"
        ) from error
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise FaceRestoreError(
                f"torchvision cannot be imported ({error}); install it again: `{reinstall_torchvision()}`"
            ) from error
        logger.debug("torchvision's compiled part is missing (%s); defining its operators", error)
    for name in [name for name in sys.modules if name == "torchvision" or name.startswith("torchvision.")]:
        del sys.modules[name]
    _define_operators()
    try:
        return importlib.import_module("torchvision")
    except Exception as error:
        raise FaceRestoreError(
            f"torchvision cannot be imported, even with its operators defined ({error}); install the one that belongs "
            f"to torch {torch.__version__}: `{reinstall_torchvision()}`"
        ) from error


def _define_operators() -> None:
    """Define `torchvision::nms` and `torchvision::qnms` as `nms` if they are missing."""
    for name in ("nms", "qnms"):
        if _has_operator(name):
            continue
        library = torch.library.Library("torchvision", "FRAGMENT")
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        for key in ("CPU", "CUDA", "QuantizedCPU"):
            library.impl(name, _operator, key)
        _libraries.append(library)


def _operator(dets: torch.Tensor, scores: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    """`nms` with the operators' argument names, also for quantized tensors."""
    if dets.is_quantized:
        dets, scores = dets.dequantize(), scores.dequantize()
    return nms(dets, scores, iou_threshold)


def _has_operator(name: str) -> bool:
    try:
        getattr(torch.ops.torchvision, name)
    except (AttributeError, RuntimeError):
        return False
    return True


def _replace_nms_if_missing(torchvision: Any) -> None:
    """Replace `torchvision.ops.nms`, which fails without the compiled part even if its operator is defined."""
    if torchvision.extension._has_ops():
        return

    def torchvision_nms(boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float) -> torch.Tensor:
        return nms(boxes, scores, iou_threshold)

    torchvision.ops.nms = torchvision_nms
    torchvision.ops.boxes.nms = torchvision_nms


def _add_functional_tensor() -> None:
    """Add the missing module, with the one name that basicsr imports from it."""
    try:
        importlib.import_module(_FUNCTIONAL_TENSOR)
        return
    except ImportError:
        pass
    functional = importlib.import_module("torchvision.transforms.functional")
    stub = types.ModuleType(_FUNCTIONAL_TENSOR, "Names that basicsr imports from a module that torchvision dropped.")
    stub.rgb_to_grayscale = functional.rgb_to_grayscale  # type: ignore[attr-defined]
    sys.modules[_FUNCTIONAL_TENSOR] = stub
    importlib.import_module("torchvision.transforms").functional_tensor = stub  # type: ignore[attr-defined]
