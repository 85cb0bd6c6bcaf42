"""The Python packages that this one uses, as data: what each is for, and how to get it. None of them is imported."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Literal

Role = Literal["required", "optional"]
ALONE = "--no-deps"
"""For packages whose dependencies would change what is there: torch, numpy, OpenCV."""


@dataclass(frozen=True)
class Package:
    """A package of the Python Package Index.

    Attributes:
        name: what pip calls it.
        module: what `import` calls it.
        role: "required" where a part of the program fails without it, "optional" where something else serves then or
            one thing more is missing.
        purpose: what it is needed for, to follow "for".
        without: what happens where it is missing.
        options: arguments of `pip install` besides the name.
        tried: whether it is imported to see that it works; not where that takes seconds.
        torchvision: whether it imports torchvision, which `facexlib_import.prepare` may have to mend first.
        in_webui: arguments of `pip install` besides the name where install.py adds it to a WebUI; None where that never
            does: the WebUI brings it, or works without it.
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

    @property
    def install(self) -> str:
        """The command that installs it."""
        return f"pip install {self.options + ' ' if self.options else ''}{self.name}"


PACKAGES: tuple[Package, ...] = (
    Package("torch", "torch", "required", "every network"),
    Package("numpy", "numpy", "required", "every picture"),
    Package("opencv-python", "cv2", "required", "warps, masks and 16-bit pictures"),
    Package("Pillow", "PIL", "required", "reading and writing pictures"),
    Package("safetensors", "safetensors", "required", "reading model files, the embedded ones too", in_webui=""),
    Package("platformdirs", "platformdirs", "required", "finding the model folder", in_webui=""),
    Package("tqdm", "tqdm", "required", "the progress bars of `restore` and `models download`", in_webui=""),
    Package("httpx", "httpx", "required", "downloading models", in_webui=""),
    Package("filelock", "filelock", "required", "downloading models", in_webui=""),
    *(
        ()
        if sys.version_info >= (3, 11)  # Python has had tomllib since then
        else (Package("tomli", "tomli", "required", "the list of known models", in_webui=""),)
    ),
    Package(
        "spandrel", "spandrel", "optional", "models that enlarge the background",
        "it can be enlarged without a model only", torchvision=True,
    ),
    Package(
        "psutil", "psutil", "optional", "fitting the faces that run side by side into the free memory",
        "a fixed number runs side by side",
    ),
    Package(
        "facexlib", "facexlib", "optional", "the detector retinaface-resnet50 and the parsers bisenet and parsenet",
        "other detectors work, masks are ellipses", torchvision=True, in_webui=ALONE,
    ),
    Package("onnxruntime", "onnxruntime", "optional", ".onnx models", "those cannot be used"),
    Package(
        "tifffile", "tifffile", "optional", "planar 16-bit TIFF pictures", "those cannot be read, others can",
        in_webui=ALONE,
    ),
    Package(
        "gradio", "gradio", "optional", "the controls in a WebUI, which brings it", "all else works", tried=False
    ),
    Package(
        "gfpgan", "gfpgan", "optional", "comparing GFPGAN and RestoreFormer with the originals",
        "they are not compared", options=ALONE, tried=False,
    ),
    Package(
        "basicsr", "basicsr", "optional", "comparing DFDNet with the original, and for what gfpgan imports",
        "it is not compared", options=ALONE, tried=False,
    ),
    Package(
        "spandrel-extra-arches", "spandrel_extra_arches", "optional", "comparing CodeFormer with the original",
        "it is not compared", tried=False,
    ),
)  # fmt: skip


def package_of(error: ImportError) -> Package | None:
    """The package that could not be imported; None where it is none of ours."""
    module = (error.name or "").partition(".")[0]
    return next((package for package in PACKAGES if package.module == module), None)
