"""The tables of `facerestore bench`: a row for each network or picture, and notes below."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

BATCH = 4
"""Faces in a measured batch."""


@dataclass(frozen=True)
class Row:
    """One row of a table. Values that were not measured are None.

    Attributes:
        what: the network or picture.
        weights: name of the file with the weights, or "random".
        ours: our median time in seconds: for a face, one at a time; or for a picture.
        ours_batch: our median time in seconds for a face in a batch.
        reference: as `ours`, for the reference.
        reference_batch: as `ours_batch`, for the reference.
        peak: our peak memory in bytes, in addition to what was in use before.
        reference_peak: as `peak`, for the reference.
        notes: why a value is missing, or was measured in another way than in other rows.
    """

    what: str
    weights: str
    ours: float | None
    ours_batch: float | None
    reference: float | None
    reference_batch: float | None
    peak: int | None
    reference_peak: int | None
    notes: tuple[str, ...] = ()

    @classmethod
    def unmeasured(cls, what: str, why: str) -> Row:
        """A row for something that could not be measured, with the reason."""
        return cls(what, "–", None, None, None, None, None, None, (why,))

    @property
    def ratio(self) -> float | None:
        """How many times faster ours is at batch 1."""
        return self.reference / self.ours if self.reference and self.ours else None

    @property
    def ratio_batch(self) -> float | None:
        """How many times faster ours is at batch 4."""
        return self.reference_batch / self.ours_batch if self.reference_batch and self.ours_batch else None

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return asdict(self) | {"ratio": self.ratio, "ratio_batch": self.ratio_batch}


def head(title: str, per: str) -> str:
    """The first two lines of a Markdown table; `per` is the unit of its times, e.g. "a face"."""
    return (
        f"| {title} | weights | ours, s {per} | at batch {BATCH} | reference | at batch {BATCH} | ratio "
        f"| at batch {BATCH} | peak MiB | reference |\n| --- | --- |" + " ---: |" * 8
    )


def line(row: Row) -> str:
    """The row as a line of the table."""

    def number(value: float | None) -> str:
        return "–" if value is None else f"{value:.3f}" if value < 10 else f"{value:.1f}"

    def times(value: float | None) -> str:
        return "–" if value is None else f"{value:.2f}×"

    def memory(value: int | None) -> str:
        return "–" if value is None else f"{value / 2**20:.0f}"

    return (
        f"| {row.what} | {row.weights} | {number(row.ours)} | {number(row.ours_batch)} | {number(row.reference)} "
        f"| {number(row.reference_batch)} | {times(row.ratio)} | {times(row.ratio_batch)} | {memory(row.peak)} "
        f"| {memory(row.reference_peak)} |"
    )


def notes(rows: Iterable[Row]) -> str:
    """The notes of the rows, one on each line, for printing below their table."""
    return "\n".join(f"- {row.what}: {' '.join(note.split())}" for row in rows for note in row.notes)
