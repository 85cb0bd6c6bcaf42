"""The face of a portrait, told from hair and background without a parser."""

from __future__ import annotations

import cv2
import numpy as np

from lib_facerestore.bench.face_region import face_region
from lib_facerestore.bench.portraits import Portrait

from ..conftest import face_at

SIDE = 260
SKIN, HAIR, WALL = (205, 160, 140), (60, 40, 30), (120, 140, 190)


def portrait_with(fringe: int = 0, wall: int = 0) -> tuple[Portrait, np.ndarray]:
    """A drawn face with hair over its upper `fringe` pixels and background over the right `wall` pixels of its oval,
    and where it is (H×W bool)."""
    face = face_at((SIDE - 1) / 2, (SIDE - 1) / 2, 200)
    bare = Portrait("drawn", np.zeros((SIDE, SIDE, 3), np.uint8), face.box, face.landmarks.astype(np.float64), True)
    oval, head = bare.oval(), bare.oval(1.25)
    y, x = np.nonzero(oval)
    shown = oval.copy()
    shown[: y.min() + fringe] = False
    shown[:, x.max() - wall :] = False
    pixels = np.empty((SIDE, SIDE, 3), np.float32)
    pixels[:] = WALL
    pixels[head] = HAIR
    pixels[:, x.max() - wall :] = WALL
    pixels[shown] = SKIN
    for point in face.landmarks[[0, 1]]:
        cv2.circle(pixels, (round(float(point[0])), round(float(point[1]))), 7, (50, 40, 40), -1)
    for point in face.landmarks[[3, 4]]:
        cv2.circle(pixels, (round(float(point[0])), round(float(point[1]))), 5, (160, 70, 80), -1)
    pixels += np.random.default_rng(3).normal(0, 4, pixels.shape)
    seen = np.clip(cv2.GaussianBlur(pixels, (0, 0), 1), 0, 255).astype(np.uint8)
    return Portrait("drawn", seen, face.box, face.landmarks.astype(np.float64), True), shown


def overlap(one: np.ndarray, two: np.ndarray) -> float:
    return float((one & two).sum() / (one | two).sum())


def test_the_face_is_the_oval_without_hair_and_background() -> None:
    for fringe, wall in ((0, 0), (50, 0), (0, 35), (40, 25)):
        portrait, shown = portrait_with(fringe, wall)
        assert overlap(portrait.region, shown) > 0.94, (fringe, wall)
        assert not (portrait.region & ~portrait.oval()).any()


def test_eyes_and_mouth_belong_to_the_face_in_every_size() -> None:
    portrait, _ = portrait_with(50)
    for one in (portrait, portrait.scaled(90), portrait.scaled(400)):
        assert all(one.region[round(y), round(x)] for x, y in one.landmarks)
    small = portrait.scaled(90)
    again = cv2.resize(small.region.astype(np.uint8), (SIDE, SIDE), interpolation=cv2.INTER_NEAREST) > 0
    assert overlap(again, portrait.region) > 0.93


def test_it_is_the_same_in_every_run() -> None:
    portrait, _ = portrait_with(50)
    assert (portrait.region == portrait_with(50)[0].region).all()


def test_without_a_background_the_face_is_the_oval() -> None:
    portrait, _ = portrait_with()
    oval = portrait.oval()
    assert (face_region(portrait.pixels, portrait.landmarks, oval, np.ones_like(oval)) == oval).all()
