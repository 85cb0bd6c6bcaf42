"""The `lite` parser's targets, samples and trainer, on a drawn face whose mesh is known."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lib_facerestore.stages.lite_parser import ParserNet
from tools import parser_targets, train_lite_parser, training
from tools.parser_data import FRONTS, IGNORED, Faces, SampleMaker, bridge, draw_glasses, read_faces, spectacles
from tools.parser_targets import BROWS, CODE, EYES, LIPS, MOUTH, NOSE, OVAL, SIZE, WHOLE, fits, label_map, ring

CENTRE = np.array([160.0, 170.0])
SKIN, HAIR, WALL = (205, 160, 135), (60, 40, 25), (90, 130, 160)


def around(
    numbers: tuple[int, ...], x: float, y: float, a: float, b: float, start: float
) -> dict[int, tuple[float, float]]:
    """Points of a ring on an ellipse, clockwise from an angle in degrees."""
    turn = np.radians(start) + np.linspace(0, 2 * np.pi, len(numbers), endpoint=False)
    return {n: (x + a * np.cos(t), y + b * np.sin(t)) for n, t in zip(numbers, turn, strict=True)}


@pytest.fixture(scope="module")
def mesh() -> NDArray[np.float32]:
    """A mesh of an upright face, 120 px wide and 160 px tall, as far as the tools use it."""
    places: dict[int, tuple[float, float]] = {}
    x, y = CENTRE
    places |= around(OVAL, x, y, 60, 80, -90)
    for side, numbers in ((-1, EYES[0]), (1, EYES[1])):
        places |= around(numbers, x + side * 26, y - 15, 12, 6, 180)
    for side, brow in ((-1, BROWS[0]), (1, BROWS[1])):
        places |= around(brow, x + side * 26, y - 32, 16, 4, 180)
    places |= around(MOUTH, x, y + 45, 16, 5, 180)
    places |= around(LIPS, x, y + 45, 22, 11, 180)
    places |= around(NOSE, x, y + 5, 12, 25, -90)
    places |= {4: (x, y + 20), 6: (x, y - 12), 1: (x, y + 18), 50: (x - 35, y + 20), 117: (x - 40, y), 346: (x + 40, y)}
    points = np.tile(CENTRE.astype(np.float32), (478, 1))
    for number, place in places.items():
        points[number] = place
    return points


@pytest.fixture(scope="module")
def drawn(mesh: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """A picture of that face, with hair down to the temples, and the mask of the person."""
    crop = np.full((WHOLE, WHOLE, 3), WALL, np.uint8)
    person = np.zeros((WHOLE, WHOLE), np.uint8)
    x, y = CENTRE.astype(int).tolist()
    cv2.ellipse(crop, (x, y - 20), (78, 92), 0, 180, 360, HAIR, -1)
    cv2.ellipse(person, (x, y - 20), (78, 92), 0, 180, 360, 1, -1)
    for target, value in ((crop, SKIN), (person, 1)):
        cv2.ellipse(target, (x, y), (60, 80), 0, 0, 360, value, -1)
    cv2.ellipse(crop, (x, y - 78), (60, 30), 0, 0, 360, HAIR, -1)  # a fringe over the oval's upper end
    noise = np.random.default_rng(0).normal(0, 3, crop.shape)
    return np.clip(crop + noise, 0, 255).astype(np.uint8), person.astype(np.float32)


@pytest.fixture(scope="module")
def faces(drawn: tuple[NDArray[np.uint8], NDArray[np.float32]], mesh: NDArray[np.float32]) -> Faces:
    labels = label_map(*drawn, mesh)
    crops = np.stack([drawn[0], np.clip(drawn[0].astype(int) + 25, 0, 255).astype(np.uint8)])
    return Faces(crops, np.stack([labels] * 2), np.stack([mesh] * 2), np.array([True, False]))


def test_targets_follow_the_mesh_and_the_colours(
    drawn: tuple[NDArray[np.uint8], NDArray[np.float32]], mesh: NDArray[np.float32]
) -> None:
    labels = label_map(*drawn, mesh)
    for name, numbers in (
        ("eye", EYES[0]),
        ("eye", EYES[1]),
        ("brow", BROWS[1]),
        ("mouth interior", MOUTH),
        ("nose", NOSE),
    ):
        assert (labels[ring(mesh, numbers) > 0] == CODE[name]).mean() > 0.8, name
    x, y = CENTRE.astype(int).tolist()
    assert labels[y + 25, x - 35] == CODE["skin"] and labels[y + 76, x] == CODE["skin"]
    assert labels[y - 75, x] == CODE["hair"]  # the fringe, although inside the oval
    assert labels[y - 100, x] == CODE["hair"]
    assert labels[10, 10] == labels[y + 100, x] == CODE["other"]


def test_a_mesh_far_from_the_landmarks_does_not_fit(mesh: NDArray[np.float32]) -> None:
    five = np.stack([mesh[[33, 133]].mean(0), mesh[[362, 263]].mean(0), mesh[4], mesh[61], mesh[291]])
    assert fits(mesh, five) and not fits(mesh, five + 20)


@pytest.mark.parametrize("front", list(FRONTS))
def test_what_is_drawn_in_front_is_labelled_where_the_picture_changed(faces: Faces, front: str) -> None:
    for seed in range(4):
        plain = SampleMaker(faces, np.random.default_rng(seed), damage=0)
        crop, labels = faces.crops[0].copy(), faces.labels[0].copy()
        plain.rng.random()
        plain._put_front(crop, labels, faces.meshes[0], front)
        hidden = labels == CODE["occluder"]
        changed = np.abs(crop.astype(int) - faces.crops[0]).max(2) > 60
        assert (hidden & (ring(faces.meshes[0], OVAL) > 0)).sum() > 50
        assert (labels == faces.labels[0])[~hidden].all()
        assert not (changed & ~cv2.dilate(hidden.astype(np.uint8), np.ones((9, 9))).astype(bool)).sum() > 400


def test_glasses_are_drawn_over_the_eyes(faces: Faces) -> None:
    for seed in range(4):
        crop, labels = faces.crops[0].copy(), faces.labels[0].copy()
        draw_glasses(crop, labels, faces.meshes[0], np.random.default_rng(seed))
        worn = labels == CODE["glasses"]
        assert worn[ring(faces.meshes[0], EYES[0]) > 0].mean() > 0.9
        assert worn[spectacles(faces.meshes[0])].sum() > 0.75 * worn.sum()
        assert bridge(crop, faces.meshes[0]) > bridge(faces.crops[0], faces.meshes[0])


def test_samples_are_repeatable_and_ignore_the_eyes_where_glasses_may_be_worn(faces: Faces) -> None:
    def samples(index: int, count: int) -> list[NDArray[np.uint8]]:
        maker = SampleMaker(faces, np.random.default_rng(3))
        return [maker.sample(index)[1] for _ in range(count)]

    assert all(np.array_equal(one, two) for one, two in zip(samples(0, 3), samples(0, 3), strict=True))
    assert all(labels.shape == (SIZE, SIZE) for labels in samples(1, 3))
    assert not any((labels == IGNORED).any() for labels in samples(0, 8))
    assert any((labels == IGNORED).any() for labels in samples(1, 8))


def test_the_parser_trains_resumes_and_exports(faces: Faces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for split in ("train", "val"):
        np.savez(tmp_path / f"crops-parser-{split}.npz", crops=faces.crops, labels=faces.labels, meshes=faces.meshes)
    assert read_faces(tmp_path, "val").bare.tolist().count(True) == 1
    monkeypatch.setattr(train_lite_parser, "ParserNet", lambda: ParserNet((4, 4, 8, 8, 8)))

    def train(minutes: float) -> dict[str, torch.Tensor]:
        given = ["--checkpoints", str(tmp_path), "--batch", "2", "--minutes", str(minutes)]
        train_lite_parser.train(train_lite_parser.options().parse_args(given))
        state: dict[str, torch.Tensor] = training.read_checkpoint(tmp_path / train_lite_parser.CHECKPOINT)
        return state

    first = train(0.0005)
    second = train(float(first["minutes"]) + 0.0005)
    assert second["step"] > first["step"] >= 1
    training.export(tmp_path / train_lite_parser.CHECKPOINT, tmp_path / "out.safetensors", "train_lite_parser.py", "x")
    assert (tmp_path / "out.safetensors").stat().st_size > 1000


def test_agreement_is_told_apart_below_the_brows(faces: Faces, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = slice(parser_targets.MARGIN, parser_targets.MARGIN + SIZE)
    answers = faces.labels[:, inner, inner].copy()
    answers[:, :100][answers[:, :100] == CODE["skin"]] = CODE["hair"]  # a lower hairline, still above the brows
    monkeypatch.setattr(train_lite_parser, "predict", lambda network, crops: answers)
    told = train_lite_parser.agreement(ParserNet((4, 4, 8, 8, 8)), faces)
    assert told.endswith("from the brows down, without ears, 1.000")
    assert 0.8 < float(told.split()[2].rstrip(",")) < 0.99


def test_the_report_of_a_perfect_network_is_one(faces: Faces, monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[NDArray[np.uint8]] = []
    sample = SampleMaker.sample

    def remember(
        self: SampleMaker, index: int, front: str | None = None
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        crop, labels = sample(self, index, front)
        answers.append(labels)
        return crop, labels

    def perfect(network: object, crops: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.stack(answers[-len(crops) :])

    monkeypatch.setattr(SampleMaker, "sample", remember)
    monkeypatch.setattr(train_lite_parser, "predict", perfect)
    table = train_lite_parser.report(ParserNet((4, 4, 8, 8, 8)), faces)
    rows = table.splitlines()[2:]
    assert len(rows) == 3 + len(FRONTS)
    assert all(cell.strip() in ("1.000", "–") for row in rows for cell in row.split("|")[2:-1])
    assert "1.000" in rows[-1].split("|")[-2]  # occluders
    assert parser_targets.WHOLE == 320
