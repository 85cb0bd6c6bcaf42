"""The replaced torch.load (point 19) and, in Forge, the loaders that rename the user's file (F2)."""

from __future__ import annotations

import codecs
import collections
import importlib
import os
import pickle
import re
import zipfile
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import safetensors.torch
import torch

from .module import HostModule

_ALLOWED = re.compile(r"^([^/]+)/((data/\d+)|version|byteorder|.data/serialization_id|(data\.pkl))$")
_DATA = re.compile(r"^([^/]+)/data\.pkl$")
_OLD_NUMPY = np.lib.NumpyVersion(np.__version__) < "2.0.0"
_MULTIARRAY = importlib.import_module("numpy.core.multiarray" if _OLD_NUMPY else "numpy._core.multiarray")
_PLAIN: dict[str, tuple[Any, tuple[str, ...]]] = {
    "collections": (collections, ("OrderedDict",)),
    "torch._utils": (
        torch._utils,
        ("_rebuild_tensor_v2", "_rebuild_parameter", "_rebuild_device_tensor_from_numpy"),
    ),
    "torch": (
        torch,
        ("FloatStorage", "HalfStorage", "IntStorage", "LongStorage", "DoubleStorage", "ByteStorage", "float32",
         "BFloat16Storage"),
    ),
    "torch.nn.modules.container": (torch.nn.modules.container, ("ParameterDict",)),
    "numpy.core.multiarray": (_MULTIARRAY, ("scalar", "_reconstruct")),
    "numpy": (np, ("dtype", "ndarray")),
    "_codecs": (codecs, ("encode",)),
}  # fmt: skip


class _Restricted(pickle.Unpickler):
    """Builds plain tensors without their numbers, and fails at whatever else a pickle asks for."""

    def persistent_load(self, saved_id: Any) -> Any:
        assert saved_id[0] == "storage"
        return torch.storage.TypedStorage(_internal=True)

    def find_class(self, module: str, name: str) -> Any:
        owner, names = _PLAIN.get(module, (None, ()))
        if name in names:
            return getattr(owner, name)
        raise Exception(f"global '{module}/{name}' is forbidden")


def _check(source: Any) -> None:
    """The host's look into a file before it is loaded. Raises whatever comes up: each means that it is refused.

    As in the host, what is handed over open is left where reading it ended, and cannot be opened by name a second
    time where it is no zip file.
    """
    try:
        with zipfile.ZipFile(source) as archive:
            names = archive.namelist()
            for name in names:
                if not _ALLOWED.match(name):
                    raise Exception(f"bad file inside {source}: {name}")
            pickled = [name for name in names if _DATA.match(name)]
            if len(pickled) != 1:
                raise Exception(f"{len(pickled)} data.pkl in {source}")
            with archive.open(pickled[0]) as file:
                _Restricted(file).load()
    except zipfile.BadZipFile:
        with open(source, "rb") as file:
            unpickler = _Restricted(file)
            for _ in range(5):  # the format before zip files: five pickles in a row
                unpickler.load()


class Loaders:
    """Puts the host's loaders in place and takes them away again."""

    def __init__(self, host: Any) -> None:
        self.host = host
        self.original, self.original_safe = torch.load, safetensors.torch.load_file
        self.rejected: list[str] = []

    def install(self) -> ModuleType:
        module = HostModule("modules.safe")
        module.unsafe_torch_load = self.original
        if self.host.forge:
            torch.load = self._renaming(self.original)
            safetensors.torch.load_file = self._renaming(self.original_safe)
        elif self.host.kind != "sdnext":
            self._replace_load(self._checked)
        module.load = torch.load
        return module

    @staticmethod
    def _replace_load(load: Any) -> None:
        """As the hosts do, with a function of another signature."""
        torch.load = load

    def remove(self) -> None:
        torch.load, safetensors.torch.load_file = self.original, self.original_safe

    def _checked(self, source: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            _check(source)
        except Exception as why:
            self.rejected.append(f"{source}: {type(why).__name__}: {why}")
            return None
        return self.original(source, *args, **kwargs)

    def _renaming(self, loader: Callable[..., Any]) -> Callable[..., Any]:
        def load(source: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                return loader(source, *args, **kwargs)
            except Exception:
                if isinstance(source, str) and os.path.exists(source):
                    os.replace(source, f"{source}.corrupted")
                    self.rejected.append(source)
                raise

        return load
