"""What `doctor` says of packages, and of the model files: found by their tensors, damaged ones named."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

import pytest

from lib_facerestore.catalogue import Store, fingerprints
from lib_facerestore.checks import doctor, verdict
from lib_facerestore.wording import pip_install

from ..catalogue.test_catalogue import empty_file, shapes_of


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path_factory.mktemp("cache") / "sha256.json"
    monkeypatch.setattr(fingerprints, "cache_file", lambda: cache)


def findings(folder: Path) -> dict[str, doctor.Finding]:
    return {finding.subject: finding for finding in doctor.examine(Store([folder]), "cpu")}


def test_detectors_and_parsers_of_any_name_are_seen(tmp_path: Path) -> None:
    empty_file(tmp_path / "finder.pth", shapes_of("retinaface-mobilenet"))
    empty_file(tmp_path / "faceparser.pth", shapes_of("bisenet"))
    found = findings(tmp_path)
    assert (found["detector retinaface-mobilenet"].status, found["parser bisenet"].detail) == ("ok", "faceparser.pth")
    lacking = found["parser parsenet"]
    assert lacking.status == "note" and lacking.remedy.startswith("put parsing_parsenet.pth into")
    assert "models download parsenet" in lacking.remedy


def test_a_damaged_file_is_no_installed_model(tmp_path: Path) -> None:
    (tmp_path / "GFPGANv1.4.pth").write_bytes(b"hello")
    (tmp_path / "parsing_bisenet.pth").write_text("<!DOCTYPE html>")
    empty_file(tmp_path / "dfdnet.pth", shapes_of("dfdnet"))
    found = findings(tmp_path)
    assert found["restorers"].detail == "lite"
    assert "its folder lacks left_eye_" in found["file of dfdnet"].detail
    assert "no format of model files" in found["file of gfpgan-1.4"].detail
    assert "models download gfpgan-1.4" in found["file of gfpgan-1.4"].remedy
    assert "it is a web page" in found["file of bisenet"].detail and "parser bisenet" not in found


def take_away(monkeypatch: pytest.MonkeyPatch, module: str, distribution: str) -> None:
    """As if the package were not installed."""
    version = importlib.metadata.version

    def without(name: str) -> str:
        if name == distribution:
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(importlib.metadata, "version", without)
    monkeypatch.setitem(sys.modules, module, None)


@pytest.mark.parametrize("name", ["httpx", "filelock", "tqdm", "platformdirs"])
def test_a_package_that_a_command_cannot_do_without_is_missing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_away(monkeypatch, name, name)
    found = findings(tmp_path)[name]
    assert found.status == "missing" and found.remedy == pip_install(name)
    assert found.detail.startswith("needed for ")


@pytest.mark.parametrize("name", ["facexlib", "tifffile", "gradio", "spandrel", "psutil", "onnxruntime"])
def test_a_package_that_something_stands_in_for_is_a_note(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_away(monkeypatch, name, name)
    found = findings(tmp_path)[name]
    assert found.status == "note" and found.remedy == pip_install(name)
    assert "; without it, " in found.detail and "page" not in found.detail


def test_a_package_that_fails_on_import_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)  # its version is still known
    found = findings(tmp_path)["httpx"]
    assert found.status == "broken" and found.remedy == f"{pip_install('httpx')} --force-reinstall"


def test_the_verdict_is_last_and_names_the_next_step(tmp_path: Path) -> None:
    def verdict() -> tuple[str, str, str]:
        last = doctor.examine(Store([tmp_path]), "cpu")[-1]
        assert last.subject == "verdict"
        return last.status, last.detail, last.remedy

    fresh = "`facerestore models download gfpgan-1.4` gets a restorer that adds detail"
    assert verdict() == ("ok", "faces can be restored here, by default with lite", fresh)
    (tmp_path / "GFPGANv1.4.pth").write_bytes(b"hello")
    assert verdict()[2] == "file of gfpgan-1.4: move it away, then `facerestore models download gfpgan-1.4`"
    (tmp_path / "GFPGANv1.4.pth").unlink()
    empty_file(tmp_path / "best.pth", shapes_of("codeformer"))
    enough = "`facerestore restore PHOTO -o RESULT.png`"
    assert verdict() == ("ok", "faces can be restored here, by default with codeformer", enough)


def test_the_verdict_on_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    take_away(monkeypatch, "httpx", "httpx")
    found = findings(tmp_path)["verdict"]
    assert (found.status, found.remedy) == ("ok", f"httpx: {pip_install('httpx')}")
    monkeypatch.delitem(sys.modules, "lib_facerestore.networks.load", raising=False)
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setattr(verdict, "weights_path", lambda name: tmp_path / name)
    found = findings(tmp_path)["verdict"]
    assert found.status == "broken" and found.detail.startswith("faces cannot be restored here (")
    assert found.remedy == f"safetensors: {pip_install('safetensors')} --force-reinstall"


def test_the_verdict_on_the_device_and_the_folders() -> None:
    found = doctor.examine(None, "warp")[-1]
    assert found.status == "broken" and "device: 'warp' cannot be used here" in found.detail
    assert found.remedy == "device: choose --device cpu"
    assert doctor.examine(None, "cpu")[-1].detail == "faces can be restored here, by default with lite"


def test_without_platformdirs_the_folder_is_named_not_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FACERESTORE_MODELS", raising=False)
    monkeypatch.setitem(sys.modules, "platformdirs", None)
    rows = {finding.subject: finding for finding in doctor.examine(None, "cpu")}
    assert rows["model folder"].status == "broken" and "platformdirs" in rows["model folder"].detail
    assert rows["verdict"].status == "ok"


@pytest.mark.parametrize("name", ["gfpgan", "basicsr"])
def test_what_is_only_compared_with_comes_without_its_dependencies(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_away(monkeypatch, name, name)
    found = findings(tmp_path)[name]
    assert found.status == "note" and found.remedy == pip_install("--no-deps", name)
    assert "comparing" in found.detail
    (line,) = (row for row in doctor.examine(None, "cpu", everything=False) if name in row.subject + row.detail)
    assert (line.status, line.remedy) == ("ok", "") and "doctor --all" in line.detail
