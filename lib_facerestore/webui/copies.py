"""Copies of this extension in several folders: the WebUI loads them all, and the first one alone may do anything.

All copies share one `lib_facerestore`, that of the first. Without this there would be two accordions with the same ids,
and the hooks of the second would take the infotext lines of the first away.
"""

from __future__ import annotations

import logging
import os

logger = logging.getLogger(__name__)

_loaded: dict[str, str] = {}  # the name of each file of scripts/, and the folder whose copy of it was loaded first
_others: list[str] = []


def is_first(script: str) -> bool:
    """Whether a file of scripts/ is to do its work: False where that of another folder did. The log says so once.

    script: its path. Links are not followed, since a WebUI loads a linked folder once more.
    """
    path = os.path.abspath(script)
    folder, name = os.path.dirname(os.path.dirname(path)), os.path.basename(path)
    if _loaded.setdefault(name, folder) == folder:
        return True
    if folder not in _others:
        _others.append(folder)
        logger.warning(note())
    return False


def note() -> str:
    """What the user should know of further copies, as one sentence; "" where there is one copy only."""
    if not _others:
        return ""
    used = next(folder for folder in _loaded.values())
    if len(_others) == 1:
        return f"Face Restore is installed twice: {used} is used, {_others[0]} is not; remove one of them."
    rest = ", ".join(_others)
    return f"Face Restore is installed {len(_others) + 1} times: {used} is used, {rest} are not; remove all but one."


def forget() -> None:
    """Before the scripts are loaded again, perhaps from other folders ("Reload UI")."""
    _loaded.clear()
    _others.clear()
