"""What the parts of the soak share: a line for each check, and the levels of a process."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import psutil

from .holding import SIGNAL

MEMORY_MAY_GROW = 0.05
"""How much more memory a process may hold at the end than after its warm-up, as a share."""


@dataclass
class Checks:
    """The checks of a run; each is printed when it is made."""

    failed: list[str] = field(default_factory=list)

    def check(self, what: str, tried: int, held: int, note: str = "") -> bool:
        """Print how many were tried and how many held, and return whether all did."""
        good = held == tried
        if not good:
            self.failed.append(what)
        line = f"{'ok  ' if good else 'FAIL'} {what}: tried {tried:,}, held {held:,}"
        print(line + (f" ({note})" if note else ""), flush=True)
        return good

    def code(self) -> int:
        """The exit code: 1 if a check did not hold."""
        if self.failed:
            print(f"did not hold: {'; '.join(self.failed)}")
        return int(bool(self.failed))


@dataclass(frozen=True)
class Level:
    """What a process holds.

    Attributes:
        memory: bytes.
        handles, threads: open files, and threads.
        with_freed: bytes together with the memory that it has freed and keeps; 0 if that was not measured apart.
    """

    memory: int
    handles: int
    threads: int
    with_freed: int = 0


def level(process: psutil.Process) -> Level:
    """What the process holds now."""
    with process.oneshot():
        handles = process.num_fds() if hasattr(process, "num_fds") else process.num_handles()
        return Level(process.memory_info().rss, handles, process.num_threads())


def held(process: psutil.Process) -> Level:
    """What a process of `holding` holds now, without the memory that it has freed."""
    before = level(process)
    process.send_signal(SIGNAL)
    time.sleep(0.3)
    return replace(level(process), with_freed=before.memory)


def check_levels(checks: Checks, what: str, samples: Sequence[Level], warm_up: float = 0.2) -> None:
    """Check that a process is level: memory within `MEMORY_MAY_GROW`, no more handles and threads.

    Compared are the medians of the tenth after the warm-up and of the last tenth.

    Args:
        checks: gets three checks.
        what: which process.
        samples: its levels at even steps of the work.
        warm_up: the share of the samples that does not count.
    """
    start = int(len(samples) * warm_up)
    step = max(1, len(samples) // 10)
    first, last = samples[start : start + step], samples[-step:]
    if not first or start + step > len(samples) - step:
        checks.check(f"{what}: enough samples", 1, 0, f"{len(samples)}")
        return

    def of(part: Sequence[Level], name: str) -> float:
        return statistics.median(getattr(one, name) for one in part)

    before, after = of(first, "memory"), of(last, "memory")
    note = f"{before / 2**20:.0f} → {after / 2**20:.0f} MiB, {after / before - 1:+.1%}"
    if kept := of(first, "with_freed"):
        note += f"; with what it has freed {kept / 2**20:.0f} → {of(last, 'with_freed') / 2**20:.0f} MiB"
    checks.check(f"{what}: memory within 5 %", 1, int(after <= before * (1 + MEMORY_MAY_GROW)), note)
    for name in ("handles", "threads"):
        before, after = of(first, name), of(last, name)
        checks.check(f"{what}: {name} level", 1, int(after <= before), f"{before:.0f} → {after:.0f}")
