"""From a file, or a state dict, to a network that is ready to run.

What a file is, is read off its tensors' names and shapes, never off its name. Loading is always `weights_only`, from an
open file: some hosts replace `torch.load` and rename a user's file when it is handed over as a string and fails.
May import `archs` and `errors`.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn

from .archs import FAMILIES
from .errors import InputError, ModelFileError, OptionError

WRAPPING_KEYS = ("params_ema", "params", "state_dict", "g_ema")
"""Keys under which public checkpoints keep their tensors, in the order of preference."""

State = Mapping[str, torch.Tensor]


class Network:
    """A restoration network with what is known about it.

    Attributes:
        family: which architecture, e.g. "lite".
        size: native side of the crop in pixels.
        template: which landmark template the crop is aligned with: "ffhq" or "gpen".
        knobs: names of the extra arguments that it takes, e.g. {"fidelity"}.
        precisions: dtype names that give the same picture as float32 to the eye.
    """

    def __init__(self, module: nn.Module, device: str | torch.device, dtype: torch.dtype) -> None:
        self.family: str = module.family  # type: ignore[assignment]
        self.size: int = module.size  # type: ignore[assignment]
        self.template: str = module.template  # type: ignore[assignment]
        self.knobs: frozenset[str] = module.knobs  # type: ignore[assignment]
        self.precisions: tuple[str, ...] = module.precisions  # type: ignore[assignment]
        self.device = torch.device(device)
        self.dtype = dtype
        self.module = module.to(device=self.device, dtype=dtype).eval().requires_grad_(False)

    def __call__(self, faces: torch.Tensor, *, fidelity: float | None = None) -> torch.Tensor:
        """Restore aligned faces.

        Args:
            faces: B×3×size×size float, RGB in [-1, 1], on any device.
            fidelity: fidelity weight, 0 best quality to 1 closest to the input; only where `knobs` has it.

        Returns:
            float32 of the same shape on the network's device, nominally in [-1, 1].

        Raises:
            InputError: the tensor has another shape.
            OptionError: a knob is given that this network lacks.
        """
        if faces.ndim != 4 or tuple(faces.shape[1:]) != (3, self.size, self.size):
            raise InputError(
                f"faces: shape {tuple(faces.shape)} does not fit {self.family}; give B×3×{self.size}×{self.size}."
            )
        arguments: dict[str, Any] = {}
        if fidelity is not None:
            if "fidelity" not in self.knobs:
                known = ", ".join(sorted(self.knobs)) or "none"
                raise OptionError(f"fidelity: {self.family} has no such knob; the knobs it has: {known}.")
            arguments["fidelity"] = fidelity
        with torch.inference_mode():
            return self.module(faces.to(self.device, self.dtype), **arguments).float()


def load_network(
    source: str | Path | State, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> Network:
    """Load a restoration network; its family is found from the tensors.

    Args:
        source: path of a .pth, .pt, .ckpt or .safetensors file, or a state dict.
        device: where it will run.
        dtype: floating-point type it will run in.

    Raises:
        ModelFileError: the file is missing, damaged, asks to run code, or is of an unknown family.
    """
    name = "the state dict" if isinstance(source, Mapping) else str(source)
    state = source if isinstance(source, Mapping) else read_state(Path(source))
    shapes = {key: tuple(value.shape) for key, value in state.items()}
    for family in FAMILIES:
        if family.matches(shapes):
            # A host may call us inside inference mode; parameters born there could never be moved again.
            with torch.inference_mode(False), torch.no_grad():
                module = family.build(shapes)
                _fill(module, state, name)
                return Network(module, device, dtype)
    seen = ", ".join(list(shapes)[:4]) or "nothing"
    known = ", ".join(family.__name__.rsplit(".", 1)[-1] for family in FAMILIES)
    raise ModelFileError(
        f"{name}: {len(shapes)} tensors ({seen}, …) of no family that is supported "
        f"({known}); choose another model file."
    )


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint, without its wrapping key. Raises ModelFileError: names the file and the remedy."""
    if not path.is_file():
        raise ModelFileError(f"{path}: there is no such model file; check the path, or see `facerestore models list`.")
    try:
        with open(path, "rb") as file:
            if path.suffix == ".safetensors":
                return safetensors.torch.load(file.read())
            content = torch.load(file, map_location="cpu", weights_only=True)
    except safetensors.SafetensorError as error:
        raise ModelFileError(f"{path}: damaged, or not a safetensors file ({error}); get it again.") from error
    except pickle.UnpicklingError as error:
        reason = str(error).splitlines()[0] if str(error) else "unreadable pickle"
        raise ModelFileError(
            f"{path}: not a plain checkpoint of tensors ({reason}); it was not loaded, since such a file may run "
            "code. Get the original file, or its .safetensors version."
        ) from error
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ModelFileError(f"{path}: damaged, cut off, or not a checkpoint ({error}); get it again.") from error
    return _unwrap(content, path)


def _unwrap(content: object, path: Path) -> dict[str, torch.Tensor]:
    if isinstance(content, Mapping):
        for key in WRAPPING_KEYS:
            if isinstance(content.get(key), Mapping):
                content = content[key]
                break
    if isinstance(content, Mapping):
        tensors = {str(key): value for key, value in content.items() if isinstance(value, torch.Tensor)}
        if tensors:
            return tensors
    raise ModelFileError(f"{path}: holds no tensors that have names; it is not a checkpoint. Choose another file.")


def _fill(module: nn.Module, state: State, name: str) -> None:
    own = {key: tuple(value.shape) for key, value in module.state_dict().items()}
    missing = [key for key in own if key not in state]
    extra = [key for key in state if key not in own]
    other = [key for key in own if key in state and tuple(state[key].shape) != own[key]]
    if missing or extra or other:
        parts = [
            f"{len(keys)} {what} ({', '.join(keys[:3])})"
            for what, keys in (("missing", missing), ("unknown", extra), ("of another shape", other))
            if keys
        ]
        raise ModelFileError(f"{name}: looks like {module.family}, but has tensors {'; '.join(parts)}; get it again.")
    module.load_state_dict({key: value.float() for key, value in state.items()})
