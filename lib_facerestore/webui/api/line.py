"""`Line`: waiting for a lock so that a request whose client hangs up stops waiting at once.

A WebUI's lock lets in one job after the other, in the order in which they came, and whoever waits for it cannot give
up. So threads of our own wait for it. A thread whose turn has come keeps the lock while the oldest waiting request
works, whichever that is; if none waits any more, it gives the lock back and ends. A request that comes takes over a
thread whose request has hung up, or gets a new one: so there are never more of them than there were requests at once.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

from .. import clients

logger = logging.getLogger(__name__)

THREAD = "facerestore-turn"
"""Name of the threads."""


class _Place:
    """The place of a request in the line.

    Attributes:
        called: set when its turn has come, or its client has hung up.
        over: set when its turn is over.
        free: set when the lock is given back after that.
        error: why its turn cannot come.
    """

    def __init__(self) -> None:
        self.called, self.over, self.free = threading.Event(), threading.Event(), threading.Event()
        self.error: BaseException | None = None


class Line:
    """Turns under a lock, in the order in which they were asked for.

    Args:
        lock: gives the lock; asked for each turn.
    """

    def __init__(self, lock: Callable[[], AbstractContextManager[Any]]) -> None:
        self._lock = lock
        self._mutex = threading.Lock()
        self._waiting: deque[_Place] = deque()
        self._threads = 0  # that wait for the lock

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for the lock, and have it for the time of the context.

        Raises:
            HungUpError: the client has hung up before that.
            Exception: whatever the lock raises.
        """
        client = clients.current()
        client.check()
        place = self._join()
        try:
            with client.told(place.called.set):
                place.called.wait()
            client.check()
            if isinstance(place.error, Exception):
                raise place.error
            if place.error is not None:  # such as SystemExit, which would end the thread of the server
                raise RuntimeError(f"the lock has failed ({type(place.error).__name__})") from place.error
            yield
        finally:
            place.over.set()
            with self._mutex:
                waits = place in self._waiting
                if waits:
                    self._waiting.remove(place)
            if not waits:
                place.free.wait()

    def _join(self) -> _Place:
        place = _Place()
        with self._mutex:
            if self._threads <= len(self._waiting):
                threading.Thread(target=self._hold, name=THREAD, daemon=True).start()
                self._threads += 1
            self._waiting.append(place)
        return place

    def _hold(self) -> None:
        """Wait for the lock, and keep it during the turn of the first in the line."""
        place: _Place | None = None
        had = False  # whether the lock has let this thread in: what it raises later concerns no other request
        try:
            with self._lock():
                had, place = True, self._first()
                if place is not None:
                    place.called.set()
                    place.over.wait()
        except BaseException as error:  # of the lock, also SystemExit; a request would wait for ever
            logger.debug("the lock under which jobs run failed", exc_info=True)
            if not had:
                place = self._first()
                if place is not None:
                    place.error = error
                    place.called.set()
        if place is not None:
            place.free.set()

    def _first(self) -> _Place | None:
        """Take the first out of the line; None if nobody waits."""
        with self._mutex:
            self._threads -= 1
            return self._waiting.popleft() if self._waiting else None
