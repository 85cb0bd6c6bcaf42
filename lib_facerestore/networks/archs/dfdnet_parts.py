"""Boxes of the face parts that DFDNet matches, and the files of its dictionaries.

The original finds 68 landmarks in every crop and puts squares around eye and brow, lower nose, and mouth. Here all
crops share one set of boxes, computed from the five landmarks that crops are aligned with. Centres and sides are
fractions of the distance between the eyes, chosen to match the original's boxes on the mean 68-point face; there the
two agree to 2 px of 512. On a face that differs from the mean (open mouth, raised brows, turned head) the original's
boxes move and grow with it, while these stay the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ...catalogue.peek import read_error
from ...errors import ModelFileError
from ...faces.alignment import PixelBox

COMPONENTS = {"left_eye": ("le", 80), "right_eye": ("re", 80), "nose": ("no", 50), "mouth": ("mo", 110)}
"""For each part of a face: its prefix in tensor names, and the side of its dictionary's boxes in pixels of the crop."""
SCALES = (256, 128, 64, 32)
"""Sides of the feature maps whose parts are matched."""
DICTIONARY_FOLDER = "DictionaryCenter512"
"""The original's folder with the dictionaries."""
CROP = 512
"""Side of DFDNet's crop in pixels."""

# Offset of the box's centre from its landmark (right, down) and half its side, as fractions of the eyes' distance.
_BOX_RULES = {
    "left_eye": (-0.024, -0.131, 0.366),
    "right_eye": (0.027, -0.138, 0.366),
    "nose": (0.0, 0.063, 0.230),
    "mouth": (0.0, 0.057, 0.440),
}


def dictionary_file(part: str, scale: int) -> str:
    """The original's file name of the dictionary of one part and scale."""
    return f"{part}_{scale}_center.npy"


DICTIONARY_FILES = tuple(dictionary_file(part, scale) for part in COMPONENTS for scale in SCALES)


def part_boxes(landmarks: np.ndarray) -> tuple[PixelBox, ...]:
    """Boxes (x0, y0, x1, y1; ends excluded) of left eye, right eye, nose and mouth.

    Args:
        landmarks: 5×2, (x, y) of the eyes, the nose and the corners of the mouth (image left first), in pixels of an
            upright 512 px crop.
    """
    points = np.asarray(landmarks, np.float64)
    distance = float(np.hypot(*(points[1] - points[0])))
    anchors = {"left_eye": points[0], "right_eye": points[1], "nose": points[2], "mouth": points[3:5].mean(axis=0)}
    boxes = []
    for part, (right, down, half) in _BOX_RULES.items():
        x, y = anchors[part] + np.array([right, down]) * distance
        reach = half * distance
        # The +1 is the original's (test_FaceDict.py, get_part_location).
        low = (max(int(x - reach + 1), 0), max(int(y - reach + 1), 0))
        boxes.append((*low, min(int(x + reach), CROP), min(int(y + reach), CROP)))
    return tuple(boxes)


def entry_shapes(widths: Sequence[int]) -> dict[tuple[str, int], tuple[int, int, int]]:
    """Shape (channels, height, width) of one entry of each dictionary, by part and scale.

    Args:
        widths: channels of the feature maps, in the order of `SCALES`.
    """
    return {
        (part, scale): (channels, side * scale // CROP, side * scale // CROP)
        for part, (_, side) in COMPONENTS.items()
        for scale, channels in zip(SCALES, widths, strict=True)
    }


def read_dictionaries(folder: str | Path) -> dict[str, torch.Tensor]:
    """Read the dictionaries in a folder.

    Returns:
        float32 tensors in the stored shape, by file name.

    Raises:
        ModelFileError: a file is missing or damaged; names it.
    """
    folder = Path(folder)
    absent = [name for name in DICTIONARY_FILES if not (folder / name).is_file()]
    if absent:
        raise ModelFileError(missing_message(absent, str(folder)))
    found = {}
    for name in DICTIONARY_FILES:
        try:
            array = np.load(folder / name, allow_pickle=False)  # a pickled array could run code
            found[name] = torch.from_numpy(np.asarray(array, np.float32))
        except OSError as error:
            raise read_error(folder / name, error) from error
        except (ValueError, TypeError, EOFError) as error:
            raise ModelFileError(f"{folder / name}: damaged, or not a plain array ({error}); get it again.") from error
    return found


def missing_message(names: Sequence[str], where: str) -> str:
    """The message for dictionary files that are missing: how many, and the first few by name."""
    seen = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
    return (
        f"DFDNet: {len(names)} of {len(DICTIONARY_FILES)} dictionaries are missing in {where}: {seen}; "
        f"copy DFDNet's folder {DICTIONARY_FOLDER} into the folder of its model file."
    )
