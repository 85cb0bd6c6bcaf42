"""The faces that `bench --quality` measures on: from labelled photographs, from the user's pictures, or the sample."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..faces import alignment, warping
from ..faces.face import Box, Face
from ..images import files as image_files
from ..images.modes import to_eight_bit
from ..pipeline import FaceRestorer
from .face_region import face_region
from .metrics import Pixels, Region
from .samples import sample_pictures

SIDE = 512
"""Side in pixels of the aligned square of a portrait's face, at most."""
_AROUND = 0.65
"""How far a portrait extends from the middle of the face, in sides of the aligned square."""
_GRID = 192
"""Side in pixels of the aligned crop in which the face is told from hair and background."""
_WIDER = 1.15
"""Factor of the oval's axes, outside of which there is certainly no face."""
_LEAST = 96
"""Faces of fewer pixels (aligned square) are no truth that anything could be measured with."""


@dataclass(frozen=True, eq=False)
class Portrait:
    """A picture of one face, which is the truth of the measurements.

    Attributes:
        name: where it comes from.
        pixels: H×W×3 uint8 RGB.
        box: the face's box, in pixels.
        landmarks: 5×2 float64, image left first.
        alone: whether the picture is known to show no other face.
        source: the portrait that this one is a resized copy of, or None.
    """

    name: str
    pixels: Pixels
    box: Box
    landmarks: NDArray[np.float64]
    alone: bool
    source: Portrait | None = None

    @property
    def face(self) -> Face:
        """The face, as a detector without error would find it."""
        return Face(1, self.box, self.landmarks.astype(np.float32), 1.0)

    @property
    def side(self) -> float:
        """Side of the aligned square in pixels."""
        return 1 / alignment.scale_of(alignment.face_transform(self.face, 1))

    @property
    def turned(self) -> bool:
        """Whether the face is turned to a side: the eyes are near to each other, or the nose is near to one of them."""
        left, right, nose = self.landmarks[:3]
        across = right - left
        length = max(float(np.hypot(*across)), 1e-6)
        at = float((nose - left) @ across) / length**2
        return not 0.33 <= at <= 0.67 or length < 0.3 * (self.box[2] - self.box[0])

    def scaled(self, side: float) -> Portrait:
        """The portrait, resized so that the aligned square is about `side` pixels."""
        height, width = self.pixels.shape[:2]
        factor = side / self.side
        to = max(round(width * factor), 8), max(round(height * factor), 8)
        method = cv2.INTER_AREA if factor < 1 else cv2.INTER_LANCZOS4
        pixels = np.asarray(cv2.resize(self.pixels, to, interpolation=method), np.uint8)
        x, y = to[0] / width, to[1] / height
        landmarks = (self.landmarks + 0.5) * (x, y) - 0.5
        left, top, right, bottom = self.box
        box = ((left + 0.5) * x - 0.5, (top + 0.5) * y - 0.5, (right + 0.5) * x - 0.5, (bottom + 0.5) * y - 0.5)
        return Portrait(self.name, pixels, box, landmarks, self.alone, self.source or self)

    def oval(self, grow: float = 1.0) -> Region:
        """The face's oval, H×W: an ellipse over forehead, cheeks and chin, which follows from the landmarks.

        If the face is turned, it is narrower and shifted to the cheek that is seen.

        Args:
            grow: factor of its axes.
        """
        points = self.landmarks
        eyes, mouth = (points[0] + points[1]) / 2, (points[3] + points[4]) / 2
        length = max(float(np.hypot(*(mouth - eyes))), 1.0)
        down = (mouth - eyes) / length
        right = np.array([down[1], -down[0]])
        width = max(abs(float((points[1] - points[0]) @ right)), abs(float((points[4] - points[3]) @ right)))
        frontal = min(width / (0.95 * length), 1.15)
        turn = float(np.clip((points[2] - (eyes + mouth) / 2) @ right / length, -0.6, 0.6))
        middle = eyes + (0.27 * down - 0.45 * turn * right) * length
        y, x = np.mgrid[0 : self.pixels.shape[0], 0 : self.pixels.shape[1]]
        across = ((x - middle[0]) * right[0] + (y - middle[1]) * right[1]) / ((0.72 + 0.38 * frontal) * length)
        along = ((x - middle[0]) * down[0] + (y - middle[1]) * down[1]) / (1.47 * length)
        return np.asarray(across**2 + along**2 <= grow**2)

    @functools.cached_property
    def region(self) -> Region:
        """The face, H×W: the oval without hair, hats and background; see `face_region`."""
        in_crop = (self.source or self)._region_in_crop
        height, width = self.pixels.shape[:2]
        to_crop = alignment.face_transform(self.face, _GRID, alignment.ffhq_template(_GRID))
        soft = warping.warp(in_crop.astype(np.float32), to_crop, width, height, "zero", smooth=True)
        return np.asarray((soft > 0.5) & self.oval())

    @functools.cached_property
    def _region_in_crop(self) -> Region:
        """The face in the aligned crop, `_GRID` pixels a side."""
        matrix = alignment.face_transform(self.face, _GRID, alignment.ffhq_template(_GRID))
        crop = np.rint(warping.crop_face(self.pixels, matrix, _GRID, "edge") * 255).astype(np.uint8)
        upright = Portrait(self.name, crop, self.box, alignment.apply_affine(matrix, self.landmarks), self.alone)
        return face_region(crop, upright.landmarks, upright.oval(), upright.oval(_WIDER))


def labelled(folder: Path, count: int, split: str = "val") -> list[Portrait]:
    """Portraits of a folder with faces/faces.jsonl: those of one face, of full size first, evenly spread over the list.

    Each line of the file has `file`, `box` (4 numbers), `lm5` (10), `faces` (how many the picture shows), `split`.

    Args:
        folder: the folder.
        count: the most portraits.
        split: the lines to use.

    Raises:
        InputError: the file is missing, a line cannot be read, or no line is left.
    """
    path = folder / "faces" / "faces.jsonl"
    try:
        lines = path.read_text("utf-8").splitlines()
    except OSError as error:
        raise InputError(f"bench --quality: {path} cannot be read; name a folder with faces/faces.jsonl.") from error
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            if row["split"] != split or row["faces"] != 1:
                continue
            landmarks = np.array(row["lm5"], np.float64).reshape(5, 2)
            left, top, right, bottom = map(float, row["box"])
            found.append((str(row["file"]), (left, top, right, bottom), landmarks))
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"bench --quality: {path}, line {number}, is not a labelled face.") from error
    if not found:
        raise InputError(f"bench --quality: {path} has no photograph of one face in the split {split!r}.")
    portraits = []
    for index in np.unique(np.linspace(0, len(found) - 1, min(count, len(found))).astype(int)):
        name, box, landmarks = found[index]
        pixels = to_eight_bit(image_files.read_picture(path.parent / name).pixels)[..., :3]
        portraits.append(Portrait(name, np.ascontiguousarray(pixels), box, landmarks, alone=True))
    return portraits


def from_pictures(paths: Sequence[Path], restorer: FaceRestorer, count: int) -> list[Portrait]:
    """Portraits of the faces that the detector finds in pictures, the largest of each picture first.

    Raises:
        InputError: a picture cannot be read, or there is no face that is large enough.
    """
    pictures = [(path.name, to_eight_bit(image_files.read_picture(path).pixels)[..., :3]) for path in paths]
    return _portraits(pictures, restorer, count)


def sample(restorer: FaceRestorer, count: int) -> list[Portrait]:
    """The portrait of scikit-image's photograph. Raises InputError if it is not installed, or no face is found."""
    return _portraits(sample_pictures()[:1], restorer, count)


def _portraits(pictures: Sequence[tuple[str, Pixels]], restorer: FaceRestorer, count: int) -> list[Portrait]:
    found = []
    for name, pixels in pictures:
        faces = sorted(restorer.detect(np.ascontiguousarray(pixels)), key=lambda face: -face.area)
        for place, face in enumerate(faces):
            title = name if len(faces) == 1 else f"{name}, face {place + 1}"
            portrait = _cut(title, pixels, face)
            if portrait.side >= _LEAST:
                found.append((place, portrait))
    if not found:
        names = ", ".join(name for name, _ in pictures)
        raise InputError(
            f"bench --quality: no face of {_LEAST} pixels or more was found in {names}; "
            "name pictures with larger faces, or a --detector-file."
        )
    found.sort(key=lambda pair: pair[0])  # the largest face of every picture before the second of any
    return [portrait for _, portrait in found[:count]]


def _cut(name: str, pixels: Pixels, face: Face) -> Portrait:
    """The part of a picture around a face, with the aligned square at most `SIDE` pixels."""
    matrix = alignment.invert_affine(alignment.face_transform(face, 1, alignment.ffhq_template(1)))
    middle = alignment.apply_affine(matrix, [(0.0, 0.0)])[0]  # the centre of a crop of one pixel
    reach = _AROUND / alignment.scale_of(alignment.face_transform(face, 1))
    x0, y0, x1, y1 = alignment.clip_box(
        [int(middle[0] - reach), int(middle[1] - reach), int(middle[0] + reach) + 1, int(middle[1] + reach) + 1],
        *pixels.shape[:2],
    )
    left, top, right, bottom = face.box
    box = (left - x0, top - y0, right - x0, bottom - y0)
    part = Portrait(
        name,
        np.ascontiguousarray(pixels[y0:y1, x0:x1]),
        box,
        (face.landmarks - np.array([x0, y0])).astype(np.float64),
        False,
    )
    return part.scaled(SIDE) if part.side > SIDE else part
