"""Progress of a call, and a call that is stopped: what is done is kept and said."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from lib_facerestore import FaceRestorer, Options
from lib_facerestore.stages import loaded_models
from lib_facerestore.stages.background import Upscaler
from lib_facerestore.stages.detection import retinaface
from lib_facerestore.stages.detection.retinaface import MOBILENET, RetinaFaceDetector, build_network
from lib_facerestore.stages.detection.verified import verified

from .conftest import KnownFaces
from .pipeline_helpers import SMALL


def test_stopping_keeps_what_is_done_and_says_so(models: Path, photo: np.ndarray) -> None:
    restorer = FaceRestorer(models, "cpu", batch_size=1, detector=KnownFaces((60, 70, 60), (190, 100, 120)))
    told: list[tuple[str, int, int]] = []
    result = restorer.restore(
        photo, SMALL, progress=lambda *step: told.append(step), stop=lambda: ("restore", 1, 2) in told
    )
    assert [report.applied for report in result.faces] == [True, False]
    assert result.faces[1].reason == "face 2: skipped, stopped"
    assert result.notes == ("stopped",)
    assert np.array_equal(result.image[:, 110:], photo[:, 110:])
    assert told == [
        ("detect", 0, 1), ("detect", 1, 1), ("restore", 0, 2), ("restore", 1, 2), ("restore", 1, 2), ("mask", 0, 1),
        ("mask", 1, 1), ("paste", 0, 1), ("paste", 1, 1),
    ]  # fmt: skip


def test_a_call_that_is_stopped_at_once_looks_at_nothing(restorer: FaceRestorer, photo: np.ndarray) -> None:
    result = restorer.restore(photo, SMALL, stop=lambda: True)
    assert np.array_equal(result.image, photo)
    assert (result.faces, result.notes) == ([], ("stopped",))


def test_detection_is_reported_and_stopped_between_groups_of_pictures(models: Path, photo: np.ndarray) -> None:
    finder = KnownFaces((60, 70, 60))
    restorer = FaceRestorer(models, "cpu", detector=finder)
    steps: list[tuple[str, int, int]] = []
    restorer.restore_many([photo] * 10, SMALL, progress=lambda *step: steps.append(step))
    assert steps[:4] == [("detect", 0, 10), ("detect", 4, 10), ("detect", 8, 10), ("detect", 10, 10)]
    finder.seen.clear()
    steps.clear()
    results = restorer.restore_many(
        [photo] * 10, SMALL, progress=lambda *step: steps.append(step), stop=lambda: ("detect", 4, 10) in steps
    )
    assert len(finder.seen) == 1
    assert [result.notes for result in results] == [("stopped",)] * 10
    assert [len(result.faces) for result in results] == [1] * 4 + [0] * 6
    assert results[0].faces[0].reason == "face 1: skipped, stopped"
    assert all(np.array_equal(result.image, photo) for result in results)


@pytest.mark.parametrize("checked", [False, True])
def test_a_detector_is_stopped_while_it_looks_at_a_picture(
    models: Path, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch, checked: bool
) -> None:
    """A large picture has many tiles, which take several seconds together."""
    torch.manual_seed(0)
    finder = RetinaFaceDetector(build_network(MOBILENET), "tiles", long_side=32)
    batches: list[int] = []
    once = finder._forward

    def counted(pixels: Sequence[np.ndarray], height: int, width: int) -> tuple[torch.Tensor, ...]:
        batches.append(len(pixels))
        boxes, scores, landmarks = once(pixels, height, width)
        return boxes, torch.zeros_like(scores), landmarks

    monkeypatch.setattr(finder, "_forward", counted)
    monkeypatch.setattr(retinaface, "BATCH_PIXELS", 64 * 64)
    restorer = FaceRestorer(models, "cpu", detector=verified(finder) if checked else finder)
    large = np.tile(photo, (1, 6, 1))
    result = restorer.restore(large, SMALL, stop=lambda: len(batches) >= 3)
    assert len(batches) == 3
    assert np.array_equal(result.image, large)
    assert (result.faces, result.notes) == ([], ("stopped",))
    batches.clear()
    assert restorer.restore(large, SMALL).notes == ("no face was found",)
    assert len(batches) > 3


@pytest.fixture
def doubling(models: Path, monkeypatch: pytest.MonkeyPatch) -> Options:
    """Options for an upscaler that doubles every pixel, in tiles."""
    (models / "twice.pth").write_bytes(b"of no kind")

    def twice(pixels: torch.Tensor) -> torch.Tensor:
        return pixels.repeat_interleave(2, 2).repeat_interleave(2, 3)

    monkeypatch.setattr(loaded_models, "load_upscaler", lambda *_: Upscaler(twice, 2))
    return SMALL.replace(upscale=2, upscaler="twice")


def test_enlarging_is_reported_and_stopped(restorer: FaceRestorer, photo: np.ndarray, doubling: Options) -> None:
    large = np.tile(photo, (2, 2, 1))  # of several tiles
    steps: list[tuple[str, int, int]] = []
    first, second = restorer.restore_many([photo, large], doubling, progress=lambda *step: steps.append(step))
    assert first.image.shape == (400, 560, 3) and second.image.shape == (800, 1120, 3)
    enlarging = [step for step in steps if step[0] == "enlarge"]
    done, total = [step[1] for step in enlarging], enlarging[-1][2]
    assert done == sorted(done) and done[0] == 0 and done[-1] == total > 3
    half = next(step for step in enlarging if step[1] == total - 1)
    steps.clear()
    first, second = restorer.restore_many(
        [photo, large], doubling, progress=lambda *step: steps.append(step), stop=lambda: half in steps
    )
    assert first.finished and first.changed and first.image.shape == (400, 560, 3)
    assert not second.finished and second.notes == ("stopped",)
    assert np.array_equal(second.image, large)
    assert [report.reason for report in second.faces] == ["face 1: skipped, stopped", "face 2: skipped, stopped"]
    assert max(step[1] for step in steps if step[0] == "enlarge") < total


def test_a_call_that_was_stopped_enlarges_no_picture(
    restorer: FaceRestorer, photo: np.ndarray, doubling: Options
) -> None:
    steps: list[str] = []
    result = restorer.restore(
        photo, doubling, progress=lambda stage, *_: steps.append(stage), stop=lambda: "restore" in steps
    )
    assert np.array_equal(result.image, photo) and result.notes == ("stopped",)
