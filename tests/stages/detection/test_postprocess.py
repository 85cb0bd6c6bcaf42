"""postprocess: priors and decoding against the plain formulas, and one detection a face."""

from __future__ import annotations

import math

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lib_facerestore.stages.detection.postprocess import (
    MOST,
    Detections,
    decode,
    decode_boxes,
    decode_landmarks,
    prior_boxes,
    suppress,
)

POINTS = np.array([[0.3, 0.35], [0.7, 0.35], [0.5, 0.55], [0.35, 0.75], [0.65, 0.75]], np.float32)


def found_of(*rows: tuple[float, float, float, float, float]) -> Detections:
    """Detections (x0, y0, x1, y1, score) whose landmarks sit where a face has them."""
    data = np.array(rows, np.float32)
    corner, size = data[:, None, :2], data[:, None, 2:4] - data[:, None, :2]
    return Detections(data[:, :4], data[:, 4], (corner + size * POINTS).astype(np.float32))


@given(st.integers(1, 130), st.integers(1, 130))
@settings(max_examples=25, deadline=None)
def test_priors_follow_the_plain_loop(height: int, width: int) -> None:
    expected = [
        ((column + 0.5) * stride, (row + 0.5) * stride, side)
        for stride, sides in ((8, (16, 32)), (16, (64, 128)), (32, (256, 512)))
        for row in range(math.ceil(height / stride))
        for column in range(math.ceil(width / stride))
        for side in sides
    ]
    assert torch.equal(prior_boxes(height, width), torch.tensor(expected, dtype=torch.float32))


def test_priors_are_kept_per_size() -> None:
    assert prior_boxes(64, 96) is prior_boxes(64, 96)
    assert prior_boxes(64, 96).shape != prior_boxes(96, 128).shape


def test_decoding_of_zero_is_the_prior() -> None:
    priors = torch.tensor([[20.0, 30.0, 16.0]])
    assert decode_boxes(torch.zeros(1, 4), priors).tolist() == [[12.0, 22.0, 28.0, 38.0]]
    assert decode_landmarks(torch.zeros(1, 10), priors).tolist() == [[[20.0, 30.0]] * 5]


def test_decoding_undoes_encoding() -> None:
    priors = prior_boxes(96, 64)
    centre, size = torch.tensor([31.0, 40.0]), torch.tensor([22.0, 35.0])
    offsets = torch.cat(((centre - priors[:, :2]) / (0.1 * priors[:, 2:]), torch.log(size / priors[:, 2:]) / 0.2), 1)
    corners = torch.cat((centre - size / 2, centre + size / 2)).expand(len(priors), 4)
    torch.testing.assert_close(decode_boxes(offsets, priors), corners, rtol=0, atol=2e-3)
    points = torch.arange(10.0).reshape(5, 2) * 3
    raw = ((points - priors[:, None, :2]) / (0.1 * priors[:, None, 2:])).reshape(-1, 10)
    torch.testing.assert_close(decode_landmarks(raw, priors), points.expand(len(priors), 5, 2), rtol=0, atol=2e-3)


def single(*values: float) -> NDArray[np.float32]:
    """The values in single precision."""
    return np.array(values, np.float32)


def test_decode_keeps_what_reaches_the_confidence() -> None:
    priors = prior_boxes(32, 32)
    scores = torch.zeros(len(priors))
    scores[3], scores[7], scores[9] = 0.5, 0.49, 0.9
    found = decode(torch.zeros(len(priors), 4), scores, torch.zeros(len(priors), 10), priors, 0.5)
    assert found.scores.tolist() == single(0.5, 0.9).tolist()
    assert found.boxes.shape == (2, 4) and found.landmarks.shape == (2, 5, 2)
    nothing = decode(torch.zeros(len(priors), 4), scores, torch.zeros(len(priors), 10), priors, 0.95)
    assert nothing.boxes.shape == (0, 4) and nothing.faces() == []


def test_at_confidence_0_only_the_best_are_kept() -> None:
    priors = prior_boxes(1600, 1600)
    scores = torch.rand(len(priors), generator=torch.Generator().manual_seed(0))
    found = decode(torch.zeros(len(priors), 4), scores, torch.zeros(len(priors), 10), priors, 0.0)
    assert len(found.scores) == MOST < len(priors)
    assert found.scores.min() >= np.sort(scores.numpy())[-MOST]


def test_suppress_orders_by_score_and_keeps_separate_faces() -> None:
    found = suppress(found_of((0, 0, 40, 40, 0.7), (100, 0, 140, 40, 0.9), (50, 60, 90, 100, 0.8)))
    assert found.scores.tolist() == single(0.9, 0.8, 0.7).tolist()


def test_suppress_drops_boxes_inside_boxes() -> None:
    # IoU of the pair is only 0.2, so plain suppression would keep both.
    inner = suppress(found_of((0, 0, 100, 100, 0.9), (30, 30, 75, 75, 0.6)))
    assert inner.boxes.tolist() == [[0, 0, 100, 100]]
    outer = suppress(found_of((0, 0, 100, 100, 0.5), (30, 30, 75, 75, 0.8)))
    assert outer.boxes.tolist() == [[30, 30, 75, 75]]


def test_a_weak_box_around_two_sure_faces_goes() -> None:
    found = suppress(found_of((0, 0, 100, 60, 0.55), (5, 10, 40, 50, 0.95), (55, 10, 95, 50, 0.97)))
    assert len(found.scores) == 2 and found.scores.min() > 0.9


def test_suppress_drops_doubled_landmarks() -> None:
    pair = found_of((0, 0, 60, 60, 0.9), (24, 0, 84, 60, 0.8))  # IoU 0.43, so shift the overlap under the limit
    pair = Detections(np.array([[0, 0, 60, 60], [28, 0, 88, 60]], np.float32), pair.scores, pair.landmarks.copy())
    assert len(suppress(pair).scores) == 2
    same = pair.landmarks.copy()
    same[1] = same[0] + 1.5
    assert suppress(Detections(pair.boxes, pair.scores, same)).scores.tolist() == single(0.9).tolist()


def test_neighbours_that_touch_are_both_kept() -> None:
    assert len(suppress(found_of((0, 0, 50, 60, 0.9), (40, 5, 90, 65, 0.85))).scores) == 2


def test_landmarks_of_the_same_face_are_averaged() -> None:
    found = found_of((0, 0, 60, 60, 0.8), (2, 0, 62, 60, 0.8), (300, 0, 360, 60, 0.9))
    kept = suppress(found).landmarks
    np.testing.assert_array_equal(kept[0], found.landmarks[2])
    np.testing.assert_allclose(kept[1], found.landmarks[:2].mean(0), atol=1e-4)


def test_suppress_of_nothing() -> None:
    assert suppress(Detections.nothing()).faces() == []


@given(st.floats(0.1, 4), st.floats(0.1, 4), st.floats(-200, 200), st.floats(-200, 200))
@settings(max_examples=30, deadline=None)
def test_moved_is_the_inverse_of_resize_and_cut(sx: float, sy: float, dx: float, dy: float) -> None:
    found = found_of((10, 20, 60, 90, 0.9))
    boxes = found.boxes * [sx, sy, sx, sy] - [dx, dy, dx, dy]
    landmarks = found.landmarks * [sx, sy] - [dx, dy]
    tile = Detections(boxes.astype(np.float32), found.scores, landmarks.astype(np.float32))
    back = tile.moved((sx, sy), (dx, dy))
    np.testing.assert_allclose(back.boxes, found.boxes, atol=1e-3)
    np.testing.assert_allclose(back.landmarks, found.landmarks, atol=1e-3)


def test_faces_leaves_out_what_is_not_a_box() -> None:
    found = found_of((0, 0, 10, 10, 0.9), (5, 5, 5, 9, 0.8), (0, 0, np.inf, 10, 0.7))
    faces = found.pick(np.array([0, 1])).faces()
    assert [face.number for face in faces] == [0] and faces[0].box == (0.0, 0.0, 10.0, 10.0)
    assert faces[0].landmarks.dtype == np.float32
