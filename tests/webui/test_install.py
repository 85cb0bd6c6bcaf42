"""install.py, preload.py and metadata.ini: what is run or read before anything of the extension is imported."""

from __future__ import annotations

import argparse
import configparser
import importlib.util
import runpy
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
FORBIDDEN = {"torch", "torchvision", "numpy", "opencv-python", "opencv-python-headless", "pillow", "gradio", "fastapi"}


@pytest.fixture
def launch(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A `launch` that notes what pip is asked for."""
    asked: list[str] = []
    module = ModuleType("launch")
    module.run_pip = lambda command, desc=None, live=False: asked.append(command)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "launch", module)
    return asked


def run(monkeypatch: pytest.MonkeyPatch, missing: set[str] = frozenset()) -> dict[str, Any]:  # type: ignore[assignment]
    """Run install.py as the WebUI does, with some packages missing."""
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name in missing else find(name, *rest))
    return runpy.run_path(str(ROOT / "install.py"), run_name="__main__")


def test_nothing_is_installed_where_nothing_is_missing(monkeypatch: pytest.MonkeyPatch, launch: list[str]) -> None:
    known = run(monkeypatch)
    wanted = {name for name in known["WANTED"] if importlib.util.find_spec(name)}
    assert {"safetensors", "httpx", "facexlib"} <= wanted
    assert not [command for command in launch if command.split()[-1] in wanted]


def test_only_what_is_missing_is_installed(monkeypatch: pytest.MonkeyPatch, launch: list[str]) -> None:
    run(monkeypatch, {"facexlib", "httpx"})
    assert launch == ["install httpx", "install --no-deps facexlib"]


def test_the_webuis_own_packages_are_never_touched(monkeypatch: pytest.MonkeyPatch, launch: list[str]) -> None:
    known = run(monkeypatch)
    for requirement in known["WANTED"].values():
        assert not FORBIDDEN & {word.lower() for word in requirement}
        assert "--upgrade" not in requirement and "-U" not in requirement
    for name in ("facexlib", "tifffile"):  # their dependencies would move numpy, torch and OpenCV
        assert known["WANTED"][name][0] == "--no-deps"


def test_a_failing_pip_is_said_and_costs_one_package_only(
    monkeypatch: pytest.MonkeyPatch, launch: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    def run_pip(command: str, desc: str | None = None) -> None:
        launch.append(command)
        raise RuntimeError("no network")

    monkeypatch.setattr(sys.modules["launch"], "run_pip", run_pip)
    run(monkeypatch, {"tqdm", "filelock"})
    told = capsys.readouterr().out
    assert launch == ["install tqdm", "install filelock"]
    assert "no network" in told and "pip install tqdm" in told and "pip install filelock" in told


@pytest.mark.parametrize("error", [ImportError("none"), SystemExit(2)])
def test_without_launch_pip_is_run_by_itself(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    class Finder:
        @staticmethod
        def find_spec(name: str, path: object = None, target: object = None) -> None:
            if name == "launch":
                raise error

    monkeypatch.delitem(sys.modules, "launch", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Finder, *sys.meta_path])
    asked: list[list[str]] = []
    monkeypatch.setattr(subprocess, "run", lambda command, **_: asked.append(command))
    run(monkeypatch, {"tqdm"})
    assert asked == [[sys.executable, "-m", "pip", "install", "tqdm"]]


def test_it_runs_from_any_folder_and_imports_nothing_heavy(tmp_path: Path) -> None:
    (tmp_path / "launch.py").write_text("raise RuntimeError('must not be imported')")
    code = (
        "import runpy, sys; runpy.run_path(sys.argv[1], run_name='__main__');"
        "print(sorted({'torch', 'numpy', 'PIL', 'gradio', 'lib_facerestore', 'facexlib'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, str(ROOT / "install.py")]
    shown = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert shown.stdout.strip().splitlines()[-1] == "[]"


def test_preload_adds_the_argument() -> None:
    parser = argparse.ArgumentParser()
    runpy.run_path(str(ROOT / "preload.py"))["preload"](parser)
    assert parser.parse_args([]).facerestore_models_path is None
    assert parser.parse_args(["--facerestore-models-path", "x y"]).facerestore_models_path == "x y"


def test_preload_of_a_second_copy_raises_nothing() -> None:
    parser = argparse.ArgumentParser()
    for _ in range(2):
        runpy.run_path(str(ROOT / "preload.py"))["preload"](parser)
    assert parser.parse_args(["--facerestore-models-path", "x"]).facerestore_models_path == "x"


def test_metadata_names_no_callbacks_and_no_requirements() -> None:
    """A callback section that does not begin with the folder's name is an error there, and the folder may be any."""
    config = configparser.ConfigParser()
    assert config.read(ROOT / "metadata.ini")
    assert config.get("Extension", "Requires", fallback="") == ""
    assert not [name for name in config.sections() if name.startswith("callbacks/")]
    scripts = [name for name in config.sections() if name.startswith("scripts/")]
    assert all((ROOT / name).is_file() for name in scripts)
    assert "adetailer" in config.get("scripts/facerestore.py", "After").replace(",", " ").split()
