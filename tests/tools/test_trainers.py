"""Every trainer of an embedded network, for a few steps on a few photographs: it trains, resumes and exports."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
import safetensors
import torch
from numpy.typing import NDArray

from lib_facerestore.faces.face import Face
from tests.conftest import small_lite
from tools import (
    train_lite_detector,
    train_lite_landmarks,
    train_lite_refiner,
    train_lite_restorer,
    training,
)
from tools.photographs import PHOTOS, TEACHER, read_bgr, read_labels

pytestmark = pytest.mark.skipif(not (PHOTOS / TEACHER).exists(), reason=f"needs the photographs of {PHOTOS}")
PARTS = {"network", "average", "step"}
TRAINERS = [
    pytest.param(train_lite_detector, [], PARTS | {"optimizer", "elapsed"}, id="detector"),
    pytest.param(train_lite_refiner, ["--batch", "5"], PARTS | {"optimiser", "minutes"}, id="refiner"),
    pytest.param(train_lite_landmarks, ["--batch", "3"], PARTS | {"optimiser", "minutes"}, id="landmarks"),
    pytest.param(
        train_lite_restorer,
        ["--batch", "1", "--windows-until=0", "--features-from=-1", "--adversarial-from=-1"],
        PARTS | {"optimiser", "minutes", "judge", "optimiser_judge"},
        id="restorer",
    ),
]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three photographs to train on and one for validation, all of them small, with their labels and the teacher."""
    folder = tmp_path_factory.mktemp("photos")
    chosen = [label for label in read_labels(PHOTOS, "train") if label["faces"] == 1][:3]
    chosen += read_labels(PHOTOS, "val")[:1]
    for label in chosen:
        picture = read_bgr(PHOTOS / "faces" / label["file"])
        scale = 200 / max(picture.shape)
        label["box"] = [scale * value for value in label["box"]]
        label["lm5"] = [scale * value for value in label["lm5"]]
        path = folder / "faces" / label["file"]
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), cv2.resize(picture, (0, 0), fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
    (folder / "faces" / "faces.jsonl").write_text("\n".join(map(json.dumps, chosen)), encoding="utf-8")
    (folder / TEACHER).parent.mkdir()
    shutil.copy(PHOTOS / TEACHER, folder / TEACHER)
    return folder


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches and networks so small that a step takes a moment."""
    monkeypatch.setattr(train_lite_detector, "SHAPES", ((2, 128),))
    monkeypatch.setattr(train_lite_restorer, "LiteRestorer", small_lite)
    monkeypatch.setattr(train_lite_restorer, "SIZE", 64)


@pytest.fixture
def checkpoints(tmp_path: Path, photos: Path) -> Path:
    """A folder with what `landmark_targets` writes."""
    targets = {label["file"]: np.reshape(label["lm5"], (5, 2)).tolist() for label in read_labels(photos, "train")}
    (tmp_path / "targets.json").write_text(json.dumps(targets), encoding="utf-8")
    return tmp_path


def arguments(trainer: ModuleType, photos: Path, checkpoints: Path, extra: list[str]) -> argparse.Namespace:
    given = ["--photos", str(photos), "--checkpoints", str(checkpoints), *extra]
    parsed: argparse.Namespace = trainer.options().parse_args(given)
    return parsed


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(("trainer", "extra", "parts"), TRAINERS)
def test_a_trainer_trains_resumes_and_exports(
    trainer: ModuleType, extra: list[str], parts: set[str], photos: Path, checkpoints: Path
) -> None:
    trainer.train(arguments(trainer, photos, checkpoints, [*extra, "--minutes", "0.001"]))
    path = checkpoints / trainer.CHECKPOINT
    first = training.read_checkpoint(path)
    assert set(first) == parts
    assert first["step"] >= 1

    trainer.train(arguments(trainer, photos, checkpoints, [*extra, "--minutes", "0.001"]))
    assert training.read_checkpoint(path)["step"] == first["step"]  # the minutes count all runs together

    minutes = first.get("minutes", first.get("elapsed", 0) / 60) + 0.001
    trainer.train(arguments(trainer, photos, checkpoints, [*extra, "--minutes", str(minutes)]))
    second = training.read_checkpoint(path)
    assert second["step"] > first["step"]
    changed = [name for name, value in second["network"].items() if not torch.equal(value, first["network"][name])]
    assert changed

    target = checkpoints / "exported" / "weights.safetensors"
    training.export(path, target, Path(str(trainer.__file__)).name, "small")
    with safetensors.safe_open(target, "pt") as file:
        names = set(file.keys())
        halves = {name: file.get_tensor(name) for name in names}
        assert f"{second['step']} steps" in file.metadata()["training"]
    assert names == {name for name, value in second["average"].items() if value.is_floating_point()}
    for name, value in halves.items():
        assert torch.equal(value, second["average"][name].half())


@pytest.mark.usefixtures("small")
def test_the_restorer_starts_from_exported_weights(photos: Path, checkpoints: Path) -> None:
    weights = checkpoints / "start.safetensors"
    safetensors.torch.save_file(small_lite(seed=5).state_dict(), weights)
    extra = ["--batch", "1", "--windows-until=0", "--rate", "0", "--minutes", "0.0001", "--start-from", str(weights)]
    train_lite_restorer.train(arguments(train_lite_restorer, photos, checkpoints, extra))
    state = training.read_checkpoint(checkpoints / train_lite_restorer.CHECKPOINT)
    for name, value in small_lite(seed=5).state_dict().items():
        assert torch.equal(state["network"][name], value)
        assert torch.allclose(state["average"][name], value)


def test_weights_can_be_mixed_with_those_that_they_started_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_lite_restorer, "LiteRestorer", small_lite)
    start, end = small_lite(seed=5).state_dict(), small_lite(seed=6).state_dict()
    older = {name: value for name, value in start.items() if not name.startswith("gate")}
    safetensors.torch.save_file(older, tmp_path / "start.safetensors")
    torch.save({"average": end, "step": 3}, tmp_path / "restorer.pt")
    train_lite_restorer.mix(
        tmp_path / "restorer.pt", tmp_path / "start.safetensors", tmp_path / "mixed.safetensors", 0.75
    )
    mixed = safetensors.torch.load_file(tmp_path / "mixed.safetensors")
    fresh = small_lite().state_dict()
    assert mixed.keys() == end.keys()
    for name, value in mixed.items():
        wanted = 0.75 * end[name] + 0.25 * older.get(name, fresh[name])
        assert torch.allclose(value.float(), wanted, atol=2e-3)


def test_the_refiner_mines_what_the_first_stage_takes_for_faces(photos: Path) -> None:
    class SeesCorners:
        def detect(self, images: list[NDArray[np.uint8]], confidence: float) -> list[list[Face]]:
            return [[Face(0, (0, 0, 9, 9), np.zeros((5, 2), np.float32), 0.5)] for _ in images]

    mined = train_lite_refiner.mine(photos, [SeesCorners(), SeesCorners()], most=2)
    assert mined.shape == (8, 144, 144, 3), "two pictures, two views of each, two proposers"
    assert mined.dtype == np.uint8


def test_the_rate_warms_up_and_falls_to_its_floor() -> None:
    def rate(step: int, progress: float) -> float:
        return training.scheduled_rate(0.5, step, progress, warm_up=100, floor=0.02)

    assert rate(1, 0) == pytest.approx(0.005)
    assert rate(100, 0) == rate(900, 0) == pytest.approx(0.5)
    assert rate(900, 0.5) == pytest.approx(0.5 * 0.51)
    assert rate(900, 1) == pytest.approx(0.01)


def test_the_average_follows_fast_at_first_and_copies_counters() -> None:
    network = torch.nn.BatchNorm1d(2)
    average = training.Average(network)
    network.load_state_dict(
        network.state_dict() | {"weight": torch.full((2,), 3.0), "num_batches_tracked": torch.tensor(7)}
    )
    average.update(network, 1)
    assert average.state_dict()["weight"].tolist() == pytest.approx([1 + 2 * (1 - 2 / 11)] * 2)
    assert int(average.state_dict()["num_batches_tracked"]) == 7
    average.update(network, 10**6)
    assert average.state_dict()["weight"].tolist() == pytest.approx([3 - 2 * 2 / 11 * 0.998] * 2)
