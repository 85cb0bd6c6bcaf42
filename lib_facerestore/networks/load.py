"""`load_network`: turns a model file or a state dict into a `Network` that is ready to run.

The tensors' names and shapes decide which network it is, never the file's name or suffix.
"""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch

from ..catalogue.entries import recognise
from ..catalogue.peek import views
from ..errors import InputError, ModelFileError, OptionError
from ..wording import counted, with_article
from . import cpu_batches
from .archs import FAMILIES, Family, Restorer, Shapes
from .building import building
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


class UnknownFamilyError(ModelFileError):
    """The tensors belong to no supported network; the message lists some of them, and the supported families."""


class Network:
    """A restoration network on its device. Most attributes are those of its `Restorer`.

    Attributes:
        module: the `Restorer`, in evaluation mode.
        family: name of the architecture, e.g. "lite".
        title: the family's name for people, e.g. "CodeFormer".
        size: side of the crop in pixels.
        larger: sides of larger crops that it takes too.
        template: landmark template that the crop is aligned with: "ffhq", "gpen" or "arcface".
        knobs: names of the extra arguments that it takes, e.g. {"fidelity"}.
        precisions: names of the dtypes whose results look the same as those of float32.
        side_by_side: how many parts of a batch may be in work at the same time on a CPU; each needs memory.
        bytes_a_pixel: how much memory in bytes, for each pixel of the part's faces.
        device: device that it runs on.
        dtype: floating-point type that it runs in.
    """

    def __init__(self, module: Restorer, device: str | torch.device, dtype: torch.dtype) -> None:
        self.family, self.title = module.family, module.title
        self.size, self.larger, self.template = module.size, module.larger, module.template
        self.knobs, self.precisions = module.knobs, module.precisions
        self.side_by_side, self.bytes_a_pixel = module.side_by_side, module.bytes_a_pixel
        self.device, self.dtype = torch.device(device), dtype
        self.module = module.to(device=self.device, dtype=dtype).eval().requires_grad_(False)

    def to(self, device: str | torch.device, dtype: torch.dtype | None = None) -> Network:
        """Move the network to a device and convert it to a floating-point type. Safe inside inference mode.

        Args:
            device: device to run on.
            dtype: floating-point type to run in; None keeps the present one.

        Returns:
            The network itself.

        Raises:
            OptionError: the device cannot be used.
        """
        with torch.inference_mode(False), torch.no_grad():
            self.device, self.dtype = usable_device(device), dtype or self.dtype
            self.module.to(device=self.device, dtype=self.dtype)
        return self

    def read_companions(self, folder: Path) -> Mapping[str, torch.Tensor]:
        """Read the additional files that the network needs; see `Restorer.read_companions`."""
        return self.module.read_companions(folder)

    def __call__(self, faces: torch.Tensor, *, fidelity: float | None = None) -> torch.Tensor:
        """Restore aligned faces.

        Args:
            faces: B×3×size×size float, RGB in [-1, 1], on any device; or with a side of `larger`.
            fidelity: from 0 (best quality) to 1 (closest to the input); only allowed if it is in `knobs`.

        Returns:
            float32 tensor of the same shape on the network's device, RGB, nominally in [-1, 1] (not clipped).

        Raises:
            InputError: `faces` has another shape.
            OptionError: the network has no `fidelity`, or its value is not a number from 0 to 1.
        """
        sides = (self.size, *self.larger)
        if faces.ndim != 4 or tuple(faces.shape[1:]) not in [(3, side, side) for side in sides]:
            wanted = " or ".join(f"B×3×{side}×{side}" for side in sides)
            raise InputError(f"faces: shape {tuple(faces.shape)} does not fit {self.family}; give {wanted}.")
        knobs: dict[str, float] = {}
        if fidelity is not None:
            if "fidelity" not in self.knobs:
                known = ", ".join(sorted(self.knobs)) or "none"
                raise OptionError(f"fidelity: {self.family} has no such knob; the knobs it has: {known}.")
            knobs["fidelity"] = _share("fidelity", fidelity)
        faces = faces.to(self.device, self.dtype)
        if not len(faces):
            return faces.float()
        network = partial(self.module, **knobs)
        if self.device.type == "cpu":
            return cpu_batches.run_on_cpu(network, faces, self.side_by_side, self.bytes_a_pixel)
        with torch.inference_mode():
            restored: torch.Tensor = network(faces).float()
            return restored


def load_network(
    source: str | Path | State, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> Network:
    """Load a restoration network; its family is found from the tensors.

    Args:
        source: path of a PyTorch checkpoint, a .safetensors file or an .onnx file (needs onnxruntime); or a state
            dict. A wrapping key such as "params_ema" is allowed.
        device: device to run on.
        dtype: floating-point type to run in.

    Returns:
        The network, ready to be called with faces.

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
    found = find_family(shapes)
    if found is None:
        raise UnknownFamilyError(_unknown(name, shapes))
    family, view = found
    with building():
        module = _build(family, {short: shapes[full] for short, full in view.items()}, name).float()
        fill(module, {short: state[full] for short, full in view.items()}, module.family, name)
        network = Network(module, device, dtype)
        if not isinstance(source, Mapping):
            network.read_companions(Path(source).parent)
        return network


def usable_device(device: str | torch.device, remedy: str = "give cpu, or a device of this machine") -> torch.device:
    """The torch device with this name, after a test that it holds a tensor.

    Args:
        device: torch's name of the device, e.g. "cuda:0".
        remedy: end of the error message, which says what to do.

    Raises:
        OptionError: the device cannot be used.
    """
    try:
        found = torch.device(device)
        torch.empty(1, device=found)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise OptionError(f"device: {str(device)!r} cannot be used here ({reason}); {remedy}.") from error
    return found


def _share(knob: str, value: object) -> float:
    """The value of a knob as a float. Raises OptionError if it is not a number from 0 to 1."""
    if not isinstance(value, bool) and isinstance(value, numbers.Real) and 0 <= float(value) <= 1:
        return float(value)
    raise OptionError(f"{knob}: {value!r} is not allowed; give a number from 0 to 1.")


def find_family(shapes: Shapes) -> tuple[Family, dict[str, str]] | None:
    """Find the family that these tensors belong to.

    Args:
        shapes: names and shapes of a checkpoint's tensors, with or without the prefixes of training code.

    Returns:
        The family, and a mapping from the network's tensor names (without prefixes) to the names in `shapes`. Tensors
        of other networks in the same file are left out. None if no family matches.
    """
    for view in views(shapes):
        seen = {short: shapes[full] for short, full in view.items()}
        for family in FAMILIES:
            if family.matches(seen):
                return family, view
    return None


def _unknown(name: str, shapes: Shapes) -> str:
    known = ", ".join(dict.fromkeys(family.RESTORER.family for family in FAMILIES))
    models = recognise(shapes)
    if models and models[0].kind != "restorer":
        one = models[0]
        return f"{name}: is {one.id}, {with_article(one.kind)}, not a restorer; the families of restorers: {known}."
    return f"{name}: {counted('tensor', shapes)} of no family that is supported ({known}); choose another model file."


def _build(family: Family, shapes: Shapes, name: str) -> Restorer:
    """The family's network, without weights. Raises WrongTensorsError if the shapes do not fit the family."""
    what = f"{name}: looks like {family.RESTORER.family}, but"
    try:
        return family.build(shapes)
    except KeyError as error:
        raise WrongTensorsError(f"{what} lacks the tensor {error.args[0]}; get it again.") from error
    except (IndexError, ValueError, TypeError, RuntimeError, ZeroDivisionError) as error:
        raise WrongTensorsError(
            f"{what} its tensors do not make one ({type(error).__name__}: {error}); get it again."
        ) from error


__all__ = [
    "Network", "NotACheckpointError", "State", "TruncatedFileError", "UnknownFamilyError", "UnsafeFileError",
    "WrongTensorsError", "fill", "find_family", "is_onnx", "load_network", "named_tensors", "read_state",
    "usable_device",
]  # fmt: skip
