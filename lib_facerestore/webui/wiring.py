"""What follows what in the WebUI: the settings name the models, and a change of theirs, or a file that has arrived,
renews the list of face restorers. None of the modules that are joined here imports another for it.
"""

from __future__ import annotations

from . import face_restorers, service, settings


def connect() -> None:
    """Register the settings and join the modules; for the WebUI's start, and again after "Reload UI". Never raises."""
    service.follow(face_restorers.register)
    settings.register(models=service.model_ids, changed=service.reset)
