"""Known model files as data, and the store: which folders are searched and what lies in them.

`models.toml` is the data, `entries` reads it; `store` says what is installed; `peek` and `fingerprints` look into
files; `download` (imported when needed) gets them.
"""

from __future__ import annotations

from .entries import Kind, ModelEntry, ModelFile, known_model, known_models, recognise
from .store import (
    BUILT_IN,
    ENVIRONMENT,
    MODEL_SUFFIXES,
    Found,
    Store,
    default_models_folder,
    identify,
    installed_in,
    misfit_message,
    webui_folders,
    weights_path,
)

__all__ = [
    "BUILT_IN",
    "ENVIRONMENT",
    "MODEL_SUFFIXES",
    "Found",
    "Kind",
    "ModelEntry",
    "ModelFile",
    "Store",
    "default_models_folder",
    "identify",
    "installed_in",
    "known_model",
    "known_models",
    "misfit_message",
    "recognise",
    "webui_folders",
    "weights_path",
]
