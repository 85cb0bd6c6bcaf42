"""The pictures of one call on their way through the stages, and the stages that need no loaded model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from numpy.typing import NDArray

from ..errors import InputError
from ..faces.face import Face, FaceReport, select_faces
from ..images.files import Picture
from ..options.per_face import SKIP, Overrides, for_face
from ..options.table import Options
from . import face_job
from .background import Upscaler, enlarge
from .face_job import FaceJob
from .loaded_models import ChosenRestorer


class Progress(Protocol):
    """How far a call has come."""

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Called before and after each unit of work, from the calling thread.

        Args:
            stage: "detect" (units are pictures), "restore" (faces), "enlarge" (tiles of an upscaler; left out without
                one) or "paste" (faces).
            done: units that are finished.
            total: units in all.
        """
        ...


@dataclass
class PictureWork:
    """One picture of a call.

    Attributes:
        picture, plan: what came in.
        faces: those found; None until the detector has seen the picture.
        detecting: seconds that the detector took.
        reports: on the faces that no job was made for, by number.
        canvas: the pixels of the result; None until the picture is enlarged.
        stopped: whether the call was stopped before this picture was done.
    """

    picture: Picture
    plan: Overrides
    faces: list[Face] | None = None
    detecting: float = 0.0
    reports: dict[int, FaceReport] = field(default_factory=dict)
    canvas: NDArray[Any] | None = None
    stopped: bool = False


class Caller:
    """The caller's functions: one learns how far the call has come, one is asked whether to stop. A stop is final."""

    def __init__(self, progress: Progress | None, stop: Callable[[], bool] | None) -> None:
        self._progress, self._stop = progress, stop
        self._stopped = False

    def report(self, stage: str, done: int, total: int) -> None:
        """See `Progress`."""
        if self._progress is not None:
            self._progress(stage, done, total)

    def stopped(self) -> bool:
        """Whether the call is to stop."""
        self._stopped = self._stopped or (self._stop is not None and self._stop())
        return self._stopped


def cut_faces(
    works: Sequence[PictureWork],
    options: Options,
    restorers: Mapping[str, ChosenRestorer],
    leave_alone: Callable[[int, Face], str] | None = None,
) -> list[FaceJob]:
    """A job for every face that is to be restored; why the others are left alone is noted in their pictures.

    Args:
        works: the pictures, their faces in pixels of the upright picture.
        options: the same for all.
        restorers: by the names by which the options ask for them.
        leave_alone: given a picture's index and one of its faces, a reason of the caller's own, or "".
    """
    jobs = []
    for index, work in enumerate(works):
        work.stopped = work.faces is None
        for face, reason in select_faces(work.faces or [], options):
            changes = work.plan.get(face.number, {})
            own = for_face(options, changes)
            restorer = restorers[own.model]
            outside = leave_alone(index, face) if leave_alone is not None else ""
            reason = f"face {face.number}: {outside}" if outside else reason
            reason = reason or _left_alone(face, own, bool(changes.get(SKIP)))
            if not reason:
                try:
                    jobs.append(face_job.cut(index, face, restorer, own, work.picture.pixels))
                    continue
                except InputError as error:  # one face that cannot be cut out does not spoil the others
                    reason = f"face {face.number}: left alone, {str(error).removeprefix('face: ')}"
            work.reports[face.number] = FaceReport.of(face, restorer.id, False, reason)
    return jobs


def _left_alone(face: Face, options: Options, skip: bool) -> str:
    """Why a face that was selected is still not restored, or ""."""
    if skip:
        return f"face {face.number}: skipped, as its override says"
    return f"face {face.number}: skipped, visibility is 0" if options.visibility == 0 else ""


def enlarge_pictures(
    works: Sequence[PictureWork], jobs: Sequence[FaceJob], factor: float, upscaler: Upscaler | None, caller: Caller
) -> None:
    """Make the canvases. With an upscaler, pictures whose turn did not come before a stop have none."""
    if upscaler is None:
        for work in works:
            work.canvas = enlarge(work.picture.pixels, factor, None)
        return
    tiles = [upscaler.count_tiles(work.picture.height, work.picture.width) for work in works]
    before, total = 0, sum(tiles)
    for index, work in enumerate(works):

        def report(done: int, _: int, before: int = before) -> None:
            caller.report("enlarge", before + done, total)

        work.canvas = enlarge(work.picture.pixels, factor, upscaler, report, caller.stopped)
        before += tiles[index]
        if work.canvas is None:
            work.stopped = True
            for job in jobs:
                if job.picture == index and job.restored is not None:
                    job.stop()
