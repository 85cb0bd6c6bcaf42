"""What a start costs: help, the version and the bare package load nothing that is heavy."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {
    "torch", "torchvision", "numpy", "cv2", "PIL", "safetensors", "scipy", "skimage", "tifffile", "spandrel",
    "facexlib", "onnxruntime", "gradio", "httpx", "filelock", "platformdirs", "tqdm", "psutil",
}  # fmt: skip
RUN = """
import contextlib, io, json, sys
with contextlib.redirect_stdout(io.StringIO()):
    from lib_facerestore.cli.main import main
    code = main(sys.argv[1:])
print(json.dumps([code, sorted(sys.modules)]))
"""
IMPORT = """
import json, sys
import lib_facerestore
print(json.dumps([0, sorted(sys.modules)]))
"""


def loaded(code: str, *arguments: str) -> set[str]:
    """The modules in a fresh interpreter after the code."""
    command = [sys.executable, "-c", code, *arguments]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    status, modules = json.loads(shown.stdout)
    assert status == 0
    return set(modules)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"], ["--version"], ["restore", "--help"], ["detect", "--help"], ["models", "list", "--help"],
        ["models", "download", "--help"], ["bench", "--help"], ["doctor", "--help"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    assert not loaded(RUN, *arguments) & HEAVY


def test_the_package_loads_nothing_heavy() -> None:
    assert not loaded(IMPORT) & HEAVY
