"""Batches on a CPU: several faces are restored at the same time, each on a share of torch's threads.

With one face on all threads, some threads are idle whenever an operation is too small to divide or waits for memory.
Faces that run in parallel use that time. A GPU gets the whole batch at once instead.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue

import torch

from ..system.memory import CGROUP, free_memory

Restore = Callable[[torch.Tensor], torch.Tensor]
Todo = SimpleQueue[tuple[torch.Tensor, torch.Tensor]]
"""Queue of parts of a batch, each with the slice of the result that its output is written to."""

CACHED_PIXELS = 4 * 256**2
"""Most pixels of faces in one call of the network. With more, the feature maps no longer fit into a CPU's caches, and a
batch takes up to 10 % longer than its faces one by one."""

PIXELS = 2 * 2048**2
"""Most pixels of faces in work at the same time, on all threads together: it limits the memory that is used."""

PIXELS_UNSEEN = 2 * 1024**2
"""Used in place of `PIXELS` if the amount of free memory is not known."""

BYTES_A_PIXEL = 4096
"""Free memory in bytes, for each pixel of a face, that is needed to start another face in parallel. Most networks need
less. Those that need more set `Restorer.bytes_a_pixel`."""


def run_on_cpu(network: Restore, faces: torch.Tensor, most: int, bytes_a_pixel: int = BYTES_A_PIXEL) -> torch.Tensor:
    """Put a batch through a network that runs on the CPU.

    Args:
        network: maps B×C×S×S to the same shape, for any B; it is called from several threads at once.
        faces: B×C×S×S with B ≥ 1.
        most: how many parts of the batch may be in work at the same time.
        bytes_a_pixel: memory in bytes that must be free for each pixel of the faces in work.

    Returns:
        float32 tensor of the shape of `faces`.

    Raises:
        Exception: whatever the network raises. The faces in work are finished first; no others are started.
    """
    threads, pixels = torch.get_num_threads(), faces.shape[-2] * faces.shape[-1]
    if not _threads_have_counts():
        most = 1
    together = min(len(faces), most, threads)
    parts = faces.split(max(1, min(-(-len(faces) // together), CACHED_PIXELS // pixels)))
    at_once = max(1, min(most, pixels_that_fit(bytes_a_pixel) // (parts[0].shape[0] * pixels)))
    with torch.inference_mode():
        restored = torch.empty(faces.shape, dtype=torch.float32, device="cpu")
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
    """How many pixels of faces may be in work at the same time, given the memory that is free now."""
    free = free_memory(CGROUP)
    return PIXELS_UNSEEN if free is None else min(PIXELS, free // bytes_a_pixel)


def schedule(parts: int, at_once: int, threads: int) -> list[tuple[int, int]]:
    """Plan how to run parts that take equally long.

    The plan is the one that would be shortest if threads divided work perfectly. Of several such plans it is the one
    with the most workers, because fewer threads for each part waste less time. Example: of three faces on two threads,
    two run in parallel on one thread each, then one on both.

    Args:
        parts: number of parts, at least 1.
        at_once: most parts in work at the same time.
        threads: number of torch's threads.

    Returns:
        Steps (workers, rounds), to be run one after the other. In each, every worker runs `rounds` parts on
        `threads` // workers threads.
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
        torch.get_num_threads()  # the first call in a thread resets its count to the program's: do it before setting it
        torch.set_num_threads(threads // workers)
        ready.wait()  # each worker gets its own parts, and all counts are set before the caller's is restored
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
                ready.abort()  # a thread could not be started, or an interrupt: release the workers that wait
                raise
            finally:
                torch.set_num_threads(threads)  # a worker's count is also the one that new threads start with
            for one in working:
                one.result()
        finally:
            _empty(todo)  # after an interrupt, parts in work are finished and no others are started


def _work(network: Restore, todo: Todo) -> None:
    with torch.inference_mode():  # the mode applies to one thread only
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
    """Whether each thread has its own thread count: only with torch's OpenMP backend, which the official wheels use."""
    return "ATen parallel backend: OpenMP" in torch.__config__.parallel_info()
