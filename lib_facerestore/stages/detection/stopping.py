"""Stopping a detector while it looks at pictures: a large one has many tiles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ...faces.face import Face

Stop = Callable[[], bool]
"""Returns whether the caller wants the detector to stop."""


class Stopped(Exception):
    """The caller wants the detector to stop. It never leaves the detector."""


def ask(stop: Stop | None) -> None:
    """Raise `Stopped` if `stop` says so."""
    if stop is not None and stop():
        raise Stopped


@runtime_checkable
class StoppableDetector(Protocol):
    """A `Detector` that can be stopped."""

    def detect_until(
        self, images: Sequence[NDArray[np.uint8]], confidence: float, stop: Stop
    ) -> list[list[Face]] | None:
        """As `Detector.detect`; `stop` is called before every batch of a network.

        Returns:
            None if `stop` returned true.
        """
        ...
