"""The labelled photographs that the embedded networks are trained on, read from disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypedDict

import cv2
import numpy as np
from numpy.typing import NDArray

PHOTOS = Path(__file__).resolve().parents[2] / "shared" / "photos"
"""Where the photographs are, unless `--photos` says otherwise."""
TEACHER = Path("detector") / "retinaface_mobile0.25.pth"
"""A trained RetinaFace, beside the photographs."""


class Label(TypedDict):
    """One line of faces.jsonl: a photograph and its main face, in pixels of the file."""

    file: str
    box: list[float]
    """x0, y0, x1, y1."""
    lm5: list[float]
    """Five landmarks, x and y in turn, image left first."""
    faces: int
    """How many faces the photograph shows."""
    split: str
    """`train` or `val`."""


def read_labels(photos: Path, *splits: str) -> list[Label]:
    """The lines of faces.jsonl that belong to one of `splits`, in file order."""
    with open(photos / "faces" / "faces.jsonl", encoding="utf-8") as lines:
        return [row for row in map(json.loads, lines) if row["split"] in splits]


def landmarks_of(label: Label) -> NDArray[np.float64]:
    """The five labelled landmarks, 5×2."""
    return np.array(label["lm5"], np.float64).reshape(5, 2)


def read_bgr(path: Path) -> NDArray[np.uint8]:
    """The picture as H×W×3 uint8 BGR. Raises ValueError for what is no picture."""
    return decoded(np.fromfile(path, np.uint8), str(path))


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """The picture as H×W×3 uint8 RGB. Raises ValueError for what is no picture."""
    return np.ascontiguousarray(read_bgr(path)[..., ::-1])


def through_jpeg(pixels: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """What a JPEG of this quality keeps of a picture (H×W×3 uint8 BGR)."""
    data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return decoded(data.astype(np.uint8, copy=False), "JPEG")


def decoded(data: NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
    """The bytes of a picture file as H×W×3 uint8 BGR. Raises ValueError, with the name, for what is no picture."""
    pixels = cv2.imdecode(data, cv2.IMREAD_COLOR)
    if pixels is None:
        raise ValueError(f"{name} cannot be read as a picture")
    return pixels.astype(np.uint8, copy=False)
