"""Whether a picture fits into the memory that is free, found out before it is decoded."""

from __future__ import annotations

from ..errors import InputError
from ..system.memory import free_memory

BYTES_A_PIXEL = 18
"""Memory that restoring a picture of 8 bits takes for each of its pixels, from its file to that of the result: 17 bytes
were measured with 50 megapixels. With 16 bits it is twice as much."""


def check_room(width: int, height: int, most_pixels: int | None = None, bits: int = 8, what: str = "") -> None:
    """Check the size of a picture, which its header states, or of a result.

    Args:
        width: in pixels.
        height: in pixels.
        most_pixels: a picture with more is refused; None sets no limit but the free memory.
        bits: of each channel.
        what: what has the pixels, in words of a message, if it is not the picture itself.

    Raises:
        InputError: the picture has no pixels, or too many.
    """
    if width < 1 or height < 1:
        raise InputError(f"has zero size ({width}×{height}); get the file again")
    if most_pixels is not None and width * height > most_pixels:
        raise InputError(
            f"has too many pixels to open safely ({width}×{height}, more than {most_pixels / 1e6:,.0f} megapixels); "
            "make it smaller first"
        )
    needed, free = width * height * BYTES_A_PIXEL * (2 if bits > 8 else 1), free_memory()
    if free is not None and needed > free:
        raise InputError(
            f"{what}has {width}×{height} pixels, for which about {needed / 2**30:,.1f} GiB of memory are needed, and "
            f"{free / 2**30:,.1f} GiB are free; close other programs, or make it smaller first"
        )
