"""`PictureWork`, the state of one picture during a call, and the functions that cut out faces and enlarge pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from numpy.typing import NDArray

from ..errors import FaceRestoreError, InputError
from ..faces.face import Face, FaceReport, select_faces
from ..images.files import Picture
from ..networks.failures import why
from ..options.per_face import SKIP, Overrides, for_face
from ..options.table import Options
from . import face_job
from .background import Upscaler, enlarge
from .face_job import FaceJob
from .loaded_models import ChosenRestorer


class Progress(Protocol):
    """A function that is told the progress of a call."""

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Called before and after each unit of work, from the calling thread.

        Args:
            stage: "detect" (the units are pictures), "restore" (faces), "enlarge" (tiles of the upscaler; omitted
                without one), "mask" (faces) or "paste" (faces).
            done: number of finished units.
            total: number of all units.
        """
        ...


@dataclass
class PictureWork:
    """State of one picture during a call.

    Attributes:
        picture: the input.
        plan: options of single faces, by number of the face.
        faces: the detected faces; None before detection.
        detecting: seconds that detection took.
        missed: a sentence on faces that it may have missed, or "".
        reports: reports on the faces that are left alone, by number of the face.
        canvas: pixels of the result; None before the picture is enlarged.
        stopped: whether the call was stopped before this picture was finished.
    """

    picture: Picture
    plan: Overrides
    faces: list[Face] | None = None
    detecting: float = 0.0
    missed: str = ""
    reports: dict[int, FaceReport] = field(default_factory=dict)
    canvas: NDArray[Any] | None = None
    stopped: bool = False


class Caller:
    """The caller's functions for progress and for stopping. Once `stop` has returned true, it is not called again."""

    def __init__(self, progress: Progress | None, stop: Callable[[], bool] | None) -> None:
        self._progress, self._stop = progress, stop
        self._stopped = False

    def report(self, stage: str, done: int, total: int) -> None:
        """See `Progress`."""
        if self._progress is not None:
            self._progress(stage, done, total)

    def stopped(self) -> bool:
        """Whether the call must stop."""
        self._stopped = self._stopped or (self._stop is not None and self._stop())
        return self._stopped


def cut_faces(
    works: Sequence[PictureWork],
    options: Options,
    restorers: Mapping[str, ChosenRestorer],
    outside: Sequence[Mapping[int, str]],
) -> list[FaceJob]:
    """Make a job for every face that is restored, and a report for each of the others.

    Args:
        works: the pictures, after detection; the reports are added to them.
        options: options of the call.
        restorers: the restorers by the values of `Options.model`.
        outside: for each picture, the caller's reasons to leave faces alone, by the faces' numbers.

    Returns:
        The jobs, in the order of the pictures and their faces.
    """
    jobs = []
    for index, work in enumerate(works):
        work.stopped = work.faces is None
        for face, reason in select_faces(work.faces or [], options):
            changes = work.plan.get(face.number, {})
            own = for_face(options, changes)
            restorer = restorers[own.model]
            if face.number in outside[index]:
                reason = f"face {face.number}: {outside[index][face.number]}"
            reason = reason or _left_alone(face, own, bool(changes.get(SKIP)))
            if not reason:
                try:
                    jobs.append(face_job.cut(index, face, restorer, own, work.picture.pixels))
                    continue
                except InputError as error:  # the other faces can still be restored
                    reason = f"face {face.number}: left alone, {str(error).removeprefix('face: ')}"
            work.reports[face.number] = FaceReport.of(face, restorer.id, False, reason)
    return jobs


def _left_alone(face: Face, options: Options, skip: bool) -> str:
    """Why a selected face is not restored, or ""."""
    if skip:
        return f"face {face.number}: skipped, as its override says"
    return f"face {face.number}: skipped, visibility is 0" if options.visibility == 0 else ""


def enlarge_pictures(
    works: Sequence[PictureWork], jobs: Sequence[FaceJob], factor: float, upscaler: Upscaler | None, caller: Caller
) -> None:
    """Set the canvas of every picture.

    Raises FaceRestoreError if the upscaler fails, whatever it raises.

    If the call is stopped while an upscaler runs, the remaining pictures get none, and their jobs are stopped too.

    Args:
        works: the pictures.
        jobs: the jobs of their faces.
        factor: enlargement, from 1.
        upscaler: the network that enlarges; None means Lanczos.
        caller: is told the progress, and asked whether to stop.
    """
    if upscaler is None:
        for work in works:
            work.canvas = enlarge(work.picture.pixels, factor, None)
        return
    tiles = [upscaler.count_tiles(work.picture.height, work.picture.width) for work in works]
    before, total = 0, sum(tiles)
    for index, work in enumerate(works):

        def report(done: int, _: int, before: int = before) -> None:
            caller.report("enlarge", before + done, total)

        try:
            work.canvas = enlarge(work.picture.pixels, factor, upscaler, report, caller.stopped)
        except FaceRestoreError:
            raise
        except Exception as error:
            raise FaceRestoreError(
                f"the upscaler failed ({why(error)}); choose another one, or upscaler none."
            ) from error
        before += tiles[index]
        if work.canvas is None:
            work.stopped = True
            for job in jobs:
                if job.picture == index and job.restored is not None:
                    job.stop()
