"""The usual broken installs: each is recognised, and its remedy is one that helps."""

from __future__ import annotations

import importlib
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from lib_facerestore.checks import doctor, installs, verdict
from lib_facerestore.checks.packages import PACKAGES, Package
from lib_facerestore.cli import main as cli
from lib_facerestore.cli import restore
from lib_facerestore.errors import FaceRestoreError, ModelFileError
from lib_facerestore.stages import background
from lib_facerestore.system import facexlib_import, torch_versions
from lib_facerestore.wording import pip_install

BY_MODULE = {package.module: package for package in PACKAGES}


@pytest.mark.parametrize(
    ("module", "error", "what", "remedy"),
    [
        ("torchvision", RuntimeError("operator torchvision::nms does not exist"), "another torch", '"torchvision==0.'),
        ("basicsr", ImportError("No module named 'torchvision.transforms.functional_tensor'"), "older", "--upgrade"),
        ("cv2", AttributeError("_ARRAY_API not found"), "another version of numpy", "--upgrade opencv-python"),
        ("cv2", ImportError("numpy.core.multiarray failed to import"), "version of numpy", "--upgrade opencv-python"),
        ("onnxruntime", ImportError("A module compiled using NumPy 1.x cannot be run in"), "numpy", "--upgrade"),
        ("cv2", ImportError("libGL.so.1: cannot open shared object file: No such"), "on a screen", "install libgl1"),
        ("cv2", ImportError("libgthread-2.0.so.0: cannot open shared object"), "screen", "opencv-python-headless"),
        ("cv2", ImportError("DLL load failed while importing cv2: The specified"), "of Windows", "vc_redist.x64.exe"),
        ("torch", OSError("[WinError 126] Error loading c10.dll or one of its dependencies."), "Windows", "Visual C++"),
        ("torch", ModuleNotFoundError("No module named 'torch._C'", name="torch._C"), "in part", '"torch=='),
        ("torch", ImportError("libtorch_cpu.so: file too short"), "in part", "--force-reinstall --no-deps"),
        ("torch", AttributeError("module 'torch' has no attribute '__version__'"), "in part", "--no-cache-dir"),
        ("facexlib", ModuleNotFoundError("No module named 'scipy'", name="scipy"), "needs scipy", "install scipy"),
        ("facexlib", ModuleNotFoundError("No module named 'cv2'", name="cv2"), "needs cv2", "install opencv-python"),
        ("httpx", ValueError("something else"), "", ""),
    ],
)  # fmt: skip
def test_errors_of_imports_are_explained(module: str, error: Exception, what: str, remedy: str) -> None:
    said, command = installs.explain(error, BY_MODULE[module])
    assert what in said and remedy in command and bool(said) == bool(what)


def versions(monkeypatch: pytest.MonkeyPatch, **there: str) -> None:
    named = {name.replace("_", "-"): version for name, version in there.items()}
    monkeypatch.setattr(installs, "version", named.get)


@pytest.mark.parametrize(
    ("there", "detail", "remedy"),
    [
        ({"opencv_python": "4.9", "opencv_python_headless": "4.8"}, "headless", "install opencv-python-headless"),
        ({"onnxruntime": "1.15", "onnxruntime_gpu": "1.15"}, "overwrite each other's files", "install onnxruntime-gpu"),
        ({"pydantic": "2.5.0", "fastapi": "0.94.0", "gradio": "3.41.2"}, "go with gradio 3.41.2", '"pydantic<2"'),
        ({"pydantic": "1.10.15", "gradio": "4.40.0"}, "does not go with", '"pydantic>=2"'),
        ({"pydantic": "2.11.1", "gradio": "4.40.0", "fastapi": "0.112.0"}, "pages and the API fail", '"pydantic<2.11"'),
    ],
)  # fmt: skip
def test_packages_that_do_not_go_together(
    there: dict[str, str], detail: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions(monkeypatch, **there)
    (found,) = installs.clashes()
    assert found.status == "note" and detail in found.detail and remedy in found.remedy


@pytest.mark.parametrize(
    "there",
    [
        {}, {"opencv_python": "4.9", "onnxruntime": "1.15"},
        {"pydantic": "1.10.15", "gradio": "3.41.2", "fastapi": "0.94.0"},
        {"pydantic": "2.9.0", "gradio": "4.40.0", "fastapi": "0.112.0"}, {"pydantic": "2.12.0", "gradio": "6.31.0"},
    ],
)  # fmt: skip
def test_packages_that_go_together_are_not_named(there: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    versions(monkeypatch, **there)
    assert list(installs.clashes()) == []


@pytest.mark.parametrize(
    ("build", "driver", "said", "remedy"),
    [
        ((None, None, False), True, "this torch is for the CPU only", "CUDA build"),
        (("12.8", None, False), True, "cannot use it", "update the NVIDIA driver"),
        (("12.8", None, False), False, "no NVIDIA driver", "install its driver"),
        ((None, None, False), False, "", ""),
        (("12.8", None, True), True, "", ""),
        ((None, "6.1", False), False, "", ""),
    ],
)
def test_a_torch_that_does_not_use_the_gpu(
    build: tuple[str | None, str | None, bool], driver: bool, said: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installs, "nvidia_driver", lambda: driver)
    why, how = installs.torch_build(*build)
    assert said in why and remedy in how and bool(why) == bool(said)


def test_signs_of_a_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    assert installs.nvidia_driver()


def test_a_python_that_is_too_new_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert installs.too_new_a_python() == ""
    monkeypatch.setattr(sys, "version_info", (3, 19, 0, "final", 0))
    assert "for Python 3.19, use Python 3.10 to 3.14" in installs.too_new_a_python()


@pytest.mark.parametrize(
    ("torch", "wanted", "index"),
    [
        ("2.13.0+cpu", '"torchvision==0.28.*"', " --index-url https://download.pytorch.org/whl/cpu"),
        ("2.1.2+cu121", '"torchvision==0.16.*"', " --index-url https://download.pytorch.org/whl/cu121"),
        ("2.4.0", '"torchvision==0.19.*"', ""),
    ],
)
def test_the_torchvision_of_a_torch(torch: str, wanted: str, index: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_versions, "_torch", lambda: torch)
    assert torch_versions.reinstall_torchvision() == pip_install("--force-reinstall", "--no-deps", wanted) + index
    assert f'"torch=={torch}"{index}' in torch_versions.reinstall_torch()
    monkeypatch.setattr(torch_versions, "_torch", lambda: "1.13.1")
    assert "pytorch.org" in torch_versions.reinstall_torchvision()


def broken(monkeypatch: pytest.MonkeyPatch, module: str, error: Exception) -> None:
    real = importlib.import_module

    def fail(name: str, package: str | None = None) -> Any:
        if name == module:
            raise error
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", fail)


def test_doctor_gives_the_true_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    broken(monkeypatch, "cv2", ImportError("libGL.so.1: cannot open shared object file"))
    found = doctor._package(BY_MODULE["cv2"])
    assert found.status == "broken" and "apt-get install libgl1" in found.remedy and "libGL.so.1" in found.detail


def test_a_torchvision_of_another_torch_is_worked_around(monkeypatch: pytest.MonkeyPatch) -> None:
    broken(monkeypatch, "torchvision", RuntimeError("operator torchvision::nms does not exist"))
    monkeypatch.setattr(facexlib_import, "prepare", lambda: None)
    found = doctor._package(BY_MODULE["torchvision"])
    assert found.status == "note" and "works around it" in found.detail and "torchvision==" in found.remedy


def test_without_torchvision_it_is_what_spandrel_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise FaceRestoreError("torchvision cannot be imported (No module named 'torchvision'); install X")

    monkeypatch.setattr(facexlib_import, "prepare", fail)
    found = doctor._package(BY_MODULE["spandrel"])
    assert found.status == "broken" and "because torchvision cannot be" in found.detail
    assert "torchvision==" in found.remedy and "spandrel" not in found.remedy
    with pytest.raises(
        ModelFileError, match=r"^big\.pth: upscalers need torchvision, and .*; install X, or choose"
    ) as one:
        background._import_spandrel("big.pth")
    assert "pip install spandrel" not in str(one.value)


def test_what_a_failed_pip_leaves_is_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "half_a_package").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    found = doctor._package(Package("half-a-package", "half_a_package", "required", "tests"))
    assert found.status == "broken" and "in part" in found.detail and "--no-cache-dir half-a-package" in found.remedy


def test_the_verdict_explains_what_breaks_the_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdict, "_fault", lambda _: "Numpy is not available")
    found = verdict.verdict([], None, "cpu")
    assert (found.status, found.remedy) == ("broken", pip_install('"numpy<2"'))


def test_another_package_with_the_same_module_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "version", {"opencv-python-headless": "4.9"}.get)
    found = doctor._package(BY_MODULE["cv2"])
    assert (found.status, found.detail) == ("ok", "4.9 (opencv-python-headless)")


def test_a_broken_package_is_a_sentence_in_every_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def fail(*_: object) -> int:
        raise ImportError("DLL load failed while importing _imaging", name="PIL._imaging")

    monkeypatch.setattr(restore, "run", fail)
    assert cli.main(["restore", str(tmp_path), "-o", str(tmp_path / "out")]) == cli.FAILED
    said = capsys.readouterr().err
    assert "the package Pillow cannot be imported: a library of Windows is missing; install the Visual C++" in said
