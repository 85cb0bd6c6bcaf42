"""Connects the settings, the shared restorer and the list of face restorers, which do not import each other for it.

The settings offer the models that can be chosen; a changed setting or a new model file updates the list.
"""

from __future__ import annotations

from . import face_restorers, service, settings


def connect() -> None:
    """Register the settings and connect the modules, at the WebUI's start and after "Reload UI". Never raises."""
    service.call_after_reset(face_restorers.register)
    settings.register(models=service.model_ids, changed=service.reset)
