"""Downloads from servers that cut, drip, redirect in circles or send other bytes, and while clocks jump."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

from lib_facerestore.catalogue import ModelEntry, answer, transfer
from lib_facerestore.catalogue.download import download
from lib_facerestore.errors import DownloadError
from lib_facerestore.images import atomic_write

from .file_server import FileServer, Place
from .interrupted import Count
from .jobs import checkpoint, left_in, model, whole_or_absent

SMALL = checkpoint(16, b"1")


def outcome(entry: ModelEntry, folder: Path, content: bytes, wanted: str) -> str:
    """Download a model, and say what is wrong.

    Args:
        entry: the model.
        folder: the folder, which is created.
        content: what the file must be.
        wanted: "done", "error", or "" for either.
    """
    try:
        download(entry, folder)
        found = "done"
    except DownloadError as error:
        found = "error" if str(error) else "an error without words"
    except Exception as error:  # a fault of the package
        return f"{type(error).__name__}: {error}"
    if found not in ((wanted,) if wanted else ("done", "error")):
        return f"{found}, not {wanted or 'a named error'}"
    return whole_or_absent(folder / "net.pth", content, found == "done") or (
        left_in(folder, "net.pth") if found == "done" else ""
    )


def cuts(server: FileServer, room: Path, every: int) -> Count:
    """Each byte of the answer, its head included: cut there once, or at every request; then a server that works."""
    count = Count()
    for ranges, known, again in itertools.product((True, False), ("hash", "size", "neither"), (False, True)):
        entry = model(server.url("a"), content=SMALL, hashed=known == "hash", sized=known != "neither")
        head, content = Place(SMALL, etag='"1"').answer("", "")
        for at in range(0, len(head) + len(content), every):
            folder = room / f"{ranges}-{known}-{again}-{at}"
            place = server.add("a", Place(SMALL, '"1"', ranges, cuts=[at] * (50 if again else 1)))
            fault = outcome(entry, folder, SMALL, "" if again else "done")
            if again and not fault:
                fault = f"{place.asked} requests" if place.asked > 2 * transfer.ATTEMPTS else ""
                place.cuts = []
                fault = fault or outcome(entry, folder, SMALL, "done")
            where = f"{'ranges' if ranges else 'no ranges'}, {known} known, {'each request' if again else 'once'}"
            count.add(fault and f"cut at byte {at} ({where}): {fault}")
            shutil.rmtree(folder)
    return count


def wrong_bytes(server: FileServer, room: Path, every: int) -> Count:
    """Each byte changed, each shorter file, a longer one: refused; then another mirror, or the next run, has it."""
    count = Count()
    changed = [SMALL[:at] + bytes([SMALL[at] ^ 1]) + SMALL[at + 1 :] for at in range(0, len(SMALL), every)]
    shorter = [SMALL[:at] for at in range(0, len(SMALL), every)]
    for number, content in enumerate([*changed, *shorter, SMALL + b"!"]):
        for length in (True, False):
            folder = room / f"{number}-{length}"
            server.add("a", Place(content, length=length))
            server.add("b", Place(SMALL))
            alone, two = (model(*map(server.url, names), content=SMALL) for names in ("a", "ab"))
            fault = outcome(alone, folder, SMALL, "error") or outcome(two, folder, SMALL, "done")
            count.add(fault and f"wrong file {number} of {len(content)} bytes: {fault}")
            shutil.rmtree(folder)
    return count


def redirects(server: FileServer, room: Path, every: int) -> Count:
    """Circles of 1 to 12 addresses, chains of 1 to 14, a redirect without end: a mirror, a named error, or the file."""
    count = Count()
    cases: list[tuple[str, str, bool]] = []
    for size in range(1, 13, every):
        for number in range(size):
            server.add(f"circle{size}-{number}", Place(b"", redirect=f"/circle{size}-{(number + 1) % size}"))
        cases.append((f"a circle of {size}", f"circle{size}-0", False))
    for size in range(1, 15, every):
        for number in range(size):
            server.add(f"chain{size}-{number}", Place(b"", redirect=f"/chain{size}-{number + 1}"))
        server.add(f"chain{size}-{size}", Place(SMALL))
        cases.append((f"a chain of {size}", f"chain{size}-0", size <= answer.REDIRECTS))
    server.add("endless", Place(b"", redirect="/absent", endless=True))
    server.add("nowhere", Place(b"", redirect="http://127.0.0.1:1/"))
    server.add("odd", Place(b"", redirect="gopher://[x"))
    cases += [(f"a redirect {name}", name, False) for name in ("endless", "nowhere", "odd")]
    server.add("b", Place(SMALL))
    for name, path, works in cases:
        folder = room / path
        alone, two = (model(*map(server.url, paths), content=SMALL) for paths in ((path,), (path, "b")))
        fault = outcome(alone, folder, SMALL, "done" if works else "error") or outcome(two, folder, SMALL, "done")
        count.add(fault and f"{name}: {fault}")
    return count


def slow(server: FileServer, room: Path, every: int) -> Count:
    """One byte at a time, of the head or the content, slower or faster than is allowed (limits: 0.5 s, 2 requests)."""
    count = Count()
    paces = ((0.001, True), (0.05, False), (0.2, False), (0.4, False))[::every]
    limits = mock.patch.multiple(transfer, SLOW_SECONDS=0.5, ATTEMPTS=2, WORTH=64)
    with limits, mock.patch.object(answer, "ANSWER_SECONDS", 0.5):
        for (seconds, works), drip, ranges in itertools.product(paces, ("head", "content"), (True, False)):
            name = f"{seconds}-{drip}-{ranges}"
            place = server.add(name, Place(SMALL, '"1"', ranges, seconds=seconds, drip=drip))
            server.add("b", Place(SMALL))
            began = time.monotonic()
            alone, two = (model(*map(server.url, paths), content=SMALL) for paths in ((name,), (name, "b")))
            fault = outcome(alone, room / name, SMALL, "done" if works else "error")
            fault = fault or outcome(two, room / name, SMALL, "done")
            took = time.monotonic() - began
            fault = fault or (f"took {took:.0f} s, {place.asked} requests" if took > 15 else "")
            count.add(fault and f"a byte each {seconds} s of the {drip}: {fault}")
    return count


def clocks(server: FileServer, room: Path, every: int) -> Count:
    """The clock jumps two hours or ten years, forwards or backwards, at each of its readings: the result is the same.

    A file that another process is writing is left alone then, and one that nobody is writing goes in the end.
    """
    count = Count()
    large = checkpoint(200_000, b"7")
    entry = model(server.url("a"), content=large, hashed=False)
    for jump, at in itertools.product((7200.0, -7200.0, 3.2e8, -3.2e8), range(0, 12, every)):
        folder = room / f"{jump}-{at}"
        place = server.add("a", Place(large, '"1"', cuts=[150_000]))
        folder.mkdir()
        held = folder / ".facerestore-1-0.tmp"
        with _jumping(jump, at), held.open("wb") as open_file:
            atomic_write.hold(open_file.fileno())
            fault = outcome(entry, folder, large, "done").replace(f"{held.name} is never cleaned up", "")
            fault = fault or ("a file that is being written was deleted" if not held.exists() else "")
        fault = fault or (f"{place.asked} requests" if place.asked > 3 else "")
        with _jumping(jump, 0):
            atomic_write.remove_leftovers(folder)
        fault = fault or left_in(folder, "net.pth")
        count.add(fault and f"a jump of {jump:.0f} s at reading {at}: {fault}")
        shutil.rmtree(folder)
    return count


@contextlib.contextmanager
def _jumping(jump: float, at: int) -> Iterator[None]:
    """Both clocks that the package reads jump at reading number `at`."""
    readings = itertools.count()

    def read(clock: Callable[[], float]) -> Callable[[], float]:
        return lambda: clock() + (jump if next(readings) >= at else 0.0)

    clock = SimpleNamespace(time=read(time.time), monotonic=read(time.monotonic), sleep=time.sleep)
    atomic_write._tidied.clear()
    with mock.patch.object(transfer, "time", clock), mock.patch.object(atomic_write, "time", clock):
        yield
