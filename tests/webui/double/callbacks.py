"""`modules.script_callbacks`: registering, and what the host does with an exception in one."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from .module import HostModule

KINDS = (
    "app_started", "model_loaded", "ui_tabs", "ui_settings", "before_image_saved", "image_saved", "before_component",
    "after_component", "image_grid", "infotext_pasted", "script_unloaded", "before_ui", "before_reload",
)  # fmt: skip


def make(host: Any) -> ModuleType:
    """The module. With `host.named_callbacks` off, `on_*()` takes no `name=`, as in Forge Classic."""
    module = HostModule("modules.script_callbacks")
    registered: dict[str, list[Callable[..., Any]]] = {kind: [] for kind in KINDS}

    def on(kind: str) -> Callable[..., None]:
        def with_name(callback: Callable[..., Any], *, name: str | None = None) -> None:
            registered[kind].append(callback)

        def without_name(callback: Callable[..., Any]) -> None:
            registered[kind].append(callback)

        return with_name if host.named_callbacks else without_name

    for kind in KINDS:
        setattr(module, f"on_{kind}", on(kind))

    def fire(kind: str, *args: Any, newest_first: bool = False) -> list[Any]:
        """Run the callbacks of a kind; exceptions are caught and recorded. Returns what they returned."""
        answers = []
        for callback in list(reversed(registered[kind])) if newest_first else list(registered[kind]):
            try:
                answers.append(callback(*args))
            except Exception as error:
                host.report(f"callback {kind}", error)
        return answers

    def clear_callbacks() -> None:
        for callbacks in registered.values():
            callbacks.clear()

    module.callback_map = {f"callbacks_{kind}": callbacks for kind, callbacks in registered.items()}
    module.fire, module.clear_callbacks = fire, clear_callbacks
    return module
