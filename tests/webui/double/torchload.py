"""The replaced torch.load (point 19) and, in Forge, the loaders that rename the user's file (F2)."""

from __future__ import annotations

import os
import pickletools
import re
import zipfile
from collections.abc import Callable
from types import ModuleType
from typing import Any

import safetensors.torch
import torch

_ALLOWED = re.compile(r"^([^/]+)/((data/\d+)|version|byteorder|.data/serialization_id|(data\.pkl))$")
_FORBIDDEN = ("BoolStorage", "CharStorage", "Namespace")


def _objection(source: Any) -> str:
    """Why the host would refuse the file, or "" if it would not."""
    try:
        with zipfile.ZipFile(source) as archive:
            names = archive.namelist()
            for name in names:
                if not _ALLOWED.match(name):
                    return f"bad file inside: {name}"
            pickled = next((name for name in names if name.endswith("/data.pkl")), None)
            if pickled is None:
                return "data.pkl not found"
            for _, argument, _ in pickletools.genops(archive.read(pickled)):
                if isinstance(argument, str) and any(word in argument for word in _FORBIDDEN):
                    return f"global {argument!r} is forbidden"
    except zipfile.BadZipFile:
        return ""
    finally:
        if hasattr(source, "seek"):
            source.seek(0)
    return ""


class Loaders:
    """Puts the host's loaders in place and takes them away again."""

    def __init__(self, host: Any) -> None:
        self.host = host
        self.original, self.original_safe = torch.load, safetensors.torch.load_file
        self.rejected: list[str] = []

    def install(self) -> ModuleType:
        module = ModuleType("modules.safe")
        module.unsafe_torch_load = self.original
        if self.host.forge:
            torch.load = self._renaming(self.original)
            safetensors.torch.load_file = self._renaming(self.original_safe)
        elif self.host.kind != "sdnext":
            torch.load = self._checked
        module.load = torch.load
        return module

    def remove(self) -> None:
        torch.load, safetensors.torch.load_file = self.original, self.original_safe

    def _checked(self, source: Any, *args: Any, **kwargs: Any) -> Any:
        why = _objection(source)
        if why:
            self.rejected.append(f"{source}: {why}")
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
