"""fit_lite_score: which proposals are faces, which are mistakes, and the regression."""

from __future__ import annotations

import numpy as np
import pytest

from lib_facerestore.stages.detection.verdict import Seen
from tools import fit_lite_score
from tools.fit_lite_score import IGNORED, NOTHING, Sample, Table

FACE = np.array([100.0, 100, 200, 200])
POINTS = FACE[:2] + np.array([[30.0, 35], [70, 35], [50, 55], [35, 75], [65, 75]])


def seen(*shifts: float) -> Seen:
    """Proposals that are the face, shifted to the right."""
    boxes = np.stack([FACE + np.array([shift, 0, shift, 0]) for shift in shifts])
    points = np.stack([POINTS + np.array([shift, 0]) for shift in shifts])
    count = len(shifts)
    return Seen(np.full(count, 0.6), np.ones((count, 3)), np.zeros(count), boxes, points)


def sample(placed: bool) -> Sample:
    pixels = np.zeros((400, 500, 3), np.uint8)
    return Sample("plain", pixels, FACE[None], POINTS[None], np.zeros((0, 4)), placed)


def test_a_proposal_is_a_face_a_mistake_or_nothing_to_judge() -> None:
    assert fit_lite_score.shown(sample(False), seen(0, 20, 60, 250)).tolist() == [0, 0, IGNORED, NOTHING]
    assert fit_lite_score.shown(sample(True), seen(0, 20, 60, 250)).tolist() == [0, IGNORED, IGNORED, NOTHING]


def test_the_best_proposal_of_each_face_is_taken() -> None:
    shows = np.array([0, 0, NOTHING, 1, 0])
    table = Table(np.zeros((5, 5)), shows, np.array([0, 0, 0, 0, 1]), np.array(["a", "b"]), np.array([[0, 0]]))
    best = fit_lite_score.best_of_each(table, np.array([0.1, 0.7, 0.9, 0.2, 0.3]))
    assert best == {(0, 0): 1, (0, 1): 3, (1, 0): 4}


def test_the_regression_finds_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit_lite_score, "RIDGE", 1e-6)
    rng = np.random.default_rng(0)
    x = rng.normal(3, 2, (40_000, 2))
    share = 1 / (1 + np.exp(-(x @ [1.0, -0.5] - 1.0)))
    weights = fit_lite_score.regress(x, (rng.random(len(x)) < share).astype(float))
    assert np.abs(weights - [1.0, -0.5, -1.0]).max() < 0.08


def test_the_report_counts_faces_and_mistakes_at_each_bound() -> None:
    parts = []
    for number in range(2):
        about = {"shows": np.array([0, NOTHING]), "kind": np.array("plain"), "faces": np.array(1)}
        parts.append(vars(seen(0, 250 + number)) | about)
    table = Table.of(parts)
    assert table.evidence.shape == (4, 5)
    assert table.picture.tolist() == [0, 0, 1, 1]
    assert table.faces.tolist() == [[0, 0], [1, 0]]
    lines = list(fit_lite_score.report(table, np.array([0, 0, 0, 0, 0, 0.2])))
    assert "2/2  2/2  2/2  0/0  0/0" in lines[0]
