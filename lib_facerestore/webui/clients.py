"""The client of the request that is being worked on: whether it has hung up, so that nobody gets the answer.

It is a context variable, which the worker threads of the web server inherit: whoever works for a request can ask for
its client, at any depth, and work that is for no request has one that never hangs up.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar

from ..errors import FaceRestoreError


class HungUpError(FaceRestoreError):
    """The client has hung up, so the work for it has ended."""


class Client:
    """Who waits for an answer. Safe to use from threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: list[Callable[[], None]] = []
        self._gone = False

    @property
    def gone(self) -> bool:
        """Whether it has hung up; never false again then."""
        return self._gone

    def check(self) -> None:
        """Raise HungUpError if it has hung up."""
        if self._gone:
            raise HungUpError("The client has hung up.")

    def hang_up(self) -> None:
        """Note that it has hung up, and make the calls of all that are `told`."""
        with self._lock:
            self._gone = True
            calls = list(self._calls)
        for call in calls:
            call()

    @contextlib.contextmanager
    def told(self, call: Callable[[], None]) -> Iterator[None]:
        """Make `call` when the client hangs up; at once if it has done so already. It must be short, and not raise."""
        with self._lock:
            self._calls.append(call)
            gone = self._gone
        if gone:
            call()
        try:
            yield
        finally:
            with self._lock:
                self._calls.remove(call)


_NOBODY = Client()
_current: ContextVar[Client] = ContextVar("facerestore_client", default=_NOBODY)


def current() -> Client:
    """The client of the request that is being worked on; one that never hangs up where there is none."""
    return _current.get()


@contextlib.contextmanager
def serving(client: Client) -> Iterator[None]:
    """Work for this client, in this task or thread and those that inherit its context."""
    token = _current.set(client)
    try:
        yield
    finally:
        _current.reset(token)
