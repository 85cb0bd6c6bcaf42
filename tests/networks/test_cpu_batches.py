"""A batch on a CPU: which faces run beside each other, and that nothing but the time depends on it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lib_facerestore.errors import FaceRestoreError
from lib_facerestore.networks import cpu_batches
from lib_facerestore.networks import load as loading
from lib_facerestore.system import memory

from ..conftest import small_lite

FACES = torch.rand(5, 3, 256, 256, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture(autouse=True)
def two_threads_and_much_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """What runs beside what follows from threads and free memory: the same on every machine that runs these tests."""
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=64 * 2**30))
    monkeypatch.setattr(cpu_batches, "CGROUP", tmp_path / "no limit")
    monkeypatch.setattr(cpu_batches, "_threads_have_counts", lambda: True)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


class Spy:
    """A network that negates, and remembers who ran what with how many threads."""

    def __init__(self, meet: int = 0, fail_at: int | None = None) -> None:
        self.seen: list[tuple[str, int, int]] = []
        self.meeting = threading.Barrier(meet) if meet else None
        self.fail_at = fail_at

    def __call__(self, faces: torch.Tensor) -> torch.Tensor:
        self.seen.append((threading.current_thread().name, len(faces), torch.get_num_threads()))
        if self.meeting is not None:
            self.meeting.wait(30)  # breaks where the faces do not run at the same time
        if self.fail_at is not None and any(int(face[0, 0, 0]) == self.fail_at for face in faces):
            raise FaceRestoreError("the third one")
        return -faces


@given(st.integers(1, 40), st.integers(1, 8), st.integers(1, 70))
def test_a_schedule_runs_every_part_and_is_never_longer_than_one_by_one(parts: int, at_once: int, threads: int) -> None:
    phases = cpu_batches.schedule(parts, at_once, threads)
    assert sum(workers * rounds for workers, rounds in phases) == parts
    assert all(1 <= workers <= min(at_once, threads) for workers, _ in phases)
    time = sum(rounds / (threads // workers) for workers, rounds in phases)
    assert time <= parts / threads + 1e-9


@pytest.mark.parametrize(
    ("parts", "at_once", "threads", "expected"),
    [
        (4, 4, 2, [(2, 2)]),
        (3, 4, 2, [(2, 1), (1, 1)]),  # two and then one on one thread would leave the other idle
        (4, 4, 16, [(4, 1)]),
        (5, 4, 4, [(4, 1), (1, 1)]),
        (4, 4, 6, [(3, 1), (1, 1)]),  # four workers would leave two threads idle
        (4, 1, 8, [(1, 4)]),
        (4, 4, 1, [(1, 4)]),
    ],
)
def test_workers_share_the_threads_evenly(
    parts: int, at_once: int, threads: int, expected: list[tuple[int, int]]
) -> None:
    assert cpu_batches.schedule(parts, at_once, threads) == expected


def test_large_faces_run_beside_each_other_with_a_thread_each() -> None:
    faces = torch.arange(4.0).reshape(4, 1, 1, 1).expand(4, 1, 512, 512)
    spy = Spy(meet=2)
    assert torch.equal(cpu_batches.run_on_cpu(spy, faces, 4), -faces)
    assert [(count, threads) for _, count, threads in spy.seen] == [(1, 1)] * 4
    assert len({name for name, _, _ in spy.seen}) == 2
    assert torch.get_num_threads() == 2


def test_small_faces_share_what_the_caches_hold() -> None:
    spy = Spy()
    cpu_batches.run_on_cpu(spy, FACES[:4], 4)
    assert [(count, threads) for _, count, threads in spy.seen] == [(2, 1), (2, 1)]


def test_one_at_a_time_where_the_network_asks_for_it() -> None:
    spy = Spy()
    cpu_batches.run_on_cpu(spy, FACES.repeat(2, 1, 1, 1), 1)
    assert spy.seen == [("MainThread", 4, 2), ("MainThread", 4, 2), ("MainThread", 2, 2)]


@pytest.mark.parametrize(("free", "expected"), [(16 * 2**30, 2), (2 * 2**30, 2), (2 * 2**30 - 1, 1), (0, 1)], ids=str)
def test_where_little_memory_is_free_fewer_faces_are_in_work(
    monkeypatch: pytest.MonkeyPatch, free: int, expected: int
) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=free))
    spy = Spy()
    cpu_batches.run_on_cpu(spy, torch.zeros(2, 1, 512, 512), 4, 4096)
    assert [threads for _, _, threads in spy.seen] == [2 // expected] * 2
    spy = Spy()
    cpu_batches.run_on_cpu(spy, torch.zeros(2, 1, 1024, 1024), 4, 1024)  # as much in all
    assert [threads for _, _, threads in spy.seen] == [2 // expected] * 2


def test_without_psutil_the_fixed_limit_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psutil", None)
    assert cpu_batches.pixels_that_fit(1) == cpu_batches.PIXELS_UNSEEN


def test_a_containers_limit_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert memory.free_in_container(tmp_path) == sys.maxsize  # no control groups
    for name, text in (("max", "max"), ("current", "3000"), ("stat", "anon 1500\ninactive_file 500\nslab 9")):
        (tmp_path / f"memory.{name}").write_text(text + "\n")
    assert memory.free_in_container(tmp_path) == sys.maxsize
    (tmp_path / "memory.max").write_text("4000\n")
    assert memory.free_in_container(tmp_path) == 1500
    monkeypatch.setattr(cpu_batches, "CGROUP", tmp_path)
    assert cpu_batches.pixels_that_fit(10) == 150
    (tmp_path / "memory.max").write_text("2000\n")
    assert cpu_batches.pixels_that_fit(10) == 0
    (tmp_path / "memory.stat").unlink()
    assert memory.free_in_container(tmp_path) == sys.maxsize


def test_faces_too_large_for_any_memory_are_not_in_work_together() -> None:
    spy = Spy()
    cpu_batches.run_on_cpu(spy, torch.zeros(3, 1, 1, 1).expand(3, 1, 4096, 2049), 4, 1)
    assert [name for name, _, _ in spy.seen] == ["MainThread"] * 3


def test_new_threads_of_the_program_keep_their_count() -> None:
    cpu_batches.run_on_cpu(Spy(), torch.zeros(2, 1, 512, 512), 4)
    counts: list[int] = []
    thread = threading.Thread(target=lambda: counts.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert counts == [2]


def test_an_error_of_one_face_comes_out_and_the_rest_is_not_begun() -> None:
    faces = torch.arange(12.0).reshape(12, 1, 1, 1).expand(12, 1, 512, 512)
    spy = Spy(fail_at=2)
    with pytest.raises(FaceRestoreError, match="the third one"):
        cpu_batches.run_on_cpu(spy, faces, 4)
    assert len(spy.seen) < 12
    assert torch.get_num_threads() == 2
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("facerestore")]


def test_without_counts_a_thread_the_caller_does_it_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_batches, "_threads_have_counts", lambda: False)
    spy = Spy()
    cpu_batches.run_on_cpu(spy, torch.zeros(2, 1, 512, 512), 4)
    assert spy.seen == [("MainThread", 1, 2), ("MainThread", 1, 2)]


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_network_gives_the_same_faces_however_they_are_run(threads: int) -> None:
    network = loading.load_network(small_lite().state_dict())
    torch.set_num_threads(threads)
    alone = [network(face[None]) for face in FACES]
    together = network(FACES)
    assert torch.allclose(together, torch.cat(alone), atol=1e-5)
    assert together.is_inference() and alone[0].is_inference()


def test_where_no_thread_can_be_had_that_is_said_and_nothing_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    start, started = threading.Thread.start, []

    def refuse_the_second(thread: threading.Thread) -> None:
        started.append(thread)
        if len(started) > 1:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse_the_second)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        cpu_batches.run_on_cpu(Spy(), torch.zeros(2, 1, 512, 512), 4)
    assert torch.get_num_threads() == 2
