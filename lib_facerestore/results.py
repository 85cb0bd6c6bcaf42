"""What `FaceRestorer` gives back: `Result`, and how it is put together for one picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeAlias, TypeVar

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from .faces.face import Face, FaceReport, missing_numbers
from .images import files as image_files
from .images.files import Picture
from .images.metadata import turn_back_points
from .options.per_face import Overrides
from .options.table import SPECS, Options
from .stages.face_job import FaceJob

STOPPED = "stopped"
NO_PARSER = "keep hair has no effect without a parsing model (`facerestore models download bisenet`)"

Image: TypeAlias = NDArray[np.uint8] | NDArray[np.uint16] | PIL.Image.Image | Picture
"""H×W×3 or H×W×4 RGB(A) arrays, PIL images, or pictures that were read with their metadata."""
ImageT = TypeVar("ImageT", NDArray[np.uint8], NDArray[np.uint16], PIL.Image.Image, Picture, Image)
FaceT = TypeVar("FaceT", Face, FaceReport)


@dataclass(frozen=True)
class Result(Generic[ImageT]):
    """What `restore` gives back.

    Attributes:
        image: same type, mode, size and depth as the input (larger if `upscale` is above 1).
        faces: a report on every face found, in the order of their numbers.
        model: id of the model that was asked for, or chosen by auto.
        notes: remarks on the whole picture, e.g. that no face was found.
        timings: seconds by stage; the network's time is shared evenly among the faces of a batch.
        hints: options that could have no effect here, or not their usual one, and why.
    """

    image: ImageT
    faces: list[FaceReport]
    model: str
    notes: tuple[str, ...]
    timings: dict[str, float]
    hints: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether any face was restored."""
        return any(report.applied for report in self.faces)

    @property
    def finished(self) -> bool:
        """False where the call was stopped before this picture's turn, or before it was done."""
        return STOPPED not in self.notes


def notes_on(faces: Sequence[Face], plan: Overrides, options: Options, stopped: bool) -> tuple[str, ...]:
    """Remarks on the whole picture: numbers that no face has, no face at all, a run that was stopped."""
    missing = {*missing_numbers(faces, options), *(set(plan) - {face.number for face in faces})}
    notes = [f"there is no face {number}" for number in sorted(missing)]
    if stopped:
        return (*(notes if faces else ()), STOPPED)
    return tuple(notes) if faces else (*notes, "no face was found")


def hints_on(jobs: Sequence[FaceJob], parser_is_there: bool, parser_fault: str) -> tuple[str, ...]:
    """Options of the faces of one picture that could have no effect, or not their usual one.

    Each face is judged by its own options and restorer; a hint names the faces unless it is true of all of them.

    Args:
        jobs: the faces that were to be restored.
        parser_is_there: whether there is a parsing network.
        parser_fault: why the one that is installed cannot be used, else "".
    """
    concerned: dict[str, list[FaceJob]] = {}
    for job in jobs:
        for text in _hints_on_face(job, parser_is_there, parser_fault):
            concerned.setdefault(text, []).append(job)
    return tuple(_faces_named(own, len(jobs)) + text for text, own in concerned.items())


def _hints_on_face(job: FaceJob, parser_is_there: bool, parser_fault: str) -> list[str]:
    found = []
    value = job.options.fidelity
    if job.fidelity is None and value != SPECS["fidelity"].default:
        found.append(f"fidelity {value:g} has no effect: {job.restorer.id} has no such knob")
    if parser_fault and job.wants_parsing:
        found.append(parser_fault)
    elif not parser_is_there and "hair" in job.options.keep_parts:
        found.append(NO_PARSER)
    return found


def _faces_named(jobs: Sequence[FaceJob], of: int) -> str:
    """ "face 2: ", or "" where it is all of them."""
    if len(jobs) == of:
        return ""
    return f"face{'s' if len(jobs) > 1 else ''} {', '.join(str(job.face.number) for job in jobs)}: "


def give_back(
    image: Image, picture: Picture, canvas: NDArray[Any] | None, faces: Sequence[FaceReport], options: Options
) -> Image:
    """The picture in the form in which it came in; a copy of what came in where nothing was done.

    Args:
        image: what came in.
        picture: the same, upright.
        canvas: its new pixels; None where it was stopped before it was enlarged.
        faces: what was done with its faces.
        options: what was asked for.
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
    """Faces of the upright picture in pixels of the image that came in: a PIL image is stored as its camera was held.

    Args:
        faces: faces, or reports on them, in pixels of `picture`.
        image: what came in.
        picture: the same, upright.
    """
    orientation = picture.orientation
    if orientation == 1 or not isinstance(image, PIL.Image.Image):
        return list(faces)
    turned = []
    for face in faces:
        points = np.vstack([face.landmarks, np.reshape(face.box, (2, 2))])
        points = turn_back_points(points, orientation, picture.width, picture.height)
        low, high = points[5:].min(axis=0), points[5:].max(axis=0)
        # Seen in a mirror, the left eye and the left corner of the mouth are the right ones.
        landmarks = points[[1, 0, 2, 4, 3]] if orientation in (2, 4, 5, 7) else points[:5]
        box = (float(low[0]), float(low[1]), float(high[0]), float(high[1]))
        turned.append(replace(face, box=box, landmarks=landmarks.astype(np.float32)))
    return turned


def add_timings(detecting: float, faces: Sequence[FaceReport]) -> dict[str, float]:
    """Seconds by stage: those of detection, and those of the faces added up."""
    timings = {"detect": detecting}
    for report in faces:
        for stage, seconds in report.timings.items():
            timings[stage] = timings.get(stage, 0.0) + seconds
    return timings
