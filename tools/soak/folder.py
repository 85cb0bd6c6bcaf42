"""A large folder on the real command line: in one go, and beside it killed at random times and gone on with.

`python -m tools.soak folder --help`
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import random
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

from lib_facerestore.catalogue.download import OFFLINE

from .checks import Checks, Level, check_levels, held
from .pictures import FAST, make_folder, model_folder

ENVIRONMENT = {OFFLINE: "1", "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
ERROR, EXIST = "facerestore: ", " already and w"


class Run:
    """The command line as a process, whose outputs go to a file."""

    def __init__(self, source: Path, target: Path, models: Path, log: Path) -> None:
        command = [sys.executable, "-m", "tools.soak.holding", "restore", str(source), "-o", str(target)]
        command += ["--skip-existing", "--models", str(models), *FAST]
        self.target, self.log = target, log
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                command, stdout=file, stderr=subprocess.STDOUT, env=os.environ | ENVIRONMENT
            )

    def watched(self, every: int) -> list[Level]:
        """Wait for the end; the process's levels whenever `every` further pictures are done."""
        watched, samples, due = psutil.Process(self.process.pid), [], every
        while self.process.poll() is None:
            if self.done() >= due:
                with contextlib.suppress(psutil.Error):
                    samples.append(held(watched))
                due += every
            time.sleep(0.2)
        return samples

    def killed(self, more: int, seconds: float) -> bool:
        """Kill it after `more` pictures and some time; False if it ended before."""
        while self.process.poll() is None and self.done() < more:
            time.sleep(0.05)
        time.sleep(seconds)
        self.process.kill()
        return self.process.wait() < 0

    def done(self) -> int:
        """How many pictures it has printed a line for; those that it skipped are counted in one line at the end."""
        return sum(EXIST not in line for line in self.lines())

    def lines(self) -> list[str]:
        """What it printed, without what stands below a picture's line."""
        return [line for line in self.log.read_text("utf-8", "replace").splitlines() if not line.startswith("  ")]


def hashes(folder: Path) -> dict[str, str]:
    """The hashes of the finished files of a folder by their relative paths."""
    unfinished = set(left(folder))
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path not in unfinished
    }


def left(folder: Path) -> list[Path]:
    """The temporary and the empty files below a folder."""
    return [
        path for path in folder.rglob("*") if path.is_file() and (path.name.startswith(".") or not path.stat().st_size)
    ]


def main(arguments: list[str]) -> int:
    """Run it and print the checks; 1 if one did not hold."""
    parser = argparse.ArgumentParser(prog="python -m tools.soak folder", description=__doc__)
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--seed", type=int, help="repeat a run's pictures and kills")
    given = parser.parse_args(arguments)
    seed = secrets.randbelow(2**31) if given.seed is None else given.seed
    print(f"seed {seed}, {given.pictures} pictures, {given.kills} kills", flush=True)
    with _work_folder() as work:
        return _soak(work, given.pictures, given.kills, seed)


@contextlib.contextmanager
def _work_folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="soak-folder-"))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _soak(work: Path, pictures: int, kills: int, seed: int) -> int:
    checks, source, models = Checks(), make_folder(work / "in", pictures, seed), model_folder(work / "models")
    before = {path: path.read_bytes() for path in source.rglob("*") if path.is_file()}
    serial, broken = work / "serial", work / "killed"
    serial.mkdir()
    broken.mkdir()
    run = Run(source, serial, models, work / "serial.log")
    with ThreadPoolExecutor(1) as beside:
        samples = beside.submit(run.watched, max(1, pictures // 200))
        snapshots, done = _kill(work, broken, models, pictures, kills, seed)
        levels = samples.result()
    expected = hashes(serial)
    errors = [line for line in run.lines() if line.startswith(ERROR) and str(source) in line]
    told = sum(" -> " in line for line in run.lines()) + len(errors)
    checks.check("each picture is written or named with its error", pictures, told, f"{len(errors)} errors")
    checks.check("a result for each picture without an error", pictures - len(errors), len(expected))
    logs = [log.read_text("utf-8", "replace") for log in work.glob("*.log")]
    checks.check("runs without a traceback", len(logs), sum("Traceback" not in text for text in logs))
    check_levels(checks, "the run in one go", levels)
    whole = sum(snapshot.items() <= expected.items() for snapshot in snapshots)
    checks.check("kills after which every finished file is whole and right", kills, whole, f"{done} while it worked")
    found = hashes(broken)
    same = sum(found.get(name) == value for name, value in expected.items())
    checks.check("results after the kills equal to those in one go", len(expected), same)
    checks.check("no results besides", 1, int(found.keys() <= expected.keys()))
    checks.check("no temporary or empty file left", 1, int(not left(broken)))
    checks.check("inputs unchanged", pictures, sum(path.read_bytes() == data for path, data in before.items()))
    return checks.code()


def _kill(
    work: Path, target: Path, models: Path, pictures: int, kills: int, seed: int
) -> tuple[list[dict[str, str]], int]:
    """Start runs and kill them, then let the last one end.

    Returns:
        The finished files after each kill, and how many runs were killed while they worked.
    """
    chance, done, snapshots = random.Random(seed), 0, []
    for index in range(kills):
        run = Run(work / "in", target, models, work / f"killed-{index}.log")
        done += run.killed(chance.randrange(max(1, pictures // (kills + 2)) + 1), chance.uniform(0, 0.5))
        snapshots.append(hashes(target))
    for path in left(target):  # they are removed when they are an hour old
        os.utime(path, (time.time() - 7200,) * 2)
    Run(work / "in", target, models, work / "last.log").process.wait()
    return snapshots, done
