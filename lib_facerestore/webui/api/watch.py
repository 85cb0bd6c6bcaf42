"""`Watch`: notices that a client hangs up while its request is worked on.

Once a request's body has been read, a server has one thing left to tell about it: that the connection is closed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from ..clients import Client

logger = logging.getLogger(__name__)

Receive = Callable[[], Awaitable[Any]]
MOST = 8
"""Other messages after which the watch is given up, since the server or a middleware repeats itself."""
LONGEST = 1.0
"""Seconds to wait for the end of a watch, which is a matter of microseconds."""


class Watch:
    """A watch over one request. Where it is not possible, nothing is noticed, and the work goes on to its end.

    Args:
        receive: the server's function of this name (ASGI).
        client: is told.
    """

    def __init__(self, receive: Receive, client: Client) -> None:
        self._receive, self._client = receive, client
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Begin, now that the body has ended: from here on, nobody else may call `receive`."""
        if self._task is not None:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # a server with another event loop
            logger.debug("without asyncio, a client that hangs up is not noticed")
            return
        self._task = loop.create_task(self._wait())

    async def end(self) -> None:
        """End, before the answer is sent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=LONGEST)

    async def _wait(self) -> None:
        try:
            for _ in range(MOST):
                message = await self._receive()
                if message["type"] == "http.disconnect":
                    self._client.hang_up()
                    return
        except Exception:
            logger.debug("whether a client hangs up cannot be seen", exc_info=True)
