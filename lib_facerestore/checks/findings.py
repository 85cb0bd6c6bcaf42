"""`Finding`, one line of the report of `doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "missing", "broken", "note"]

FILE_OF = "file of "
"""Beginning of the subject of findings about a model file that is damaged, incomplete or something else."""


@dataclass(frozen=True)
class Finding:
    """One line of the report. `remedy` is "" if there is nothing to do."""

    subject: str
    status: Status
    detail: str
    remedy: str = ""
