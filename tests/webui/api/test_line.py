"""Turns under a lock that cannot be waited for with an end."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from lib_facerestore.webui import clients
from lib_facerestore.webui.api.line import THREAD, Line


def until(true: Callable[[], bool]) -> None:
    for _ in range(2000):
        if true():
            return
        time.sleep(0.002)
    raise AssertionError("it does not come true")


def holders() -> int:
    return sum(thread.name == THREAD for thread in threading.enumerate())


class Fifo:
    """A lock that lets in one after the other, as A1111's does; `with` is all that it can do."""

    def __init__(self) -> None:
        self.inner, self.held = threading.Lock(), False
        self.waiting: list[threading.Event] = []

    def __enter__(self) -> None:
        mine = threading.Event()
        with self.inner:
            if not self.held:
                self.held = True
                return
            self.waiting.append(mine)
        mine.wait()

    def __exit__(self, *_: object) -> None:
        with self.inner:
            if self.waiting:
                self.waiting.pop(0).set()
            else:
                self.held = False


class Asking(threading.Thread):
    """A request that takes its turn: `log` gets its name when it has the turn, or that it has hung up."""

    def __init__(self, line: Line, name: str, log: list[str]) -> None:
        super().__init__(name=name, daemon=True)
        self.line, self.log, self.client = line, log, clients.Client()
        self.leave = threading.Event()
        self.start()

    def run(self) -> None:
        with clients.serving(self.client):
            try:
                with self.line.turn():
                    self.log.append(self.name)
                    self.leave.wait(10)
            except clients.HungUpError:
                self.log.append(f"{self.name} hung up")
            except OSError as error:
                self.log.append(f"{self.name} {error}")


@pytest.fixture(autouse=True)
def nobody_is_left() -> Iterator[None]:
    yield
    until(lambda: holders() == 0)


def test_one_after_the_other_and_who_hangs_up_leaves_at_once() -> None:
    lock, log = Fifo(), list[str]()
    line = Line(lambda: lock)

    def generation() -> None:
        with lock:
            log.append("other")

    with lock:
        asking: list[Asking] = []
        for name in "abc":
            asking.append(Asking(line, name, log))
            until(lambda: len(lock.waiting) == len(asking))
        asking[0].client.hang_up()
        asking[0].join(5)
        assert log == ["a hung up"] and lock.held
        late = Asking(line, "d", log)  # in the place that the first has left
        until(lambda: len(line._waiting) == 3)
        assert len(lock.waiting) == holders() == 3
        other = threading.Thread(target=generation)
        other.start()
        until(lambda: len(lock.waiting) == 4)
    for one in (*asking[1:], late):
        until(lambda: log[-1] == one.name)  # noqa: B023
        one.leave.set()
        one.join(5)
    other.join(5)
    assert log == ["a hung up", "b", "c", "d", "other"] and not lock.held


def test_the_lock_is_held_for_the_whole_turn_and_free_after_it() -> None:
    lock = threading.Lock()
    line = Line(lambda: lock)
    for _ in range(50):
        with line.turn():
            assert lock.locked()
        assert not lock.locked()
    with pytest.raises(ZeroDivisionError), line.turn():
        raise ZeroDivisionError
    assert not lock.locked()


def test_places_of_those_who_are_gone_do_not_add_up() -> None:
    lock, log = Fifo(), list[str]()
    line = Line(lambda: lock)
    with lock:
        for _ in range(30):
            one = Asking(line, "x", log)
            until(lambda: len(line._waiting) == 1)
            one.client.hang_up()
            one.join(5)
        assert holders() == len(lock.waiting) == 1
    assert log == ["x hung up"] * 30
    until(lambda: holders() == 0 and not lock.held)


def test_who_has_hung_up_before_joins_no_line() -> None:
    line = Line(contextlib.nullcontext)
    client = clients.Client()
    client.hang_up()
    with clients.serving(client), pytest.raises(clients.HungUpError), line.turn():
        raise AssertionError
    assert holders() == 0 and not clients.current().gone


def test_a_lock_that_fails_is_the_error_of_the_request() -> None:
    class Broken(Fifo):
        def __enter__(self) -> None:
            raise OSError("broken")

    log: list[str] = []
    Asking(Line(Broken), "a", log).join(5)
    assert log == ["a broken"]


def test_nothing_is_lost_where_the_turn_comes_and_the_client_goes_at_once() -> None:
    lock, log = threading.Lock(), list[str]()
    line = Line(lambda: lock)
    for _ in range(60):
        lock.acquire()
        one, two = Asking(line, "1", log), Asking(line, "2", log)
        two.leave.set()
        one.leave.set()
        going = threading.Thread(target=one.client.hang_up)
        going.start()
        lock.release()
        for thread in (going, one, two):
            thread.join(5)
        assert log.pop() and log.pop() and not log
        until(lambda: not lock.locked())


def test_a_lock_that_ends_its_thread_leaves_nobody_waiting() -> None:
    class Ending(Fifo):
        def __enter__(self) -> None:
            raise SystemExit

    line = Line(Ending)
    with pytest.raises(RuntimeError, match=r"the lock has failed \(SystemExit\)"), line.turn():
        raise AssertionError


def test_a_lock_that_fails_when_it_is_given_back_harms_no_other_request() -> None:
    class Stuck(Fifo):
        def __exit__(self, *of: object) -> None:
            super().__exit__(*of)
            raise OSError("stuck")

    lock, log = Stuck(), list[str]()
    line = Line(lambda: lock)
    lock.__enter__()
    gone = Asking(line, "a", log)
    until(lambda: len(lock.waiting) == 1)
    gone.client.hang_up()
    gone.join(5)
    Fifo.__exit__(lock)  # its thread has the lock now, and finds nobody waiting
    until(lambda: holders() == 0)
    assert line._threads == 0 and log == ["a hung up"]
    with line.turn():
        log.append("b")
    assert log == ["a hung up", "b"]
