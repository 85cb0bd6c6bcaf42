"""What is left where a job is interrupted at any of its operations on files, by a power cut or by an error.

A `Job` does something to a folder. It is run once while its operations are recorded. Then, for every state that a power
cut or a kill between two of them can leave (see `disk`), and for every operation that fails, the folder is checked, the
job is run again an hour later, and the folder is checked again.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

from lib_facerestore.errors import FaceRestoreError
from lib_facerestore.images import atomic_write

from .disk import Disk, Tree, read_tree, write_tree
from .watch import Watch


@dataclass(frozen=True)
class Job:
    """Something that is interrupted.

    Attributes:
        name: of the job.
        prepare: fills an empty folder.
        run: does the work in the folder.
        whole: looks at the folder after an interruption; the second argument is whether `run` had finished. Returns
            what is wrong, "" if nothing is.
        again: does the work once more.
        done: looks at the folder after that; returns what is wrong.
        links: whether the file system has hard links.
    """

    name: str
    prepare: Callable[[Path], None]
    run: Callable[[Path], None]
    whole: Callable[[Path, bool], str]
    again: Callable[[Path], None]
    done: Callable[[Path], str]
    links: bool = True


@dataclass
class Count:
    """How many cases were tried, and what did not hold."""

    tried: int = 0
    faults: list[str] = field(default_factory=list)

    def add(self, fault: str) -> None:
        """Count a case; "" is one that held."""
        self.tried += 1
        if fault:
            self.faults.append(fault)


@contextlib.contextmanager
def hours_later(hours: float = 2.0) -> Iterator[None]:
    """Let the package take the time to be later, or earlier, and let this process be a new one to it."""
    atomic_write._tidied.clear()
    later = SimpleNamespace(time=lambda: time.time() + hours * 3600)
    with mock.patch.object(atomic_write, "time", later):
        yield


def power_cuts(job: Job, room: Path, every: int = 1) -> Count:
    """Try all states that a power cut or a kill can leave.

    Args:
        job: the job.
        room: an empty folder for its folders.
        every: 1 tries each state, 2 every second one, and so on; the first and last are always tried.
    """
    count = Count()
    states = list(_states(job, room))
    for number, (finished, after, tree) in enumerate(states):
        if number % every and number != len(states) - 1:
            continue
        folder = room / f"{number}"
        write_tree(folder, tree)
        fault = _look(job, folder, finished)
        count.add(fault and f"{job.name}: cut after {after}: {fault}; left: {_shown(tree)}")
        shutil.rmtree(folder)
    return count


def failures(job: Job, room: Path, every: int = 1) -> Count:
    """Let each operation fail: the disk is full for a moment, it stays full, the disk has an error."""
    count = Count()
    for code, always in ((errno.ENOSPC, False), (errno.ENOSPC, True), (errno.EIO, False)):
        for at in itertools.count(0, every):
            folder = room / f"{code}-{always}-{at}"
            folder.mkdir()
            job.prepare(folder)
            watch = Watch(folder, at, code, always=always, links=job.links)
            fault, finished = "", True
            atomic_write._tidied.clear()
            try:
                with watch.recording():
                    job.run(folder)
            except FaceRestoreError as error:
                finished = False
                fault = "" if str(error) else "an error without words"
            except Exception as error:  # a fault of the package
                finished, fault = False, f"{type(error).__name__}: {error}"
            if not watch.failed:
                shutil.rmtree(folder)
                break
            tree = read_tree(folder)
            fault = fault or _look(job, folder, finished)
            how = f"{errno.errorcode[code]}{' from then on' if always else ''}"
            count.add(fault and f"{job.name}: {how} at operation {at}: {fault}; left: {_shown(tree)}")
            shutil.rmtree(folder)
    return count


def _states(job: Job, room: Path) -> Iterator[tuple[bool, str, Tree]]:
    """All different states, with whether the job had finished and the operation before."""
    folder = room / "recorded"
    folder.mkdir()
    job.prepare(folder)
    atomic_write._tidied.clear()
    watch = Watch(folder, links=job.links)
    with watch.recording():
        job.run(folder)
    shutil.rmtree(folder)
    disk = Disk(watch.start)
    seen = set()
    for number in range(len(watch.operations) + 1):
        after = "nothing"
        if number:
            last = watch.operations[number - 1]
            disk.apply(last)
            after = f"operation {number} ({last.kind} {last.path or last.file})"
        finished = number == len(watch.operations)
        for tree in itertools.chain([disk.now()], disk.after_power_cuts()):
            key = (finished, tuple(sorted(tree.items())))
            if key not in seen:
                seen.add(key)
                yield finished, after, tree


def _look(job: Job, folder: Path, finished: bool) -> str:
    """What is wrong with the folder now, and after the next run."""
    fault = job.whole(folder, finished)
    if fault:
        return fault
    try:
        with hours_later():
            job.again(folder)
    except Exception as error:  # whatever it is, the next run should have worked
        return f"the next run fails: {type(error).__name__}: {error}"
    fault = job.done(folder)
    return fault and f"after the next run: {fault}"


def _shown(tree: Tree) -> str:
    return ", ".join(f"{path} ({'folder' if data is None else len(data)})" for path, data in tree.items()) or "nothing"
