"""What Pillow's `info` says, if it is of the kind that it should be.

`info` is a plain dict: plugins, other programs and users put anything into it. A value of another kind counts as none.
"""

from __future__ import annotations

import math
from typing import TypeAlias

from PIL import Image

Transparency: TypeAlias = "int | bytes | tuple[int, int, int]"
"""Of a palette: the index of the transparent colour, or the alphas of the first ones. Else the transparent colour."""


def bytes_in(image: Image.Image, key: str) -> bytes | None:
    """A block of bytes, such as an ICC profile; text is taken as UTF-8. None if it is empty or something else."""
    value = image.info.get(key)
    if isinstance(value, str):
        value = value.encode("utf-8", "replace")
    return bytes(value) if isinstance(value, (bytes, bytearray, memoryview)) and len(value) else None


def dpi_in(image: Image.Image) -> tuple[float, float] | None:
    """The resolution (x, y) in pixels per inch; None if it is not a pair of positive, finite numbers."""
    value = image.info.get("dpi")
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        return None
    try:
        x, y = float(value[0]), float(value[1])
    except (TypeError, ValueError, ArithmeticError):
        return None
    return (x, y) if math.isfinite(x) and math.isfinite(y) and x > 0 and y > 0 else None


def transparency_in(image: Image.Image) -> Transparency | None:
    """The transparent colour; None if there is none, or if it does not fit the image's mode."""
    value = image.info.get("transparency")
    if image.mode == "P" and isinstance(value, bytes):
        return value
    if image.mode in ("P", "L", "1"):
        return value if isinstance(value, int) and _is_level(value) else None
    if image.mode == "RGB" and isinstance(value, tuple) and len(value) == 3:
        return value if all(_is_level(one) for one in value) else None
    return None


def _is_level(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 65535
