"""The Python packages that this one uses: what each is for, and how to install it. They are not imported here."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Literal

from ..system.torch_versions import reinstall_torch, reinstall_torchvision
from ..wording import pip_install

Role = Literal["required", "optional"]
OPENCVS = ("opencv-python", "opencv-contrib-python", "opencv-python-headless", "opencv-contrib-python-headless")
"""Packages with the module cv2, of which one is enough, and two overwrite each other's files."""
RUNTIMES = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino")
"""The same for the module onnxruntime."""
ALONE = "--no-deps"
"""For packages whose dependencies would change what is there: torch, numpy, OpenCV."""


@dataclass(frozen=True)
class Package:
    """A package of the Python Package Index.

    Attributes:
        name: its name for pip.
        module: its name for `import`.
        role: "required" if a part of the program fails without it; "optional" if there is a substitute, or only an
            extra is missing.
        purpose: what it is needed for, as words that follow "for".
        without: what happens if it is missing.
        options: further arguments of `pip install`.
        tried: whether `doctor` imports it to test it; false if that takes seconds.
        torchvision: whether it imports torchvision, whose faults `facexlib_import.prepare` corrects.
        in_webui: further arguments of `pip install` with which install.py adds it to a WebUI. None if it never does,
            because the WebUI has it or works without it.
        others: further names for pip of packages with the same module, one of which may be installed in its place.
        compared: whether only comparisons with the original networks use it.
    """

    name: str
    module: str
    role: Role
    purpose: str
    without: str = ""
    options: str = ""
    tried: bool = True
    torchvision: bool = False
    in_webui: str | None = None
    others: tuple[str, ...] = ()
    compared: bool = False

    @property
    def newer(self) -> str:
        """The command that updates it."""
        return pip_install("--upgrade", *([self.options] if self.options else []), self.name)

    @property
    def again(self) -> str:
        """The command that installs it once more, downloaded anew."""
        if self.module in ("torch", "torchvision"):
            return reinstall_torch() if self.module == "torch" else reinstall_torchvision()
        return pip_install("--force-reinstall", "--no-deps", "--no-cache-dir", self.name)

    @property
    def install(self) -> str:
        """The command that installs it."""
        if self.module == "torchvision":  # the newest may belong to another torch
            return reinstall_torchvision()
        return pip_install(*([self.options] if self.options else []), self.name)


PACKAGES: tuple[Package, ...] = (
    Package("torch", "torch", "required", "every network"),
    Package("numpy", "numpy", "required", "every picture"),
    Package("opencv-python", "cv2", "required", "warps, masks and 16-bit pictures", others=OPENCVS[1:]),
    Package("Pillow", "PIL", "required", "reading and writing pictures"),
    Package("safetensors", "safetensors", "required", "reading model files, also the built-in ones", in_webui=""),
    Package("platformdirs", "platformdirs", "required", "finding the model folder", in_webui=""),
    Package("tqdm", "tqdm", "required", "the progress bars of `restore` and `models download`", in_webui=""),
    Package("httpx", "httpx", "required", "downloading models", in_webui=""),
    Package("filelock", "filelock", "required", "downloading models", in_webui=""),
    *(
        ()
        if sys.version_info >= (3, 11)  # which includes tomllib
        else (Package("tomli", "tomli", "required", "the list of known models", in_webui=""),)
    ),
    Package(
        "torchvision", "torchvision", "optional", "what spandrel and facexlib import",
        "neither can be used", options=ALONE,
    ),
    Package(
        "spandrel", "spandrel", "optional", "models that enlarge the background",
        "it can be enlarged without a model only", torchvision=True,
    ),
    Package(
        "psutil", "psutil", "optional", "restoring as many faces in parallel as the free memory allows",
        "a fixed number is restored in parallel",
    ),
    Package(
        "facexlib", "facexlib", "optional", "the detector retinaface-resnet50 and the parsers bisenet and parsenet",
        "the built-in detector and parser work", torchvision=True, in_webui=ALONE,
    ),
    Package(
        "onnxruntime", "onnxruntime", "optional", ".onnx models", "those cannot be used", others=RUNTIMES[1:],
    ),
    Package(
        "tifffile", "tifffile", "optional", "planar 16-bit TIFF pictures", "those cannot be read, others can",
        in_webui=ALONE,
    ),
    Package(
        "gradio", "gradio", "optional", "the controls in a WebUI, which brings it", "all else works", tried=False
    ),
    Package(
        "gfpgan", "gfpgan", "optional", "comparing GFPGAN and RestoreFormer with the originals",
        "they are not compared", options=ALONE, tried=False, compared=True,
    ),
    Package(
        "basicsr", "basicsr", "optional", "comparing DFDNet with the original, and for what gfpgan imports",
        "it is not compared", options=ALONE, tried=False, compared=True,
    ),
    Package(
        "spandrel-extra-arches", "spandrel_extra_arches", "optional", "comparing CodeFormer with the original",
        "it is not compared", tried=False, compared=True,
    ),
    Package(
        "scikit-image", "skimage", "optional", "the sample picture of the README and of `bench`",
        "name a picture of your own", tried=False, compared=True,
    ),
)  # fmt: skip


def package_of(error: ImportError) -> Package | None:
    """The package in `PACKAGES` that could not be imported, or None."""
    return package_of_module((error.name or "").partition(".")[0])


def package_of_module(module: str) -> Package | None:
    """The package in `PACKAGES` with this module, or None."""
    return next((package for package in PACKAGES if package.module == module), None)
