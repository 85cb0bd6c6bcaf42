"""Aligned training and validation crops for `lite`, cut once from the photographs and kept as one array."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from tools.photographs import landmarks_of, read_labels, read_rgb

TEMPLATE = np.array(
    [
        [192.98138, 239.94708],
        [318.90277, 240.19360],
        [256.63416, 314.01935],
        [201.26117, 371.41043],
        [313.08905, 371.15118],
    ]
)
"""facexlib's five points of an FFHQ-aligned 512-px crop, image left first."""


EYES = float(np.linalg.norm(TEMPLATE[1] - TEMPLATE[0])) / 512
"""Distance of the eyes in a crop, as a share of its side."""
DETAILED = 0.8
"""How far a photograph may be enlarged to count as detailed: by the reciprocal."""


def aligned_crop(image: np.ndarray, landmarks: np.ndarray, size: int, margin: int = 0) -> np.ndarray:
    """The FFHQ-aligned crop, (size + 2·margin)² uint8, antialiased; `margin` more pixels on every side."""
    matrix, _ = cv2.estimateAffinePartial2D(landmarks, TEMPLATE * (size / 512), method=cv2.LMEDS)
    matrix[:, 2] += margin
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if scale < 1:  # cv2.warpAffine does not filter: remove what the crop cannot hold first
        image = cv2.GaussianBlur(image, (0, 0), 0.5 * np.sqrt(max(1 / scale**2 - 1, 1e-6)))
    side = size + 2 * margin
    return cv2.warpAffine(image, matrix, (side, side), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)


def load_crops(photos: Path, split: str, size: int, margin: int, cache: Path, detailed: bool = False) -> np.ndarray:
    """The aligned crops of a split as N×S×S×3 uint8 RGB; cut on first use and kept in `cache`.

    Args:
        photos: folder of the labelled photographs.
        split: "train" or "val".
        size: side of the crop without its margin, in pixels.
        margin: more pixels on every side.
        cache: where the array is kept.
        detailed: only faces whose photograph has nearly all the detail that the crop can hold.
    """
    path = cache / f"crops-{split}-{size}-{margin}{'-detailed' if detailed else ''}.npy"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        crops = []
        for label in read_labels(photos, split):
            landmarks = landmarks_of(label)
            if detailed and np.linalg.norm(landmarks[1] - landmarks[0]) < DETAILED * EYES * size:
                continue
            crops.append(aligned_crop(read_rgb(photos / "faces" / label["file"]), landmarks, size, margin))
        part = path.with_suffix(".part.npy")
        side = size + 2 * margin
        np.save(part, np.stack(crops) if crops else np.zeros((0, side, side, 3), np.uint8))
        part.replace(path)
    return np.load(path)  # into memory: random reads of a mapped file wait for the disk
