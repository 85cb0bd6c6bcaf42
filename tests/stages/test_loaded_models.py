"""Models as calls find them: chosen, looked for once a call, loaded anew, unloaded."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from lib_facerestore import FaceRestorer, ModelFileError, Options
from lib_facerestore.catalogue import Inventory, fingerprints
from lib_facerestore.errors import FaceRestoreError
from lib_facerestore.stages import lite_parser, loaded_models
from lib_facerestore.system import facexlib_import

from ..catalogue.test_catalogue import empty_file, shapes_of
from ..conftest import KnownFaces, narrow_dfdnet, small_lite
from ..pipeline_helpers import SMALL, network_of


def test_auto_passes_over_a_damaged_file(models: Path, photo: np.ndarray) -> None:
    (models / "GFPGANv1.4.pth").write_bytes(b"not a checkpoint")
    restorer = FaceRestorer(models, "cpu")
    assert restorer.restore(photo).model == "lite"
    assert network_of(restorer, "auto").family == "lite"


def test_what_auto_passes_over_is_told_once(models: Path, photo: np.ndarray, caplog: pytest.LogCaptureFixture) -> None:
    torch.save(narrow_dfdnet().state_dict(), models / "latest_net_G.pth")  # without its dictionaries
    restorer = FaceRestorer(models, "cpu", detector=KnownFaces())
    restorer.check(Options())
    for _ in range(2):
        assert restorer.restore(photo).model == "lite"
    told = [record.getMessage() for record in caplog.records if "auto skips" in record.getMessage()]
    assert (
        len(told) == 1
        and "16 of the 16 files that it needs are missing" in told[0]
        and told[0].count("_center.npy") == 3
    )


def test_a_parser_that_cannot_be_used_is_replaced_by_the_built_in_one(
    restorer: FaceRestorer, models: Path, photo: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    plain = restorer.restore(photo, SMALL)
    (models / "parsing_bisenet.pth").write_bytes(b"half a file")
    for _ in range(2):
        result = restorer.restore(photo, SMALL)
        assert np.array_equal(result.image, plain.image)  # as without that parser
        assert len(result.hints) == 1
        assert re.match(r"masks are made by lite, .*parsing_bisenet\.pth: .*get it again", result.hints[0])
    assert sum("masks are made by lite" in record.getMessage() for record in caplog.records) == 1
    assert restorer.restore(photo, SMALL.replace(mask="box")).hints == ()
    (models / "parsing_bisenet.pth").unlink()  # what is put right is seen
    assert restorer.restore(photo, SMALL).hints == ()


def test_unloading_changes_nothing_but_the_memory(restorer: FaceRestorer, photo: np.ndarray) -> None:
    before = restorer.restore(photo, SMALL).image
    restorer.unload()
    assert np.array_equal(restorer.restore(photo, SMALL).image, before)


def test_a_file_that_was_replaced_is_loaded_anew(restorer: FaceRestorer, models: Path, photo: np.ndarray) -> None:
    before = restorer.restore(photo, SMALL).image
    safetensors.torch.save_file(small_lite(seed=9, strength=0.5).state_dict(), models / "small.safetensors")
    os.utime(models / "small.safetensors", ns=(1, 1))  # file systems with coarse clocks would not see the change
    assert (restorer.restore(photo, SMALL).image != before).any()


def test_networks_loaded_in_inference_mode_can_be_moved_later(models: Path, photo: np.ndarray) -> None:
    restorer = FaceRestorer(models, "cpu", detector="lite")
    with torch.inference_mode():
        restorer.restore(photo, SMALL)
        restorer.detect(photo)
    network = network_of(restorer, "small")
    assert not any(parameter.is_inference() for parameter in network.module.parameters())
    network.to("cpu", torch.float64)


def test_a_call_walks_the_folders_once_and_reads_each_head_once(
    models: Path, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    (models / "sub").mkdir()
    (models / "small.safetensors").rename(models / "sub" / "small.safetensors")
    (models / "GFPGANv1.4.pth").write_bytes(b"not a checkpoint")
    walked: list[str] = []
    heads: list[str] = []
    scandir, sniff = os.scandir, fingerprints.sniff_file

    def walk(path: str) -> object:
        walked.append(os.path.relpath(path, models))
        return scandir(path)

    def look(path: Path) -> object:
        if path.parent.name != "weights":  # the built-in one, which an earlier test may have read
            heads.append(path.name)
        return sniff(path)

    monkeypatch.setattr(os, "scandir", walk)
    monkeypatch.setattr(fingerprints, "sniff_file", look)
    restorer = FaceRestorer(models, "cpu", detector=KnownFaces((60, 70, 60)))
    options = Options(mask="parsing", keep="hair")
    for call in range(2):
        walked.clear()
        restorer.restore_many([photo, photo], options, overrides=[{1: {"model": "small"}}, {}])
        assert walked == [".", "sub"], f"call {call}"
        assert sorted(heads) == ["GFPGANv1.4.pth", "small.safetensors"], f"call {call}"


def test_a_model_put_there_between_two_calls_is_seen(models: Path, photo: np.ndarray) -> None:
    restorer = FaceRestorer(models, "cpu", detector=KnownFaces((60, 70, 60)))
    with pytest.raises(ModelFileError, match="later is not known"):
        restorer.restore(photo, SMALL.replace(model="later"))
    safetensors.torch.save_file(small_lite(seed=5).state_dict(), models / "later.safetensors")
    assert restorer.restore(photo, SMALL.replace(model="later")).changed


def test_a_detector_put_there_between_two_calls_is_seen(
    models: Path, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[bool] = []

    def create(_name: str, there: Inventory, _device: torch.device) -> KnownFaces:
        made.append(bool(there.installed("detector")))
        return KnownFaces()

    monkeypatch.setattr(loaded_models, "create_detector", create)
    restorer = FaceRestorer(models, "cpu")
    for _ in range(2):
        restorer.detect(photo)
    assert made == [False]
    path = empty_file(models / "detector.pth", shapes_of("retinaface-resnet50"))
    for _ in range(2):
        restorer.detect(photo)
    assert made == [False, True]
    path.unlink()
    restorer.detect(photo)
    assert made == [False, True, False]


def test_without_any_parser_masks_are_ellipses_and_the_hint_says_so(
    restorer: FaceRestorer, models: Path, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = restorer.restore(photo, SMALL.replace(mask="ellipse"))
    monkeypatch.setattr(lite_parser, "weights_path", lambda name: models / "gone" / name)
    result = restorer.restore(photo, SMALL.replace(keep="hair"))
    assert len(result.hints) == 1
    assert re.match(r"masks are ellipses and hair cannot be kept, .*lite_parser\.safetensors", result.hints[0])
    assert np.array_equal(result.image, plain.image)
    assert restorer.restore(photo, SMALL.replace(mask="box")).hints == ()


def test_a_parser_without_facexlib_is_tried_once_and_said_in_the_hints(
    restorer: FaceRestorer,
    models: Path,
    photo: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(name: str) -> None:
        asked.append(name)
        raise FaceRestoreError("facexlib cannot be imported (no such thing); install it again.")

    asked: list[str] = []
    monkeypatch.setattr(facexlib_import, "import_facexlib", broken)
    empty_file(models / "parsing_bisenet.pth", shapes_of("bisenet"))
    for _ in range(3):
        hints = restorer.restore(photo, SMALL.replace(keep="hair")).hints
        assert len(hints) == 1 and hints[0].startswith("masks are made by lite, because")
        assert "facexlib cannot be imported" in hints[0] and "download bisenet" not in hints[0]
    assert len(asked) == 1
    assert sum("facexlib" in record.getMessage() for record in caplog.records) == 1
