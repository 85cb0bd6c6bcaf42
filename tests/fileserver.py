"""A local file server for the tests of downloads, which can close connections early and give wrong answers."""

from __future__ import annotations

import hashlib
import io
import pickle
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from lib_facerestore.catalogue import ModelEntry, ModelFile, transfer
from lib_facerestore.catalogue.download import MIRROR, OFFLINE


def checkpoint(size: int) -> bytes:
    """A PyTorch file (its description, nothing in it) of about this size."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("net/data.pkl", pickle.dumps({}, 2))
        archive.writestr("net/data/0", bytes(size))
    return out.getvalue()


CONTENT = b"PK\x03\x04" + bytes(range(256)) * 3000
WHOLE = checkpoint(500_000)
SHA = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Place:
    """How one address behaves.

    cuts: bytes sent in answer to the first, second, … request before the connection is closed.
    answer: more headers.
    part: status and Content-Range ("": none) that every request for a range is answered with, and the whole file.
    asked: the header Range of each request, "" where it had none.
    """

    content: bytes = CONTENT
    ranges: bool = True
    cuts: list[int] = field(default_factory=list)
    status: int = 200
    etag: str = '"one"'
    length: bool = True
    kind: str = "application/octet-stream"
    redirect: str = ""
    failures: int = 0
    answer: dict[str, str] = field(default_factory=dict)
    part: tuple[int, str] | None = None
    asked: list[str] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    places: dict[str, Place]

    def do_GET(self) -> None:
        place = self.places.get(self.path)
        if place is None:
            return self._status(404)
        wanted = self.headers.get("Range", "")
        place.asked.append(wanted)
        if place.failures:
            place.failures -= 1
            return self._status(503)
        if place.redirect:
            return self._status(302, Location=place.redirect)
        if place.status != 200:
            return self._status(place.status)
        if place.part and wanted:
            self.send_response(place.part[0])
            if place.part[1]:
                self.send_header("Content-Range", place.part[1])
            self.send_header("Content-Length", str(len(place.content)))
            self.end_headers()
            self.wfile.write(place.content)
            return None
        start, changed = 0, self.headers.get("If-Range", place.etag) != place.etag
        if place.ranges and wanted and not changed:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(place.content):
                return self._status(416, **{"Content-Range": f"bytes */{len(place.content)}"})
        body = place.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Type", place.kind)
        for name, value in place.answer.items():
            self.send_header(name, value)
        if place.length:
            self.send_header("Content-Length", str(len(body)))
        else:
            self.send_header("Connection", "close")
            self.close_connection = True
        if place.etag:
            self.send_header("ETag", place.etag)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(place.content) - 1}/{len(place.content)}")
        self.end_headers()
        if place.cuts:
            body = body[: place.cuts.pop(0)]
            self.close_connection = True
        self.wfile.write(body)
        return None

    def _status(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Silence."""


class Quiet(ThreadingHTTPServer):
    """Clients that hang up in the middle are what is tested here, and nothing to print."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Silence."""


class Server:
    """`places` by path; `url` makes an address."""

    def __init__(self) -> None:
        self.places: dict[str, Place] = {}
        handler = type("Bound", (Handler,), {"places": self.places})
        self.http = Quiet(("127.0.0.1", 0), handler)
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def add(self, path: str, **how: Any) -> Place:
        self.places["/" + path] = Place(**how)
        return self.places["/" + path]

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.http.server_port}/{path}"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in (OFFLINE, MIRROR, "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(transfer, "PAUSE", 0.001)
    running = Server()
    yield running
    running.http.shutdown()
    running.http.server_close()


def entry(*urls: str, sha256: str = SHA, size: int = len(CONTENT), name: str = "net.pth") -> ModelEntry:
    file = ModelFile(name, size, sha256, urls)
    return ModelEntry("net", 1, (name,), licence="MIT", published=(file,))


def names(folder: Path) -> list[str]:
    """Names of the files in a folder, without lock files."""
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))
