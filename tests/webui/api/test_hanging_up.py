"""Clients that hang up, over real connections: their work ends, and nobody else's does."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

fastapi = pytest.importorskip("fastapi")
uvicorn = pytest.importorskip("uvicorn")

from lib_facerestore.options.table import Options  # noqa: E402
from lib_facerestore.webui import clients, service  # noqa: E402
from lib_facerestore.webui.api import routes, work  # noqa: E402
from lib_facerestore.webui.api.guard import Limits  # noqa: E402
from lib_facerestore.webui.api.watch import MOST, Watch  # noqa: E402
from lib_facerestore.webui.downloads import DownloadManager  # noqa: E402

from ..double import Host  # noqa: E402
from ..helpers import OPTIONS, Known, photo  # noqa: E402
from .helpers import V1, b64, png  # noqa: E402
from .test_line import holders, until  # noqa: E402
from .test_work import add_queue  # noqa: E402


class Served:
    """The routes behind a real server, with middleware as the WebUIs have it, in the double of one."""

    def __init__(self, app: Any, port: int, lock: threading.Lock) -> None:
        self.app, self.port, self.lock = app, port, lock

    def send(self, *bodies: bytes, path: str = "/restore") -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        for body in bodies:
            head = f"POST {V1}{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        return connection

    def health(self) -> dict[str, Any]:
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            connection.sendall(f"GET {V1}/health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
            return dict(answer(connection)[1])

    def working(self, count: int) -> None:
        until(lambda: self.health()["working"] == count)


def answer(connection: socket.socket) -> tuple[int, Any]:
    """The next answer on a connection."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += connection.recv(1) or pytest.fail("the connection is closed")
    length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    body = b""
    while len(body) < length:
        body += connection.recv(length - len(body)) or pytest.fail("the connection is closed")
    return int(head.split()[1]), json.loads(body)


@pytest.fixture
def served(host: Host, known: Known, downloads: DownloadManager) -> Iterator[Served]:
    lock = add_queue(host)
    app = fastapi.FastAPI()

    @app.middleware("http")
    async def timing(request: Any, call_next: Any) -> Any:
        return await call_next(request)

    app.middleware("http")(timing)
    store = known.restorer.store
    routes.add_routes(app, downloads=downloads, store=lambda: store, limits=Limits(waiting=2))
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [place]})
        thread.start()
        try:
            until(lambda: server.started)
            yield Served(app, place.getsockname()[1], lock)
        finally:
            server.should_exit = True
            thread.join(10)
    assert not thread.is_alive()
    until(lambda: holders() == 0)


def body(count: int = 1, **more: Any) -> bytes:
    return json.dumps({"images": [b64(png(photo(seed))) for seed in range(count)], "options": OPTIONS} | more).encode()


def test_requests_that_wait_end_at_once_and_make_room(served: Served, known: Known) -> None:
    with served.lock:  # a generation
        gone = [served.send(body()) for _ in range(3)]
        served.working(3)
        with served.send(body()) as refused:
            assert answer(refused)[0] == 503
        gone[0].close()
        gone[1].shutdown(socket.SHUT_WR)  # half-closed is closed for the server, which could send no answer any more
        gone[2].close()
        served.working(0)
        kept = served.send(body())
        served.working(1)
        assert not known.batches
    with kept:
        status, told = answer(kept)
    assert status == 200 and told["restored"] == 2 and known.batches == [2]
    until(lambda: holders() == 0 and not served.lock.locked())
    gone[1].close()


@pytest.mark.parametrize("upload", [False, True])
def test_a_request_that_is_worked_on_ends_before_the_next_faces(
    served: Served, known: Known, monkeypatch: pytest.MonkeyPatch, upload: bool
) -> None:
    monkeypatch.setattr(work, "PICTURES_A_TURN", 2)
    known.restorer.batch_size = 1
    working, go_on = threading.Event(), threading.Event()
    seen: list[clients.Client] = []

    def before() -> None:
        seen.append(clients.current())
        working.set()
        go_on.wait(10)

    known.before = before
    if upload:
        edge = b"--x\r\nContent-Disposition: form-data; name="
        parts = [edge + b'"options"\r\n\r\n' + json.dumps(OPTIONS).encode() + b"\r\n"]
        parts += [edge + b'"image"; filename="a.png"\r\n\r\n' + png(photo(seed)) + b"\r\n" for seed in range(4)]
        data = b"".join([*parts, b"--x--\r\n"])
        connection = socket.create_connection(("127.0.0.1", served.port), timeout=10)
        head = f"POST {V1}/restore/upload HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(data)}\r\n"
        connection.sendall(f"{head}Content-Type: multipart/form-data; boundary=x\r\n\r\n".encode() + data)
    else:
        connection = served.send(body(4))
    assert working.wait(10) and served.lock.locked()
    connection.close()
    until(lambda: seen[0].gone)
    go_on.set()
    served.working(0)
    until(lambda: not served.lock.locked())
    assert known.batches == [1], "one of eight faces"
    with served.send(body()) as later:
        assert answer(later)[1]["restored"] == 2
    assert not served.lock.locked() and not clients.current().gone


def test_detection_ends_too(served: Served, known: Known, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped: list[bool] = []
    seen: list[clients.Client] = []
    go_on = threading.Event()

    def detect_until(images: Any, confidence: float, stop: Any) -> Any:
        seen.append(clients.current())
        go_on.wait(10)
        stopped.append(stop())
        return None

    monkeypatch.setattr(known.detector, "detect_until", detect_until, raising=False)
    with served.send(json.dumps({"image": b64(png(photo()))}).encode(), path="/detect"):
        until(lambda: bool(seen))
    until(lambda: seen[0].gone)
    go_on.set()
    served.working(0)
    assert stopped == [True]


def test_requests_on_a_kept_connection_are_answered_one_after_the_other(served: Served, known: Known) -> None:
    """Also those that are sent before the answer to the first, and while another client hangs up."""
    with served.send(body(), body(2), body(), body()) as connection:
        with served.lock:
            served.send(body()).close()
        for restored in (2, 4, 2, 2):
            status, told = answer(connection)
            assert (status, told["restored"]) == (200, restored)
        connection.sendall(b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n")
        assert answer(connection)[0] == 404
    served.working(0)


def watched(receive: Any) -> tuple[bool, int]:
    """Whether a watch takes the client for gone, and how often it has asked; another task has 50 turns meanwhile."""
    client, asked = clients.Client(), 0

    async def counted() -> Any:
        nonlocal asked
        asked += 1
        return await receive()

    async def handle() -> None:
        watch = Watch(counted, client)
        watch.begin()
        watch.begin()
        for _ in range(50):
            await asyncio.sleep(0)
        await watch.end()

    asyncio.run(handle())
    return client.gone, asked


def test_a_server_that_repeats_itself_or_fails_cancels_nothing() -> None:
    async def again() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def fail() -> Any:
        raise RuntimeError("Unexpected message received: http.request")

    async def nothing() -> Any:
        await asyncio.Event().wait()

    async def closed() -> Any:
        return {"type": "http.disconnect"}

    assert watched(again) == (False, MOST)
    assert watched(fail) == (False, 1)
    assert watched(nothing) == (False, 1)
    assert watched(closed) == (True, 1)


def test_without_asyncio_nothing_is_watched() -> None:
    client = clients.Client()
    Watch(lambda: pytest.fail("asked"), client).begin()
    assert not client.gone


def test_the_pipeline_is_stopped_for_a_client_that_is_gone(known: Known) -> None:
    client = clients.Client()
    with clients.serving(client):
        assert [face.number for face in service.detect(photo(), Options()).faces] == [1, 2]
        client.hang_up()
        (result,) = service.restore([photo()], Options(**OPTIONS))
        assert not result.finished and not known.batches
    (result,) = service.restore([photo()], Options(**OPTIONS))
    assert result.finished and known.batches == [2]
