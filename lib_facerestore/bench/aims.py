"""What the figures of `bench --quality` should be, as ranges by case and measure."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable

from .quality_table import Aim, Line

_DAMAGE = "blur σ8|noise σ50|÷12 and enlarged|ordinary damage|clean"
_GRAIN = "(film|enlarged) grain, clean crop|.* grain, clean crop, grain 1"
"""By default only grain of dots larger than a pixel is put back: a camera's noise is damage."""
AIMS: tuple[tuple[str, str, Aim], ...] = (
    (r"clean picture, its own crop pasted", "face", Aim(48, None)),
    (r".*", "changed outside 1.5× the box", Aim(None, 0)),
    (r"the mask.*", ".* with opacity < 0.9", Aim(None, 10)),
    (r"a fringe and noise σ25", "fringe that is replaced", Aim(None, 10)),
    (r"colour cast of the restored crop", "low-band colour shift", Aim(None, 0.3)),
    (r".* in the picture, not in the crop", "there, to the nearer of truth and input", Aim(33, None)),
    (r"restored, noise σ14, side \d+", "gain in the face", Aim(4, None)),
    (r"restored, clean, side \d+", "face, to itself", Aim(48, None)),
    (_GRAIN, "noise inside ÷ outside", Aim(0.8, 1.2)),
    (_GRAIN, "its worst band is off by", Aim(None, 1.25)),
    (r"noise σ14", r"gain, face of side \d+", Aim(4, None)),
    (r"JPEG 90", r"gain, face of side \d+", Aim(0, None)),
    (r"clean", r"face of side \d+, to itself", Aim(48, None)),
    (rf"({_DAMAGE})|rotated by \d+°|left 30 % cut off", "", Aim(0.95, None)),
    (r"lower 45 % cut off", "", Aim(0.9, None)),
    (r"close-up of 2,000 px|faces of 150 px in 8000×1200", "", Aim(1, None)),
)
"""Patterns of case and measure (of the whole text), and the range of the first column. The first that fits counts."""


def with_aims(lines: Iterable[Line]) -> list[Line]:
    """The lines, with their aims."""
    return [dataclasses.replace(line, aim=_aim_of(line)) for line in lines]


def _aim_of(line: Line) -> Aim | None:
    for case, measure, aim in AIMS:
        if re.fullmatch(case, line.case) and re.fullmatch(measure, line.measure):
            return aim
    return None
