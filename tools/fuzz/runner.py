"""Runs a target's cases in child processes, and collects what is neither a result nor a named error."""

from __future__ import annotations

import contextlib
import faulthandler
import hashlib
import json
import os
import resource
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from lib_facerestore.catalogue.download import OFFLINE
from lib_facerestore.errors import FaceRestoreError

from .mutation import Mutator

SECONDS_A_CASE = 20
BYTES_MORE = 4 * 2**30
"""How much address space a case may take beyond what its process had."""
_CASES_A_CHILD = 5000
_COUNTS = struct.Struct("<3Q")  # cases, results and refusals so far, before the latest case in its file


@dataclass(frozen=True)
class Target:
    """Something that takes bytes from outside.

    Attributes:
        name: its name on the command line.
        what: what is given to what, in a few words.
        corpus: makes the files or texts that are altered.
        prepare: is called once in each process, with an empty folder, and returns what takes a case. That returns
            normally for a result of the right kind; a FaceRestoreError is a refusal; anything else is a finding.
    """

    name: str
    what: str
    corpus: Callable[[], Sequence[bytes]]
    prepare: Callable[[Path], Callable[[bytes], None]]


@dataclass
class Report:
    """What came of a target's cases.

    Attributes:
        cases, results, refusals: how many there were, and how they ended; the others are findings.
        findings: the first case of each kind, by where it came from, with its traceback.
        slowest: seconds of the slowest case.
        memory: bytes that the process grew by, at most.
    """

    cases: int = 0
    results: int = 0
    refusals: int = 0
    findings: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    slowest: float = 0.0
    memory: int = 0


class TooSlowError(Exception):
    """A case took longer than `SECONDS_A_CASE`."""


def attempt(take: Callable[[bytes], None], case: bytes, report: Report) -> None:
    """Run one case and note in the report how it ended."""
    started = time.perf_counter()
    try:
        with _limited_time(), warnings.catch_warnings():
            warnings.simplefilter("error", ResourceWarning)
            take(case)
        report.results += 1
    except FaceRestoreError as error:
        if str(error).strip():
            report.refusals += 1
        else:
            note(report, case, error)
    except BaseException as error:  # a SystemExit is a finding too
        if isinstance(error, KeyboardInterrupt):
            raise
        note(report, case, error)
    report.cases += 1
    report.slowest = max(report.slowest, time.perf_counter() - started)


def note(report: Report, case: bytes, error: BaseException) -> None:
    """Keep a finding, if none came from the same place."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "lib_facerestore" in frame.filename] or list(frames)
    where = f"{Path(own[-1].filename).name}:{own[-1].lineno}" if own else "?"
    report.findings.setdefault(f"{type(error).__name__} {where}", (case, "".join(traceback.format_exception(error))))


def run(target: Target, seed: int, cases: int | None = None, seconds: float | None = None) -> Report:
    """Run cases until their number or the time is reached.

    Args:
        target: what to run.
        seed: the same seed gives the same cases.
        cases, seconds: at most so many, and so long; at least one of them is needed.

    Returns:
        The report. A case in which the process died (as of a fault in a library) is a finding too.
    """
    if cases is None and seconds is None:
        raise ValueError("give cases or seconds")
    total, deadline, part = Report(), time.monotonic() + (seconds or 1e9), 0
    while (cases is None or total.cases < cases) and time.monotonic() < deadline:
        count = _CASES_A_CHILD if cases is None else min(_CASES_A_CHILD, cases - total.cases)
        _add(total, _in_child(target, seed * 1_000_003 + part, count, deadline))
        part += 1
    return total


def _add(total: Report, more: Report) -> None:
    total.cases += more.cases
    total.results += more.results
    total.refusals += more.refusals
    total.findings = {**more.findings, **total.findings}
    total.slowest, total.memory = max(total.slowest, more.slowest), max(total.memory, more.memory)


def _in_child(target: Target, seed: int, count: int, deadline: float) -> Report:
    """A part of the cases in a process of its own, which leaves its report and its latest case in a folder."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        folder = Path(name)
        (folder / "work").mkdir()
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            try:
                _child(target, seed, count, deadline, folder)
                status = 0
            except BaseException:
                traceback.print_exc()
                status = 1
            os._exit(status)
        _, status = os.waitpid(child, 0)
        made = folder / "report.json"
        if status == 1 << 8:
            raise RuntimeError(f"{target.name}: the target itself failed")
        report = Report()
        if made.is_file():
            kept = json.loads(made.read_text("utf-8"))
            kept["findings"] = {key: (bytes.fromhex(case), text) for key, (case, text) in kept["findings"].items()}
            report = Report(**kept)
        if status:
            latest = (folder / "case").read_bytes()
            report = Report(*_COUNTS.unpack(latest[: _COUNTS.size]))
            report.cases += 1
            report.findings[f"the process died, status {status}"] = (latest[_COUNTS.size :], "")
        return report


def _child(target: Target, seed: int, count: int, deadline: float, folder: Path) -> None:
    faulthandler.disable()  # the parent says what happened
    errors = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)  # libtiff, libpng and others write there themselves
    try:
        _cases(target, seed, count, deadline, folder)
    finally:
        os.dup2(errors, 2)


def _cases(target: Target, seed: int, count: int, deadline: float, folder: Path) -> None:
    os.environ[OFFLINE] = "1"  # a case must not download anything
    with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stderr(nowhere):
        take = target.prepare(folder / "work")
        mutator, report = Mutator(target.corpus(), seed), Report()
        before = _memory()
        resource.setrlimit(resource.RLIMIT_AS, (_address_space() + BYTES_MORE, resource.RLIM_INFINITY))
        latest = os.open(folder / "case", os.O_WRONLY | os.O_CREAT)
        for _ in range(count):
            if time.monotonic() > deadline:
                break
            case = mutator.case()
            os.ftruncate(latest, 0)
            os.pwrite(latest, _COUNTS.pack(report.cases, report.results, report.refusals) + case, 0)
            attempt(take, case, report)
        report.memory = max(0, _memory() - before)
    kept = vars(report) | {"findings": {key: (case.hex(), text) for key, (case, text) in report.findings.items()}}
    (folder / "report.json").write_text(json.dumps(kept), "utf-8")


@contextlib.contextmanager
def _limited_time() -> Iterator[None]:
    def end(_number: int, _frame: FrameType | None) -> None:
        raise TooSlowError(f"more than {SECONDS_A_CASE} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(SECONDS_A_CASE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def save(folder: Path, target: Target, report: Report) -> None:
    """Write the cases of the findings, and where they came from, into a folder."""
    for key, (case, text) in report.findings.items():
        stem = folder / f"{target.name}-{hashlib.sha256(case).hexdigest()[:12]}"
        folder.mkdir(parents=True, exist_ok=True)
        stem.with_suffix(".bin").write_bytes(case)
        stem.with_suffix(".txt").write_text(f"{key}\n{text}", "utf-8")
