"""The known models, and which of them are installed.

* `models.toml` describes the known models and their files; `entries` reads it.
* `store` lists the files in the model folders; an `inventory` says which models they are.
* `identify` recognises a file by its content, which `peek` and `fingerprints` read.
* `download` gets files; it is imported only when needed.
"""

from __future__ import annotations

from .entries import Kind, ModelEntry, ModelFile, entry_of, known_model, known_models, recognise
from .identify import IdentifiedFile, identify
from .inventory import BUILT_IN, Inventory, misfit_message, misfit_state, package_is_there, refuse_path
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
    "misfit_state",
    "package_is_there",
    "recognise",
    "refuse_path",
    "webui_folders",
    "weights_path",
]
