"""The worked example of docs/contributing.md, followed to the letter on a copy of the package: its four steps are all
that a new family takes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
_BLOCK = re.compile(r"^`(\S+)`:\n\n```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)

USE = """
import subprocess, sys
from pathlib import Path

import numpy as np
import safetensors.torch
import torch

from lib_facerestore import FaceRestorer, Options, load_network
from lib_facerestore.catalogue import known_model
from lib_facerestore.bench.networks import measurable
from lib_facerestore.networks.archs.sharpen import Sharpen
from lib_facerestore.webui import service
from lib_facerestore.webui.face_restorers import title_of
from tests.conftest import KnownFaces

folder = Path(sys.argv[1])
torch.manual_seed(0)
network = Sharpen(7)
safetensors.torch.save_file(network.state_dict(), folder / "sharpen-1.safetensors")
prefixed = {"module." + name: value for name, value in network.state_dict().items()}
torch.save({"state_dict": prefixed}, folder / "own.pth")
for name in ("sharpen-1.safetensors", "own.pth"):
    loaded = load_network(folder / name)
    assert (loaded.family, loaded.title, loaded.size, loaded.knobs) == ("sharpen", "Sharpen", 128, {"fidelity"})

picture = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
restorer = FaceRestorer(folder, "cpu", detector=KnownFaces((100, 100, 120)))
with_detail, without = (
    restorer.restore(picture, Options(model=model, fidelity=fidelity, mask="ellipse"))
    for model, fidelity in (("sharpen-1", 0.0), ("own.pth", 1.0))
)
assert with_detail.faces[0].applied and without.faces[0].applied
assert np.abs(with_detail.image.astype(int) - without.image).max() > 10, "the knob reaches the network"

assert str(title_of("sharpen-1")) == "sharpen-1 (Face Restore)"
choices = {choice.id: choice for choice in service.models()}
for name in ("sharpen-1", "own.pth"):
    assert (choices[name].family, choices[name].knobs) == ("sharpen", {"fidelity"})
assert "sharpen-1" in measurable()
"""


def blocks() -> dict[str, tuple[str, str]]:
    """File that a block is for → its language and text."""
    text = (ROOT / "docs" / "contributing.md").read_text("utf-8")
    return {path: (language, content) for path, language, content in _BLOCK.findall(text)}


def follow(copy: Path) -> None:
    """Do what each block says: a diff changes lines, rows go to the end of models.toml, the rest are new files."""
    for name, (language, content) in blocks().items():
        path = copy / name
        if language == "diff":
            lines = content.splitlines()
            for old, new in zip(lines[::2], lines[1::2], strict=True):
                assert (old[0], new[0]) == ("-", "+")
                text = path.read_text("utf-8")
                assert text.count(old[1:] + "\n") == 1, f"{name} has no such line any more: {old[1:]}"
                path.write_text(text.replace(old[1:], new[1:]), "utf-8")
        elif language == "toml":
            path.write_text(path.read_text("utf-8") + "\n" + content, "utf-8")
        else:
            assert not path.exists()
            path.write_text(content, "utf-8")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The package and what its families' tests need, with the example's family."""
    target = tmp_path / "copy"
    no_bytecode = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "lib_facerestore", target / "lib_facerestore", ignore=no_bytecode)
    shutil.copytree(ROOT / "tests" / "oracle" / "specs", target / "tests" / "oracle" / "specs")
    for name in (
        "__init__.py", "conftest.py", "oracle/__init__.py", "oracle/check.py", "oracle/synth.py",
        "networks/__init__.py", "networks/archs/__init__.py", "networks/archs/conftest.py", "networks/archs/helpers.py",
    ):  # fmt: skip
        (target / "tests" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "tests" / name, target / "tests" / name)
    follow(target)
    return target


def python(copy: Path, *arguments: str, models: Path | None = None) -> str:
    """Standard output of Python in the copy; fails with what it printed."""
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    environment |= {"FACERESTORE_MODELS": str(models)} if models else {}
    done = subprocess.run([sys.executable, *arguments], cwd=copy, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_example_has_its_four_blocks() -> None:
    assert [(Path(path).name, language) for path, (language, _) in blocks().items()] == [
        ("sharpen.py", "python"), ("__init__.py", "diff"), ("models.toml", "toml"), ("test_sharpen.py", "python"),
    ]  # fmt: skip


def test_the_four_steps_are_all_that_a_family_takes(copy: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    assert "1 passed" in python(
        copy, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "tests/networks/archs/test_sharpen.py"
    )
    python(copy, "-c", USE, str(models), models=models)
    listed = python(copy, "-m", "lib_facerestore", "models", "list", "--models", str(models))
    assert "● sharpen-1 " in listed and "own.pth: sharpen-1" in listed, listed
    verified = python(copy, "-m", "lib_facerestore", "models", "verify", "sharpen-1", "--models", str(models))
    assert "every tensor fits: family sharpen, 128 pixels, knobs: fidelity" in verified
