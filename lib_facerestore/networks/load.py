"""From a file, or a state dict, to a network that is ready to run.

Which network it is, is read off the tensors' names and shapes, never off the file's name or suffix;
`checkpoint_files` reads them.
"""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from ..catalogue.entries import recognise
from ..catalogue.peek import views
from ..errors import InputError, ModelFileError, OptionError
from . import cpu_batches
from .archs import FAMILIES
from .checkpoint_files import (
    NotACheckpointError,
    State,
    TruncatedFileError,
    UnsafeFileError,
    WrongTensorsError,
    is_onnx,
    named_tensors,
    read_state,
)
from .strict import fill

LARGEST_SEED = 2**63 - 1

SIDE_BY_SIDE = 4
"""Parts of a batch in work at a time on a CPU, where the network does not say."""


class UnknownFamilyError(ModelFileError):
    """The tensors are of no network that is supported; the message lists what was seen and what is supported."""


class Network:
    """A restoration network with what is known about it.

    Attributes:
        family: which architecture, e.g. "lite".
        size: native side of the crop in pixels.
        template: which landmark template the crop is aligned with: "ffhq" or "gpen".
        knobs: names of the extra arguments that it takes, e.g. {"fidelity"}.
        precisions: dtype names that give the same picture as float32 to the eye.
        side_by_side: how many parts of a batch may be in work at a time on a CPU; each takes memory of its own.
        bytes_a_pixel: how much of it, for each pixel of its faces.
    """

    def __init__(self, module: nn.Module, device: str | torch.device, dtype: torch.dtype) -> None:
        self.family: str = module.family  # type: ignore[assignment]
        self.size: int = module.size  # type: ignore[assignment]
        self.template: str = module.template  # type: ignore[assignment]
        self.knobs: frozenset[str] = module.knobs  # type: ignore[assignment]
        self.precisions: tuple[str, ...] = module.precisions  # type: ignore[assignment]
        self.side_by_side: int = getattr(module, "side_by_side", SIDE_BY_SIDE)
        self.bytes_a_pixel: int = getattr(module, "bytes_a_pixel", cpu_batches.BYTES)
        self.device = torch.device(device)
        self.dtype = dtype
        self.module = module.to(device=self.device, dtype=dtype).eval().requires_grad_(False)

    def to(self, device: str | torch.device, dtype: torch.dtype | None = None) -> Network:
        """Move the network, and give it another floating-point type; returns itself. Safe inside inference mode.

        Raises OptionError for a device that cannot be used.
        """
        with torch.inference_mode(False), torch.no_grad():
            self.device, self.dtype = usable_device(device), dtype or self.dtype
            self.module.to(device=self.device, dtype=self.dtype)
        return self

    def read_companions(self, folder: Path) -> Mapping[str, torch.Tensor]:
        """Take what the network needs beside its own file, such as DFDNet's dictionaries.

        Args:
            folder: the folder of the model file.

        Returns:
            What was read, by the names of the files; nothing for most networks.

        Raises:
            ModelFileError: something is missing or damaged; names the files.
        """
        read = getattr(self.module, "read_companions", None)
        return read(folder) if callable(read) else {}

    def __call__(self, faces: torch.Tensor, *, fidelity: float | None = None, seed: int | None = None) -> torch.Tensor:
        """Restore aligned faces.

        Args:
            faces: B×3×size×size float, RGB in [-1, 1], on any device.
            fidelity: fidelity weight, 0 best quality to 1 closest to the input; only where `knobs` has it.
            seed: draws the network's noise anew, reproducibly; only where `knobs` has it. None: the noise in the file.

        Returns:
            float32 of the same shape on the network's device, nominally in [-1, 1].

        Raises:
            InputError: the tensor has another shape.
            OptionError: a knob is given that this network lacks, or a value that it does not take.
        """
        if faces.ndim != 4 or tuple(faces.shape[1:]) != (3, self.size, self.size):
            raise InputError(
                f"faces: shape {tuple(faces.shape)} does not fit {self.family}; give B×3×{self.size}×{self.size}."
            )
        arguments: dict[str, Any] = {}
        for knob, value in (("fidelity", fidelity), ("seed", seed)):
            if value is not None:
                if knob not in self.knobs:
                    known = ", ".join(sorted(self.knobs)) or "none"
                    raise OptionError(f"{knob}: {self.family} has no such knob; the knobs it has: {known}.")
                arguments[knob] = _knob_value(knob, value)
        faces = faces.to(self.device, self.dtype)
        if not len(faces):
            return faces.float()
        network = partial(self.module, **arguments)
        if self.device.type == "cpu":
            return cpu_batches.run(network, faces, self.side_by_side, self.bytes_a_pixel)
        with torch.inference_mode():
            restored: torch.Tensor = network(faces).float()
            return restored


def load_network(
    source: str | Path | State, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> Network:
    """Load a restoration network; its family is found from the tensors.

    Args:
        source: path of a .pth, .pt, .ckpt, .safetensors or .onnx file (this last needs onnxruntime), or a state dict,
            with or without a wrapping key such as "params_ema".
        device: where it will run.
        dtype: floating-point type it will run in.

    Raises:
        ModelFileError: the file is missing. Its sub-classes say what else is wrong: `NotACheckpointError`,
            `TruncatedFileError`, `UnsafeFileError`, `UnknownFamilyError`, `WrongTensorsError`.
        OptionError: the device cannot be used.
    """
    device = usable_device(device)
    if not isinstance(source, Mapping) and is_onnx(Path(source)):
        from .onnx import load_onnx

        return Network(load_onnx(Path(source), device), device, dtype)
    name = "the state dict" if isinstance(source, Mapping) else str(source)
    state = named_tensors(source, name) if isinstance(source, Mapping) else read_state(Path(source))
    shapes = {key: tuple(value.shape) for key, value in state.items()}
    family, view = find_family(shapes)
    if family is not None:
        # A host may call us inside inference mode; parameters born there could never be moved again.
        with torch.inference_mode(False), torch.no_grad():
            module = _build(family, {short: shapes[full] for short, full in view.items()}, name)
            fill(module, {short: state[full] for short, full in view.items()}, str(module.family), name)
            network = Network(module, device, dtype)
            if not isinstance(source, Mapping):
                network.read_companions(Path(source).parent)
            return network
    raise UnknownFamilyError(_unknown(name, shapes))


def usable_device(device: str | torch.device, remedy: str = "give cpu, or a device of this machine") -> torch.device:
    """The torch device of that name, once it is sure that something can be put on it. Raises OptionError."""
    try:
        found = torch.device(device)
        torch.empty(1, device=found)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise OptionError(f"device: {str(device)!r} cannot be used here ({reason}); {remedy}.") from error
    return found


def _knob_value(knob: str, value: object) -> int | float:
    """The value as the networks take it, whatever kind of number it came as. Raises OptionError."""
    if not isinstance(value, bool) and isinstance(value, numbers.Real):
        if knob == "fidelity" and 0 <= float(value) <= 1:
            return float(value)
        if knob == "seed" and isinstance(value, numbers.Integral) and 0 <= int(value) <= LARGEST_SEED:
            return int(value)
    wanted = f"whole number from 0 to {LARGEST_SEED}" if knob == "seed" else "number from 0 to 1"
    raise OptionError(f"{knob}: {value!r} is not allowed; give a {wanted}.")


def find_family(shapes: Mapping[str, tuple[int, ...]]) -> tuple[ModuleType | None, dict[str, str]]:
    """The module of `archs` whose network has tensors of these names and shapes, or None; and the tensors that are the
    network's, from the name there to the name given (prefixes and the groups beside them are dropped)."""
    for view in views(shapes):
        seen = {short: shapes[full] for short, full in view.items()}
        for family in FAMILIES:
            if family.matches(seen):
                return family, view
    return None, {}


def _unknown(name: str, shapes: Mapping[str, tuple[int, ...]]) -> str:
    known = ", ".join(family.__name__.rsplit(".", 1)[-1] for family in FAMILIES)
    models = recognise(shapes)
    if models and models[0].kind != "restorer":
        one = models[0]
        return f"{name}: is {one.id}, a {one.kind}, not a restorer; the families of restorers: {known}."
    seen = ", ".join(list(shapes)[:4]) or "nothing"
    return (
        f"{name}: {len(shapes)} tensors ({seen}, …) of no family that is supported ({known}); choose another model "
        "file."
    )


def _build(family: Any, shapes: Mapping[str, tuple[int, ...]], name: str) -> nn.Module:
    """The family's empty network; hyper-parameters that cannot be read off mean that tensors are missing."""
    try:
        module: nn.Module = family.build(shapes)
    except ModelFileError:
        raise
    except (KeyError, IndexError, ValueError, TypeError, RuntimeError, ZeroDivisionError, StopIteration) as error:
        what = family.__name__.rsplit(".", 1)[-1]
        raise WrongTensorsError(
            f"{name}: looks like {what}, but its tensors do not make one ({type(error).__name__}: {error}); get it "
            "again."
        ) from error
    return module


__all__ = [
    "Network", "NotACheckpointError", "State", "TruncatedFileError", "UnknownFamilyError", "UnsafeFileError",
    "WrongTensorsError", "fill", "find_family", "is_onnx", "load_network", "named_tensors", "read_state",
    "usable_device",
]  # fmt: skip
