"""`Result`, which `FaceRestorer` returns for a picture, and the functions that make its parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeAlias, TypeVar

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from .errors import InputError
from .faces.face import NO_FACE, Face, FaceReport, missing_numbers, no_such_face
from .images import files as image_files
from .images.files import Picture
from .images.metadata import turn_back_points
from .options.per_face import Overrides
from .options.table import SPECS, Options
from .stages.face_job import FaceJob

STOPPED = "stopped"

Image: TypeAlias = NDArray[np.uint8] | NDArray[np.uint16] | PIL.Image.Image | Picture
"""H×W×3 or H×W×4 RGB(A) arrays, PIL images, or pictures with their metadata."""
ImageT = TypeVar("ImageT", NDArray[np.uint8], NDArray[np.uint16], PIL.Image.Image, Picture, Image)
FaceT = TypeVar("FaceT", Face, FaceReport)


@dataclass(frozen=True)
class Found:
    """What was found in one picture.

    Attributes:
        faces: the faces, in the order of their numbers, with boxes and landmarks in pixels of the input.
        missed: a sentence on small faces that may have been missed, without a full stop; "" if there is nothing to say.
    """

    faces: list[Face]
    missed: str = ""


@dataclass(frozen=True)
class Result(Generic[ImageT]):
    """The result for one picture.

    Attributes:
        image: the picture, with the type, mode, size and depth of the input (larger if `upscale` is above 1).
        faces: reports on all detected faces, in the order of their numbers.
        model: id of the model that the options name, or that auto has chosen.
        notes: remarks on the whole picture, e.g. that no face was found, or that the end of its file is missing.
        timings: seconds by stage; the time of a batch is divided evenly among its faces.
        hints: options that had no effect, or not the usual one, and why; small faces that may have been missed.
        failures: models that failed on faces of the picture, which were left alone, and why.
    """

    image: ImageT
    faces: list[FaceReport]
    model: str
    notes: tuple[str, ...]
    timings: dict[str, float]
    hints: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether any face was restored."""
        return any(report.applied for report in self.faces)

    @property
    def finished(self) -> bool:
        """Whether this picture was finished before the call was stopped."""
        return STOPPED not in self.notes


def notes_on(faces: Sequence[Face], plan: Overrides, options: Options, stopped: bool) -> tuple[str, ...]:
    """Remarks on the whole picture: options for numbers that no face has, no face found, call stopped."""
    missing = {*missing_numbers(faces, options), *(set(plan) - {face.number for face in faces})}
    notes = (no_such_face(sorted(missing)),) if missing and faces else ()
    return (*notes, *((STOPPED,) if stopped else () if faces else (NO_FACE,)))


def hints_on(jobs: Sequence[FaceJob], options: Options, missed: str = "") -> tuple[str, ...]:
    """Hints about options of a picture and its faces that had no effect, or not the usual one, and about missed faces.

    A hint names the faces, unless it is true of all of them.

    Args:
        jobs: the picture's jobs.
        options: options of the call.
        missed: a sentence on faces that may have been missed, or "".
    """
    unused = options.upscale == 1 and options.upscaler != SPECS["upscaler"].default
    no_upscaler = f"upscaler {options.upscaler} has no effect: upscale is 1" if unused else ""
    of_picture = tuple(text for text in (missed, no_upscaler) if text)
    concerned: dict[str, list[FaceJob]] = {}
    for job in jobs:
        for text in _hints_on_face(job):
            concerned.setdefault(text, []).append(job)
    return of_picture + tuple(_faces_named(own, len(jobs)) + text for text, own in concerned.items())


def failures_on(jobs: Sequence[FaceJob]) -> tuple[str, ...]:
    """The restorers that failed on faces of a picture, and why: "face 2: codeformer failed (out of memory)".

    Args:
        jobs: the picture's jobs.
    """
    concerned: dict[str, list[FaceJob]] = {}
    for job in jobs:
        if job.failure:
            concerned.setdefault(job.failure, []).append(job)
    return tuple(_faces_named(own) + text for text, own in concerned.items())


def _hints_on_face(job: FaceJob) -> list[str]:
    found = []
    value = job.options.fidelity
    if job.fidelity is None and value != SPECS["fidelity"].default:
        found.append(f"fidelity {value:g} has no effect: {job.restorer.id} has no such knob")
    if job.parser_fault and job.wants_parsing:
        found.append(job.parser_fault)
    return found


def _faces_named(jobs: Sequence[FaceJob], of: int | None = None) -> str:
    """The prefix of a hint, e.g. "face 2: "; "" if it is about all faces of that number."""
    if len(jobs) == of:
        return ""
    return f"face{'s' if len(jobs) > 1 else ''} {', '.join(str(job.face.number) for job in jobs)}: "


def as_picture(image: object) -> Picture:
    """An input as an upright `Picture`. `give_back` is the way back.

    Raises:
        InputError: neither an array, a PIL image nor a `Picture`, or none that can be used.
    """
    if isinstance(image, Picture):
        return image
    if isinstance(image, PIL.Image.Image):
        return image_files.from_pil(image)  # turned upright for the detector
    if isinstance(image, np.ndarray):
        return image_files.from_array(image)
    raise InputError(f"picture: a {type(image).__name__} cannot be used; give a NumPy array, a PIL image or a Picture.")


def give_back(
    image: Image, picture: Picture, canvas: NDArray[Any] | None, faces: Sequence[FaceReport], options: Options
) -> Image:
    """The result's picture in the form of the input; a copy of the input if nothing was changed.

    Args:
        image: the input.
        picture: the input as an upright `Picture`.
        canvas: its new pixels; None if the call was stopped before they were made.
        faces: reports on its faces.
        options: options of the call.
    """
    untouched = not any(report.applied for report in faces) and options.upscale == 1
    if canvas is None or untouched:
        return image if isinstance(image, Picture) else image.copy()
    changed = image_files.replace_pixels(picture, canvas)
    if isinstance(image, Picture):
        return changed
    if isinstance(image, PIL.Image.Image):
        return image_files.to_pil(changed, upright=False)
    array: NDArray[np.uint8] | NDArray[np.uint16] = image_files.to_array(changed)
    return array


def as_given(faces: Sequence[FaceT], image: Image, picture: Picture) -> list[FaceT]:
    """Convert faces from pixels of the upright picture to pixels of the input.

    They differ for a PIL image with an EXIF orientation, whose pixels are not upright.

    Args:
        faces: faces, or reports on them, in pixels of `picture`.
        image: the input.
        picture: the input as an upright `Picture`.
    """
    orientation = picture.orientation
    if orientation == 1 or not isinstance(image, PIL.Image.Image):
        return list(faces)
    turned = []
    for face in faces:
        points = np.vstack([face.landmarks, np.reshape(face.box, (2, 2))])
        points = turn_back_points(points, orientation, picture.width, picture.height)
        low, high = points[5:].min(axis=0), points[5:].max(axis=0)
        # In a mirrored picture, left and right eye and mouth corner change places.
        landmarks = points[[1, 0, 2, 4, 3]] if orientation in (2, 4, 5, 7) else points[:5]
        box = (float(low[0]), float(low[1]), float(high[0]), float(high[1]))
        turned.append(replace(face, box=box, landmarks=landmarks.astype(np.float32)))
    return turned


def add_timings(detecting: float, faces: Sequence[FaceReport]) -> dict[str, float]:
    """Seconds by stage: detection, and the sums over the faces."""
    timings = {"detect": detecting}
    for report in faces:
        for stage, seconds in report.timings.items():
            timings[stage] = timings.get(stage, 0.0) + seconds
    return timings
