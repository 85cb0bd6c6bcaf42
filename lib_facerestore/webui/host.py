"""Access to the WebUI: its folders, device, settings, progress bar and interrupts.

Every function works, with a sensible answer, where `modules` is absent or lacks something (SD.Next, the own page,
tests). Nothing of the WebUI is imported before it is needed, since some of it takes seconds.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

logger = logging.getLogger(__name__)

Kind = Literal["a1111", "forge", "sdnext", ""]


def module(name: str) -> Any | None:
    """The WebUI's module of that name, e.g. "shared"; None where there is none. Never raises."""
    try:
        return importlib.import_module(f"modules.{name}")
    except ModuleNotFoundError as error:
        if error.name not in ("modules", f"modules.{name}"):
            logger.warning("the WebUI's %s cannot be imported: %s", name, error)
        return None
    except Exception as error:  # a module of the WebUI may raise anything while it is imported
        logger.warning("the WebUI's %s cannot be imported: %s", name, error)
        return None


def kind() -> Kind:
    """Which WebUI this is: "a1111" (reForge and Forge Classic count as it), "forge", "sdnext", or "" for none."""
    shared = module("shared")
    if shared is None:
        return ""
    if module("face_restoration") is None:
        return "sdnext"
    with contextlib.suppress(ImportError):
        importlib.import_module("modules_forge.utils")
        return "forge"
    return "a1111"


def option(key: str, default: Any) -> Any:
    """A setting of the WebUI; `default` where it has none, or holds nothing."""
    shared = module("shared")
    value = getattr(getattr(shared, "opts", None), key, None)
    return default if value is None else value


def cmd_opt(name: str, default: Any) -> Any:
    """An argument of the WebUI's command line; `default` where it has none, or holds nothing."""
    shared = module("shared")
    value = getattr(getattr(shared, "cmd_opts", None), name, None)
    return default if value is None else value


def models_root() -> Path | None:
    """The WebUI's models folder, None where there is no WebUI."""
    for place, name in (("paths", "models_path"), ("shared", "models_path"), ("paths_internal", "models_path")):
        value = getattr(module(place), name, None)
        if value:
            return Path(value)
    return None


def model_folders() -> list[Path]:
    """The folders with models, those where ours belong first: --facerestore-models-path, models/facerestore, and what
    the command line names for GFPGAN, CodeFormer and ESRGAN."""
    root = models_root()
    own = [cmd_opt("facerestore_models_path", ""), root / "facerestore" if root else ""]
    names = ("gfpgan_models_path", "codeformer_models_path", "esrgan_models_path")
    return [Path(value) for value in (*own, *(cmd_opt(name, "") for name in names)) if value]


def device(wanted: str = "auto") -> str:
    """The torch device to restore on: `wanted` unless it is "auto", which follows the WebUI (with its --use-cpu)."""
    if wanted != "auto":
        return wanted
    devices = module("devices")
    if cmd_opt("always_cpu", False):
        return "cpu"
    for ask in ("facerestore", "gfpgan"):
        chosen = getattr(devices, "get_device_for", None)
        if chosen is None:
            break
        with contextlib.suppress(Exception):  # hosts differ in what this needs; their own device serves then
            if ask == "gfpgan" or "facerestore" in cmd_opt("use_cpu", []):
                return str(chosen(ask))
    own = getattr(devices, "device", None)
    return "auto" if own is None else str(own)


def free_memory() -> None:
    """Ask the WebUI to free memory on the device. Never raises."""
    with contextlib.suppress(ImportError, AttributeError):
        importlib.import_module("modules_forge.utils").prepare_free_memory()
        return
    collect = getattr(module("devices"), "torch_gc", None)
    if collect is not None:
        collect()


def interrupted() -> bool:
    """Whether the user has asked to stop or to skip."""
    state = getattr(module("shared"), "state", None)
    return any(bool(getattr(state, name, False)) for name in ("interrupted", "skipped"))


def job_start() -> object:
    """When the WebUI's current job began, which differs from job to job; None where that is not known."""
    return getattr(getattr(module("shared"), "state", None), "time_start", None)


def set_text(text: str) -> None:
    """Show a line beside the progress bar. Never raises."""
    state = getattr(module("shared"), "state", None)
    if state is None:
        return
    try:
        state.textinfo = text
    except Exception as error:  # a message that cannot be shown must not cost the picture it is about
        logger.debug("shared.state.textinfo: %s", error)


def notify(message: str) -> None:
    """Show a message to the user, in the console and beside the progress bar. Never raises."""
    logger.warning("Face Restore: %s", message)
    set_text(f"Face Restore: {message}")


_TEXTS = {
    "detect": "Finding faces",
    "restore": "Restoring faces",
    "enlarge": "Enlarging pictures",
    "mask": "Masking faces",
    "paste": "Putting faces back",
}
_COUNTED = ("restore", "enlarge", "mask")


class StageBar:
    """What `progress_bar` gives: call it with a stage, and the units done and in all."""

    def __init__(self, state: Any | None) -> None:
        self._state = state

    def __call__(self, stage: str, done: int, total: int) -> None:
        if self._state is None:
            return
        count = f" {min(done + 1, total)}/{total}" if stage in _COUNTED and total else ""
        self._state.textinfo = _TEXTS.get(stage, stage) + count
        if stage in _COUNTED:
            self._state.sampling_steps, self._state.sampling_step = max(total, 1), min(done, total)


@contextlib.contextmanager
def progress_bar() -> Iterator[StageBar]:
    """One more job of the WebUI's progress bar while it lasts; the text and steps are put back afterwards.

    The WebUI has counted its own jobs before it calls an extension, so that the bar would not move at the end.
    """
    state = getattr(module("shared"), "state", None)
    counted = getattr(state, "job_count", 0) or 0
    if state is None or not hasattr(state, "sampling_step"):
        yield StageBar(state)
        return
    before = state.sampling_step, state.sampling_steps, getattr(state, "textinfo", None)
    if counted > 0:
        state.job_count = counted + 1
    try:
        yield StageBar(state)
    finally:
        if counted > 0:
            state.job_no = getattr(state, "job_no", 0) + 1
        state.sampling_step, state.sampling_steps, state.textinfo = before


def api_credentials() -> dict[str, str]:
    """User names and passwords of --api-auth; empty where none are asked for."""
    pairs = (pair.partition(":") for pair in str(cmd_opt("api_auth", "")).split(",") if ":" in pair)
    return {user.strip(): password for user, _, password in pairs}


_own_queue = threading.Lock()


def queue_lock() -> contextlib.AbstractContextManager[Any]:
    """The lock under which the WebUI does one job at a time; one of our own where it has none."""
    lock = getattr(module("call_queue"), "queue_lock", None)
    return _own_queue if lock is None else lock
