"""`without_folders`: takes the folders of this machine out of a sentence that is sent to a client."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
from pathlib import Path

from .. import host

_PACKAGE = Path(__file__).resolve().parents[3]
_ROUTES = "facerestore/v1|sdapi/v1|docs"
_FOLDERS = re.compile(
    rf"(?<![\w:/.~-])/(?!(?:{_ROUTES})\b)(?:[^\s/'\"()<>:;,]+/)+"  # of Linux and macOS
    r"|(?<!\w)[A-Za-z]:[\\/](?:[^\s\\/:*?\"<>|']+[\\/])*"  # of Windows
    r"|\\\\[^\s\\]+\\(?:[^\s\\/:*?\"<>|']+\\)*"  # of the network
)


def without_folders(text: str) -> str:
    """The text with paths cut down to the names of their files. Folders that are known here may hold blanks."""
    text = text.replace(sys.executable or "\0", Path(sys.executable or "python").name)  # of `python -m pip install …`
    for folder in _known():
        text = text.replace(folder + os.sep, "").replace(folder, os.path.basename(folder))
    return _FOLDERS.sub("", text)


def _known() -> list[str]:
    folders = [_PACKAGE, Path(sys.prefix), Path(tempfile.gettempdir()), *host.model_folders()]
    with contextlib.suppress(OSError, RuntimeError):  # no working folder any more, no home folder
        folders += [Path.cwd(), Path.home()]
    with contextlib.suppress(Exception):  # settings that cannot be read hide nothing else
        from .. import service

        folders += service.store().folders
    texts = {str(folder) for folder in folders if len(folder.parts) > 1}
    return sorted(texts, key=len, reverse=True)
