"""Skin that a parser takes for hair or background is labelled as skin; hair, hats, hands and background are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from lib_facerestore.faces.face import Face
from lib_facerestore.options.table import Options
from lib_facerestore.stages import face_job, masks, parsing
from lib_facerestore.stages.face_job import FaceJob
from lib_facerestore.stages.loaded_models import ChosenRestorer
from lib_facerestore.stages.skin import with_missed_skin

from .blending_helpers import SIZE, TEMPLATE, labels_with

SKIN, HAIR, WALL = (0.8, 0.6, 0.5), (0.25, 0.15, 0.1), (0.3, 0.4, 0.6)
INSIDE = parsing.ellipse_mask(TEMPLATE, SIZE, 1.05) > 0.5
FOREHEAD = np.s_[70:92, 100:150]


def drawn(*parts: tuple[Any, Any], noise: float = 0.02) -> np.ndarray:
    """A crop: a face in the ellipse with hair above it, before a wall, with parts in other colours; shaded from left to
    right."""
    crop = np.empty((SIZE, SIZE, 3), np.float32)
    crop[:] = WALL
    crop[:110] = HAIR
    crop[INSIDE] = SKIN
    for place, colour in parts:
        crop[place] = colour
    crop *= np.linspace(0.85, 1.05, SIZE, dtype=np.float32)[:, None]
    crop += np.random.default_rng(4).normal(0, noise, crop.shape).astype(np.float32)
    return np.clip(cv2.GaussianBlur(crop, (0, 0), 1), 0, 1)


def labels_of(*parts: tuple[int, Any]) -> np.ndarray:
    """Right labels of `drawn`, with errors."""
    labels = np.zeros((SIZE, SIZE), np.uint8)
    labels[:110] = 17
    labels[INSIDE] = 1
    for number, place in parts:
        labels[place] = number
    return labels


@pytest.mark.parametrize("number", [17, 18])
def test_a_forehead_that_was_taken_for_hair_is_restored(number: int) -> None:
    labels = labels_of((number, np.s_[:95, :]))
    assert masks.build_mask(SIZE, TEMPLATE, labels)[FOREHEAD].max() < 0.5
    found = with_missed_skin(labels, drawn(), TEMPLATE, False)
    assert masks.build_mask(SIZE, TEMPLATE, found)[FOREHEAD].min() > 0.9
    assert ((found != labels) <= INSIDE).mean() > 0.995


def test_the_whole_job_restores_it() -> None:
    crop = drawn()
    restorer = ChosenRestorer("lite", Path("lite"), SIZE, "ffhq", frozenset())
    face = Face(1, (0, 0, SIZE, SIZE), TEMPLATE.astype(np.float32), 1.0)
    identity = np.eye(3)[:2]
    job = FaceJob(0, face, restorer, Options(), identity, crop, restored=crop)
    canvas = (drawn() * 255).astype(np.uint8)
    face_job.prepare(job, labels_of((17, np.s_[:95, :])), canvas, (SIZE, SIZE))
    assert job.mask is not None and job.mask[FOREHEAD].min() > 0.9


def test_a_fringe_stays() -> None:
    fringe = np.s_[:92, 90:150]
    labels = labels_of((17, fringe))
    found = with_missed_skin(labels, drawn((fringe, HAIR)), TEMPLATE, True)
    assert (found[:90, 92:148] == 17).mean() > 0.98


SHADE = tuple(0.72 * value for value in SKIN)


@pytest.mark.parametrize(("gain", "offset"), [(1.0, 0.0), (0.35, 0.0), (0.5, 0.4)])
def test_a_fringe_of_the_skins_colour_in_the_shade_stays(gain: float, offset: float) -> None:
    """Hair and the shady cheek have the same colour, in ordinary, dark and faded pictures: only the edge tells them
    apart."""
    fringe, cheek = np.s_[:92, 90:150], np.s_[130:190, 60:110]
    hair = np.zeros((SIZE, SIZE), bool)
    hair[:110] = True
    crop = drawn((hair & ~INSIDE, SHADE), (cheek, SHADE), (fringe, SHADE)) * gain + offset
    found = with_missed_skin(labels_of((17, fringe)), crop.astype(np.float32), TEMPLATE, True)
    assert (found[:90, 92:148] == 17).mean() > 0.98


def test_without_an_edge_the_same_colours_are_forehead() -> None:
    forehead = np.s_[:100, 60:190]
    shade = np.linspace(0.72, 1, 60)[:, None, None] * np.array(SKIN)
    crop = drawn((np.s_[60:120, 60:190], shade))
    found = with_missed_skin(labels_of((17, forehead)), crop, TEMPLATE, True)
    assert (found[75:98, 105:145] == 1).mean() > 0.95


@pytest.mark.parametrize("ink", [(1.0, 1.0, 1.0), (1.0, 0.94, 0.82)])
def test_in_a_picture_of_one_ink_hair_stays_hair(ink: tuple[float, float, float]) -> None:
    fringe = np.s_[:92, 90:150]
    labels = labels_of((17, fringe))
    light = drawn((fringe, SKIN)).mean(axis=2, keepdims=True) * np.array(ink, np.float32)
    assert (with_missed_skin(labels, light, TEMPLATE, True)[fringe] == 17).all()
    assert (with_missed_skin(labels, drawn((fringe, SKIN)), TEMPLATE, True)[70:90, 95:145] == 1).mean() > 0.9


def test_labels_without_doubt_are_returned_as_they_are() -> None:
    labels = labels_of()
    assert (with_missed_skin(labels, drawn(), TEMPLATE, True) == labels).mean() > 0.998
    only = labels_with()
    assert with_missed_skin(only, drawn(), TEMPLATE, True) is only


def test_a_cheek_that_was_taken_for_background_is_restored_if_the_parser_knows_hands() -> None:
    cheek = np.s_[120:170, 160:180]
    labels = labels_of((0, cheek))
    assert (with_missed_skin(labels, drawn(), TEMPLATE, True)[cheek] == 1).mean() > 0.95
    assert (with_missed_skin(labels, drawn(), TEMPLATE, False)[cheek] == 0).all()
    behind = with_missed_skin(labels, drawn((cheek, WALL)), TEMPLATE, True)
    assert (behind[125:165, 165:177] == 0).mean() > 0.95


def test_a_hand_in_the_skins_colour_and_what_is_near_to_it_stay() -> None:
    hand, rim = np.s_[170:215, 90:150], np.s_[160:170, 90:150]
    labels = labels_of((0, rim), (16, hand))
    assert (with_missed_skin(labels, drawn(), TEMPLATE, True) == labels).mean() > 0.998


def test_a_beard_and_a_mole_that_were_taken_for_hair_are_restored() -> None:
    beard, mole = np.s_[208:222, 112:144], np.s_[150:156, 90:96]
    labels = labels_of((17, beard), (17, mole))
    found = with_missed_skin(labels, drawn((beard, HAIR), (mole, HAIR)), TEMPLATE, False)
    assert (found[beard] == 1).mean() > 0.9 and (found[mole] == 1).all()
