"""From a file, or a state dict, to a network that is ready to run.

What a file is, is read off its tensors' names and shapes, never off its name or suffix. Loading is always
`weights_only`, from an open file, through `torch.serialization`: hosts replace `torch.load` by functions that give
None for a file they dislike, or rename a user's file when it is handed over as a string and fails.
May import `archs`, `catalogue`, `onnx_restorer` and `errors`.
"""

from __future__ import annotations

import contextlib
import json
import numbers
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn

from .archs import FAMILIES
from .catalogue.entries import recognise
from .catalogue.peek import describe, peek, sniff_file, unwrap, views
from .errors import InputError, ModelFileError, OptionError

HARMLESS_EXTRAS = frozenset({"quantize.utility_counter"})
"""Tensors that some public files carry and that no network uses: RestoreFormer's count of used codes."""

LARGEST_SEED = 2**63 - 1

CPU_PIXELS = 4 * 256**2
"""Pixels of faces that go through a network at once on a CPU. With more, the feature maps no longer fit its caches, and
a batch takes up to a tenth longer than its faces one by one; a GPU is given the whole batch."""


class NotACheckpointError(ModelFileError):
    """The file holds no named tensors: it is something else, or nothing."""


class TruncatedFileError(ModelFileError):
    """The file ends too early, or is damaged."""


class UnsafeFileError(ModelFileError):
    """The file's pickle asks for functions or classes; it was not loaded, and nothing in it ran."""


class UnknownFamilyError(ModelFileError):
    """The tensors are of no network that is supported; the message lists what was seen and what is supported."""


class WrongTensorsError(ModelFileError):
    """The family is clear, but tensors are missing, superfluous or of other shapes."""


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

    def to(self, device: str | torch.device, dtype: torch.dtype | None = None) -> Network:
        """Move the network, and give it another floating-point type; returns itself. Safe inside inference mode."""
        with torch.inference_mode(False), torch.no_grad():
            self.device, self.dtype = torch.device(device), dtype or self.dtype
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

    def __call__(
        self, faces: torch.Tensor, *, fidelity: float | None = None, seed: int | None = None
    ) -> torch.Tensor:
        """Restore aligned faces.

        Args:
            faces: B×3×size×size float, RGB in [-1, 1], on any device.
            fidelity: fidelity weight, 0 best quality to 1 closest to the input; only where `knobs` has it.
            seed: draws the network's noise anew, reproducibly; only where `knobs` has it. None: the noise in the file.

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
        for knob, value in (("fidelity", fidelity), ("seed", seed)):
            if value is not None:
                if knob not in self.knobs:
                    known = ", ".join(sorted(self.knobs)) or "none"
                    raise OptionError(f"{knob}: {self.family} has no such knob; the knobs it has: {known}.")
                arguments[knob] = value
        if seed is not None and (not isinstance(seed, numbers.Integral) or not 0 <= seed <= LARGEST_SEED):
            raise OptionError(f"seed: {seed!r} is not allowed; give a whole number from 0 to {LARGEST_SEED}.")
        faces = faces.to(self.device, self.dtype)
        if not len(faces):
            return faces.float()
        most = max(1, CPU_PIXELS // self.size**2) if self.device.type == "cpu" else len(faces)
        with torch.inference_mode():
            restored = [self.module(part, **arguments).float() for part in faces.split(most)]
            return restored[0] if len(restored) == 1 else torch.cat(restored)


def load_network(
    source: str | Path | State, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> Network:
    """Load a restoration network; its family is found from the tensors.

    Args:
        source: path of a .pth, .pt, .ckpt, .safetensors or .onnx file (this last needs onnxruntime), or a state dict.
        device: where it will run.
        dtype: floating-point type it will run in.

    Raises:
        ModelFileError: the file is missing. Its sub-classes say what else is wrong: `NotACheckpointError`,
            `TruncatedFileError`, `UnsafeFileError`, `UnknownFamilyError`, `WrongTensorsError`.
    """
    if not isinstance(source, Mapping) and Path(source).suffix.lower() == ".onnx":
        from .onnx_restorer import load_onnx

        return Network(load_onnx(Path(source), device), device, dtype)
    name = "the state dict" if isinstance(source, Mapping) else str(source)
    state = source if isinstance(source, Mapping) else read_state(Path(source))
    shapes = {key: tuple(value.shape) for key, value in state.items()}
    family, view = find_family(shapes)
    if family is not None:
        # A host may call us inside inference mode; parameters born there could never be moved again.
        with torch.inference_mode(False), torch.no_grad():
            module = _build(family, {short: shapes[full] for short, full in view.items()}, name)
            _fill(module, {short: state[full] for short, full in view.items()}, name)
            network = Network(module, device, dtype)
            if not isinstance(source, Mapping):
                network.read_companions(Path(source).parent)
            return network
    raise UnknownFamilyError(_unknown(name, shapes))


def find_family(shapes: Mapping[str, tuple[int, ...]]) -> tuple[ModuleType | None, dict[str, str]]:
    """The module of `archs` whose network has tensors of these names and shapes, or None; and the tensors that are the
    network's, from the name there to the name given (prefixes and the groups beside them are dropped)."""
    for view in views(shapes):
        seen = {short: shapes[full] for short, full in view.items()}
        for family in FAMILIES:
            if family.matches(seen):
                return family, view
    return None, {}


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint, without its wrapping key; prefixes are left as they are.

    Raises:
        ModelFileError: as for `load_network`; names the file and the remedy.
    """
    if not path.is_file():
        raise ModelFileError(f"{path}: there is no such model file; check the path, or see `facerestore models list`.")
    try:
        kind = sniff_file(path)
        if kind == "safetensors" or path.suffix.lower() == ".safetensors":
            return _read_safetensors(path)
        if kind == "onnx" or path.suffix.lower() == ".onnx":
            raise NotACheckpointError(f"{path}: is an ONNX file, which holds no tensors for these networks.")
        if kind not in ("zip", "pickle"):
            raise NotACheckpointError(f"{path}: damaged, or not a checkpoint ({describe(kind)}); get it again.")
        if kind == "zip" and not zipfile.is_zipfile(path):  # the list of contents stands at the end
            raise TruncatedFileError(f"{path}: damaged, cut off before its end; get it again.")
        return _named(_read_pickle(path), path)
    except pickle.UnpicklingError as error:
        raise _refused(path, error) from error
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, zipfile.BadZipFile) as error:
        if isinstance(error, ModelFileError):
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TruncatedFileError(f"{path}: damaged, cut off, or not a checkpoint ({reason}); get it again.") from error


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    with open(path, "rb") as file:
        data = file.read()
    try:
        return safetensors.torch.load(data)
    except safetensors.SafetensorError as error:
        length = int.from_bytes(data[:8], "little")
        try:
            whole = isinstance(json.loads(data[8 : 8 + length]), dict)
        except ValueError:
            whole = False
        kind = TruncatedFileError if whole else NotACheckpointError
        raise kind(f"{path}: damaged, or not a safetensors file ({error}); get it again.") from error


class _LightningCallback:
    """Stands for the classes that PyTorch Lightning leaves in the checkpoints of some restorers, as keys of a table
    that nobody reads here. It can do nothing."""


def _allowed() -> contextlib.AbstractContextManager[Any]:
    """Lets weights-only loading pass over those names, where this torch can be told to."""
    allow = getattr(torch.serialization, "safe_globals", None)
    if allow is None:
        return contextlib.nullcontext()
    stands: list[Any] = []
    for room in ("pytorch_lightning", "lightning.pytorch"):
        for file, name in (("model_checkpoint", "ModelCheckpoint"), ("early_stopping", "EarlyStopping")):
            stands.append(type(name, (_LightningCallback,), {"__module__": f"{room}.callbacks.{file}"}))
    manager: contextlib.AbstractContextManager[Any] = allow(stands)
    return manager


def _read_pickle(path: Path) -> object:
    with _allowed(), open(path, "rb") as file:
        content = torch.serialization.load(file, map_location="cpu", weights_only=True)
    if content is None:
        raise NotACheckpointError(f"{path}: nothing was loaded from it; it is empty, or the host refused it.")
    return content


def _refused(path: Path, error: pickle.UnpicklingError) -> ModelFileError:
    """Why weights-only loading failed: the pickle wants more than tensors, or is no whole pickle."""
    try:
        asks_for = peek(path).asks_for
    except ModelFileError:
        return TruncatedFileError(f"{path}: damaged, cut off, or not a checkpoint; get it again.")
    reason = ", ".join(asks_for[:4]) or (str(error).splitlines() or ["unreadable pickle"])[0]
    return UnsafeFileError(
        f"{path}: not a plain checkpoint of tensors (it asks for {reason}); it was not loaded, since such a file may "
        "run code. Get the original file, or its .safetensors version."
    )


def _named(content: object, path: Path) -> dict[str, torch.Tensor]:
    content = unwrap(content)
    if isinstance(content, Mapping):
        tensors = {str(key): value for key, value in content.items() if isinstance(value, torch.Tensor)}
        if tensors:
            return tensors
    raise NotACheckpointError(f"{path}: holds no tensors that have names; it is not a checkpoint. Choose another file.")


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


def _fill(module: nn.Module, state: State, name: str) -> None:
    own = {key: tuple(value.shape) for key, value in module.state_dict().items()}
    missing = [key for key in own if key not in state]
    extra = [key for key in state if key not in own and key not in HARMLESS_EXTRAS]
    other = [
        f"{key} {tuple(state[key].shape)} for {own[key]}"
        for key in own
        if key in state and tuple(state[key].shape) != own[key]
    ]
    if missing or extra or other:
        parts = [
            f"{len(keys)} {what} ({', '.join(keys[:3])})"
            for what, keys in (("missing", missing), ("unknown", extra), ("of another shape", other))
            if keys
        ]
        what = "; ".join(parts)
        raise WrongTensorsError(f"{name}: looks like {module.family}, but has tensors {what}; get it again.")
    module.load_state_dict({key: state[key] for key in own})  # copies, so that types are converted on the way
