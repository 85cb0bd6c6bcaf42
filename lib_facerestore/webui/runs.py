"""The last run of each tab, for the face strip and the slider: its pictures before and after, made smaller."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import PIL.Image

    from ..faces.face import FaceReport

MOST_PICTURES = 8
"""Pictures of a run that are kept."""

LONGEST_SIDE = 1536
"""Pixels to which the kept pictures are reduced."""


@dataclass(frozen=True)
class RunPicture:
    """One picture of a run.

    Attributes:
        before, after: RGB or RGBA PIL images, their longer side at most `LONGEST_SIDE`.
        faces: the reports, whose boxes are in pixels of the full picture.
        scale: full pixels × scale = pixels of `before` and `after`.
        notes: remarks on the picture.
    """

    before: PIL.Image.Image
    after: PIL.Image.Image
    faces: tuple[FaceReport, ...]
    scale: float = 1.0
    notes: tuple[str, ...] = ()


class Runs:
    """The last run of each tab ("txt2img", "img2img", "extras"). Safe to use from threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[str, tuple[object, tuple[RunPicture, ...]]] = {}
        self._names: dict[str, str] = {}

    def remember(self, tab: str, pictures: Sequence[RunPicture], add: bool = False, job: object = None) -> None:
        """Keep the pictures of a run in place of those of the run before; the last `MOST_PICTURES` of them.

        Args:
            tab: where it ran.
            pictures: of any size.
            add: whether they are added to those that are kept.
            job: which of the WebUI's jobs this is (`host.job_start`). Pictures of one job are kept together: it may be
                many generations, one for each picture of a folder or cell of a plot.
        """
        reduced = tuple(_reduced(picture) for picture in pictures)
        with self._lock:
            last_job, kept = self._kept.get(tab, (None, ()))
            together = add or (job is not None and job == last_job)
            self._kept[tab] = job, ((kept if together else ()) + reduced)[-MOST_PICTURES:]
            self._names[tab] = f"{tab}-{secrets.token_hex(8)}" if self._kept[tab][1] else ""

    def last(self, tab: str) -> list[RunPicture]:
        """The pictures of the last run of a tab; empty if there was none."""
        with self._lock:
            return list(self._kept.get(tab, (None, ()))[1])

    def name(self, tab: str) -> str:
        """A name of the last run of a tab, another one after each `remember`; "" if there was none."""
        with self._lock:
            return self._names.get(tab, "")


def _reduced(picture: RunPicture) -> RunPicture:
    longest = max(picture.after.size)
    if longest <= LONGEST_SIDE:
        return picture
    scale = LONGEST_SIDE / longest
    width, height = (max(1, round(side * scale)) for side in picture.after.size)
    before, after = (one.resize((width, height)) for one in (picture.before, picture.after))
    return RunPicture(before, after, picture.faces, picture.scale * scale, picture.notes)
