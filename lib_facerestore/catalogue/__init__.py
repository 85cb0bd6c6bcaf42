"""Known model files as data, and what is installed of them.

`models.toml` is the data, `entries` reads it; `store` knows the folders and scans them into an `inventory`; `identify`
says what a file is, from what `peek` and `fingerprints` read of it; `download` (imported when needed) gets files.
"""

from __future__ import annotations

from .entries import Kind, ModelEntry, ModelFile, entry_of, known_model, known_models, recognise
from .identify import IdentifiedFile, identify
from .inventory import BUILT_IN, Inventory, misfit_message, package_is_there
from .store import ENVIRONMENT, MODEL_SUFFIXES, Store, default_models_folder, inventory_of, webui_folders
from .weights import weights_path

__all__ = [
    "BUILT_IN",
    "ENVIRONMENT",
    "MODEL_SUFFIXES",
    "IdentifiedFile",
    "Inventory",
    "Kind",
    "ModelEntry",
    "ModelFile",
    "Store",
    "default_models_folder",
    "entry_of",
    "identify",
    "inventory_of",
    "known_model",
    "known_models",
    "misfit_message",
    "package_is_there",
    "recognise",
    "webui_folders",
    "weights_path",
]
