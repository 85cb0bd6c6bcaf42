"""Face restoration: detect → align and crop → restore → paste back. Works without any WebUI.

    from lib_facerestore import FaceRestorer, Options
    result = FaceRestorer().restore(image, Options(visibility=0.8))

The public names are imported on first use, so that importing the package is fast and works without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .errors import DownloadError, FaceRestoreError, InputError, ModelFileError, OptionError
    from .faces.face import Face, FaceReport
    from .images.files import Picture, read_picture, write_picture
    from .networks.load import Network, load_network
    from .options.table import Options
    from .pipeline import FaceRestorer, Result

__version__ = "0.1.0"

_PUBLIC = {
    "errors": ("DownloadError", "FaceRestoreError", "InputError", "ModelFileError", "OptionError"),
    "faces.face": ("Face", "FaceReport"),
    "images.files": ("Picture", "read_picture", "write_picture"),
    "networks.load": ("Network", "load_network"),
    "options.table": ("Options",),
    "pipeline": ("FaceRestorer", "Result"),
}
_MODULE_OF = {name: module for module, names in _PUBLIC.items() for name in names}

__all__ = [
    "DownloadError",
    "Face",
    "FaceReport",
    "FaceRestoreError",
    "FaceRestorer",
    "InputError",
    "ModelFileError",
    "Network",
    "OptionError",
    "Options",
    "Picture",
    "Result",
    "load_network",
    "read_picture",
    "write_picture",
]


def __getattr__(name: str) -> object:
    if name in _MODULE_OF:
        return getattr(import_module(f".{_MODULE_OF[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULE_OF])
