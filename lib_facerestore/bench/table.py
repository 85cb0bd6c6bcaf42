"""The tables that `facerestore bench` prints: a row for each network or picture, and the notes below."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

BATCH = 4
"""Faces of the batch that is measured beside the single face."""


@dataclass(frozen=True)
class Row:
    """One row of the table; None where something was not measured.

    Attributes:
        what: the network or picture.
        weights: the file that the weights are from, or "random".
        ours, ours_batch, reference, reference_batch: median seconds for a face (or for a picture: the whole job), one
            at a time and in a batch.
        peak, reference_peak: bytes of memory above what was in use before.
        notes: why something is missing, or was measured otherwise than in the other rows.
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
        """The row of what could not be measured."""
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
        """For JSON."""
        return asdict(self) | {"ratio": self.ratio, "ratio_batch": self.ratio_batch}


def head(title: str, per: str) -> str:
    """The first two lines of a Markdown table of rows, so that each row can be printed as soon as it is measured."""
    return (
        f"| {title} | weights | ours, s {per} | at batch {BATCH} | reference | at batch {BATCH} | ratio "
        f"| at batch {BATCH} | peak MiB | reference |\n| --- | --- |" + " ---: |" * 8
    )


def line(row: Row) -> str:
    """The row as a line of that table."""

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
    """A line for each note of the rows, to be printed below their table."""
    return "\n".join(f"- {row.what}: {' '.join(note.split())}" for row in rows for note in row.notes)
