"""`peek`: reads the names and shapes of a model file's tensors without loading it, in milliseconds and without torch.

* A .safetensors file has a header that lists them; the package safetensors reads it.
* A PyTorch file, old or new, holds a pickle that describes the tensors, apart from their values. It is read by an
  unpickler that replaces every class and function by a placeholder, so that nothing in the file can run.
* Of an ONNX file, only the outermost fields are read, not its tensors.

All formats state the file's length, so a file that is cut off is noticed.

This module also has the keys and prefixes under which public files keep their tensors.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..errors import ModelFileError, UnreadableFileError
from ..wording import pip_install
from .pickle_reader import HostileError, Reader, Tensor

WRAPPING_KEYS = (
    "params_ema", "params-ema", "params", "state_dict", "model_state_dict", "g_ema", "generator", "net_g", "net",
    "model",
)  # fmt: skip
"""Wrapping keys: keys under which public checkpoints keep their tensors, in order of preference."""

PREFIXES = (
    "module.", "vqvae.", "generator.", "g_ema.", "net_g.", "netG.", "model.", "network.", "_orig_mod.", "ema.",
    "net_g_ema.",
)  # fmt: skip
"""Prefixes that training code puts before the names of a network's tensors."""

Format = Literal["safetensors", "zip", "pickle", "onnx", "web page", "pointer", "empty", "unknown"]
Shapes = dict[str, tuple[int, ...]]

NEEDS_SAFETENSORS = (
    f"unreadable, because the package safetensors is missing; install it with `{pip_install('safetensors')}`."
)
_ONNX_GRAPH = 7  # number of the field of ModelProto that holds the network
_HEADER_LIMIT = 100 * 2**20  # most bytes of a description of tensors; a longer one could fill the memory


class HostileFileError(ModelFileError):
    """The file asks for far more memory or time than it has content; it was not loaded."""


@dataclass(frozen=True)
class Peeked:
    """Description of a model file.

    Attributes:
        shapes: shapes of the tensors by name, without wrapping key; empty for an ONNX file.
        asks_for: names of the classes and functions that the pickle needs, other than those for tensors. An ordinary
            unpickler would import and call them.
        format: the file's format.
    """

    shapes: Shapes
    asks_for: tuple[str, ...] = ()
    format: Format = "unknown"

    @property
    def is_onnx(self) -> bool:
        """Whether it is an ONNX file."""
        return self.format == "onnx"


def sniff(head: bytes) -> Format:
    """The format of a file that begins with these bytes: 16 or more, or 512 to recognise web pages."""
    text = head.lstrip().lower()
    if not head:
        return "empty"
    if head[:4] == b"PK\x03\x04":
        return "zip"
    if len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < _HEADER_LIMIT:
        return "safetensors"
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return "web page"
    if text.startswith(b"version https://git-lfs"):
        return "pointer"
    if head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05":
        return "pickle"
    if head[:1] == b"\x08" and len(head) > 1 and head[1] < 32:  # protobuf field 1: the version of ONNX's format
        return "onnx"
    return "unknown"


def sniff_file(path: Path) -> Format:
    """`sniff` for a file. Raises OSError."""
    with open(path, "rb") as file:
        return sniff(file.read(512))


def peek(path: Path, kind: Format | None = None) -> Peeked:
    """Read the description of a model file. Its content decides the format, not its suffix.

    Args:
        path: the file.
        kind: result of `sniff_file`, if it is known.

    Raises:
        UnreadableFileError: the file is missing or cannot be read; or the package safetensors is needed and missing.
        ModelFileError: it is damaged, cut off or of another format.
    """
    try:
        kind = kind or sniff_file(path)
        if kind == "safetensors":
            return Peeked(_safetensors_shapes(path), format=kind)
        with open(path, "rb") as file:
            if kind == "zip":
                return _described(_zip_pickle(file), kind)
            if kind == "pickle":
                return _described(_legacy_pickle(file), kind)
            if kind == "onnx":
                _walk_onnx(file)
                return Peeked({}, format=kind)
    except ImportError as error:
        raise UnreadableFileError(f"{path}: {NEEDS_SAFETENSORS}") from error
    except OSError as error:
        raise read_error(path, error) from error
    except HostileError as error:
        raise hostile(path, str(error)) from error
    except (ValueError, zipfile.BadZipFile, EOFError, KeyError) as error:
        raise ModelFileError(f"{path}: damaged, or cut off ({error}); get it again.") from error
    except Exception as error:  # an unknown pickle can raise anything
        raise ModelFileError(f"{path}: damaged, or not a checkpoint ({_named(error)}); get it again.") from error
    raise ModelFileError(f"{path}: damaged, or not a checkpoint ({describe(kind)}); get it again.")


def hostile(path: Path, reason: str) -> HostileFileError:
    """The error for a file that asks for far more than it has content."""
    return HostileFileError(
        f"{path}: damaged, or made to do harm ({reason}); it was not loaded. Get the original file."
    )


def read_error(path: Path, error: OSError) -> ModelFileError:
    """The error for a model file at which reading failed: it is unreadable, or so damaged that a position is wrong."""
    if error.errno in (None, errno.EINVAL) and not isinstance(error, PermissionError):
        return ModelFileError(f"{path}: damaged, or cut off ({error}); get it again.")
    if error.errno == errno.ENOENT:
        return UnreadableFileError(f"{path}: unreadable, because there is no such file; check the path.")
    return UnreadableFileError(f"{path}: unreadable ({error.strerror or error}); check its permissions and the disk.")


def check_file(path: Path) -> None:
    """Check that there is a model file at the path.

    Raises:
        UnreadableFileError: it may not be looked at, or the name is too long.
        ModelFileError: there is none, or it is a folder or a device.
    """
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):  # the last one for a null character
        raise ModelFileError(f"{path}: there is no such file; check the path.") from None
    except OSError as error:
        reason = error.strerror or error
        raise UnreadableFileError(f"{path}: unreadable ({reason}); check the path and its permissions.") from error
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
        raise ModelFileError(f"{path}: is {what}; name a model file.")


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def describe(kind: Format) -> str:
    """A description of the format for error messages."""
    return {
        "web page": "it is a web page, saved under this name",
        "pointer": "it is a Git LFS pointer in place of the file",
        "empty": "it is empty",
        "onnx": "it is an ONNX file",
        "unknown": "it has no format of model files",
    }.get(kind, f"it is a {kind} file")


def unwrap(content: object) -> object:
    """The innermost mapping under `WRAPPING_KEYS`, e.g. the state dict in {"params_ema": state dict}."""
    for _ in range(4):  # limited, because a pickled mapping can contain itself
        if not isinstance(content, Mapping):
            break
        inner = next((content[key] for key in WRAPPING_KEYS if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            break
        content = inner
    return content


def views(names: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """Ways to read the names of a state dict: first unchanged, then without each prefix, then without two prefixes.

    A reading without a prefix contains only the tensors that have this prefix.

    Yields:
        A mapping with at least one entry: short name → name in the file.
    """
    yield {name: name for name in names}
    for first in PREFIXES:
        inner = {name.removeprefix(first): name for name in names if name.startswith(first)}
        if not inner:
            continue
        yield inner
        for second in PREFIXES:
            deeper = {name.removeprefix(second): full for name, full in inner.items() if name.startswith(second)}
            if deeper:
                yield deeper


def _safetensors_shapes(path: Path) -> Shapes:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}
    except SafetensorError as error:
        raise ValueError(str(error)) from error


def _check_end(file: io.BufferedReader, needed: int) -> None:
    there = os.fstat(file.fileno()).st_size
    if there < needed:
        raise ValueError(f"{there:,} bytes, where {needed:,} are announced")


def _walk_onnx(file: io.BufferedReader) -> None:
    """Check the outermost fields of an ONNX model (protobuf), without their contents.

    Raises:
        ValueError: they do not end where the file ends, or none of them is the graph.
        EOFError: the file ends within a field.
    """
    end = os.fstat(file.fileno()).st_size
    fields = set()
    while file.tell() < end:
        key = _varint(file)
        fields.add(key >> 3)
        width = {0: 0, 1: 8, 5: 4}.get(key & 7)
        if key & 7 == 2:  # a length, then as many bytes
            width = _varint(file)
        elif key & 7 == 0:
            _varint(file)
        if width is None or not key >> 3:
            raise ValueError("its fields are not valid")
        _check_end(file, file.tell() + width)
        file.seek(width, os.SEEK_CUR)
    if _ONNX_GRAPH not in fields:
        raise ValueError("an ONNX file without a graph")


def _varint(file: io.BufferedReader) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            raise EOFError("it ends within a field")
        value |= (byte[0] & 127) << shift
        if byte[0] < 128:
            return value
    raise ValueError("a number without end")


def _zip_pickle(file: io.BufferedReader) -> tuple[object, set[str]]:
    with zipfile.ZipFile(file) as archive:
        # The top folder may have any name; the tensors' values are in its sub-folder data/.
        name = next((name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl")), None)
        if name is None:
            raise ValueError("a zip file without data.pkl")
        parts = archive.infolist()
        unpacked, size = sum(part.file_size for part in parts), os.fstat(file.fileno()).st_size
        if unpacked > 4 * size + 2**20:  # PyTorch does not compress
            raise HostileError(f"it unpacks to {unpacked:,} bytes from {size:,}")
        if archive.getinfo(name).file_size > _HEADER_LIMIT:
            raise HostileError("its description of the tensors is too long")
        reader = Reader(io.BytesIO(archive.read(name)))
        return reader.load(), reader.asked


def _legacy_pickle(file: io.BufferedReader) -> tuple[object, set[str]]:
    """PyTorch's format before 1.6: a magic number, a version, system information, then the description."""
    reader = Reader(file)
    content = reader.load()
    if isinstance(content, int):
        reader.load()
        reader.load()
        content = reader.load()
        keys = reader.load()  # what follows is for each storage its length in 8 bytes, then its values
        sizes = [8 + reader.storages.get(key, 0) for key in keys] if isinstance(keys, list) else []
        _check_end(file, file.tell() + sum(sizes))
    return content, reader.asked


def _described(read: tuple[object, set[str]], kind: Format) -> Peeked:
    content = unwrap(read[0])
    shapes = {}
    if isinstance(content, Mapping):
        shapes = {str(name): value.shape for name, value in content.items() if isinstance(value, Tensor)}
    return Peeked(shapes, tuple(sorted(read[1])), kind)
