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
    """

    case: str
    measure: str
    unit: str
    better: Better
    values: Mapping[str, float | None]
    count: int

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
    """A table.

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
        head = [f"| {self.title} | measured | unit | {' | '.join(self.columns)} | of |"]
        head.append("| --- | --- | --- |" + " ---: |" * (len(self.columns) + 1))
        body = [
            "| "
            + " | ".join([line.case, line.measure, line.unit, *map(line.text, self.columns), str(line.count)])
            + " |"
            for line in self.lines
        ]
        notes = ["", *(f"- {note}" for note in self.notes)] if self.notes else []
        return "\n".join([*head, *body, *notes])

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        lines = [
            {
                "case": line.case, "measure": line.measure, "unit": line.unit, "better": line.better,
                "values": dict(line.values), "count": line.count,
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
        lines = [Line(**line) for line in values["lines"]]
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
