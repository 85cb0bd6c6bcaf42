"""The restorer's table of `bench --quality`: what it gains by kind of damage, beside two plain filters."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from . import metrics
from .degradations import DAMAGES, to_pixels
from .metrics import Pixels
from .portraits import Portrait
from .quality import Restore, generator
from .quality_table import Collected, Line

SIDES = (256, 512)
"""Sides of the face's aligned square in pixels."""
DETAILED = 0.8
"""Least side of a portrait's aligned square, as a share of the side at which it is measured."""
BILATERAL, UNSHARP = "bilateral filter", "unsharp mask"


def bilateral(pixels: Pixels) -> Pixels:
    """OpenCV's bilateral filter with one strength for everything: 40 levels, 2 pixels."""
    return np.asarray(cv2.bilateralFilter(pixels, 7, 40, 2), np.uint8)


def unsharp(pixels: Pixels) -> Pixels:
    """An unsharp mask: 0.6 of what a blur of 1.5 pixels takes away is added."""
    values = pixels.astype(np.float32)
    return to_pixels(values + 0.6 * (values - cv2.GaussianBlur(values, (0, 0), 1.5)))


def detailed(portraits: Sequence[Portrait], side: int) -> list[int]:
    """Which portraits have nearly as many pixels as a face of this side; all, if none has.

    An enlarged face is soft. A restorer that sharpens it is right to do so, and would be blamed for it.
    """
    indices = range(len(portraits))
    return [index for index in indices if portraits[index].side >= DETAILED * side] or list(indices)


def measure(portraits: Sequence[Portrait], restore: Restore, model: str, sides: Sequence[int] = SIDES) -> list[Line]:
    """Measure a restorer on damaged portraits, pasted as with the options of a fresh install.

    Args:
        portraits: the truth.
        restore: the whole job.
        model: the restorer's id, which is the name of its column.
        sides: sides of the face's aligned square in pixels.

    Returns:
        Lines with the gain in dB in the face; for clean pictures, with the PSNR to themselves.
    """
    found = Collected()
    for name, damage in DAMAGES.items():
        for side in sides:
            for index in detailed(portraits, side):
                portrait = portraits[index]
                sized = portrait.scaled(side)
                truth, face = sized.pixels, sized.region
                before = damage(truth, generator(name, index))
                results = {model: restore(before, sized.face), BILATERAL: bilateral(before), UNSHARP: unsharp(before)}
                values = {column: metrics.psnr(result, truth, face) for column, result in results.items()}
                if name == "clean":
                    found.add(name, f"face of side {side}, to itself", "dB", "higher", values)
                    continue
                was = metrics.psnr(before, truth, face) or metrics.SAME
                gains = {column: (value or metrics.SAME) - was for column, value in values.items()}
                found.add(name, f"gain, face of side {side}", "dB", "higher", gains)
    return found.lines()
