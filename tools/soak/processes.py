"""Several real processes at once, some of them killed, and one whose files cannot grow."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
import time
from pathlib import Path

from .connections import outcome
from .file_server import FileServer, Place
from .interrupted import Count, hours_later
from .jobs import checkpoint, fill_folder, folder_results, model, run_folder, whole_or_absent

ROOT = Path(__file__).resolve().parents[2]
CONTENT = checkpoint(30_000, b"5")


def _start(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tools.soak.child", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def _said(process: subprocess.Popen[str]) -> str:
    """The last line of a process, or of its errors."""
    out, errors = process.communicate(timeout=120)
    return (out.strip() or errors.strip() or "nothing").splitlines()[-1]


def two_downloads(server: FileServer, room: Path, rounds: int, seed: int) -> Count:
    """Two processes download one file; in every second round one of them is killed at some moment."""
    count, chance = Count(), random.Random(seed)
    for number in range(rounds):
        place = server.add("a", Place(CONTENT, '"1"', cuts=[chance.randrange(len(CONTENT)) for _ in range(2)]))
        place.drip, place.seconds = "content", 0.00001
        folder, kill = room / f"{number}", number % 2 == 1
        arguments = (server.url("a"), hashlib.sha256(CONTENT).hexdigest(), len(CONTENT), folder)
        running = [_start("download", *arguments) for _ in range(2)]
        if kill:
            while not place.asked and running[0].poll() is None:
                time.sleep(0.01)
            time.sleep(chance.uniform(0, 0.5))
            running.pop(chance.randrange(2)).kill()
        said = [_said(process) for process in running]
        fault = "" if all(one == "done" for one in said) else f"{said}"
        fault = fault or whole_or_absent(folder / "net.pth", CONTENT, True)
        if not kill and place.asked > 3:
            fault = fault or f"the file was fetched twice, with {place.asked} requests"
        with hours_later():
            fault = fault or outcome(model(server.url("a"), content=CONTENT), folder, CONTENT, "done")
        count.add(fault and f"round {number}{', one killed' if kill else ''}: {fault}")
    return count


def two_folder_runs(room: Path, rounds: int, seed: int) -> Count:
    """Two processes restore one folder with --skip-existing; in every second round one is killed at some moment."""
    count, chance = Count(), random.Random(seed)
    for number in range(rounds):
        folder, kill = room / f"{number}", number % 2 == 1
        folder.mkdir()
        fill_folder(folder)
        running = [_start("folder", folder) for _ in range(2)]
        if kill:
            while not (folder / "out").exists() and running[0].poll() is None:
                time.sleep(0.001)
            time.sleep(chance.uniform(0, 0.02))
            killed = running.pop(chance.randrange(2))
            killed.kill()
            killed.communicate()
        said = [_said(process) for process in running]
        fault = "" if all(one == "done" for one in said) else f"{said}"
        fault = fault or folder_results(folder, True)
        with hours_later():
            run_folder(folder)
        left = [path.name for path in folder.rglob(".facerestore-*.tmp")]
        fault = fault or folder_results(folder, True) or (f"{left} is never cleaned up" if left else "")
        count.add(fault and f"round {number}{', one killed' if kill else ''}: {fault}")
    return count


def files_that_cannot_grow(server: FileServer, room: Path, step: int) -> Count:
    """A process whose files cannot become larger than each of these sizes, as on a full disk; then one that can."""
    count = Count()
    server.add("a", Place(CONTENT, '"1"'))
    entry = model(server.url("a"), content=CONTENT)
    for most in range(0, len(CONTENT), step):
        folder = room / f"{most}"
        arguments = (server.url("a"), hashlib.sha256(CONTENT).hexdigest(), len(CONTENT), folder, most)
        said = _said(_start("download", *arguments))
        fault = "" if said.startswith("DownloadError: ") else said
        fault = fault or whole_or_absent(folder / "net.pth", CONTENT, False)
        fault = fault or outcome(entry, folder, CONTENT, "done")
        count.add(fault and f"files of at most {most} bytes: {fault}")
    return count
