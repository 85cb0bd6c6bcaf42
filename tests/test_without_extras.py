"""What the extras bring can be missing: `lite` restores without them, and what needs one says how to get it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lib_facerestore.wording import pip_install

ROOT = Path(__file__).resolve().parents[1]
EXTRAS = ("facexlib", "tifffile", "gradio", "onnxruntime", "basicsr", "gfpgan", "spandrel", "psutil", "torchvision")
BLOCKED = f"""
import sys
from importlib.abc import MetaPathFinder


class Blocker(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {EXTRAS!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
        return None


sys.meta_path.insert(0, Blocker())
from lib_facerestore.cli.main import main

sys.exit(main(sys.argv[1:]))
"""


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The command line in a process in which no extra can be imported."""
    command = [sys.executable, "-c", BLOCKED, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_lite_restores_a_photograph_without_any_extra(tmp_path: Path) -> None:
    data = pytest.importorskip("skimage.data", reason="needs scikit-image (extra `test`) for its photograph")
    Image.fromarray(data.astronaut()).save(tmp_path / "in.png")
    told = run("restore", tmp_path / "in.png", "-o", tmp_path / "out.png", "--models", tmp_path, "--device", "cpu")
    assert told.returncode == 0, told.stderr
    assert "1 of 1 faces restored (lite)" in told.stdout
    before, after = (np.asarray(Image.open(tmp_path / name)) for name in ("in.png", "out.png"))
    assert (before != after).any()


def test_planar_tiff_names_the_package_that_reads_it(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile", reason="comes with the extra `tiff`")
    values = np.zeros((3, 20, 30), np.uint16)
    tifffile.imwrite(tmp_path / "in.tif", values, photometric="rgb", planarconfig="separate")
    told = run("detect", tmp_path / "in.tif", "--models", tmp_path, "--device", "cpu")
    assert told.returncode == 1
    assert f"needs the package tifffile; install it with `{pip_install('--no-deps', 'tifffile')}`" in told.stderr


def test_doctor_says_what_each_extra_would_bring(tmp_path: Path) -> None:
    told = run("doctor", "--models", tmp_path, "--device", "cpu")
    for name in ("facexlib", "tifffile", "onnxruntime", "spandrel", "psutil"):
        (line,) = (line for line in told.stdout.splitlines() if f" {name} " in line[:40])
        assert "needed for" in line
