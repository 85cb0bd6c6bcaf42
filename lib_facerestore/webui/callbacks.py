"""The functions that the WebUI calls at its start and at "Reload UI". An error in one does not stop the others.

Their modules are imported when they are called: the WebUI measures how long an extension takes to load.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable
from typing import Any

logger = logging.getLogger(__name__)

CALLBACKS: tuple[tuple[str, str, str, str, int], ...] = (
    ("ui_settings", "facerestore-settings", "wiring", "connect", 0),
    ("before_ui", "facerestore-checkbox", "face_restorers", "register", 0),
    ("before_ui", "facerestore-xyz", "generation.xyz", "add_axes", 0),
    ("ui_tabs", "facerestore-downloads-panel", "page.models_tab", "tabs", 0),
    ("app_started", "facerestore-settings", "wiring", "connect", 0),  # again: --nowebui does not call ui_settings
    ("app_started", "facerestore-api", "api.routes", "register", 1),
    ("script_unloaded", "facerestore-checkbox", "face_restorers", "unregister", 0),
    ("script_unloaded", "facerestore-copies", "copies", "forget", 0),
)
"""When, the name, the module in this folder, its function, and how many of the last arguments it gets.

The names are kept in the WebUI's settings, where users order callbacks by them: they do not follow the modules' names.
app_started gives two arguments: the page (None with --nowebui), and the app."""


def register() -> None:
    """Register all callbacks with the WebUI; called again at every "Reload UI". Never raises."""
    try:
        from modules import script_callbacks
    except Exception:  # a WebUI without callbacks: the script itself still works
        logger.exception("nothing can be registered")
        return
    for kind, name, module, function, takes in CALLBACKS:
        call = guarded(module, function, takes)
        try:
            if not _added(script_callbacks, kind, call, name):
                _add(script_callbacks, kind, call, name)
        except Exception:
            logger.exception("on_%s for %s", kind, module)


def _added(script_callbacks: Any, kind: str, call: Callable[..., Any], name: str) -> bool:
    """Add a callback with the name of its file; False where this WebUI has no such function.

    Its on_… functions find the name by inspecting the stack, which takes about 0.1 s of the start for each callback.
    """
    try:
        listed = script_callbacks.callback_map[f"callbacks_{kind}"]
        script_callbacks.add_callback(listed, call, name=name, category=kind, filename=__file__)
    except (AttributeError, KeyError, TypeError):
        return False
    return True


def _add(script_callbacks: Any, kind: str, call: Callable[..., Any], name: str) -> None:
    add = getattr(script_callbacks, f"on_{kind}", None)
    if add is None:
        logger.debug("this WebUI has no on_%s", kind)
        return
    try:
        add(call, name=name)
    except TypeError:  # older ones take no name
        add(call)


def guarded(module: str, function: str, takes: int = 0) -> Callable[..., Any]:
    """A function that imports `module` and calls its `function` with the last `takes` of its arguments.

    An exception is logged; the function returns None then.
    """

    def call(*arguments: Any) -> Any:
        try:
            found = getattr(importlib.import_module(f"{__package__}.{module}"), function)
            return found(*arguments[len(arguments) - takes :])
        except Exception:
            logger.exception("Face Restore: %s.%s failed", module, function)
            return None

    return call
