"""`models download`: the terms first, what is there already, one failure that does not stop the next."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch

from lib_facerestore.catalogue import ModelEntry, ModelFile, known_models
from lib_facerestore.catalogue import download as downloads
from lib_facerestore.cli import main as cli
from lib_facerestore.errors import DownloadError

from ..conftest import small_lite
from .conftest import Run


@pytest.fixture
def run(run_models: Run) -> Run:
    return run_models


def test_download_shows_the_licence_first(
    run: Run, models: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[object] = []

    def arrives(entry: ModelEntry, folder: Path, **how: object) -> downloads.Downloaded:
        shown = capsys.readouterr().err
        assert "S-Lab License 1.0" in shown and "no commercial use" in shown and "359 MB" in shown
        asked.append((entry.id, folder, how["name"], how["offline"]))
        how["progress"](5, 10)  # type: ignore[operator]
        return downloads.Downloaded(folder / "codeformer.pth", "https://x", "sha256")

    monkeypatch.setattr(downloads, "download", arrives)
    assert run("download", "CodeFormer") == cli.OK
    assert asked == [("codeformer", models, None, None)]
    assert "codeformer.pth (SHA-256 as published)" in capsys.readouterr().out


@pytest.mark.parametrize(("answer", "downloaded"), [("y\n", True), ("n\n", False), ("\n", False)])
def test_somebody_at_a_terminal_is_asked(
    run: Run, monkeypatch: pytest.MonkeyPatch, answer: str, downloaded: bool, models: Path
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    done: list[str] = []
    result = downloads.Downloaded(models / "x", "https://x", "size")

    def get(entry: ModelEntry, *_: object, **__: object) -> downloads.Downloaded:
        done.append(entry.id)
        return result

    monkeypatch.setattr(downloads, "download", get)
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    assert run("download", "gpen-512") == (cli.OK if downloaded else cli.FAILED)
    assert bool(done) is downloaded
    monkeypatch.setattr("sys.stdin", Terminal(""))
    assert run("download", "gpen-512", "--yes") == cli.OK


def test_a_failed_download_does_not_stop_the_next(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], models: Path
) -> None:
    def first_fails(entry: ModelEntry, folder: Path, **_: object) -> downloads.Downloaded:
        if entry.id == "codeformer":
            raise DownloadError("codeformer: no mirror answers")
        return downloads.Downloaded(folder / "x.pth", "", "nothing")

    monkeypatch.setattr(downloads, "download", first_fails)
    assert run("download", "codeformer", "bisenet", "--json") == cli.FAILED
    captured = capsys.readouterr()
    rows = json.loads(captured.out)
    assert [row["id"] for row in rows] == ["codeformer", "bisenet"]
    assert rows[0]["error"] == "codeformer: no mirror answers" and "no mirror answers" in captured.err


def test_download_errors_name_the_remedy(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("download", "codefomer") == cli.USAGE
    assert "model codefomer is not known. Did you mean codeformer?" in capsys.readouterr().err
    assert run("download", "codeformer", "--offline") == cli.FAILED
    assert "offline is set" in capsys.readouterr().err
    assert run("download", "dfdnet") == cli.FAILED
    assert "get it by hand from https://drive.google.com" in capsys.readouterr().err
    assert run("download", "lite") == cli.FAILED
    shown = capsys.readouterr().err
    assert "part of this package" in shown and "licence" not in shown  # nothing is to be had on any terms
    assert run("download", "codeformer", "--file", "codefomer.pth") == cli.FAILED
    assert "codeformer: has no file codefomer.pth; the files it has: codeformer.pth" in capsys.readouterr().err


def test_a_declined_model_has_a_row_that_says_so(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = io.StringIO("n\n")
    monkeypatch.setattr(answer, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", answer)
    monkeypatch.setattr(downloads, "download", lambda *_, **__: pytest.fail("it was declined"))
    assert run("download", "codeformer", "--json") == cli.FAILED
    captured = capsys.readouterr()
    (row,) = json.loads(captured.out)
    assert (row["id"], row["file"], row["verified"]) == ("codeformer", None, None)
    assert "codeformer was not downloaded: its terms were declined" in row["error"] and row["error"] in captured.err


def test_a_model_in_any_searched_folder_is_not_fetched_again(
    run: Run, models: Path, tmp_path: Path, known_net: ModelEntry, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(downloads, "download", lambda *_, **__: pytest.fail("already installed"))
    there = tmp_path / "webui" / "GFPGAN" / "any.safetensors"
    there.parent.mkdir(parents=True)
    (models / "small.safetensors").rename(there)
    left = there.with_name(f".{there.name}.part")  # by a download that was killed after the renaming
    left.write_bytes(b"")
    assert run("download", "lite-like", "--webui", tmp_path / "webui", "--offline") == cli.OK
    assert f"lite-like: already installed, {there} (SHA-256 as published)" in capsys.readouterr().out
    assert not left.exists()
    safetensors.torch.save_file(small_lite(seed=8).state_dict(), there)
    assert run("download", "lite-like", "--webui", tmp_path / "webui", "--json") == cli.OK
    assert json.loads(capsys.readouterr().out)[0]["verified"] == "nothing"


def test_two_published_files_of_one_model_are_both_its_own(
    run: Run, models: Path, known_net: ModelEntry, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = ModelFile("first.safetensors", 5, "0" * 64, ("https://example.org/y",))
    both = replace(known_net, published=(other, *known_net.published), files=(other.name, *known_net.files))
    everything = tuple(both if entry is known_net else entry for entry in known_models(None))
    monkeypatch.setattr("lib_facerestore.catalogue.entries._all", lambda: everything)
    monkeypatch.setattr(downloads, "download", lambda *_, **__: pytest.fail("already installed"))
    (models / "small.safetensors").rename(models / other.name)  # the second's bytes under the first's name
    for wanted in ([], ["--file", other.name], ["--file", "lite-like.safetensors"]):
        assert run("download", "lite-like", *wanted) == cli.OK
        assert "already installed" in capsys.readouterr().out
    assert run("verify", "lite-like") == cli.OK
    assert "as published for lite-like.safetensors" in capsys.readouterr().out


def test_every_published_file_can_be_asked_for() -> None:
    got: list[str] = []
    for entry in known_models(None):
        for file in entry.published:
            chosen = downloads.published_file(entry, file.name.upper())
            got.append(chosen.sha256 or chosen.urls[0] if chosen.urls else chosen.name)
    assert len(got) == len(set(got))
