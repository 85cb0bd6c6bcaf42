"""`models verify`: hashes, strict loading, and the comparison with the originals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import safetensors.torch

from lib_facerestore.catalogue import ModelEntry, known_model
from lib_facerestore.checks import originals, verify
from lib_facerestore.cli import main as cli

from ..catalogue.test_catalogue import empty_file, shapes_of
from ..conftest import small_lite
from ..stages.test_parsing import need_facexlib
from .conftest import BISENET_LAST, Run


@pytest.fixture
def run(run_models: Run) -> Run:
    return run_models


def test_verify_a_good_file(run: Run, models: Path, known_net: ModelEntry, capsys: pytest.CaptureFixture[str]) -> None:
    (models / "small.safetensors").rename(models / "lite-like.safetensors")
    assert run("verify", "lite-like") == cli.OK
    text = capsys.readouterr().out
    assert "as published for lite-like.safetensors" in text
    assert "every tensor fits: family lite, 256 pixels, knobs: none" in text


def test_verify_warns_of_an_unknown_hash_and_fails_a_damaged_file(
    run: Run, models: Path, known_net: ModelEntry, capsys: pytest.CaptureFixture[str]
) -> None:
    path = models / "lite-like.safetensors"
    (models / "small.safetensors").unlink()
    safetensors.torch.save_file(small_lite(seed=8).state_dict(), path)
    assert run("verify", "lite-like", "--json") == cli.OK
    (row,) = json.loads(capsys.readouterr().out)
    assert {check["subject"]: check["status"] for check in row["checks"]} == {
        "size": "ok" if path.stat().st_size == known_net.bytes else "warning", "sha256": "warning", "load": "ok",
    }  # fmt: skip
    path.write_bytes(path.read_bytes()[:-50])
    assert run("verify", "lite-like") == cli.FAILED
    assert "failed   load" in capsys.readouterr().out


def test_verify_takes_paths_detectors_and_the_built_in(
    run: Run, models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("verify", models / "small.safetensors", "lite") == cli.OK
    assert "not a known model" in capsys.readouterr().out
    empty_file(models / "detection_Resnet50_Final.safetensors", shapes_of("retinaface-resnet50"))
    assert run("verify", "retinaface-resnet50") == cli.OK
    assert "every tensor fits: detector retinaface-resnet50" in capsys.readouterr().out
    assert run("verify", "gfpgan-1.4", "lite", "--json") == cli.FAILED
    said = capsys.readouterr()
    assert "gfpgan-1.4 is not installed" in said.err
    missing, lite = json.loads(said.out)
    assert "is not installed" in missing["error"] and missing["checks"] == []
    assert lite["checks"][-1]["status"] == "ok", "one that is missing does not keep the others from being checked"


def test_verify_loads_parsers_strictly(run: Run, models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    need_facexlib()
    shapes = shapes_of("bisenet")
    empty_file(models / "own name.safetensors", shapes)
    assert run("verify", "bisenet") == cli.OK
    assert "every tensor fits: parser bisenet" in capsys.readouterr().out
    empty_file(models / "own name.safetensors", dict([*list(shapes.items())[:50], BISENET_LAST]))
    assert run("verify", "bisenet", "--against", "reference") == cli.FAILED
    text = capsys.readouterr().out
    assert "failed   load" in text and "only restorers are compared" in text


def test_verify_without_an_id_checks_all_that_is_installed(
    run: Run, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty_file(models / "detector.safetensors", shapes_of("retinaface-mobilenet"))
    assert run("verify", "--json") == cli.OK
    assert [row["model"] for row in json.loads(capsys.readouterr().out)] == ["lite", "retinaface-mobilenet"]
    (models / "codeformer.pth").write_bytes(b"PK\x03\x04 and no more")
    assert run("verify") == cli.FAILED
    assert f"codeformer: {models / 'codeformer.pth'}\n" in capsys.readouterr().out


def test_a_published_file_of_another_model_is_named(
    models: Path, known_net: ModelEntry, capsys: pytest.CaptureFixture[str]
) -> None:
    (check,) = (
        check
        for check in verify.verify(models / "small.safetensors", known_model("codeformer"))
        if check.subject == "sha256"
    )
    assert check.status == "failed" and "published file of lite-like, not of codeformer" in check.detail


def test_against_reference_prints_the_difference(
    run: Run, models: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = small_lite().eval().requires_grad_(False)
    original = originals.Original("package 1.0, Net", module)
    monkeypatch.setattr(originals, "find_original", lambda *_: original)
    assert run("verify", "small", "--against", "reference") == cli.OK
    text = capsys.readouterr().out
    assert "package 1.0, Net: largest difference" in text and "mean" in text
    shifted = originals.Original("package 1.0, Net", lambda x: module(x) + 0.01)
    monkeypatch.setattr(originals, "find_original", lambda *_: shifted)
    assert run("verify", "small", "--against", "reference") == cli.FAILED
    assert "largest difference 1.00e-02, mean 1.00e-02" in capsys.readouterr().out


def test_without_an_original_the_reason_is_said(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("verify", "lite", "--against", "reference") == cli.OK
    assert "skipped  reference  lite: its original code is not in any package" in capsys.readouterr().out
