"""The command line: `python -m tools.soak downloads --help`.

Downloads and written files against everything that interrupts them. Prints a table with a line for each kind of
interruption: how many cases were tried, and how many held; what did not is printed below, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import logging
import os
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from unittest import mock

import httpx

from lib_facerestore.catalogue import part_file, transfer
from lib_facerestore.catalogue.download import MIRROR, OFFLINE

from . import connections, interrupted, jobs, processes
from .file_server import FileServer
from .interrupted import Count

Kind = tuple[str, Callable[[Path], Count]]


@contextlib.contextmanager
def small_scale() -> Iterator[FileServer]:
    """A local server, and a package that does not pause, asks nobody else, and flushes as often as with large files."""
    others = (OFFLINE, MIRROR, "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
    environment = {name: value for name, value in os.environ.items() if name not in others}
    certificates = httpx.create_ssl_context()  # read once, which takes longer than a download here
    with (
        mock.patch.object(httpx, "Client", functools.partial(httpx.Client, verify=certificates)),
        mock.patch.dict(os.environ, environment, clear=True),
        mock.patch.object(transfer, "PAUSE", 0.0),
        mock.patch.object(part_file, "FLUSHED_EVERY", 4096),
        FileServer() as server,
    ):
        yield server


def kinds(server: FileServer, every: int, rounds: int, seed: int) -> list[Kind]:
    """The kinds of interruption, with the function that tries each in an empty folder."""
    loading, writing = jobs.download_jobs(server), [*jobs.write_jobs(), jobs.folder_job(), jobs.folder_job(links=False)]

    def of_all(
        some: Sequence[interrupted.Job], how: Callable[[interrupted.Job, Path, int], Count]
    ) -> Callable[[Path], Count]:
        def tried(room: Path) -> Count:
            count = Count()
            for number, job in enumerate(some):
                place = room / f"{number}"
                place.mkdir()
                one = how(job, place, every)
                count.tried += one.tried
                count.faults += one.faults
            return count

        return tried

    return [
        ("download: connection cut at each byte", lambda room: connections.cuts(server, room, every)),
        ("download: wrong or short file", lambda room: connections.wrong_bytes(server, room, every)),
        (
            "download: redirects in circles, chains, without end",
            lambda room: connections.redirects(server, room, every),
        ),
        ("download: server that drips", lambda room: connections.slow(server, room, every)),
        ("download: clock jumps", lambda room: connections.clocks(server, room, every)),
        ("download: power cut or kill between any two writes", of_all(loading, interrupted.power_cuts)),
        ("download: any write fails (disk full, disk error)", of_all(loading, interrupted.failures)),
        ("download: files cannot grow", lambda room: processes.files_that_cannot_grow(server, room, 500 * every)),
        ("download: two processes, one killed", lambda room: processes.two_downloads(server, room, rounds, seed)),
        ("pictures, records, models: power cut or kill", of_all(writing, interrupted.power_cuts)),
        ("pictures, records, models: any write fails", of_all(writing, interrupted.failures)),
        ("folder run: two processes, one killed", lambda room: processes.two_folder_runs(room, rounds, seed)),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Try all kinds and print the table; 1 if anything did not hold."""
    parser = argparse.ArgumentParser(prog="python -m tools.soak downloads", description=__doc__)
    parser.add_argument("--every", type=int, default=1, help="try only every so many of the cases")
    parser.add_argument("--rounds", type=int, default=40, help="rounds with two processes")
    parser.add_argument("--seed", type=int, help="repeat a run")
    parser.add_argument("--only", default="", help="only kinds whose name contains this")
    given = parser.parse_args(arguments)
    seed = secrets.randbelow(2**31) if given.seed is None else given.seed
    logging.disable()
    print(f"seed {seed}\n\n| what | tried | held | seconds |\n| --- | ---: | ---: | ---: |", flush=True)
    faults: list[str] = []
    with small_scale() as server:
        for name, tried in kinds(server, given.every, given.rounds, seed):
            if given.only not in name:
                continue
            began = time.monotonic()
            with tempfile.TemporaryDirectory() as room:
                count = tried(Path(room))
            held, seconds = count.tried - len(count.faults), time.monotonic() - began
            print(f"| {name} | {count.tried:,} | {held:,} | {seconds:.0f} |", flush=True)
            faults += [f"{name}: {fault}" for fault in count.faults]
    print("".join(f"\n{fault}" for fault in faults))
    return int(bool(faults))
