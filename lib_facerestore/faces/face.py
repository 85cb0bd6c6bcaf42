"""`Face`, `FaceReport`, and the functions that number faces and select those to restore."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from numbers import Integral, Real
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..options.table import Options, Order

Box = tuple[float, float, float, float]
"""(x0, y0, x1, y1) in pixels of a picture."""
SortKey = tuple[object, ...]
NO_FACE = "no face was found"
"""The note on a picture without faces."""


class FaceRecord(TypedDict):
    """A face as plain values for JSON: box and landmarks rounded to 1/100 pixel, score to four places."""

    number: int
    box: list[float]
    landmarks: list[list[float]]
    score: float


class ReportRecord(FaceRecord):
    """A report on a face as plain values for JSON; timings are seconds by stage, to 0.1 ms."""

    model: str
    applied: bool
    reason: str
    timings: dict[str, float]


@dataclass(frozen=True, eq=False)
class Face:
    """One detected face, in pixels of the picture it was found in. Compares and hashes by value.

    Attributes:
        number: the number that `Options.faces` uses, from 1; 0 means that it is not numbered yet.
        box: (x0, y0, x1, y1) with x0 < x1 and y0 < y1; it may extend beyond the picture.
        landmarks: 5×2 float32, read-only, (x, y) of the eyes, nose tip and mouth corners; image left comes first.
        score: the detector's confidence, 0 to 1.

    Raises:
        InputError: a value is not allowed; names the field.
    """

    number: int
    box: Box
    landmarks: npt.NDArray[np.float32]
    score: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "number", _valid_number(self.number))
        object.__setattr__(self, "box", _valid_box(self.box))
        object.__setattr__(self, "landmarks", _valid_landmarks(self.landmarks))
        object.__setattr__(self, "score", _valid_score(self.score))

    @property
    def width(self) -> float:
        """Width of the box in pixels."""
        return self.box[2] - self.box[0]

    @property
    def height(self) -> float:
        """Height of the box in pixels."""
        return self.box[3] - self.box[1]

    @property
    def side(self) -> float:
        """Longer side of the box in pixels, which is compared with min_face and max_face."""
        return max(self.width, self.height)

    @property
    def area(self) -> float:
        """Area of the box in square pixels; it decides which face is larger in `order`, `faces` and `max_faces`."""
        return self.width * self.height

    @property
    def centre(self) -> tuple[float, float]:
        """Centre of the box, x and y in pixels."""
        return (self.box[0] + self.box[2]) / 2, (self.box[1] + self.box[3]) / 2

    def to_dict(self) -> FaceRecord:
        """Plain values for JSON; see `FaceRecord`."""
        return {
            "number": self.number,
            "box": [round(value, 2) for value in self.box],
            "landmarks": [[round(float(x), 2), round(float(y), 2)] for x, y in self.landmarks],
            "score": round(self.score, 4),
        }

    def __eq__(self, other: object) -> bool:
        return self._values() == other._values() if isinstance(other, Face) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._values())

    def _values(self) -> tuple[object, ...]:
        return self.number, self.box, tuple(self.landmarks.ravel().tolist()), self.score


@dataclass(frozen=True, eq=False)
class FaceReport:
    """What was done with one face. Compares and hashes by value.

    Attributes:
        box: as in `Face`.
        landmarks: as in `Face`.
        score: as in `Face`.
        number: as in `Face`.
        model: id of the restorer; "" if none was used.
        applied: whether the picture was changed.
        reason: why the face was left alone (required then), or a remark on how it was restored.
        timings: seconds, by name of the stage.

    Raises:
        InputError: a value is not allowed; names the field.
    """

    box: Box
    landmarks: npt.NDArray[np.float32]
    score: float
    number: int
    model: str
    applied: bool
    reason: str = ""
    timings: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        face = Face(self.number, self.box, self.landmarks, self.score)
        for name in ("number", "box", "landmarks", "score"):
            object.__setattr__(self, name, getattr(face, name))
        object.__setattr__(self, "timings", dict(self.timings))
        if not self.applied and not self.reason:
            raise InputError(f"reason: face {self.number} was left alone; give the reason.")

    @classmethod
    def of(
        cls, face: Face, model: str, applied: bool, reason: str = "", timings: dict[str, float] | None = None
    ) -> FaceReport:
        """The report on `face`."""
        return cls(face.box, face.landmarks, face.score, face.number, model, applied, reason, timings or {})

    @property
    def face(self) -> Face:
        """The face that this report is about."""
        return Face(self.number, self.box, self.landmarks, self.score)

    def to_dict(self) -> ReportRecord:
        """Plain values for JSON; see `ReportRecord`."""
        return {
            **self.face.to_dict(),
            "model": self.model,
            "applied": self.applied,
            "reason": self.reason,
            "timings": {stage: round(seconds, 4) for stage, seconds in self.timings.items()},
        }

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FaceReport):
            return NotImplemented
        return self._values() == other._values() and self.timings == other.timings

    def __hash__(self) -> int:
        return hash(self._values())

    def _values(self) -> tuple[object, ...]:
        return self.face, self.model, self.applied, self.reason


def number_faces(faces: Iterable[Face], order: Order) -> list[Face]:
    """Sort faces by `order` and number them from 1; the numbers they had before are ignored.

    "left-right" sorts by the centre's x, "top-bottom" by its y, "large-small" by area, "confidence" by score. Ties are
    sorted left to right, then top to bottom, then by the faces' other values, so the input's order does not matter.
    """
    return [replace(face, number=number) for number, face in enumerate(sorted(faces, key=_KEYS[order]), start=1)]


def select_faces(faces: Sequence[Face], options: Options) -> list[tuple[Face, str]]:
    """Decide which numbered faces are restored.

    The options are applied one after the other, each to the remaining faces: min_face and max_face, then faces, then
    max_faces (which keeps the largest).

    Returns:
        Each face in the given order, with "" if it is restored, or else the reason why it is not.
    """
    reasons = {index: _size_reason(face, options) for index, face in enumerate(faces)}

    def remaining() -> list[int]:
        """Indices of the faces not yet ruled out, largest first."""
        left = (index for index, reason in reasons.items() if not reason)
        return sorted(left, key=lambda index: (_by_size(faces[index]), faces[index].number))

    if options.faces == "largest":
        by_size = remaining()
        for index in by_size[1:]:
            reasons[index] = f"only the largest face was asked for, face {faces[by_size[0]].number}"
    elif options.faces != "all":
        wanted = set(options.face_numbers)  # empty for "none"
        were = "were" if len(wanted) > 1 else "was"
        asked = f"only {_named(options.face_numbers)} {were} asked for" if wanted else "no face was asked for"
        reasons |= {index: asked for index in remaining() if faces[index].number not in wanted}
    if options.max_faces:
        for index in remaining()[options.max_faces :]:
            reasons[index] = f"left out by max_faces {options.max_faces}"
    return [
        (face, f"face {face.number}: skipped, {reasons[index]}" if reasons[index] else "")
        for index, face in enumerate(faces)
    ]


def missing_numbers(faces: Iterable[Face], options: Options) -> list[int]:
    """The numbers in `options.faces` that no face has, ascending; empty for a word."""
    present = {face.number for face in faces}
    return [number for number in options.face_numbers if number not in present]


def no_such_face(numbers: Sequence[int]) -> str:
    """A note on numbers that no face has, ascending: "there is no face 7", "there are no faces 2-4, 7"."""
    return f"there {'is' if len(numbers) == 1 else 'are'} no {_named(numbers)}"


def reasons_together(reasons: Iterable[str]) -> list[str]:
    """Reasons of faces, each once, with the numbers of all its faces: "faces 2-4, 7: left alone, too blurred".

    Args:
        reasons: `FaceReport.reason` of each face, in order; empty ones are left out.
    """
    found: dict[str, list[int]] = {}
    for reason in filter(None, reasons):
        name, colon, why = reason.partition(": ")
        number = name.removeprefix("face ")
        if colon and number.isdecimal():
            found.setdefault(why, []).append(int(number))
        else:
            found.setdefault(reason, [])
    return [f"{_named(sorted(numbers))}: {why}" if numbers else why for why, numbers in found.items()]


def _named(numbers: Sequence[int]) -> str:
    """Faces by their numbers, which ascend: "face 7", "faces 2-4, 7"."""
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1] = runs[-1][0], number
        else:
            runs.append((number, number))
    shown = [f"{first}-{last}" if last > first else f"{first}" for first, last in runs]
    return f"face{'s' if len(numbers) > 1 else ''} {', '.join(shown)}"


def _by_place(face: Face) -> SortKey:
    return *face.centre, face.box, -face.score, tuple(face.landmarks.ravel().tolist())


def _by_height(face: Face) -> SortKey:
    return face.centre[1], _by_place(face)


def _by_size(face: Face) -> SortKey:
    return -face.area, _by_place(face)


def _by_score(face: Face) -> SortKey:
    return -face.score, _by_place(face)


_KEYS: dict[Order, Callable[[Face], SortKey]] = {
    "left-right": _by_place,
    "top-bottom": _by_height,
    "large-small": _by_size,
    "confidence": _by_score,
}


def _size_reason(face: Face, options: Options) -> str:
    if face.side < options.min_face:
        return f"{_pixels(face.side, options.min_face)} px is below min_face {options.min_face}"
    if options.max_face and face.side > options.max_face:
        return f"{_pixels(face.side, options.max_face)} px is above max_face {options.max_face}"
    return ""


def _pixels(side: float, limit: int) -> str:
    """`side` as text, with just enough digits to differ from `limit`."""
    for digits in range(4):
        if round(side, digits) != limit:
            return f"{side:.{digits}f}"
    return repr(side)


def _valid_number(number: object) -> int:
    if isinstance(number, bool) or not isinstance(number, Integral) or number < 0:
        raise InputError(f"number: {number!r} is not a face number; give a whole number from 1, or 0 for none yet.")
    return int(number)


def _valid_box(box: Sequence[float]) -> Box:
    try:
        x0, y0, x1, y1 = (float(value) + 0.0 for value in box)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"box: {box!r} is not a box; give four numbers x0, y0, x1, y1 in pixels.") from None
    if not all(map(math.isfinite, (x0, y0, x1, y1))):
        raise InputError(f"box: {box!r} has a value that is not finite; give four finite numbers in pixels.")
    if not (x0 < x1 and y0 < y1):
        raise InputError(f"box: {box!r} is empty or reversed; x0 must be below x1 and y0 below y1.")
    return x0, y0, x1, y1


def _valid_landmarks(landmarks: npt.ArrayLike) -> npt.NDArray[np.float32]:
    try:
        with np.errstate(over="ignore"):
            points = np.array(landmarks, dtype=np.float32, order="C")
    except (TypeError, ValueError, OverflowError):
        raise InputError("landmarks: not an array of numbers; give five x, y points in pixels.") from None
    if points.shape != (5, 2):
        raise InputError(f"landmarks: shape {points.shape} is not (5, 2); give five x, y points in pixels.")
    if not np.isfinite(points).all():
        raise InputError("landmarks: a value is not finite; give five finite x, y points in pixels.")
    points.setflags(write=False)
    return points


def _valid_score(score: object) -> float:
    if isinstance(score, (bool, np.bool_)) or not isinstance(score, Real) or not 0.0 <= float(score) <= 1.0:
        raise InputError(f"score: {score!r} is not a score; give a number from 0 to 1.")
    return float(score) + 0.0
