"""Ranges of numbers in the text of an X/Y/Z axis, for the axes that take words as well.

The plot expands ranges only where all values of an axis are numbers. The notation is the plot's own: `0-1 (+0.25)` goes
in steps, `0-1 [5]` has that many values, and `0-1` goes in steps of 1.
"""

from __future__ import annotations

import re

from ...errors import OptionError
from ...wording import shown

MOST = 1000
"""Most values of one range; a step that is far too small would otherwise fill the memory."""

_NUMBER = r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)"
_RANGE = re.compile(rf"({_NUMBER})\s*-\s*({_NUMBER})\s*(?:\(\s*({_NUMBER})\s*\)|\[\s*(\d{{1,9}})\s*\])?", re.ASCII)
_DIGITS = 8  # added steps give 0.7999999999999999


def expand(text: str) -> list[str]:
    """The values of a list such as "auto, 0-1 (+0.25)", as text; blanks and empty items are left out.

    Unlike the plot's own axes, a range never goes beyond its end. What is no range is kept as it is.

    Raises:
        OptionError: the step of a range leads away from its end or is 0, or the range has too many values.
    """
    found: list[str] = []
    for item in (part.strip() for part in text.split(",")):
        match = _RANGE.fullmatch(item)
        found += _values(item, match) if match else [item] if item else []
    return found


def _values(item: str, match: re.Match[str]) -> list[str]:
    first, last = float(match[1]), float(match[2])
    if match[4]:
        count = int(match[4])
        step = (last - first) / max(count - 1, 1)
    else:
        step = float(match[3] or 1)
        if step * (last - first) < 0 or step == 0:
            raise OptionError(f"{shown(item)}: steps of {step:g} do not lead from {first:g} to {last:g}.")
        count = int((last - first) / step + 1e-6) + 1
    if not 1 <= count <= MOST:
        raise OptionError(f"{shown(item)} has {count} values; a range may have 1 to {MOST}.")
    return [f"{round(first + step * index, _DIGITS):g}" for index in range(count)]
