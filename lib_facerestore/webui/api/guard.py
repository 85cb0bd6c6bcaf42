"""Checks before every route: where the request comes from, the password, its size, how many wait; how errors look.

The checks are in a class of route: some WebUIs refuse middleware, and FastAPI reads the whole body before it calls
a dependency, which would be too late.
"""

import base64
import binascii
import hmac
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.routing import APIRoute
from fastapi.security import HTTPBasic
from starlette.exceptions import HTTPException as StarletteHTTPException

from ...errors import DownloadError, FaceRestoreError, InputError, ModelFileError, OptionError
from ...options.table import SPECS
from ...wording import did_you_mean, shown
from .. import clients
from ..packages import MissingPackageError, explain
from .origin import ForeignPageError, check_origin
from .private import without_folders
from .schema import UPLOAD_FIELDS, RestoreRequest
from .watch import Watch

logger = logging.getLogger(__name__)

MOST_SIGNS = 200_000
"""Commas, brackets and braces in a JSON body: read, it would take 100 bytes or more for each. Base64 has none."""
Credentials = Callable[[], Mapping[str, str] | None]
"""Gives user names and their passwords. Empty: no login is needed. None: every request is refused."""


@dataclass(frozen=True)
class Limits:
    """What a request may be at most.

    Attributes:
        body_bytes: as sent, so that base64 counts a third more than the files.
        pictures: in one request.
        megapixels, total_megapixels: of one picture, and of all; Pillow warns of decompression bombs from 89 on.
        waiting: requests that may wait while one is worked on; more are answered with 503.
    """

    body_bytes: int = 256 * 2**20
    pictures: int = 64
    megapixels: float = 80.0
    total_megapixels: float = 160.0
    waiting: int = 8


class RefusedError(FaceRestoreError):
    """A request that is refused with a status of its own (4xx or 503)."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Turnstile:
    """Counts the requests that are worked on or wait; refuses those beyond the limit."""

    def __init__(self, waiting: int) -> None:
        self._most = waiting + 1
        self._lock = threading.Lock()
        self.inside = 0

    def check(self) -> None:
        """Refuse early, before a body is read. Raises RefusedError."""
        if self.inside >= self._most:
            raise RefusedError(503, f"{self.inside} requests are being worked on or wait already; try again later.")

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Count a request while it is worked on or waits. Raises RefusedError."""
        with self._lock:
            self.check()
            self.inside += 1
        try:
            yield
        finally:
            with self._lock:
                self.inside -= 1


def guarded_route(credentials: Credentials, limits: Limits, turnstile: Turnstile | None = None) -> type[APIRoute]:
    """A class of route with these checks, for `add_api_route(…, route_class_override=…)`.

    Args:
        credentials: gives the names and passwords that are accepted, None where none are asked for.
        limits: what a request may be at most.
        turnstile: for routes that run networks: counts their requests.
    """

    class GuardedRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Any]:
            inner = super().get_route_handler()

            async def handle(request: Request) -> Response:
                client = clients.Client()
                watch = Watch(request.receive, client)
                counted = _Counted(request, limits.body_bytes, watch if turnstile is not None else None)
                try:
                    wanted = credentials()
                    check_origin(request.method, request.headers, wanted != {})
                    check_credentials(request.headers.get("authorization"), wanted)
                    counted.check_announced()
                    if turnstile is not None:
                        turnstile.check()
                    with clients.serving(client):
                        return await inner(Request(request.scope, counted.receive))
                except Exception as error:  # answered here, since the WebUI's own handlers give errors another form
                    return error_answer(counted.error or error)
                finally:
                    await watch.end()

            return handle

    return GuardedRoute


class Announced(HTTPBasic):
    """Shows HTTP Basic on the OpenAPI page and checks nothing: the route has, also names beyond ASCII."""

    def __init__(self) -> None:
        super().__init__(scheme_name="HTTPBasic", auto_error=False)

    async def __call__(self, request: Request) -> None:  # type: ignore[override]
        return None


class _Counted:
    """A request's body, counted while it is read; `watch` begins at its end."""

    def __init__(self, request: Request, most: int, watch: Watch | None = None) -> None:
        self._request, self._most, self._seen = request, most, 0
        self._watch = watch
        self.error: RefusedError | None = None
        self._signs, self._is_json = 0, "multipart/" not in request.headers.get("content-type", "").lower()

    def check_announced(self) -> None:
        announced = self._request.headers.get("content-length", "")
        if announced.isdigit() and int(announced) > self._most:
            raise self._too_large()

    async def receive(self) -> Any:
        message = await self._request.receive()
        body = message.get("body", b"")
        self._seen += len(body)
        if self._is_json:
            self._signs += sum(map(body.count, (b",", b"[", b"{")))
            if self._signs > MOST_SIGNS:
                self.error = RefusedError(413, "The JSON has too many values; send fewer of them.")
                raise self.error
        if self._seen > self._most:
            self.error = self._too_large()
            raise self.error
        if self._watch is not None and message["type"] == "http.request" and not message.get("more_body", False):
            self._watch.begin()
        return message

    def _too_large(self) -> RefusedError:
        return RefusedError(413, f"The request is larger than {self._most / 2**20:.12g} MiB; send fewer pictures.")


def check_credentials(header: str | None, wanted: Mapping[str, str] | None) -> None:
    """Compare an Authorization header with the user names and passwords that are allowed. Raises RefusedError (401).

    Every pair is compared in full, so that the time it takes reveals nothing.
    """
    if wanted is not None and not wanted:
        return
    scheme, _, coded = (header or "").partition(" ")
    given = ""
    if scheme.lower() == "basic":
        try:
            given = base64.b64decode(coded.strip(), validate=True).decode("utf-8")
        except (binascii.Error, ValueError):
            given = ""
    user, colon, password = given.partition(":")
    right = False
    for name, secret in (wanted or {}).items():
        same_name = hmac.compare_digest(user.encode(), name.encode())
        same_secret = hmac.compare_digest(password.encode(), secret.encode())
        right = right | (bool(colon) & same_name & same_secret)
    if not right:
        what = "Incorrect user name or password" if header else "A user name and a password are needed"
        raise RefusedError(401, f"{what}; send those of --api-auth (or --gradio-auth) by HTTP Basic.")


def status_of(error: Exception) -> int:
    """The HTTP status for an error."""
    if isinstance(error, RefusedError):
        return error.status
    if isinstance(error, ForeignPageError):
        return 403
    if isinstance(error, clients.HungUpError):
        return 499  # as web servers log it; nobody sees it
    if isinstance(error, (OptionError, InputError)):
        return 422
    if isinstance(error, (ModelFileError, DownloadError, MissingPackageError)):
        return 409  # the request is valid, but what is installed here, or a setting, does not allow it
    if isinstance(error, StarletteHTTPException):
        return error.status_code
    return 422 if isinstance(error, RequestValidationError) else 500


def error_answer(error: Exception) -> JSONResponse:
    """The answer for an error: {"detail": "one sentence"}."""
    if isinstance(error, ImportError):
        error = explain(error) or error
    status = status_of(error)
    if isinstance(error, RequestValidationError):
        detail = _invalid(error)
    elif isinstance(error, (HTTPException, StarletteHTTPException)):
        detail = f"{error.detail}"
    elif isinstance(error, FaceRestoreError):
        detail = f"{error}"
    else:
        logger.error("a request failed", exc_info=error)
        detail = f"The request failed ({type(error).__name__}); the log has more."  # its text may name a path
    headers = dict(getattr(error, "headers", None) or {})
    if status == 401:
        headers["WWW-Authenticate"] = "Basic"
    if status == 503:
        headers["Retry-After"] = "5"
    return JSONResponse({"detail": without_folders(" ".join(detail.split()))}, status, headers)


def unknown_field(name: str) -> str:
    """What is wrong with a field of a body or form that the route does not know, without a full stop."""
    if name in SPECS:
        return f"{name}: is an option; put it into the object options"
    known = [*RestoreRequest.__annotations__, *UPLOAD_FIELDS, *SPECS]
    near = "" if name in known else did_you_mean(name, known).removesuffix("?").lower()  # known is a field of another
    return f"{shown(name)} is not a field of this request;{near or ' the page /docs shows which are'}"


def _invalid(error: RequestValidationError) -> str:
    """FastAPI's list of invalid fields, as a sentence."""
    parts = []
    for one in error.errors():
        place = [str(step) for step in one.get("loc", ())]
        if str(one.get("type", "")) in ("json_invalid", "value_error.jsondecode"):
            return "The body is not valid JSON."
        if place == ["body"]:
            return "The body must be a JSON object, sent with Content-Type: application/json."
        name = ".".join(place[1:]) or "request"
        if str(one.get("type", "")) in ("extra_forbidden", "value_error.extra"):  # of pydantic 2, and of 1
            parts.append(unknown_field(name))
            continue
        message = str(one.get("msg", "is not allowed")).removeprefix("Value error, ")  # of pydantic 2
        parts.append(f"{name}: {message}")
    more = f" (and {len(parts) - 3} more)" if len(parts) > 3 else ""
    return "; ".join(dict.fromkeys(parts[:3])) + more + "."
