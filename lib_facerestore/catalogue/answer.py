"""`answer`: one request for a file, with its redirects, that ends in time whatever the server does."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx

REDIRECTS = 10
"""Most redirects that are followed."""

ANSWER_SECONDS = 60.0
"""Seconds after which a server that has not sent all headers of its answer is given up, even if some arrive."""


class RedirectError(Exception):
    """The redirects of an address lead nowhere; the message says why."""


class SlowServerError(Exception):
    """The server sends its answer too slowly; the message says how slowly."""


@contextlib.contextmanager
def answer(client: httpx.Client, url: str, headers: Mapping[str, str]) -> Iterator[httpx.Response]:
    """The answer to a GET request, whose content has not been read yet.

    Args:
        client: the client, which need not follow redirects.
        url: the address.
        headers: more headers.

    Raises:
        RedirectError: there are too many redirects, or one leads from https to http.
        SlowServerError: the headers do not arrive in time.
        httpx.HTTPError, httpx.InvalidURL: the request fails.
    """
    request = client.build_request("GET", url, headers=dict(headers))
    for _ in range(REDIRECTS + 1):
        response = _send(client, request)
        try:
            if response.next_request is None:
                yield response
                return
            before, request = request, response.next_request
        finally:
            response.close()  # the content of a redirect may be endless, and is not read
        if before.url.scheme == "https" and request.url.scheme != "https":
            raise RedirectError(f"it leads from https to {request.url.scheme}, which nobody protects from changes")
    raise RedirectError(f"it redirects more than {REDIRECTS} times")


def _send(client: httpx.Client, request: httpx.Request) -> httpx.Response:
    """Send one request and receive the headers. A timer closes the connection if that takes too long.

    The timeouts of httpx start anew with every byte that arrives.
    """
    import httpx  # here, since a WebUI must start without it

    streams: list[Any] = []
    late = threading.Event()

    def seen(_: str, facts: Mapping[str, Any]) -> None:
        stream = facts.get("return_value")
        if hasattr(stream, "get_extra_info"):
            streams.append(stream)

    def close() -> None:
        late.set()
        for stream in streams:
            with contextlib.suppress(OSError, ValueError, AttributeError):
                stream.get_extra_info("socket").shutdown(socket.SHUT_RDWR)

    request.extensions = {**request.extensions, "trace": seen}
    timer = threading.Timer(ANSWER_SECONDS, close)
    timer.daemon = True
    timer.start()
    try:
        response = client.send(request, stream=True, follow_redirects=False)
    except httpx.TransportError as error:
        if late.is_set():
            raise SlowServerError(f"its answer did not begin within {ANSWER_SECONDS:g} s") from error
        raise
    finally:
        timer.cancel()
    return response
