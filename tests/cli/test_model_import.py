"""`models import`: names, what is refused, and a failure that loses nothing."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import BinaryIO

import pytest
import torch

from lib_facerestore import load_network
from lib_facerestore.catalogue import ModelEntry
from lib_facerestore.checks import verify
from lib_facerestore.cli import main as cli

from ..catalogue.test_catalogue import empty_file, shapes_of
from ..conftest import small_lite
from .conftest import BISENET_LAST, Run


@pytest.fixture
def run(run_models: Run) -> Run:
    return run_models


@pytest.mark.parametrize("way", [[], ["--move"]], ids=["copy", "move"])
def test_an_import_that_fails_loses_nothing_and_leaves_nothing(
    way: list[str], run: Run, models: Path, tmp_path: Path, known_net: ModelEntry, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    source = tmp_path / "mine.safetensors"
    (models / "small.safetensors").rename(source)
    content = source.read_bytes()

    def locked(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    for name in ("replace", "link", "rename"):
        monkeypatch.setattr(os, name, locked)
        monkeypatch.setattr(Path, name, locked, raising=False)
    assert run("import", source, *way) == cli.FAILED
    said = capsys.readouterr().err
    assert "lite-like.safetensors: could not be written (Permission denied)" in said
    assert f"Your file is still at {source}" in said
    assert source.read_bytes() == content and not list(models.iterdir())


def test_ctrl_c_in_an_import_leaves_no_part(
    run: Run, models: Path, tmp_path: Path, known_net: ModelEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "mine.safetensors"
    (models / "small.safetensors").rename(source)
    content = source.read_bytes()

    def interrupted(_: object, part: BinaryIO, *__: object) -> None:
        part.write(content[:10])
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "copyfileobj", interrupted)
    assert run("import", source) == cli.INTERRUPTED
    assert source.read_bytes() == content and not list(models.iterdir())


def test_import_recognises_names_and_checks(
    run: Run, models: Path, tmp_path: Path, known_net: ModelEntry, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "downloaded (1).safetensors"
    source.write_bytes((models / "small.safetensors").read_bytes())
    (models / "small.safetensors").unlink()
    assert run("import", source) == cli.OK
    target = models / "lite-like.safetensors"
    assert target.read_bytes() == source.read_bytes()
    assert f"{source} -> {target}: lite-like" in capsys.readouterr().out
    assert run("import", source, "--json") == cli.OK
    assert json.loads(capsys.readouterr().out)[0]["what"] == "lite-like, already installed"
    target.write_bytes(b"precious")
    assert run("import", source) == cli.FAILED
    assert "exists already and is another file" in capsys.readouterr().err
    target.unlink()
    assert run("import", source, "--move") == cli.OK
    assert target.is_file() and not source.exists()
    assert sorted(path.name for path in models.iterdir()) == ["lite-like.safetensors"]


def test_import_keeps_the_name_of_a_network_of_ones_own(run: Run, models: Path, tmp_path: Path) -> None:
    source = tmp_path / "mine.pth"
    torch.save(small_lite(seed=3).state_dict(), source)
    assert run("import", source) == cli.OK
    assert load_network(models / "mine.pth").family == "lite"


def test_import_refuses_what_cannot_be_used(
    run: Run, models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.pth"
    page.write_text("<!DOCTYPE html>")
    empty_file(tmp_path / "GPEN-BFR-512-D.pth", {"convs.0.weight": (3, 3)})
    empty_file(tmp_path / "GPEN-Colorization-1024.pth", shapes_of("gpen-1024"))
    empty_file(tmp_path / "79999_iter.pth", dict([*list(shapes_of("bisenet").items())[:50], BISENET_LAST]))
    (tmp_path / "GFPGANv1.4.pth").write_text("hello")
    (tmp_path / "parsing_bisenet.pth").write_text("<!DOCTYPE html><title>Sign in</title>")
    (tmp_path / "x.onnx").write_bytes(b"\x08\x07\x12\x04junk")
    (tmp_path / "model.txt").write_text("x")
    for file, words in (
        ("page.pth", "it is a web page"),
        ("GPEN-BFR-512-D.pth", "discriminator"),
        ("GPEN-Colorization-1024.pth", "colouring"),
        ("79999_iter.pth", "79999_iter.pth"),
        ("GFPGANv1.4.pth", "no format of model files"),
        ("parsing_bisenet.pth", "it is a web page"),
        ("x.onnx", "without a graph"),
        ("absent.pth", "there is no such file"),
        ("model.txt", "model files end in .pth"),
    ):
        assert run("import", tmp_path / file) == cli.FAILED
        assert words in capsys.readouterr().err
    empty_file(tmp_path / "other.safetensors", {"a.weight": (3, 3)})
    assert run("import", tmp_path / "other.safetensors") == cli.FAILED
    message = capsys.readouterr().err
    assert (
        f"{tmp_path / 'other.safetensors'}: 1 tensor (a.weight) of no family" in message and "state dict" not in message
    )
    assert [path.name for path in models.iterdir()] == ["small.safetensors"]


def test_import_says_which_of_several_it_may_be_and_moves_what_was_there(
    run: Run, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(verify, "load", lambda *_: None)
    source = empty_file(tmp_path / "own.safetensors", shapes_of("gfpgan-1.4"))
    assert run("import", source) == cli.OK
    assert "gfpgan-1.4 or gfpgan-1.3 or gfpgan-1.2, not as published" in capsys.readouterr().out
    assert run("import", source, "--move") == cli.OK
    assert not source.exists() and (models / "own.safetensors").is_file()
    assert run("import", models / "own.safetensors", "--move") == cli.OK
    assert (models / "own.safetensors").is_file(), "it lies where it shall"
