"""The list of packages agrees with what the code imports and with what pip is told to install."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

import lib_facerestore
from lib_facerestore.checks.packages import PACKAGES, package_of
from lib_facerestore.wording import pip_install

ROOT = Path(lib_facerestore.__file__).parent
OF_THE_HOST = {"modules", "modules_forge", "fastapi", "pydantic", "starlette", "anyio", "uvicorn"}
BROUGHT_BY_OTHERS = {"torchvision", "scipy", "skimage"}


def imported(file: Path) -> set[str]:
    """Top-level names that a file imports absolutely, wherever it does."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names.add(node.module.partition(".")[0])
    return names


def test_every_package_that_the_code_imports_is_listed() -> None:
    found = set().union(*(imported(file) for file in ROOT.rglob("*.py")))
    foreign = found - set(sys.stdlib_module_names) - {"lib_facerestore", "tomli"} - OF_THE_HOST - BROUGHT_BY_OTHERS
    assert foreign <= {package.module for package in PACKAGES}


@pytest.mark.parametrize(("raised", "name"), [("httpx", "httpx"), ("cv2.gapi", "opencv-python"), ("nonsense", None)])
def test_a_missing_module_is_traced_to_its_package(raised: str, name: str | None) -> None:
    package = package_of(ModuleNotFoundError(f"No module named {raised!r}", name=raised))
    assert (package and package.name) == name


def test_the_command_that_installs_a_package_is_whole() -> None:
    commands = {package.name: package.install for package in PACKAGES}
    assert commands["httpx"] == pip_install("httpx")
    assert commands["gfpgan"] == pip_install("--no-deps", "gfpgan")
    assert len(commands) == len(PACKAGES)
