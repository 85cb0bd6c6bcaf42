"""The detector's table of `bench --quality`: how many faces it finds in damaged, turned and cut pictures."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ..faces import alignment
from ..faces.face import Box, Face
from . import metrics
from .degradations import blur, coarse, heavy, noise, ordinary
from .metrics import Pixels
from .portraits import Portrait
from .quality import generator
from .quality_table import Line

COLUMNS = ("recall", "landmarks right", "false faces a picture")
ANGLES = (15, 30, 40, 50, 70, 90, 120, 150, 180)
"""Angles in degrees by which pictures are rotated."""
HIT = 0.4
"""Overlap (intersection over union) from which a face counts as found."""
RIGHT = 0.25
"""Landmarks are right if their mean error is below this share of the distance of the eyes."""
_FEW_EYES = 0.2
"""In a profile the eyes are near to each other; the error is then a share of this fraction of the box's width."""

Find = Callable[[Pixels], list[Face]]
"""Finds the faces of a picture."""


@dataclass(frozen=True, eq=False)
class Scene:
    """A picture whose faces are known.

    Attributes:
        pixels: H×W×3 uint8 RGB.
        boxes: boxes of the faces. Where a face is cut, alternatives: the whole box, and the part in the picture.
        landmarks: 5×2 for each face; points outside of the picture are NaN.
        alone: whether all faces of the picture are known, so that others are false.
    """

    pixels: Pixels
    boxes: Sequence[Sequence[Box]]
    landmarks: Sequence[NDArray[np.float64]]
    alone: bool


def measure(portraits: Sequence[Portrait], find: Find, angles: Sequence[int] = ANGLES) -> list[Line]:
    """Measure a detector.

    Args:
        portraits: pictures of one face each.
        find: the detector.
        angles: angles in degrees by which the pictures are also rotated.

    Returns:
        A line for each case: the share of faces found, the share of these whose landmarks are right, and the mean
        number of false faces in pictures whose faces are all known.
    """
    lines = []
    for case, scenes in _cases(portraits, angles):
        faces = hits = right = false = judged = pictures = 0
        for scene in scenes:
            pictures += 1
            found = find(scene.pixels)
            hit, good, extra = _compare(scene, found)
            faces, hits, right = faces + len(scene.boxes), hits + hit, right + good
            if scene.alone:
                judged, false = judged + 1, false + extra
        values: dict[str, float | None] = {"recall": hits / faces} if faces else {}
        if hits:
            values["landmarks right"] = right / hits
        if judged:
            values["false faces a picture"] = false / judged
        if values:
            lines.append(Line(case, "", "", "", values, faces or pictures))
    return lines


def _compare(scene: Scene, found: Sequence[Face]) -> tuple[int, int, int]:
    """How many faces of a scene were found, how many of these with right landmarks, and how many others were found."""
    free = list(found)
    hits = right = 0
    for boxes, landmarks in zip(scene.boxes, scene.landmarks, strict=True):

        def likeness(face: Face, boxes: Sequence[Box] = boxes) -> float:
            return max(metrics.overlap(face.box, box) for box in boxes)

        best = max(free, key=likeness, default=None)
        if best is None or likeness(best) < HIT:
            continue
        hits += 1
        free = [face for face in free if face is not best]
        width = min(boxes[0][2] - boxes[0][0], boxes[0][3] - boxes[0][1])
        eyes = max(float(np.hypot(*(landmarks[1] - landmarks[0]))), _FEW_EYES * width)
        known = np.isfinite(landmarks).all(axis=1)
        if np.isnan(eyes):  # an eye is outside of the picture
            eyes = 0.45 * width
        errors = np.hypot(*(best.landmarks[known] - landmarks[known]).T)
        right += int(not known.any() or float(errors.mean()) < RIGHT * eyes)
    return hits, right, len(free)


def _cases(portraits: Sequence[Portrait], angles: Sequence[int]) -> Iterator[tuple[str, Iterator[Scene]]]:
    """The cases, each with its pictures, which are made when they are needed."""

    def each(change: Callable[[Portrait, int], Scene]) -> Iterator[Scene]:
        return (change(portrait, index) for index, portrait in enumerate(portraits))

    def damaged(damage: Callable[[Pixels, int], Pixels]) -> Iterator[Scene]:
        return each(lambda portrait, index: _same_place(portrait, damage(portrait.pixels, index)))

    yield "clean", damaged(lambda pixels, _: pixels)
    yield "blur σ8", damaged(lambda pixels, _: blur(pixels, 8))
    yield "noise σ50", damaged(lambda pixels, index: noise(pixels, 50, generator("noise 50", index)))
    yield "÷12 and enlarged", damaged(lambda pixels, _: coarse(pixels, 12))
    yield "÷8", each(lambda portrait, _: reduced(portrait, 8))
    yield "ordinary damage", damaged(lambda pixels, index: ordinary(pixels, generator("ordinary", index)))
    yield "heavy damage", damaged(lambda pixels, index: heavy(pixels, generator("heavy", index)))
    for angle in angles:
        yield f"rotated by {angle}°", each(lambda portrait, _, angle=angle: rotated(portrait, angle))  # type: ignore[misc]
    yield "left 30 % cut off", each(lambda portrait, _: cut_off(portrait, left=0.3))
    yield "lower 45 % cut off", each(lambda portrait, _: cut_off(portrait, bottom=0.45))
    yield "close-up of 2,000 px", each(lambda portrait, _: close_up(portrait))
    yield "no face: what is beside it", (scene for portrait in portraits for scene in faceless(portrait))
    yield "faces of 150 px in 8000×1200", iter([group(portraits)])


def _same_place(portrait: Portrait, pixels: Pixels) -> Scene:
    return Scene(pixels, [[portrait.box]], [portrait.landmarks], portrait.alone)


def reduced(portrait: Portrait, factor: float) -> Scene:
    """The picture, reduced: a small picture."""
    return _same_place(small := portrait.scaled(portrait.side / factor), small.pixels)


def rotated(portrait: Portrait, angle: float) -> Scene:
    """The picture rotated around its centre by `angle` degrees (counter-clockwise), on a grey ground that holds all."""
    height, width = portrait.pixels.shape[:2]
    turn = math.radians(angle)
    cosine, sine = math.cos(turn), math.sin(turn)
    to = (
        math.ceil(abs(width * cosine) + abs(height * sine) - 1e-6),
        math.ceil(abs(width * sine) + abs(height * cosine) - 1e-6),
    )
    linear = np.array([[cosine, sine], [-sine, cosine]])
    shift = np.array([(to[0] - 1) / 2, (to[1] - 1) / 2]) - linear @ [(width - 1) / 2, (height - 1) / 2]
    matrix = np.column_stack([linear, shift])
    pixels = cv2.warpAffine(portrait.pixels, matrix, to, flags=cv2.INTER_CUBIC, borderValue=(127, 127, 127))
    x0, y0, x1, y1 = portrait.box
    centre = alignment.apply_affine(matrix, [((x0 + x1) / 2, (y0 + y1) / 2)])[0]
    a, b = (x1 - x0) / 2, (y1 - y0) / 2  # the box of the rotated ellipse that the upright box holds
    reach = math.hypot(a * cosine, b * sine), math.hypot(a * sine, b * cosine)
    box = (centre[0] - reach[0], centre[1] - reach[1], centre[0] + reach[0], centre[1] + reach[1])
    landmarks = alignment.apply_affine(matrix, portrait.landmarks)
    return Scene(np.asarray(pixels, np.uint8), [[box]], [landmarks], portrait.alone)


def cut_off(portrait: Portrait, left: float = 0.0, bottom: float = 0.0) -> Scene:
    """The picture without what is left of the face's first `left` or below the last `bottom`, fractions of its box."""
    x0, y0, x1, y1 = portrait.box
    start = max(round(x0 + left * (x1 - x0)), 0) if left else 0
    end = round(y1 - bottom * (y1 - y0)) if bottom else portrait.pixels.shape[0]
    pixels = np.ascontiguousarray(portrait.pixels[:end, start:])
    landmarks = portrait.landmarks - (start, 0)
    height, width = pixels.shape[:2]
    outside = (landmarks < -0.5).any(axis=1) | (landmarks[:, 0] > width - 0.5) | (landmarks[:, 1] > height - 0.5)
    landmarks[outside] = np.nan
    whole = (x0 - start, y0, x1 - start, y1)
    seen = (max(whole[0], 0.0), max(y0, 0.0), min(whole[2], float(width)), min(y1, float(height)))
    return Scene(pixels, [[whole, seen]], [landmarks], portrait.alone)


def faceless(portrait: Portrait) -> list[Scene]:
    """The largest part of the picture beside its face, such as chest and hands; none if it is small or has others."""
    height, width = portrait.pixels.shape[:2]
    x0, y0, x1, y1 = portrait.box
    margin = 0.1 * (y1 - y0)
    x0, y0, x1, y1 = (round(value) for value in (x0 - margin, y0 - margin, x1 + margin, y1 + margin))
    parts = [(0, 0, x0, height), (x1, 0, width, height), (0, 0, width, y0), (0, y1, width, height)]
    left, top, right, bottom = max(parts, key=lambda part: max(part[2] - part[0], 0) * max(part[3] - part[1], 0))
    if not portrait.alone or right - left < 64 or bottom - top < 64:
        return []
    return [Scene(np.ascontiguousarray(portrait.pixels[top:bottom, left:right]), [], [], True)]


def close_up(portrait: Portrait, side: int = 2000, share: float = 1.0) -> Scene:
    """A square picture of `side` pixels that the face's box fills to `share`."""
    longer = max(portrait.box[2] - portrait.box[0], portrait.box[3] - portrait.box[1])
    large = portrait.scaled(portrait.side * share * side / longer)
    x = round((large.box[0] + large.box[2]) / 2 - side / 2)
    y = round((large.box[1] + large.box[3]) / 2 - side / 2)
    x0, y0, x1, y1 = alignment.clip_box((x, y, x + side, y + side), *large.pixels.shape[:2])
    pixels = np.ascontiguousarray(large.pixels[y0:y1, x0:x1])
    box = (large.box[0] - x0, large.box[1] - y0, large.box[2] - x0, large.box[3] - y0)
    return Scene(pixels, [[box]], [large.landmarks - (float(x0), float(y0))], portrait.alone)


def group(portraits: Sequence[Portrait], count: int = 30, width: int = 8000, height: int = 1200) -> Scene:
    """A wide picture of `count` faces whose boxes are 150 pixels high, in a row on a grey ground."""
    pixels = np.full((height, width, 3), 118, np.uint8)
    half = width / count / 2
    boxes: list[list[Box]] = []
    landmarks = []
    for place in range(count):
        portrait = portraits[place % len(portraits)]
        small = portrait.scaled(portrait.side * 150 / (portrait.box[3] - portrait.box[1]))
        left, top, right, bottom = small.box
        x = round((2 * place + 1) * half - (left + right) / 2)
        y = round(height / 2 - (top + bottom) / 2)
        part = alignment.clip_box(  # no more than its own column, so that it hides no neighbour
            (math.ceil(2 * place * half) - x, 0, math.floor((2 * place + 2) * half) - x, small.pixels.shape[0]),
            *small.pixels.shape[:2],
        )
        seen = small.pixels[part[1] : part[3], part[0] : part[2]]
        pixels[part[1] + y : part[3] + y, part[0] + x : part[2] + x] = seen
        boxes.append([(left + x, top + y, right + x, bottom + y)])
        landmarks.append(small.landmarks + np.array([x, y]))
    return Scene(pixels, boxes, landmarks, all(portrait.alone for portrait in portraits))
