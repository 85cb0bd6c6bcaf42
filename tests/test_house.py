"""The rules that hold for the whole package: who imports what, how cheap that is, what is shipped, what CI runs."""

from __future__ import annotations

import importlib.resources
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "lib_facerestore"
LINT = "from importlinter.cli import lint_imports_command; lint_imports_command()"
LAYERS, CIRCLES, HOSTS = "Imports point down", "No circles", "Only webui knows a WebUI and gradio"


def configuration() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The package's sources and the contracts, to be changed at will; the folder that holds both."""
    shutil.copytree(PACKAGE, tmp_path / "lib_facerestore", ignore=shutil.ignore_patterns("__pycache__", "weights"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def broken_contracts(folder: Path) -> tuple[set[str], str]:
    """Names of the contracts that the package in `folder` breaks, and all that import-linter says of them."""
    command = [sys.executable, "-c", LINT, "--no-cache", "--no-logo"]
    environment = os.environ | {"COLUMNS": "200", "NO_COLOR": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, encoding="utf-8")
    said = done.stdout + done.stderr
    outcomes = dict(re.findall(r"^(.+) (KEPT|BROKEN)", said, flags=re.MULTILINE))
    assert set(outcomes) == {LAYERS, CIRCLES, HOSTS}, said
    broken = {name for name, outcome in outcomes.items() if outcome == "BROKEN"}
    assert done.returncode == (1 if broken else 0), said
    return broken, said


def test_the_package_keeps_the_import_contracts(copy: Path) -> None:
    broken, said = broken_contracts(copy)
    assert not broken, said


@pytest.mark.parametrize(
    ("module", "code", "contract", "named"),
    [
        (
            "stages",
            "import lib_facerestore.pipeline",
            LAYERS,
            "lib_facerestore.stages.added -> lib_facerestore.pipeline",
        ),
        (
            "stages",
            "def late() -> object:\n    from ..pipeline import FaceRestorer\n    return FaceRestorer",
            LAYERS,
            "lib_facerestore.stages.added -> lib_facerestore.pipeline",
        ),
        ("cli", "from ..webui import service", LAYERS, "lib_facerestore.cli.added -> lib_facerestore.webui.service"),
        ("images", "from . import other", CIRCLES, "No cycles are allowed in lib_facerestore.images"),
        ("faces", "def late() -> object:\n    import gradio\n    return gradio", HOSTS, "faces.added -> gradio"),
        ("batch", "from modules import shared", HOSTS, "lib_facerestore.batch.added -> modules"),
        ("cli", "import modules_forge.utils", HOSTS, "lib_facerestore.cli.added -> modules_forge"),
    ],
    ids=["upward", "upward-relative-late", "sideways", "circle", "gradio", "host", "forge"],
)
def test_a_forbidden_import_breaks_its_contract(copy: Path, module: str, code: str, contract: str, named: str) -> None:
    (copy / "lib_facerestore" / module / "added.py").write_text(code + "\n", "utf-8")
    if contract == CIRCLES:
        (copy / "lib_facerestore" / module / "other.py").write_text("from . import added\n", "utf-8")
    broken, said = broken_contracts(copy)
    assert contract in broken
    assert named in said


def test_every_part_but_webui_is_kept_from_knowing_a_host() -> None:
    (contract,) = [c for c in configuration()["tool"]["importlinter"]["contracts"] if c["name"] == HOSTS]
    parts = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    expected = {f"lib_facerestore.{part}" for part in parts - {"__init__", "webui"}}
    assert set(contract["source_modules"]) == expected


def test_a_restoration_calls_downwards_only() -> None:
    """What `restore` calls, through every stage, is of the same layer or a lower one: what it gets comes by return."""
    from skimage.data import astronaut

    from lib_facerestore import FaceRestorer, Options

    (contract,) = [c for c in configuration()["tool"]["importlinter"]["contracts"] if c["name"] == LAYERS]
    height = {
        part.strip(): row for row, parts in enumerate(reversed(contract["layers"])) for part in re.split(r"[|:]", parts)
    }
    called: set[str] = set()
    upward: set[str] = set()

    def layer(frame: FrameType) -> str | None:
        path = Path(frame.f_code.co_filename)
        part = path.relative_to(PACKAGE).parts[0].removesuffix(".py") if path.is_relative_to(PACKAGE) else None
        return part if part in height else None

    def watch(frame: FrameType, event: str, _: object) -> None:
        if event != "call" or (callee := layer(frame)) is None:
            return
        called.add(callee)
        caller = frame.f_back
        while caller is not None and layer(caller) is None:  # a library that calls back
            caller = caller.f_back
        if caller is not None and height[callee] > height[layer(caller) or ""]:
            upward.add(f"{caller.f_code.co_name} ({layer(caller)}) calls {frame.f_code.co_name} ({callee})")

    options = Options(keep="eyes", detail=0.2, grain=0.3, upscale=1.5)
    noise = np.random.default_rng(0).normal(0, 12, (512, 512, 3))  # of the clean picture, `lite` changes nothing
    noisy = np.clip(astronaut() + noise, 0, 255).astype(np.uint8)
    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        (result,) = FaceRestorer().restore_many(
            [noisy], options, overrides=[{1: {"visibility": 0.5}}], leave_alone=lambda index, face: ""
        )
    finally:
        sys.setprofile(before)
    assert result.changed
    assert {"pipeline", "results", "stages", "networks", "faces", "options", "images", "catalogue"} <= called
    assert not upward


def test_the_readme_names_what_the_constraints_and_the_options_have() -> None:
    from lib_facerestore.options.table import SPECS

    readme = (ROOT / "README.md").read_text("utf-8")
    constraints = (ROOT / "constraints.txt").read_text("utf-8").split()
    named = re.findall(r"\btorch(?:vision)?==[0-9.]+[0-9]", readme)
    assert len(named) == 2 and set(named) <= set(constraints)  # else pip would replace the torch for the CPU
    (keep,) = [line for line in readme.splitlines() if line.startswith("| `--keep")]
    assert ", ".join(SPECS["keep"].choices) in keep


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import sys, lib_facerestore; print(sorted({'torch', 'cv2', 'facexlib', 'gradio'} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_the_public_names_are_there() -> None:
    import lib_facerestore

    for name in lib_facerestore.__all__:
        assert getattr(lib_facerestore, name) is not None


def test_the_package_ships_its_types() -> None:
    assert importlib.resources.files("lib_facerestore").joinpath("py.typed").is_file()
    assert "py.typed" in configuration()["tool"]["setuptools"]["package-data"]["lib_facerestore"]


def readme_block(root: Path, heading: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(root / ".ci" / "readme_block.py"), heading]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8")


def test_ci_runs_the_test_block_of_the_readme() -> None:
    (heading,) = re.findall(r'readme_block\.py "(.+)"', (ROOT / ".ci" / "run").read_text("utf-8"))
    block = readme_block(ROOT, heading)
    assert block.returncode == 0, block.stderr
    for check in ("ruff check .", "ruff format --check .", "mypy", "lint-imports", "pytest"):
        assert check in block.stdout


@pytest.mark.parametrize(
    ("readme", "said"),
    [
        ("# Title\n## Use\n```bash\nls\n```\n", "0 headings '## Test'"),
        ("## Test\n```python\n1\n```\n## Use\n```bash\nls\n```\n", "no ```bash block"),
        ("## Test\n```bash\nls\n```\n## Test\n", "2 headings '## Test'"),
    ],
    ids=["no-heading", "no-block", "twice"],
)
def test_a_readme_without_its_test_block_fails_ci(tmp_path: Path, readme: str, said: str) -> None:
    shutil.copytree(ROOT / ".ci", tmp_path / ".ci")
    (tmp_path / "README.md").write_text(readme, "utf-8")
    block = readme_block(tmp_path, "## Test")
    assert block.returncode == 1
    assert block.stdout == ""
    assert said in block.stderr


def test_the_block_under_the_heading_is_taken_wherever_it_stands(tmp_path: Path) -> None:
    shutil.copytree(ROOT / ".ci", tmp_path / ".ci")
    text = "## Use\n```bash\nls\n```\n## Test\n### Fast\n```python\n1\n```\n```bash\npytest\n```\n```bash\nlater\n```\n"
    (tmp_path / "README.md").write_text(text, "utf-8")
    assert readme_block(tmp_path, "## Test").stdout == "pytest\n"
