"""How small the faces are that a detector may have missed in a large picture, which it looks at reduced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from numpy.typing import NDArray

from ...faces.face import Face
from . import Detector

LEAST = 28.0
"""Side in pixels of a look from which faces are found nearly always, and"""
LEAST_OF_LITE = 14.0
"""for `lite`. Of 40 portraits reduced to the side, a RetinaFace (mobilenet) found 33, and `lite` 38."""
TOLD = 50.0
"""It is told if larger faces than this may be missed, in pixels of the picture."""
_SHARES = {2: "half", 3: "a third", 4: "a quarter", 5: "a fifth", 6: "a sixth", 7: "a seventh", 8: "an eighth"}


@runtime_checkable
class ReducingDetector(Protocol):
    """A `Detector` that looks at large pictures reduced.

    Attributes:
        least: side from which it finds nearly all faces, in pixels of a look.
    """

    least: float

    def finest(self, image: NDArray[Any], faces: Sequence[Face]) -> float:
        """The largest scale factor at which it has looked at the whole picture, at most 1.

        Args:
            image: the picture, H×W×channels; only its size counts.
            faces: what it has found, in pixels of the picture.
        """
        ...


def remark(detector: Detector, image: NDArray[Any], faces: Sequence[Face], reduced: float = 1.0) -> str:
    """A sentence on small faces that may have been missed, without a full stop; "" if there is nothing to say.

    Args:
        detector: which has looked for faces.
        image: the picture, H×W×channels.
        faces: what it has found, in pixels of the picture.
        reduced: how many times larger the picture was before the caller reduced it; the sentence is on that one.
    """
    if not isinstance(detector, ReducingDetector):
        return ""
    scale = detector.finest(image, faces) / reduced
    side = detector.least / scale
    if scale >= 1 or side <= TOLD:
        return ""
    return (
        f"the picture is so large that it was searched at {_share(scale)} of its size: faces smaller than about "
        f"{round(side, -1):.0f} pixels may have been missed"
    )


def _share(scale: float) -> str:
    """A scale factor in words."""
    part = round(1 / scale)
    return _SHARES.get(part) or (f"1/{part}" if part > 1 else f"{scale:.0%}")
