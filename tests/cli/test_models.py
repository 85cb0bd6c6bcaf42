"""`models list`, and the folders that `models` may be given."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lib_facerestore.catalogue import known_models
from lib_facerestore.cli import main as cli

from ..catalogue.test_catalogue import empty_file, shapes_of
from .conftest import Run


@pytest.fixture
def run(run_models: Run) -> Run:
    return run_models


def test_list_is_a_page(run: Run, models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty_file(models / "GFPGAN" / "favourite.safetensors", shapes_of("codeformer"))
    (models / "copy.safetensors").write_bytes((models / "small.safetensors").read_bytes())
    empty_file(models / "GPEN-BFR-512-D.pth", {"convs.0.weight": (3, 3)})
    assert run("list") == cli.OK
    text = capsys.readouterr().out
    for words in (
        "Restorers  (2 of 15 here)",
        "● codeformer             512 px        359 MB  S-Lab License 1.0, no commercial use",
        str(Path("GFPGAN") / "favourite.safetensors"),
        "not installed, needs GFPGANv1.4.pth",
        "10 more; `facerestore models list --all` shows them.",
        "Face detectors",
        "Face parsers",
        "Upscalers for the background",
        "copy.safetensors: a lite restorer that is not in the catalogue; choose it by its name",
        "discriminator, needed for training only",
        "each: copy.safetensors, small.safetensors",
        "facerestore models download",
    ):
        assert words in text, words
    assert max(len(line) for line in text.splitlines() if "http" not in line and "/" not in line) <= 120
    assert "scrfd" not in text and "gpen-512-onnx" not in text
    assert text.index("codeformer") < text.index("gfpgan-1.4"), "what is installed comes first"
    assert run("list", "--all") == cli.OK
    text = capsys.readouterr().out
    assert "scrfd-10g" in text and "gpen-512-onnx" in text and "known, but not used by Face Restore" in text


def test_list_as_json_tells_everything(run: Run, models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list", "--json") == cli.OK
    content = json.loads(capsys.readouterr().out)
    rows = {row["id"]: row for row in content["models"]}
    assert set(rows) == {entry.id for entry in known_models(None)}
    gfpgan = rows["gfpgan-1.4"]
    assert (gfpgan["state"], gfpgan["bytes"], gfpgan["commercial"]) == ("not installed", 348632874, "unclear")
    assert gfpgan["downloadable"] and not rows["dfdnet"]["downloadable"]
    assert content["other_files"] == [str(models / "small.safetensors")]
    assert content["others"][0]["family"] == "lite"
    assert content["duplicates"] == []
    assert content["folders"] == [str(models)]
    assert (rows["codeformer"]["knobs"], gfpgan["knobs"]) == (["fidelity"], [])
    assert rows["gpen-1024"]["bytes"] is None and rows["gpen-1024"]["bytes_about"] == 285000000


def test_a_webuis_folders_can_be_named(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty_file(tmp_path / "webui" / "Codeformer" / "any.safetensors", shapes_of("codeformer"))
    assert run("list", "--webui", tmp_path / "webui") == cli.OK
    text = capsys.readouterr().out
    assert f"Also searched: {tmp_path / 'webui' / 'Codeformer'}" in text and "any.safetensors" in text


@pytest.mark.parametrize("option", ["--webui", "--models"])
def test_folders_that_cannot_be_are_named(tmp_path: Path, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    for action in (["list"], ["import", "x.pth"], ["download", "codeformer"]):
        assert cli.main(["models", *action, option, str(tmp_path / "file")]) == cli.USAGE
        assert f"{str(tmp_path / 'file')!r} is" in capsys.readouterr().err
    assert cli.main(["models", "list", "--webui", str(tmp_path / "nope")]) == cli.USAGE
    assert "nope' is not a folder" in capsys.readouterr().err
