"""The usual ways in which installed packages are broken: how each is recognised, what it means, and the remedy.

`explain` reads the error of an import. `clashes` looks at what is installed together, without importing anything.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator

from ..system.torch_versions import reinstall_torchvision
from ..wording import pip_install
from .findings import Finding
from .packages import OPENCVS, RUNTIMES, Package, package_of, package_of_module

NEWEST_PYTHON = (3, 14)
"""The newest Python for which the packages in constraints.txt have wheels."""
VISUAL_C = "https://aka.ms/vs/17/release/vc_redist.x64.exe"
PARTS_ONLY = "only parts of it are installed"
"""The fault of a package of which an import finds an empty folder."""

_NUMPY = (
    r"_ARRAY_API|compiled using NumPy 1|multiarray failed to import|numpy\.dtype size changed|Numpy is not available"
)
_PARTIAL = (
    r"No module named '[\w.]+\._|file too short|invalid ELF header|undefined symbol|has no attribute '__version__'|"
    r"partially initialized module|not a valid Win32|" + PARTS_ONLY
)


def explain(error: BaseException | str, package: Package) -> tuple[str, str]:
    """What an error at the import of a package means, and the remedy; ("", "") if it is none of the usual ones.

    Args:
        error: the error, or its text.
        package: the package that was imported.
    """
    text = str(error)
    lacking = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    if lacking and lacking != package.module:
        wanted = package_of_module(lacking)
        return f"it needs {lacking}, which is missing", wanted.install if wanted else pip_install(lacking)
    if "torchvision::" in text:
        return "torchvision was built for another torch", reinstall_torchvision()
    if "functional_tensor" in text:
        return "it is older than this torchvision, in which a module that it imports was renamed", package.newer
    if re.search(_NUMPY, text):
        older = pip_install('"numpy<2"')  # a newer torch would change much else
        return "it was built for another version of numpy", older if package.module == "torch" else package.newer
    if re.search(r"lib(GL|gthread|glib|SM|Xext|Xrender)[\w.-]*\.so", text):
        system = "`apt-get install libgl1 libglib2.0-0`"
        headless = f"`{pip_install('--force-reinstall', '--no-deps', 'opencv-python-headless')}`"
        return "a library for windows on a screen is missing", f"{system}, or without a screen {headless}"
    if re.search(r"DLL load failed|WinError (126|127|193|1114)|or one of its dependencies", text):
        return "a library of Windows is missing", f"install the Visual C++ runtime, {VISUAL_C}, and restart"
    if re.search(_PARTIAL, text):
        return "it is installed in part, or beside remains of another version", package.again
    return "", ""


def explained_import(error: ImportError) -> str:
    """A sentence for a package of this program that is missing or broken, with the remedy; "" for another error."""
    package = package_of(error)
    if package is None:
        return ""
    if isinstance(error, ModuleNotFoundError) and error.name == package.module:
        command = package.install + too_new_a_python()
        return f"the package {package.name} is missing; it is needed for {package.purpose}: {command}"
    what, remedy = explain(error, package)
    return f"the package {package.name} cannot be imported: {what or error}; {remedy or package.again}"


def too_new_a_python() -> str:
    """What to add to the remedy for a missing package where Python is newer than the packages; else ""."""
    if sys.version_info[:2] <= NEWEST_PYTHON:
        return ""
    newest = ".".join(map(str, NEWEST_PYTHON))
    return f"; if pip finds none for Python {sys.version_info[0]}.{sys.version_info[1]}, use Python 3.10 to {newest}"


def clashes() -> Iterator[Finding]:
    """Packages that are installed and do not go together."""
    for names in (OPENCVS, RUNTIMES):
        there = [name for name in names if version(name)]
        if len(there) > 1:
            what = f"is installed beside {' and '.join(there[1:])}; they overwrite each other's files"
            remove = f"{pip_install().removesuffix('install')}uninstall -y {' '.join(there)}"
            yield Finding(f"{there[0]}, twice", "note", what, f"{remove}; then {pip_install(_kept(there))}")
    yield from _pydantic()


def _kept(there: Iterable[str]) -> str:
    """The package to keep: one for a GPU, one without windows, else the first."""
    return min(there, key=lambda name: ("gpu" not in name, "headless" not in name))


def _pydantic() -> Iterator[Finding]:
    pydantic, gradio, fastapi = (_numbers(version(name)) for name in ("pydantic", "gradio", "fastapi"))
    if not pydantic:
        return
    wanted = ""
    if fastapi and fastapi < (0, 100) and pydantic >= (2,):
        wanted = "pydantic<2"
    elif gradio >= (4,) and pydantic < (2,):
        wanted = "pydantic>=2"
    elif (4,) <= gradio < (5,) and pydantic >= (2, 11):
        wanted = "pydantic<2.11"
    if wanted:
        shown = f"gradio {version('gradio')}, fastapi {version('fastapi')}".replace(" None", " (not installed)")
        what = f"pydantic {version('pydantic')} does not go with {shown}: pages and the API fail"
        yield Finding("pydantic", "note", what, pip_install(f'"{wanted}"'))


def torch_build(cuda: str | None, hip: str | None, available: bool) -> tuple[str, str]:
    """Why torch does not use a GPU although one may be there, and the remedy; ("", "") if all is well.

    Args:
        cuda: `torch.version.cuda`.
        hip: `torch.version.hip`.
        available: `torch.cuda.is_available()`.
    """
    if available or hip:
        return "", ""
    driver = nvidia_driver()
    if cuda is None and driver:
        how = "install its CUDA build, https://pytorch.org/get-started/locally"
        return "there is an NVIDIA GPU, but this torch is for the CPU only", how
    if cuda and driver:
        how = "update the NVIDIA driver; in a container, start it with --gpus all"
        return f"there is an NVIDIA GPU, but torch for CUDA {cuda} cannot use it", how
    if cuda:
        return f"torch for CUDA {cuda}, no NVIDIA driver", "with an NVIDIA GPU, install its driver; else nothing"
    return "", ""


def nvidia_driver() -> bool:
    """Whether there are signs of an NVIDIA driver."""
    return os.path.exists("/proc/driver/nvidia/version") or shutil.which("nvidia-smi") is not None


def version(distribution: str) -> str | None:
    """The version of an installed distribution, or None."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _numbers(text: str | None) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text or "")[:3])
