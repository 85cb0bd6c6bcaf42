"""Reading checkpoint files: `read_state` turns a path into named tensors, or raises an error that says what is wrong.

A file's content decides what it is, never its name or suffix. Pickles are always loaded with `weights_only`. They are
loaded from an open file and with `torch.serialization.load`, because some WebUIs replace `torch.load` by a function
that returns None for a file it rejects, or that renames the user's file if it is given as a path and fails to load.
"""

from __future__ import annotations

import contextlib
import pickle
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from ..catalogue.fingerprints import format_of, look_into
from ..catalogue.peek import NEEDS_SAFETENSORS, HostileFileError, check_file, describe, hostile, read_error, unwrap
from ..errors import ModelFileError, UnreadableFileError

State = Mapping[str, torch.Tensor]


class NotACheckpointError(ModelFileError):
    """The file holds no named tensors: it is empty, or not a checkpoint."""


class TruncatedFileError(ModelFileError):
    """The file is cut off or damaged."""


class UnsafeFileError(ModelFileError):
    """The file's pickle asks for functions or classes; it was not loaded, and nothing in it ran."""


class WrongTensorsError(ModelFileError):
    """The family was recognised, but tensors are missing, unknown or of the wrong shape."""


def is_onnx(path: Path) -> bool:
    """Whether the file is for onnxruntime.

    The content decides. The suffix `.onnx` decides only if the content has no known format, because onnxruntime also
    reads formats of its own.
    """
    try:
        kind = format_of(path)
    except ModelFileError:  # it cannot be opened; loading it raises an error that says so
        kind = "unknown"
    return kind == "onnx" or (kind == "unknown" and path.suffix.lower() == ".onnx")


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """Read the tensors of a checkpoint file.

    Returns:
        The tensors by name, on the CPU. A wrapping key such as "params_ema" is removed; prefixes of names are kept.

    Raises:
        ModelFileError: the file is missing; the sub-classes in this module say what else is wrong.
    """
    check_file(path)
    try:
        kind = format_of(path)
        if kind == "safetensors":
            return named_tensors(_read_safetensors(path), str(path))
        if kind == "onnx":
            raise NotACheckpointError(f"{path}: is an ONNX file, which holds no tensors for these networks.")
        if kind not in ("zip", "pickle"):
            raise NotACheckpointError(f"{path}: damaged, or not a checkpoint ({describe(kind)}); get it again.")
        if kind == "zip":
            _check_zip(path)
        _check_description(path)
        tensors = named_tensors(_read_pickle(path), str(path))
        _check_claims(tensors, path)
        return tensors
    except ModelFileError:
        raise
    except pickle.UnpicklingError as error:
        raise _refused(path, error) from error
    except OSError as error:
        raise read_error(path, error) from error
    except Exception as error:  # a pickle that is cut off or altered can raise anything; it always means damage
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TruncatedFileError(f"{path}: damaged, cut off, or not a checkpoint ({reason}); get it again.") from error


def named_tensors(content: object, name: str) -> dict[str, torch.Tensor]:
    """Pick the tensors out of a checkpoint's content; entries that are not tensors are dropped.

    Args:
        content: the loaded object: a state dict, with or without a wrapping key such as "params_ema".
        name: name of the source in error messages.

    Raises:
        NotACheckpointError: there are no named tensors.
        WrongTensorsError: a tensor has no values, or is not dense, so it cannot be copied into a network.
    """
    content = unwrap(content)
    entries = content if isinstance(content, Mapping) else {}
    tensors = {str(key): value for key, value in entries.items() if isinstance(value, torch.Tensor)}
    if not tensors:
        seen = ", ".join(f"{key}: {type(value).__name__}" for key, value in list(entries.items())[:3])
        seen = seen or f"a {type(content).__name__}, empty or of another kind"
        raise NotACheckpointError(f"{name}: holds no named PyTorch tensors ({seen}); choose another one.")
    for key, value in tensors.items():
        if what := _oddity(value):
            raise WrongTensorsError(f"{name}: {key} {what}; give a checkpoint of ordinary tensors.")
    return tensors


def _oddity(value: torch.Tensor) -> str:
    """Why a tensor's values cannot be copied into a network, or ""."""
    if value.is_meta:
        return "has no values (device meta)"
    if value.layout is not torch.strided:
        return f"is not dense ({value.layout})"
    if value.is_quantized or value.is_complex():
        return f"is not of real numbers ({value.dtype})" if value.is_complex() else f"is quantized ({value.dtype})"
    return ""


def _check_zip(path: Path) -> None:
    """Refuse zip files that PyTorch did not write: its own hold `data.pkl` in one folder, whose name varies."""
    if not zipfile.is_zipfile(path):  # a zip file's table of contents is at its end
        raise TruncatedFileError(f"{path}: damaged, cut off before its end; get it again.")
    with zipfile.ZipFile(path) as archive:
        inside = {name.partition("/")[2] for name in archive.namelist()}
    if "constants.pkl" in inside:
        raise NotACheckpointError(
            f"{path}: is a TorchScript program, not a checkpoint; get the model's .pth or .safetensors file."
        )
    if "data.pkl" not in inside:
        raise NotACheckpointError(
            f"{path}: is a zip file that is not a checkpoint; unpack it, and use the model file inside."
        )


def _check_description(path: Path) -> None:
    """Read the file's description before PyTorch does, whose unpickler follows a hostile one without a limit."""
    try:
        look_into(path)
    except (HostileFileError, UnreadableFileError):
        raise
    except ModelFileError as error:
        raise TruncatedFileError(str(error)) from error


def _check_claims(tensors: State, path: Path) -> None:
    """Refuse tensors that are views of far fewer values: a network made for them would fill the memory."""
    claimed = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    stores = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in _dense(tensors)}
    held = sum(stores.values())
    if claimed > 4 * held + 2**20:  # weights that a network uses in two places are there once
        raise hostile(path, f"its tensors claim {claimed:,} bytes and hold {held:,}")


def _dense(tensors: State) -> list[torch.Tensor]:
    return [tensor for tensor in tensors.values() if not tensor.is_meta and tensor.layout is torch.strided]


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise UnreadableFileError(f"{path}: {NEEDS_SAFETENSORS}") from error
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}
    except SafetensorError as error:
        cut = any(words in str(error).lower() for words in ("incomplete", "header length"))
        kind = TruncatedFileError if cut else NotACheckpointError
        raise kind(f"{path}: damaged, or not a safetensors file ({error}); get it again.") from error


class _LightningCallback:
    """Empty replacement for classes of PyTorch Lightning that some public checkpoints mention.

    They are keys of a table that is not read here.
    """


@contextlib.contextmanager
def _allowed() -> Iterator[None]:
    """Make weights-only loading accept the classes that `_LightningCallback` replaces."""
    classes: dict[str, Any] = {}
    for package in ("pytorch_lightning", "lightning.pytorch"):
        for file, name in (("model_checkpoint", "ModelCheckpoint"), ("early_stopping", "EarlyStopping")):
            module = f"{package}.callbacks.{file}"
            classes[f"{module}.{name}"] = type(name, (_LightningCallback,), {"__module__": module})
    public = getattr(torch.serialization, "safe_globals", None)
    if public is not None:
        with public(list(classes.values())):
            yield
        return
    # torch below 2.5 has no function for this. It looks names up in this table, which it makes once and caches.
    table = torch._weights_only_unpickler._get_allowed_globals()
    added = [name for name in classes if name not in table]
    table.update({name: classes[name] for name in added})
    try:
        yield
    finally:
        for name in added:
            table.pop(name, None)


def _read_pickle(path: Path) -> object:
    with _allowed(), open(path, "rb") as file:
        content = torch.serialization.load(file, map_location="cpu", weights_only=True)
    if content is None:
        raise NotACheckpointError(f"{path}: nothing was loaded from it; it is empty, or the host refused it.")
    return content


def _refused(path: Path, error: pickle.UnpicklingError) -> ModelFileError:
    """The error for a pickle that weights-only loading refused: it needs classes or functions, or it is damaged."""
    try:
        asks_for = look_into(path).asks_for
    except UnreadableFileError as unreadable:
        return unreadable
    except ModelFileError:
        return TruncatedFileError(f"{path}: damaged, cut off, or not a checkpoint; get it again.")
    reason = ", ".join(asks_for[:4]) or (str(error).splitlines() or ["unreadable pickle"])[0]
    return UnsafeFileError(
        f"{path}: not a plain checkpoint of tensors (it asks for {reason}); it was not loaded, since such a file may "
        "run code. Get the original file, or its .safetensors version."
    )
