"""`models list | download | verify | import`, and the comparison with the originals."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
import safetensors.torch
import torch

from lib_facerestore import load_network
from lib_facerestore.bench.public_networks import dfdnet_dictionaries
from lib_facerestore.catalogue import ModelEntry, ModelFile, Store, fingerprints, known_model, known_models
from lib_facerestore.catalogue import download as downloads
from lib_facerestore.checks import originals, verify
from lib_facerestore.cli import main as cli
from lib_facerestore.cli import model_download, model_page
from lib_facerestore.errors import DownloadError, FaceRestoreError
from lib_facerestore.networks.archs.dfdnet_parts import DICTIONARY_FILES, DICTIONARY_FOLDER

from ..catalogue.test_catalogue import empty_file, shapes_of
from ..conftest import narrow_dfdnet, small_lite
from ..stages.test_parsing import need_facexlib

Run = Callable[..., int]
_LAST = ("conv_out.conv_out.weight", shapes_of("bisenet")["conv_out.conv_out.weight"])
"""With the first tensors of BiSeNet, enough to be taken for it; what lies between is missing."""


@pytest.fixture
def run(models: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs the command line on a model folder with one small restorer."""
    monkeypatch.setattr(fingerprints, "cache_file", lambda: tmp_path / "sha256.json")
    monkeypatch.delenv(downloads.OFFLINE, raising=False)
    monkeypatch.setenv("COLUMNS", "110")

    def run(*arguments: object) -> int:
        given = ["models", *(str(argument) for argument in arguments), "--models", str(models), "--device", "cpu"]
        return cli.main(given)

    return run


@pytest.fixture
def known_net(monkeypatch: pytest.MonkeyPatch) -> ModelEntry:
    """`lite-like`, a model of the catalogue whose published file is a small restorer."""
    data = safetensors.torch.save(small_lite().state_dict())
    file = ModelFile("lite-like.safetensors", len(data), hashlib.sha256(data).hexdigest(), ("https://example.org/x",))
    entry = ModelEntry(
        "lite-like", 50, (file.name,), family="lite", size=256, licence="MIT", licence_note="Ours.", commercial="yes",
        good_for="Tests.", published=(file,), has=("lite_trunk.0.first.weight", "fold_half.weight"),
    )  # fmt: skip
    from lib_facerestore.catalogue import entries

    everything = (*known_models(None), entry)
    monkeypatch.setattr(entries, "_all", lambda: everything)
    return entry


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
        "not installed, wants GFPGANv1.4.pth",
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
    assert "scrfd-10g" in text and "gpen-512-onnx" in text and "known, but nothing here uses it" in text


def test_list_fits_narrow_and_plain_terminals(models: Path) -> None:
    survey = model_page.survey(Store([models]))
    text = model_page.page(survey, everything=True, width=70, encoding="ascii")
    assert "* lite" in text
    assert all(len(line) <= 70 for line in text.splitlines() if line.startswith(" " * 6) and line.endswith("."))


def test_list_as_json_tells_everything(run: Run, models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list", "--json") == cli.OK
    content = json.loads(capsys.readouterr().out)
    rows = {row["id"]: row for row in content["models"]}
    assert set(rows) == {entry.id for entry in known_models(None)}
    gfpgan = rows["gfpgan-1.4"]
    assert (gfpgan["state"], gfpgan["bytes"], gfpgan["commercial_use"]) == ("not installed", 348632874, "unclear")
    assert gfpgan["downloadable"] and not rows["dfdnet"]["downloadable"]
    assert content["other_files"] == [str(models / "small.safetensors")]
    assert content["others"][0]["family"] == "lite"
    assert content["duplicates"] == []
    assert content["folders"] == [str(models)]
    assert (rows["codeformer"]["knobs"], gfpgan["knobs"]) == (["fidelity"], [])
    assert rows["gpen-1024"]["bytes"] is None and rows["gpen-1024"]["bytes_about"] == 285000000


def test_a_model_without_the_files_beside_it_is_incomplete(models: Path) -> None:
    dfdnet = known_model("dfdnet")
    assert dfdnet is not None and (dfdnet.beside, dfdnet.beside_folder) == (DICTIONARY_FILES, DICTIONARY_FOLDER)
    empty_file(models / "own.safetensors", shapes_of("dfdnet"))

    def state() -> tuple[str, bool]:
        survey = model_page.survey(Store([models]))
        (row,) = (row for row in survey.to_dict()["models"] if row["id"] == "dfdnet")
        return row["state"], "INCOMPLETE" in model_page.page(survey)

    assert state() == ("incomplete", True)
    (models / DICTIONARY_FOLDER).mkdir()
    for name in DICTIONARY_FILES:
        (models / DICTIONARY_FOLDER / name).touch()
    assert state() == ("installed", False)


@pytest.mark.parametrize("width", [80, 120])
def test_the_page_keeps_to_its_width(models: Path, width: int) -> None:
    (models / "GFPGANv1.4.pth").write_bytes(b"hello")
    text = model_page.page(model_page.survey(Store([models])), everything=True, width=width)
    fixed = text.splitlines()[1:]  # the first names a folder, whose length is its own
    assert [line for line in fixed if len(line) > width] == []
    assert "here, and the built-in one)" in text and "size unknown" not in text.partition("onnxruntime")[0]
    assert "cannot be used: not a checkpoint" in text


def test_a_missing_package_is_named_and_no_other(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    survey = model_page.survey(Store([models]))
    monkeypatch.setattr(model_page.importlib.util, "find_spec", lambda name: None)
    text = model_page.page(survey, everything=True)
    assert text.count("needs the package spandrel") == 3 and "needs the package onnxruntime" in text
    monkeypatch.setattr(model_page.importlib.util, "find_spec", lambda name: object())
    assert "needs the package" not in model_page.page(survey, everything=True)


def test_a_webuis_folders_can_be_named(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty_file(tmp_path / "webui" / "Codeformer" / "any.safetensors", shapes_of("codeformer"))
    assert run("list", "--webui", tmp_path / "webui") == cli.OK
    text = capsys.readouterr().out
    assert f"Also searched: {tmp_path / 'webui' / 'Codeformer'}" in text and "any.safetensors" in text


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
    assert "part of this package" in capsys.readouterr().err


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
    assert f"Your file is still {source}" in said
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
    assert json.loads(capsys.readouterr().out)[0]["what"] == "lite-like, was there"
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
    empty_file(tmp_path / "79999_iter.pth", dict([*list(shapes_of("bisenet").items())[:50], _LAST]))
    (tmp_path / "GFPGANv1.4.pth").write_text("hello")
    (tmp_path / "parsing_bisenet.pth").write_text("<!DOCTYPE html><title>Sign in</title>")
    (tmp_path / "x.onnx").write_bytes(b"\x08\x07\x12\x04junk")
    (tmp_path / "model.txt").write_text("x")
    for file, words in (
        ("page.pth", "it is a web page"),
        ("GPEN-BFR-512-D.pth", "discriminator"),
        ("GPEN-Colorization-1024.pth", "colouring"),
        ("79999_iter.pth", "79999_iter.pth"),
        ("GFPGANv1.4.pth", "in no format"),
        ("parsing_bisenet.pth", "it is a web page"),
        ("x.onnx", "without a graph"),
        ("absent.pth", "there is no such file"),
        ("model.txt", "model files end in .pth"),
    ):
        assert run("import", tmp_path / file) == cli.FAILED
        assert words in capsys.readouterr().err
    assert [path.name for path in models.iterdir()] == ["small.safetensors"]


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
    assert "not a model that is known" in capsys.readouterr().out
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
    empty_file(models / "own name.safetensors", dict([*list(shapes.items())[:50], _LAST]))
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


def test_a_model_in_any_searched_folder_is_not_fetched_again(
    run: Run, models: Path, tmp_path: Path, known_net: ModelEntry, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(downloads, "download", lambda *_, **__: pytest.fail("was there already"))
    there = tmp_path / "webui" / "GFPGAN" / "any.safetensors"
    there.parent.mkdir(parents=True)
    (models / "small.safetensors").rename(there)
    assert run("download", "lite-like", "--webui", tmp_path / "webui", "--offline") == cli.OK
    assert f"lite-like: was there already, {there} (SHA-256 as published)" in capsys.readouterr().out
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
    monkeypatch.setattr(downloads, "download", lambda *_, **__: pytest.fail("was there already"))
    (models / "small.safetensors").rename(models / other.name)  # the second's bytes under the first's name
    for wanted in ([], ["--file", other.name], ["--file", "lite-like.safetensors"]):
        assert run("download", "lite-like", *wanted) == cli.OK
        assert "was there already" in capsys.readouterr().out
    assert run("verify", "lite-like") == cli.OK
    assert "as published for lite-like.safetensors" in capsys.readouterr().out


def test_every_published_file_can_be_asked_for(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    got: list[str] = []
    for entry in known_models(None):
        for file in entry.published:
            chosen = model_download._published(entry, file.name)
            assert chosen is not None
            got.append(chosen.sha256 or chosen.urls[0] if chosen.urls else chosen.name)
    assert len(got) == len(set(got))


@pytest.mark.parametrize("option", ["--webui", "--models"])
def test_folders_that_cannot_be_are_named(tmp_path: Path, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    for action in (["list"], ["import", "x.pth"], ["download", "codeformer"]):
        assert cli.main(["models", *action, option, str(tmp_path / "file")]) == cli.USAGE
        assert f"{str(tmp_path / 'file')!r} is" in capsys.readouterr().err
    assert cli.main(["models", "list", "--webui", str(tmp_path / "nope")]) == cli.USAGE
    assert "nope' is no folder" in capsys.readouterr().err


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


def test_a_file_of_another_family_under_an_id_fails(models: Path) -> None:
    codeformer = known_model("codeformer")
    checks = verify.verify(models / "small.safetensors", codeformer)
    assert "codeformer is of family codeformer, 512 pixels; this file is not it" in checks[-1].detail
    assert checks[-1].status == "failed"


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
    assert "skipped  reference  lite: its original code is in no package" in capsys.readouterr().out


@pytest.mark.usefixtures("narrow_original")
def test_dfdnet_is_compared_with_the_dictionaries_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "latest_net_G.pth"
    torch.save(narrow_dfdnet().state_dict(), path)
    lacking, check = verify.verify(path, None, against_reference=True)[-2:]
    assert lacking.status == "failed" and "16 of 16 dictionaries are missing" in lacking.detail
    assert check.status == "skipped" and "needs the dictionaries" in check.detail
    for name, entries in dfdnet_dictionaries((8, 16, 32, 32), 3).items():
        np.save(tmp_path / name, entries.numpy())
    check = verify.verify(path, None, against_reference=True)[-1]
    assert check.status == "ok" and check.detail.startswith("basicsr"), check.detail


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(originals.importlib, "import_module", missing)
    monkeypatch.setattr(originals.facexlib_import, "prepare", lambda: None)
    network = load_network(small_lite().state_dict())
    network.family = "gfpgan"
    with pytest.raises(FaceRestoreError, match=r"needs the package gfpgan.*pip install --no-deps gfpgan"):
        originals.find_original(network, {})


def test_synthetic_crops_are_the_same_each_time() -> None:
    crop = originals.synthetic_crop(0, 64)
    assert crop.shape == (1, 3, 64, 64) and crop.abs().max() <= 1 and crop.std() > 0.1
    assert torch.equal(crop, originals.synthetic_crop(0, 64))
    assert not torch.equal(crop, originals.synthetic_crop(1, 64))


@pytest.mark.parametrize("prefix", ["", "module.", "vqvae."])
def test_the_original_gets_its_own_tensors_only(
    prefix: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own = small_lite().state_dict()
    state = {prefix + name: value for name, value in own.items()}
    state[prefix + "quantize.utility_counter"] = torch.zeros(2)
    if prefix:
        state["loss.weight"] = torch.zeros(3)
    given: list[set[str]] = []

    def make(tensors: dict[str, torch.Tensor]) -> originals.Original:
        sys.stdout.write("chatter of packages")
        given.append(set(tensors))
        return originals.Original("x", lambda x: x)

    monkeypatch.setattr(originals, "_gfpgan", make)
    network = load_network(state)
    network.family = "gfpgan"
    originals.find_original(network, state)
    assert given == [set(own)]
    assert "chatter" not in capsys.readouterr().out
