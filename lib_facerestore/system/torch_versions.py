"""How to install torch and torchvision again so that both belong together. Nothing is imported."""

from __future__ import annotations

import importlib.metadata
import re

from ..wording import pip_install

_APART = 15
"""torch 2.N belongs to torchvision 0.(N + 15), from 2.0 with 0.15 on."""
_INDEX = "https://download.pytorch.org/whl/"
_UNKNOWN = "install torch and the torchvision that belongs to it, https://pytorch.org/get-started/locally"


def reinstall_torchvision() -> str:
    """The command that installs the torchvision that belongs to the installed torch, and leaves torch as it is.

    Where the torch is unknown or older than 2.0, words in place of a command.
    """
    found = re.match(r"2\.(\d+)", _torch())
    return _command(f"torchvision==0.{int(found[1]) + _APART}.*") if found else _UNKNOWN


def reinstall_torch() -> str:
    """The command that installs the same build of torch once more; words where its version is unknown."""
    return _command(f"torch=={_torch()}", "--no-cache-dir") if _torch() else _UNKNOWN


def _torch() -> str:
    try:
        return importlib.metadata.version("torch") or ""
    except importlib.metadata.PackageNotFoundError:
        return ""


def _command(wanted: str, *more: str) -> str:
    build = re.search(r"\+(cpu|cu\d+|rocm[\d.]+|xpu)$", _torch())
    index = [f"--index-url {_INDEX}{build[1]}"] if build else []
    return pip_install("--force-reinstall", "--no-deps", *more, f'"{wanted}"', *index)
