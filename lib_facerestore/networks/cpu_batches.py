"""A batch on a CPU: its faces go through the network side by side, each on its share of torch's threads.

One face on all threads leaves some of them idle wherever an operation is too small to be shared out or waits for
memory; faces that run beside each other fill those gaps. A GPU is given the whole batch instead.
"""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Empty, SimpleQueue

import torch

Restore = Callable[[torch.Tensor], torch.Tensor]
Todo = SimpleQueue[tuple[torch.Tensor, torch.Tensor]]
"""Parts of a batch, each with the place that its answer goes to."""

CACHED_PIXELS = 4 * 256**2
"""Pixels of faces that go through a network in one go. With more, the feature maps no longer fit a CPU's caches, and a
batch takes up to a tenth longer than its faces one by one."""

PIXELS = 2 * 2048**2
"""Pixels of faces that are in work at a time, on all threads together: each takes memory of its own."""

CGROUP = Path("/sys/fs/cgroup")
"""Where a container sees its own limits."""

PIXELS_UNSEEN = 2 * 1024**2
"""The same where it is not known how much memory is free."""

BYTES_A_PIXEL = 4096
"""Memory that must be free for each pixel of a face before another face begins beside it. Most networks take less, VQFR
more and says so."""


def run_on_cpu(network: Restore, faces: torch.Tensor, most: int, bytes_a_pixel: int = BYTES_A_PIXEL) -> torch.Tensor:
    """Put a batch through a network that runs on the CPU.

    Args:
        network: takes and gives B×C×S×S, for any B, and may run in several threads at once.
        faces: such a batch, of one face at least.
        most: how many parts of the batch may be in work at a time.
        bytes_a_pixel: memory that must be free for each pixel of the faces in work.

    Returns:
        float32 of the shape of `faces`.

    Raises:
        What the network raises, once the faces in work are done; the others are not begun.
    """
    threads, pixels = torch.get_num_threads(), faces.shape[-2] * faces.shape[-1]
    if not _threads_have_counts():
        most = 1
    together = min(len(faces), most, threads)
    parts = faces.split(max(1, min(-(-len(faces) // together), CACHED_PIXELS // pixels)))
    at_once = max(1, min(most, pixels_that_fit(bytes_a_pixel) // (parts[0].shape[0] * pixels)))
    with torch.inference_mode():
        restored = torch.empty(faces.shape, dtype=torch.float32)
        pairs = list(zip(parts, restored.split(parts[0].shape[0]), strict=True))
        for workers, rounds in schedule(len(parts), at_once, threads):
            todo: Todo = SimpleQueue()
            for pair in pairs[: workers * rounds]:
                todo.put(pair)
            del pairs[: workers * rounds]
            if workers == 1:
                _work(network, todo)
            else:
                _run_workers(network, todo, workers, threads)
    return restored


def pixels_that_fit(bytes_a_pixel: int) -> int:
    """Pixels of faces that may be in work at a time in the memory that is free now."""
    try:
        import psutil

        free = psutil.virtual_memory().available
    except Exception:  # it is not installed, or cannot read this system: the fixed limit is for usual machines
        return PIXELS_UNSEEN
    return min(PIXELS, min(free, free_in_container(CGROUP)) // bytes_a_pixel)


def free_in_container(group: Path) -> int:
    """Bytes that this process' container may still take; `sys.maxsize` where there is no limit, or none to be read.

    Args:
        group: a folder of Linux's control groups, version 2 (Documentation/admin-guide/cgroup-v2.rst, "Memory").
    """
    try:
        limit = int((group / "memory.max").read_text())
        used = int((group / "memory.current").read_text())
        lines = (line.split() for line in (group / "memory.stat").read_text().splitlines())
        files = sum(int(count) for name, count in lines if name == "inactive_file")  # given up when it is needed
    except (OSError, ValueError):  # "max" is no number
        return sys.maxsize
    return max(0, limit - used + files)


def schedule(parts: int, at_once: int, threads: int) -> list[tuple[int, int]]:
    """In what order to run parts that take equally long: (how many workers, rounds each) one after the other.

    Each worker has `threads` // workers threads. Of the schedules that are shortest if work is shared out without loss,
    this is the one with most workers, since they lose least: three faces on two threads are two side by side, then one
    on both threads.
    """
    best: list[tuple[int, int]] = []
    shortest = float("inf")
    for workers in range(max(1, min(parts, at_once, threads)), 0, -1):
        rounds, rest = divmod(parts, workers)
        tried = [(workers, rounds), *(schedule(rest, workers, threads) if rest else [])]
        time = sum(rounds / (threads // workers) for workers, rounds in tried)
        if time < shortest - 1e-9:
            best, shortest = tried, time
    return best


def _run_workers(network: Restore, todo: Todo, workers: int, threads: int) -> None:
    ready = threading.Barrier(workers + 1)

    def worker() -> None:
        torch.get_num_threads()  # a thread's first use of torch takes the program's count: not after it is set
        torch.set_num_threads(threads // workers)
        ready.wait()  # so that no worker does two workers' work, and all counts are set before the caller's is put back
        try:
            _work(network, todo)
        except BaseException:
            _empty(todo)
            raise

    with ThreadPoolExecutor(workers, "facerestore") as pool:
        try:
            try:
                working = [pool.submit(worker) for _ in range(workers)]
                ready.wait()
            except BaseException:
                ready.abort()  # no thread could be started, or interrupted: release the workers that wait
                raise
            finally:
                torch.set_num_threads(threads)  # what a worker sets is also what new threads of the program start with
            for one in working:
                one.result()
        finally:
            _empty(todo)  # interrupted while waiting: what is in work ends, nothing else begins


def _work(network: Restore, todo: Todo) -> None:
    with torch.inference_mode():  # it holds for one thread only
        while True:
            try:
                part, restored = todo.get_nowait()
            except Empty:
                return
            restored.copy_(network(part))


def _empty(todo: Todo) -> None:
    while True:
        try:
            todo.get_nowait()
        except Empty:
            return


@functools.cache
def _threads_have_counts() -> bool:
    """Only torch's OpenMP backend, which its wheels have, keeps a count of threads for each thread."""
    return "ATen parallel backend: OpenMP" in torch.__config__.parallel_info()
