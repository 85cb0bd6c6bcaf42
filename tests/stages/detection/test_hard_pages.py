"""Pictures on which `lite` once lost faces or took many times as long: dense sheets, pages of text, strips."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from lib_facerestore.stages.detection import create_detector, pieces, refine, squares
from lib_facerestore.stages.detection.postprocess import Detections


def test_a_dense_sheet_of_faces_is_found_whole() -> None:
    """A large wrong proposal over the sheet, which the second stage rejects, must not hide the faces inside it."""
    astronaut: NDArray[np.uint8] = pytest.importorskip("skimage.data").astronaut()
    face = cv2.resize(astronaut[20:240, 130:330], (100, 110), interpolation=cv2.INTER_AREA)
    found = create_detector("lite").detect([np.tile(face, (12, 12, 1)).astype(np.uint8)], 0.5)[0]
    cells = {(int((x0 + x1) / 200), int((y0 + y1) / 220)) for x0, y0, x1, y1 in (face.box for face in found)}
    assert len(found) == len(cells) == 144


class Unsure(nn.Module):
    """A refiner that takes everything for no face."""

    def __init__(self, logit: float = -3.0) -> None:
        super().__init__()
        self.squares, self.logit = 0, logit

    def forward(self, squares: torch.Tensor) -> torch.Tensor:
        self.squares += len(squares)
        return torch.full((len(squares), 15), self.logit)


@pytest.mark.parametrize(("logit", "turns"), [(-3.0, 7), (-7.0, 3)])
def test_only_the_best_of_many_doubtful_proposals_are_looked_at_from_all_angles(logit: float, turns: int) -> None:
    """What is no face at all after quarter turns is not looked at from the angles between them."""
    count = 300
    corners = np.random.default_rng(0).uniform(0, 300, (count, 2)).astype(np.float32)
    landmarks = corners[:, None] + np.array([[10, 12], [30, 12], [20, 22], [12, 32], [28, 32]], np.float32)
    scores = np.linspace(0.9, 0.3, count).astype(np.float32)
    found = Detections(np.concatenate([corners, corners + 40], 1), scores, landmarks)
    network = Unsure(logit)
    image = np.full((400, 400, 3), 128, np.uint8)
    assert not len(refine.refine(network, image, found, torch.device("cpu")).scores)
    assert network.squares == count + turns * refine.MOST_TURNED


@pytest.mark.parametrize("side", [90, 400, 1500, 6000])
def test_squares_of_every_size_show_what_is_there(side: int) -> None:
    """Large ones are cut from a reduced copy."""
    y, x = np.mgrid[0:1200, 0:1600]
    image = np.dstack([x * 255 / 1600, y * 255 / 1200, np.full(x.shape, 80.0)]).astype(np.uint8)
    matrix = squares.square_matrix(np.array([800.0, 600.0]), side, 0.4, False, 96)
    (square,) = squares.cut_squares(image, matrix[None], 96)
    rows, columns = np.mgrid[8:88:8, 8:88:8]
    places = np.stack([columns.ravel(), rows.ravel()], 1) @ matrix[:, :2].T + matrix[:, 2]
    inside = ((places > 20) & (places < np.array([1580, 1180]))).all(1)
    wanted = np.stack([places[:, 0] / 1600, places[:, 1] / 1200], 1)[inside]
    seen = square[rows.ravel(), columns.ravel()][inside]
    assert inside.sum() > 3
    assert np.abs(seen[:, :2] - wanted).max() < 0.012
    assert np.abs(seen[:, 2] - 80 / 255).max() < 0.01


@pytest.mark.parametrize(("height", "width"), [(16, 16_000), (1, 5000), (3000, 3)])
def test_looks_at_a_strip_are_not_much_larger_than_the_strip(height: int, width: int) -> None:
    strip = np.zeros((height, width, 3), np.uint8)
    looks = [*pieces.smaller_looks(strip, 640), *pieces.careful_looks(strip, 640)]
    padded = [np.prod(pieces.padded_size(piece.pixels)) for piece in looks]
    assert max(padded) < 4 * 32 * max(height, width)
    assert all(piece.eighths % 2 == 0 for piece in looks)
