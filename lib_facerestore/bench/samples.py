"""The two sample pictures for measuring the whole job: one face, and a group of ten faces."""

from __future__ import annotations

import importlib

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

_HEAD = slice(0, 200), slice(124, 324)
"""Rows and columns of the face in scikit-image's photograph of an astronaut (512×512 px)."""


def sample_pictures() -> list[tuple[str, NDArray[np.uint8]]]:
    """Names and pixels (H×W×3 uint8 RGB) of the pictures, made from a photograph in scikit-image.

    Raises:
        InputError: scikit-image is not installed.
    """
    try:
        face: NDArray[np.uint8] = importlib.import_module("skimage.data").astronaut()
    except ImportError as error:
        raise InputError(
            "bench: no picture given, and the sample of scikit-image is not installed; name a picture, install "
            "scikit-image, or give --job none."
        ) from error
    group = np.full((460, 1060, 3), 96, np.uint8)
    for row in range(2):
        for column in range(5):
            group[20 + row * 220 : 220 + row * 220, 10 + column * 210 : 210 + column * 210] = face[_HEAD]
    return [("one face", face), ("a group", group)]
