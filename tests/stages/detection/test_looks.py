"""Which sizes and turns of a picture the detector looks at: faces that are seen in one of them alone are found."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import nn

from lib_facerestore.stages.detection import pieces, retinaface
from lib_facerestore.stages.detection.lite import LiteDetector
from lib_facerestore.stages.detection.pieces import Piece
from lib_facerestore.stages.detection.postprocess import Detections, prior_boxes
from lib_facerestore.stages.detection.retinaface import RetinaFaceDetector
from lib_facerestore.stages.detection.stopping import Stop

POINTS = np.array([[0.3, 0.35], [0.7, 0.35], [0.5, 0.55], [0.35, 0.75], [0.65, 0.75]])


class Sees(RetinaFaceDetector):
    """Sees faces, given by their boxes, that have between `low` and `high` pixels in a piece turned by `eighths`.

    A face must be in the piece as a whole. With `bordered` it is seen only in pieces that have a border.
    """

    def __init__(
        self,
        faces: Sequence[tuple[float, float, float, float]],
        low: float,
        high: float,
        eighths: int = 0,
        bordered: bool = False,
    ) -> None:
        super().__init__(nn.Identity(), "sees")
        self.faces = np.array(faces, np.float64)
        self.low, self.high, self.eighths, self.bordered = low, high, eighths, bordered
        self.pixels = 0

    def look(
        self, pieces: Sequence[Piece], confidence: float, tiles: bool = False, stop: Stop | None = None
    ) -> list[Detections]:
        return [self._seen(piece, tiles) for piece in pieces]

    def _seen(self, piece: Piece, tile: bool) -> Detections:
        self.pixels += piece.pixels.shape[0] * piece.pixels.shape[1]
        if piece.eighths != self.eighths or (self.bordered and piece.corner[0] >= 0):
            return Detections.nothing()
        size = self.faces[:, 2:] - self.faces[:, :2]
        scale = np.array(piece.scale)
        side = (size * scale).max(1)
        boxes = self.faces * np.tile(scale, 2) - np.tile(piece.corner, 2)
        height, width = piece.pixels.shape[:2]
        inside = (boxes[:, :2] >= -1).all(1) & (boxes[:, 2:] <= np.array([width, height]) + 1).all(1)
        kept = (side >= self.low) & (side <= self.high) & (inside | (piece.eighths > 0))
        if tile:
            kept &= side <= pieces.OVERLAP
        points = self.faces[:, None, :2] + size[:, None] * POINTS
        scores = np.full(len(self.faces), 0.9, np.float32)
        return Detections(self.faces.astype(np.float32), scores, points.astype(np.float32)).pick(kept)


class Agrees(nn.Module):
    """A second stage that takes every proposal for a face, where it is."""

    def __init__(self, logit: float = 6.0) -> None:
        super().__init__()
        self.logit = logit

    def forward(self, squares: torch.Tensor) -> torch.Tensor:
        half = torch.tensor([-0.3, -0.3, 0.3, 0.3])
        points = torch.from_numpy((POINTS - 0.5) * 0.6).float().flatten()
        row = torch.cat([torch.tensor([self.logit]), half, points])
        return row.repeat(len(squares), 1)


class Stays(nn.Module):
    """A third stage that places the landmarks as `Agrees` does."""

    def forward(self, squares: torch.Tensor) -> torch.Tensor:
        points = torch.from_numpy((POINTS - 0.5) * 0.6).float()
        return points.repeat(len(squares), 1, 1)


def lite(proposer: RetinaFaceDetector) -> LiteDetector:
    return LiteDetector(proposer, Agrees(), Stays())


def empty(height: int, width: int) -> np.ndarray:
    return np.zeros((height, width, 3), np.uint8)


@pytest.mark.parametrize(("low", "high"), [(150, 260), (75, 130)])
def test_a_large_face_that_is_seen_in_a_smaller_look_alone_is_found(low: float, high: float) -> None:
    faces = lite(Sees([(60, 50, 440, 450)], low, high)).detect([empty(512, 512)], 0.5)[0]
    assert len(faces) == 1
    assert np.abs(np.array(faces[0].centre) - 250).max() < 20


def test_a_face_that_fills_a_picture_of_2000_pixels_is_found() -> None:
    faces = lite(Sees([(100, 20, 1950, 1990)], 100, 200)).detect([empty(2000, 2000)], 0.5)[0]
    assert len(faces) == 1


def test_thirty_faces_in_a_very_wide_picture_are_found_each_once() -> None:
    boxes = [(100.0 + 260 * n, 500.0 + 7 * n, 250.0 + 260 * n, 650.0 + 7 * n) for n in range(30)]
    faces = lite(Sees(boxes, 40, 200)).detect([empty(1200, 8000)], 0.5)[0]
    assert len(faces) == 30
    spots = np.sort([face.centre[0] for face in faces])
    assert np.abs(spots - [(box[0] + box[2]) / 2 for box in boxes]).max() < 20


def test_a_group_of_small_faces_calls_for_looks_up_to_the_pictures_own_size() -> None:
    boxes = [(200.0 + 350 * n, 1500.0, 230.0 + 350 * n, 1530.0) for n in range(8)]
    large = [(200.0 + 500 * n, 600.0, 280.0 + 500 * n, 680.0) for n in range(5)]
    proposer = Sees(boxes + large, 25, 200)
    assert len(lite(proposer).detect([empty(2000, 3000)], 0.5)[0]) == 13


def test_few_small_faces_do_not_cost_a_further_look() -> None:
    proposer = Sees([(200, 600, 280, 680), (900, 600, 980, 680)], 25, 200)
    assert len(proposer.detect([empty(2000, 3000)], 0.5)[0]) == 2
    first = 640 * 427
    assert proposer.pixels < 6 * first


class Proposes(RetinaFaceDetector):
    """Always gives these boxes and scores, in every look; counts the careful ones."""

    def __init__(self, *given: tuple[float, float, float], careful: bool = True) -> None:
        super().__init__(nn.Identity(), "proposes")
        self.given, self.careful, self.careful_looks = given, careful, 0

    def found(self, least: float) -> Detections:
        kept = [each for each in self.given if each[2] >= least]
        boxes = np.array([(x, y, x + 80, y + 80) for x, y, _ in kept], np.float32).reshape(-1, 4)
        points = boxes[:, None, :2] + 80 * POINTS
        return Detections(boxes, np.array([each[2] for each in kept], np.float32), points.astype(np.float32))

    def propose(
        self,
        images: Sequence[np.ndarray],
        confidence: float,
        careful: bool = False,
        stop: Stop | None = None,
        poorest: float = 1.0,
    ) -> list[tuple[Detections, bool]]:
        return [(self.found(poorest), self.careful) for _ in images]

    def look_carefully(
        self, images: Sequence[np.ndarray], confidence: float, stop: Stop | None = None, poorest: float = 1.0
    ) -> list[Detections]:
        self.careful_looks += 1
        return [self.found(poorest) for _ in images]


@pytest.mark.parametrize("careful", [False, True])
def test_a_poor_proposal_counts_where_there_is_no_sure_face(careful: bool) -> None:
    """Of faces whose lower part is cut away, some have no better one."""
    poor, none = Proposes((100, 100, 0.12), careful=careful), Proposes((100, 100, 0.03), careful=careful)
    assert len(lite(poor).detect([empty(512, 512)], 0.5)[0]) == 1
    assert lite(none).detect([empty(512, 512)], 0.5) == [[]]
    beside = Proposes((300, 300, 0.9), (100, 100, 0.12), careful=careful)
    (face,) = lite(beside).detect([empty(512, 512)], 0.5)[0]
    assert face.box[0] > 250 and not beside.careful_looks


class Changes(nn.Module):
    """A second stage that takes everything for a face in its first three runs, and then gives another logit."""

    def __init__(self, first: float, later: float) -> None:
        super().__init__()
        self.first, self.later, self.runs = first, later, 0

    def forward(self, squares: torch.Tensor) -> torch.Tensor:
        self.runs += 1
        return Agrees(self.first if self.runs <= 3 else self.later)(squares)


@pytest.mark.parametrize(("first", "later", "count"), [(2.5, -4.0, 0), (2.5, 0.0, 1), (6.0, -4.0, 1)])
def test_a_face_that_is_not_sure_is_looked_at_once_more(first: float, later: float, count: int) -> None:
    """An embroidered flower was a face for the small network, but not once the square was well placed and wider."""
    proposer = Proposes((100, 100, 0.6))
    faces = LiteDetector(proposer, Changes(first, later), Stays()).detect([empty(512, 512)], 0.5)[0]
    assert len(faces) == count


def test_of_what_is_poor_only_the_best_of_each_piece_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = [(40.0 * n, 40, 40.0 * n + 30, 70) for n in range(12)]
    sees = Sees(boxes, 20, 60)
    scores = np.linspace(0.9, 0.1, 12).astype(np.float32)
    once = sees._seen

    def seen(piece: Piece, tile: bool) -> Detections:
        found = once(piece, tile)
        return Detections(found.boxes, scores[: len(found.scores)], found.landmarks)

    monkeypatch.setattr(sees, "_seen", seen)
    monkeypatch.setattr(retinaface, "MOST_POOR", 3)
    ((found, _),) = sees.propose([empty(512, 512)], 0.5, poorest=0.05)
    assert np.allclose(found.scores, scores[:9])


@pytest.mark.parametrize("eighths", range(1, 8))
@pytest.mark.parametrize("size", [(500, 640), (1500, 1100)])
def test_a_face_that_is_seen_in_a_turned_picture_alone_is_found(eighths: int, size: tuple[int, int]) -> None:
    height, width = size
    box = (0.3 * width, 0.2 * height, 0.3 * width + 0.5 * height, 0.7 * height)
    faces = lite(Sees([box], 60, 200, eighths)).detect([empty(height, width)], 0.5)[0]
    assert len(faces) == 1
    assert np.abs(np.array(faces[0].centre) - [0.3 * width + 0.25 * height, 0.45 * height]).max() < 40


def test_a_face_that_is_seen_with_a_border_alone_is_found_and_its_box_ends_at_the_pictures() -> None:
    faces = lite(Sees([(-90, 60, 210, 440)], 50, 250, bordered=True)).detect([empty(512, 512)], 0.5)[0]
    assert len(faces) == 1
    assert faces[0].box[0] == 0
    assert faces[0].landmarks[:, 0].min() < 40


def test_a_face_that_is_mostly_outside_of_the_picture_is_none() -> None:
    assert lite(Sees([(-250, 60, 110, 440)], 50, 250, bordered=True)).detect([empty(512, 512)], 0.5) == [[]]


def test_a_sure_upright_face_in_a_small_picture_costs_at_most_two_fifths_more_pixels() -> None:
    proposer = Sees([(100, 100, 300, 350)], 100, 600)
    assert len(lite(proposer).detect([empty(512, 512)], 0.5)[0]) == 1
    assert proposer.pixels < 1.4 * 512**2


@pytest.mark.parametrize("eighths", range(8))
def test_what_is_seen_in_a_turned_piece_comes_back_to_its_place(eighths: int) -> None:
    image = np.zeros((300, 500, 3), np.uint8)
    image[60:100, 300:340] = 255
    looks = (pieces.first_look(image, 640), *pieces.careful_looks(image, 640))
    piece = next(piece for piece in looks if piece.eighths == eighths)
    bright = piece.pixels.min(2) > 200
    rows, columns = np.nonzero(bright)
    spot = np.array([columns.mean(), rows.mean()]) + 0.5
    top = (spot - (0, 5)).astype(np.float32)  # what is above in the piece

    class Answers(RetinaFaceDetector):
        def _forward(self, pixels: Sequence[np.ndarray], height: int, width: int) -> tuple[torch.Tensor, ...]:
            priors = prior_boxes(height, width)
            at = int((priors[:, :2] - torch.from_numpy(spot)).norm(dim=1).argmin())
            side = priors[at, 2]
            scores = torch.zeros(1, len(priors), 2)
            scores[0, at, 1] = 1
            offsets = torch.zeros(1, len(priors), 4)
            offsets[0, at, :2] = (torch.from_numpy(spot) - priors[at, :2]) / (0.1 * side)
            offsets[0, at, 2:] = torch.log(10 / side) / 0.2
            points = torch.zeros(1, len(priors), 10)
            points[0, at] = ((torch.from_numpy(top) - priors[at, :2]) / (0.1 * side)).repeat(5)
            return offsets, scores, points

    (found,) = Answers(nn.Identity(), "answers").look([piece], 0.5)
    assert np.abs((found.boxes[0, :2] + found.boxes[0, 2:]) / 2 - (320, 80)).max() < 3
    turn = np.deg2rad(45 * eighths)
    reach = 5 / piece.scale[0]
    assert np.abs(found.landmarks[0] - (320 + reach * np.sin(turn), 80 - reach * np.cos(turn))).max() < 3
    assert np.allclose(found.boxes[0, 2:] - found.boxes[0, :2], 2 * reach, rtol=0.02)
