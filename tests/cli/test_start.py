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


def loaded(code: str, *arguments: str, status: int = 0) -> set[str]:
    """The modules in a fresh interpreter after the code, which ends with this exit code."""
    command = [sys.executable, "-c", code, *arguments]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    ended, modules = json.loads(shown.stdout)
    assert ended == status
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


@pytest.mark.parametrize(
    ("status", "arguments"),
    [
        (2, ["restore", "absent.png", "-o", "out.png"]),
        (2, ["restore", "{photo}", "-o", "out", "--model", "absent"]),
        (2, ["restore", "{photo}", "-o", "out", "--upscale", "2", "--upscaler", "absent"]),
        (2, ["restore", "{photo}", "-o", "out", "--detector", "retinaface-resnet50"]),
        (2, ["restore", "{photo}", "-o", "out", "--detector-file", "absent.pth"]),
        (2, ["detect", "absent.png"]),
        (2, ["detect", "{photo}", "--detector", "yunet"]),
        (2, ["bench", "absent.png"]),
        (2, ["bench", "--quality", "absent.png"]),
        (1, ["models", "verify", "absent"]),
        (1, ["models", "import", "absent.pth"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_what_is_missing_is_refused_before_torch_is_imported(tmp_path: Path, status: int, arguments: list[str]) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(b"")
    given = [argument.format(photo=photo) for argument in arguments]
    assert "torch" not in loaded(RUN, *given, "--models", str(tmp_path), status=status)


def test_the_package_loads_nothing_heavy() -> None:
    assert not loaded(IMPORT) & HEAVY
