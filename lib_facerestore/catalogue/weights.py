"""Paths of the weights that are part of the package."""

from __future__ import annotations

from pathlib import Path

from ..errors import ModelFileError


def weights_path(name: str) -> Path:
    """Path of a weights file that is part of the package, e.g. "lite_restorer.safetensors".

    Raises:
        ModelFileError: the package was installed without it.
    """
    path = Path(__file__).resolve().parents[1] / "weights" / name
    if not path.is_file():
        raise ModelFileError(f"{path}: the package's own weights are missing; install lib_facerestore again.")
    return path
