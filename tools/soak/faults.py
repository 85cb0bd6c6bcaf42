"""Faults at every place of a run over three pictures: each result is right, or one error names what happened.

Afterwards the same `FaceRestorer` restores what failed, without the fault. `python -m tools.soak faults --help`
"""

from __future__ import annotations

import argparse
import errno
import logging
import os
import random
import secrets
import shutil
import tempfile
from collections.abc import Callable, Container, Iterable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import torch

from lib_facerestore import FaceRestorer, Options
from lib_facerestore.batch.folder import Outcome, restore_files
from lib_facerestore.batch.plan import plan
from lib_facerestore.catalogue.download import OFFLINE
from lib_facerestore.errors import FaceRestoreError
from lib_facerestore.images import atomic_write

from .checks import Checks
from .injected import Act, at_call, at_network, at_reading, raising
from .interrupted import hours_later
from .pictures import model_folder, picture
from .watch import Watch

OPTIONS = Options(model="small", detector="lite")
Fault = Callable[[], AbstractContextManager[Any]]
ERRORS: dict[str, Callable[[], BaseException]] = {
    "MemoryError": MemoryError,
    "CUDA out of memory": lambda: torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "out of memory on the CPU": lambda: RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory"),
    "an unexpected error": lambda: ZeroDivisionError("division by zero"),
}


class Job:
    """A few pictures, a model, a `FaceRestorer` that stays, and what it makes of them without a fault."""

    def __init__(self, work: Path, seed: int, names: Sequence[str] = ("a.png", "b.jpg", "c.webp")) -> None:
        self.source, self.models, self.runs = work / "in", model_folder(work / "models"), 0
        self.work, chance = work, random.Random(seed)
        self.source.mkdir()
        for name in names:
            picture(chance).save(self.source / name)
        self.inputs = {path: path.read_bytes() for path in self.source.iterdir()}
        self.restorer = FaceRestorer(self.models, "cpu")
        self.logged = _Logged()
        self.right: list[dict[str, bytes]] = []
        self.add_right()

    def add_right(self) -> None:
        """What is made now, without a fault, is right."""
        out, outcomes, _ = self.run(None)
        assert all(not outcome.error and outcome.faces for outcome in outcomes), outcomes
        self.right.append(content(out))

    def run(self, fault: Fault | None, out: Path | None = None) -> tuple[Path, list[Outcome], BaseException | None]:
        """One run. Returns its folder, its outcomes, and what it raised."""
        self.runs += 1
        if out is None:
            out = self.work / f"out{self.runs}"
            out.mkdir()
        outcomes: list[Outcome] = []
        self.logged.said = False
        try:
            if fault is None:
                outcomes += restore_files(self.restorer, self.tasks(out), OPTIONS, skip_existing=True)
            else:
                tasks = self.tasks(out)
                with fault():
                    outcomes += restore_files(self.restorer, tasks, OPTIONS, skip_existing=True)
        except Exception as error:
            return out, outcomes, error
        return out, outcomes, None

    def tasks(self, out: Path) -> Any:
        """The plan of a run into this folder."""
        return plan([self.source], out, folder=True).tasks

    def attempt(self, what: str, fault: Fault, after: Act = lambda: None, may_leave: bool = False) -> bool:
        """Run with a fault, and go on without it; true if everything was right or named.

        Temporary files must be gone at once, or, if they `may_leave` one since deleting it fails, two hours later.
        """
        out, outcomes, error = self.run(fault)
        faults = list(self.judge(out, outcomes, error))
        faults += [] if may_leave else _left(out)
        told = {one.task.target.name for one in outcomes if self.told(one)}
        after()
        with hours_later():
            _, again, later = self.run(None, out)
            atomic_write.remove_leftovers(out)  # as the next run that writes there does
        faults += _left(out)
        if later is not None or any(one.error for one in again):
            faults.append(f"afterwards: {later or [one.error for one in again if one.error]}")
        if not self.mixed(out, told):
            faults.append("afterwards: not the right result")
        faults += [f"{path} changed" for path, data in self.inputs.items() if path.read_bytes() != data]
        shutil.rmtree(out)
        for one in faults:
            print(f"     {what}: {one}", flush=True)
        return not faults

    def mixed(self, out: Path, told: Iterable[str]) -> bool:
        """Whether each result is one of the right ones, of whichever model."""
        return all(
            any(one.get(name) == data for one in self.right) for name, data in content(out).items() if name not in told
        )

    def told(self, outcome: Outcome) -> bool:
        """Whether the outcome or a warning says that something failed."""
        said = [note for note in outcome.notes if "failed" in note or "cannot be used" in note]
        return self.logged.said or bool(said or outcome.failures)

    def judge(self, out: Path, outcomes: list[Outcome], error: BaseException | None) -> Iterable[str]:
        """What is wrong with a run."""
        if error is not None:
            if not isinstance(error, FaceRestoreError):
                yield f"raised {error!r}"
        elif len(outcomes) != len(self.inputs):
            yield f"{len(outcomes)} outcomes"
        found = content(out)
        for outcome in outcomes:
            name, target = outcome.task.source.name, outcome.task.target.name
            if outcome.error:
                if (name not in outcome.error and target not in outcome.error) or "\n" in outcome.error:
                    yield f"not named: {outcome.error}"
                if "--verbose" in outcome.error and "emory" in outcome.error:
                    yield f"no remedy: {outcome.error}"
            elif target not in found:
                yield f"{target} is lost"
            elif not any(found[target] == one[target] for one in self.right) and not self.told(outcome):
                yield f"{target} differs, and nothing is said: {outcome.notes}"


def _left(folder: Path) -> list[str]:
    return [f"left {path.name}" for path in folder.iterdir() if path.name.startswith(".")]


class _Logged(logging.Handler):
    """Whether the package has logged a warning, which the command line shows."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said = False
        logging.getLogger("lib_facerestore").addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.said = True


def content(folder: Path) -> dict[str, bytes]:
    """The files of a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}


def main(arguments: list[str]) -> int:
    """Run it and print the checks; 1 if one did not hold."""
    parser = argparse.ArgumentParser(prog="python -m tools.soak faults", description=__doc__)
    parser.add_argument("--places", type=int, default=200, help="calls of functions at which memory ends, at most")
    parser.add_argument("--seed", type=int, help="repeat a run's places")
    given = parser.parse_args(arguments)
    seed = secrets.randbelow(2**31) if given.seed is None else given.seed
    print(f"seed {seed}", flush=True)
    os.environ[OFFLINE] = "1"
    work = Path(tempfile.mkdtemp(prefix="soak-faults-"))
    try:
        return run(work, given.places, seed)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def run(work: Path, places: int, seed: int) -> int:
    """All faults; prints the checks and returns the exit code."""
    checks, job, chance = Checks(), Job(work, seed), random.Random(seed)
    with at_network(-1, None) as counted:
        job.run(None)
    networks = _some(range(counted.count), places, chance)
    tried(checks, job, "NaN from each call of a network", ((n, partial(at_network, n, None)) for n in networks))
    for name, make in ERRORS.items():
        faults = [(n, partial(at_network, n, raising(make()))) for n in networks]
        tried(checks, job, f"{name} in each call of a network", faults)
    with at_call(-1, lambda: None) as counted:
        job.run(None)
    calls = _some(range(counted.count), places, chance)
    faults = [(n, partial(at_call, n, raising(MemoryError()))) for n in calls]
    tried(checks, job, f"MemoryError in some of {counted.count:,} calls", faults)
    _disk(checks, job)
    _models(checks, job, _some(calls, max(1, places // 10), chance))
    return checks.code()


def tried(
    checks: Checks,
    job: Job,
    what: str,
    faults: Iterable[tuple[int, Fault]],
    after: Act = lambda: None,
    deleting: Container[int] = (),
) -> None:
    """Make attempts and print their check; in those numbered in `deleting`, a temporary file cannot be deleted."""
    held = [job.attempt(f"{what}, {number}", fault, after, number in deleting) for number, fault in faults]
    checks.check(what, len(held), sum(held))


def _some(numbers: Iterable[int], most: int, chance: random.Random) -> list[int]:
    there = list(numbers)
    return sorted(chance.sample(there, most)) if len(there) > most else there


def _disk(checks: Checks, job: Job) -> None:
    out = job.work / "counted"
    out.mkdir()
    watch = Watch(out)
    with watch.recording():
        job.run(None, out)
    for code, what in ((errno.ENOSPC, "disk full"), (errno.EIO, "EIO")):
        faults = [(n, partial(_writing, job, n, code)) for n in range(len(watch.operations))]
        deleting = {n for n, operation in enumerate(watch.operations) if operation.kind == "unlink"}
        tried(checks, job, f"{what} at each operation of writing", faults, deleting=deleting)
    with at_reading(job.source, -1, True) as counted:
        job.run(None)
    for opens, what in ((True, "reading"), (False, "opening")):
        reads = [(n, partial(at_reading, job.source, n, opens)) for n in range(counted.count)]
        tried(checks, job, f"EIO at each {what} of a picture", reads)


def _writing(job: Job, at: int, code: int) -> AbstractContextManager[Any]:
    return Watch(job.work / f"out{job.runs}", at, code).recording()


def _models(checks: Checks, job: Job, calls: list[int]) -> None:
    file = job.models / "small.safetensors"
    whole, other = file.read_bytes(), model_folder(job.work / "other", seed=1) / "small.safetensors"
    file.write_bytes(other.read_bytes())
    job.add_right()
    file.write_bytes(whole)
    acts: dict[str, Act] = {
        "replaced by another": lambda: os.replace(shutil.copy(other, file.with_suffix(".new")), file),
        "cut to half": partial(_write, file, whole[: len(whole) // 2]),
        "overwritten with a text": partial(_write, file, b"<!doctype html>"),
        "deleted": lambda: file.unlink(missing_ok=True),
    }
    for name, act in acts.items():
        faults = [(n, partial(at_call, n, act)) for n in calls]
        tried(checks, job, f"model file {name} while it runs", faults, partial(_write, file, whole))


def _write(file: Path, data: bytes) -> None:
    file.write_bytes(data)
