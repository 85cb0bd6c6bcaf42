"""What the WebUI calls at its start and at "Reload UI", each piece by itself: one that fails never disturbs another.

Imports nothing of ours before it is called: the WebUI measures how long an extension takes to load.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable
from typing import Any

logger = logging.getLogger(__name__)

CALLBACKS: tuple[tuple[str, str, str, int], ...] = (
    ("ui_settings", "wiring", "connect", 0),
    ("before_ui", "face_restorers", "register", 0),
    ("before_ui", "generation.xyz", "add_axes", 0),
    ("ui_tabs", "page.models_tab", "tabs", 0),
    ("app_started", "wiring", "connect", 0),  # once more: with --nowebui nobody fires ui_settings
    ("app_started", "api.routes", "register", 1),
    ("script_unloaded", "face_restorers", "unregister", 0),
)
"""When, the module beside this one, its function, and how many of the last arguments it gets.

app_started gives the page, None with --nowebui, and then the app."""


def register() -> None:
    """Register everything with the WebUI; for a file in scripts/, which is run anew at "Reload UI". Never raises."""
    try:
        from modules import script_callbacks
    except Exception:  # a WebUI without callbacks: the script itself still works
        logger.exception("nothing can be registered")
        return
    for kind, module, function, takes in CALLBACKS:
        call = guarded(module, function, takes)
        name = f"facerestore-{module.rpartition('.')[2].replace('_', '-')}"
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

    What goes wrong is logged and goes no further.
    """

    def call(*arguments: Any) -> Any:
        try:
            found = getattr(importlib.import_module(f"{__package__}.{module}"), function)
            return found(*arguments[len(arguments) - takes :])
        except Exception:
            logger.exception("Face Restore: %s.%s failed", module, function)
            return None

    return call
