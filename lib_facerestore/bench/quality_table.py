"""The tables of `bench --quality`: a line for each thing measured, as Markdown and as plain values for JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from .metrics import SAME

Better = Literal["higher", "lower", "near 1", ""]
"""Which value of a line is the best; "" if none is, as for counts."""


@dataclass(frozen=True)
class Aim:
    """The range that a value should be in; None means no limit on that side."""

    least: float | None
    most: float | None

    def met(self, value: float | None, unit: str) -> bool:
        """Whether a value, as it is printed, is in the range; None stands for an infinite number of decibels."""
        shown = math.inf if value is None else round(value, _digits(unit))
        return (self.least is None or shown >= self.least) and (self.most is None or shown <= self.most)

    def __str__(self) -> str:
        if self.least is None or self.most is None:
            return f"≤ {self.most:g}" if self.least is None else f"≥ {self.least:g}"
        return f"{self.least:g} to {self.most:g}"


@dataclass(frozen=True)
class Line:
    """One line of a table.

    Attributes:
        case: what was done to the pictures.
        measure: what was measured.
        unit: unit of the values: "dB", "ΔE00", "%", "px", "×" (a ratio) or "" (a share or a count).
        better: which value is the best.
        values: the values by column. A column that was not measured is absent; None stands for an infinite number of
            decibels (identical pictures).
        count: how many faces or pictures the values are means of.
        aim: the range that the table's first column should be in, or None.
    """

    case: str
    measure: str
    unit: str
    better: Better
    values: Mapping[str, float | None]
    count: int
    aim: Aim | None = None

    def best(self) -> frozenset[str]:
        """The columns with the best value as it is printed; empty if there are fewer than two columns."""
        if not self.better or len(self.values) < 2:
            return frozenset()
        scores = {name: self._score(value) for name, value in self.values.items()}
        top = max(scores.values())
        return frozenset(name for name, score in scores.items() if score == top)

    def _score(self, value: float | None) -> float:
        shown = SAME + 1 if value is None else round(value, _digits(self.unit))
        if self.better == "near 1":
            return -round(abs(shown - 1), _digits(self.unit))
        return shown if self.better == "higher" else -shown

    def text(self, column: str) -> str:
        """The value of a column as it is printed."""
        if column not in self.values:
            return "–"
        value = self.values[column]
        shown = "∞" if value is None else f"{value:.{_digits(self.unit)}f}"
        return f"**{shown}**" if column in self.best() else shown


def _digits(unit: str) -> int:
    return {"dB": 1, "%": 1, "px": 0}.get(unit, 2)


@dataclass(frozen=True)
class Table:
    """A table. Aims are for its first column.

    Attributes:
        name: its key in JSON.
        title: what it shows.
        columns: names of the columns with values.
        lines: the lines.
        notes: remarks, e.g. why a column is missing.
    """

    name: str
    title: str
    columns: Sequence[str]
    lines: Sequence[Line]
    notes: Sequence[str] = field(default=())

    def markdown(self) -> str:
        """The table with its title and notes; the best values are bold."""
        head = [f"| {self.title} | measured | unit | {' | '.join(self.columns)} | aim | of |"]
        head.append("| --- | --- | --- |" + " ---: |" * len(self.columns) + " --- | ---: |")
        body = []
        for line in self.lines:
            met = self.met(line)
            aim = "" if met is None else f"{line.aim}{'' if met else ', missed'}"
            cells = [line.case, line.measure, line.unit, *map(line.text, self.columns), aim, str(line.count)]
            body.append("| " + " | ".join(cells) + " |")
        notes = ["", *(f"- {note}" for note in self.notes)] if self.notes else []
        return "\n".join([*head, *body, *notes])

    def met(self, line: Line) -> bool | None:
        """Whether the first column of a line is what it should be; None if there is no aim or no value."""
        column = self.columns[0]
        if line.aim is None or column not in line.values:
            return None
        return line.aim.met(line.values[column], line.unit)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        lines = [
            {
                "case": line.case, "measure": line.measure, "unit": line.unit, "better": line.better,
                "values": dict(line.values), "count": line.count,
                "aim": None if line.aim is None else [line.aim.least, line.aim.most], "met": self.met(line),
            }
            for line in self.lines
        ]  # fmt: skip
        return {
            "name": self.name, "title": self.title, "columns": list(self.columns), "lines": lines,
            "notes": list(self.notes),
        }  # fmt: skip

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Table:
        """The table of `to_dict`."""
        lines = []
        for found in values["lines"]:
            aim = None if found["aim"] is None else Aim(*found["aim"])
            lines.append(Line(**{key: found[key] for key in found if key not in ("aim", "met")}, aim=aim))
        return cls(values["name"], values["title"], tuple(values["columns"]), lines, tuple(values["notes"]))


class Collected:
    """Collects values by case, measure and column, and makes lines of their means."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str, str, Better], dict[str, list[float | None]]] = {}

    def add(self, case: str, measure: str, unit: str, better: Better, values: Mapping[str, float | None]) -> None:
        """Add one face's values by column."""
        columns = self._found.setdefault((case, measure, unit, better), {})
        for column, value in values.items():
            columns.setdefault(column, []).append(value)

    def lines(self) -> list[Line]:
        """A line for each case and measure with values; cases, and measures of a case, as they first came."""
        cases = list(dict.fromkeys(case for case, *_ in self._found))
        return [
            Line(*key, {name: _mean(found, key[2]) for name, found in columns.items()}, max(map(len, columns.values())))
            for key, columns in sorted(self._found.items(), key=lambda item: cases.index(item[0][0]))
            if columns
        ]


def _mean(values: Iterable[float | None], unit: str) -> float | None:
    """The mean; the geometric one of ratios. Identical pictures count as `SAME` decibels; None: all are identical."""
    found = list(values)
    if unit == "dB" and all(value is None for value in found):
        return None
    if unit == "×":
        return math.exp(sum(math.log(value or 1e-9) for value in found) / len(found))
    return sum(SAME if value is None else value for value in found) / len(found)
