"""What `FaceRestorer` gives back: `Result`, and how it is put together for one picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, TypeVar

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from .faces.face import Face, FaceReport, missing_numbers
from .images import files as image_files
from .images.files import Picture
from .images.metadata import turn_back_points
from .options.per_face import Overrides
from .options.table import Options

STOPPED = "stopped"
Image: TypeAlias = "NDArray[np.uint8] | NDArray[np.uint16] | PIL.Image.Image | Picture"
Found = TypeVar("Found", Face, FaceReport)


@dataclass(frozen=True)
class Result:
    """What `restore` gives back.

    Attributes:
        image: same type, mode, size and depth as the input (larger if `upscale` is above 1).
        faces: a report on every face found, in the order of their numbers.
        model: id of the model that was asked for, or chosen by auto.
        notes: remarks on the whole picture, e.g. that no face was found.
        timings: seconds by stage; the network's time is shared evenly among the faces of a batch.
        hints: options that could have no effect here, or not their usual one, and why.
    """

    image: Any
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
        """False where the call was stopped before this picture's turn, or before all of its faces had theirs."""
        return STOPPED not in self.notes


def notes_on(faces: Sequence[Face], plan: Overrides, options: Options, stopped: bool) -> tuple[str, ...]:
    """Remarks on the whole picture: numbers that no face has, no face at all, a run that was stopped."""
    missing = {*missing_numbers(faces, options), *(set(plan) - {face.number for face in faces})}
    notes = [f"there is no face {number}" for number in sorted(missing)]
    if stopped:
        return (*(notes if faces else ()), STOPPED)
    return tuple(notes) if faces else (*notes, "no face was found")


def give_back(image: Image, picture: Picture, canvas: NDArray[Any], faces: list[FaceReport], options: Options) -> Any:
    """The picture in the form in which it came in; a copy of what came in where nothing was done."""
    if not any(report.applied for report in faces) and options.upscale == 1:
        return image if isinstance(image, Picture) else image.copy()
    changed = image_files.replace_pixels(picture, canvas)
    if isinstance(image, Picture):
        return changed
    if isinstance(image, PIL.Image.Image):
        return image_files.to_pil(changed, upright=False)
    return image_files.to_array(changed)


def as_given(faces: Sequence[Found], image: Image, picture: Picture) -> list[Found]:
    """Faces of the upright picture in pixels of the image that came in: a PIL image is stored as its camera lay."""
    way = picture.orientation
    if way == 1 or not isinstance(image, PIL.Image.Image):
        return list(faces)
    turned = []
    for face in faces:
        spots = np.vstack([face.landmarks, np.reshape(face.box, (2, 2))])
        spots = turn_back_points(spots, way, picture.width, picture.height)
        low, high = spots[5:].min(axis=0), spots[5:].max(axis=0)
        # Seen in a mirror, the left eye and the left corner of the mouth are the right ones.
        landmarks = spots[[1, 0, 2, 4, 3]] if way in (2, 4, 5, 7) else spots[:5]
        box = (float(low[0]), float(low[1]), float(high[0]), float(high[1]))
        turned.append(replace(face, box=box, landmarks=landmarks.astype(np.float32)))
    return turned


def make_result(
    output: Any,
    faces: list[FaceReport],
    model: str,
    notes: tuple[str, ...],
    detecting: float,
    hints: tuple[str, ...],
) -> Result:
    """The result of one picture, its faces in order and their times added up. detecting: seconds."""
    timings = {"detect": detecting}
    for report in faces:
        for stage, seconds in report.timings.items():
            timings[stage] = timings.get(stage, 0.0) + seconds
    return Result(output, sorted(faces, key=lambda report: report.number), model, notes, timings, hints)
