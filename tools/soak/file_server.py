"""`FileServer`: a local HTTP server that cuts connections at any byte, drips, redirects in circles, or sends others."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
import time
from dataclasses import dataclass, field


@dataclass
class Place:
    """How an address behaves.

    Attributes:
        content: the file.
        etag: its ETag, "" for none.
        ranges: whether requests for a range get one.
        length: whether the answers state the length.
        cuts: after how many bytes of the answer, its head included, the connection to the first, second, … request is
            closed; None for not at all.
        seconds: between every two bytes of the whole answer ("head") or only of the content ("content").
        drip: which of both.
        redirect: the path that it redirects to, "" for none.
        endless: whether the content of a redirect never ends.
        asked: number of requests.
    """

    content: bytes
    etag: str = ""
    ranges: bool = True
    length: bool = True
    cuts: list[int | None] = field(default_factory=list)
    seconds: float = 0.0
    drip: str = ""
    redirect: str = ""
    endless: bool = False
    asked: int = 0

    def answer(self, wanted: str, condition: str) -> tuple[bytes, bytes]:
        """Head and content of the answer to a request with these headers Range and If-Range."""
        if self.redirect:
            size = "" if self.endless else "Content-Length: 0\r\n"
            return f"HTTP/1.1 302 Found\r\nLocation: {self.redirect}\r\n{size}Connection: close\r\n\r\n".encode(), b""
        start = 0
        if self.ranges and wanted and condition in ("", self.etag):
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
        whole = len(self.content)
        if start >= whole:
            lines = ["416 Range Not Satisfiable", f"Content-Range: bytes */{whole}", "Content-Length: 0"]
            return self._head(lines), b""
        lines = ["206 Partial Content", f"Content-Range: bytes {start}-{whole - 1}/{whole}"] if start else ["200 OK"]
        lines += [f"Content-Length: {whole - start}"] * self.length + [f"ETag: {self.etag}"] * bool(self.etag)
        return self._head(lines), self.content[start:]

    @staticmethod
    def _head(lines: list[str]) -> bytes:
        return "\r\n".join([f"HTTP/1.1 {lines[0]}", *lines[1:], "Connection: close", "", ""]).encode()


class _Handler(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        first = self.rfile.readline().decode("latin-1").split()
        headers = {}
        while (line := self.rfile.readline().decode("latin-1").strip()) != "":
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        place = self.server.places.get(first[1]) if len(first) > 1 else None
        if place is None:
            self.wfile.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return
        place.asked += 1
        cut = place.cuts.pop(0) if place.cuts else None
        head, content = place.answer(headers.get("range", ""), headers.get("if-range", ""))
        with contextlib.suppress(OSError):  # the client may hang up
            self._send(place, head, content, cut)

    def _send(self, place: Place, head: bytes, content: bytes, cut: int | None) -> None:
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sent = (head + content)[:cut]
        at_once = 0 if place.drip == "head" else len(head) if place.drip else len(sent)
        self.wfile.write(sent[:at_once])
        for at in range(at_once, len(sent)):
            time.sleep(place.seconds)
            self.wfile.write(sent[at : at + 1])
        while place.endless and not self.server.stopped.is_set():
            self.wfile.write(bytes(4096))


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.places: dict[str, Place] = {}
        self.stopped = threading.Event()


class FileServer:
    """Serves `places` while its block runs; `url` makes an address."""

    def __init__(self) -> None:
        self._server = _Server()
        self.places = self._server.places

    def add(self, path: str, place: Place) -> Place:
        """Serve `place` at /path."""
        self.places[f"/{path}"] = place
        return place

    def url(self, path: str) -> str:
        """The address of a place."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/{path}"

    def __enter__(self) -> FileServer:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stopped.set()
        self._server.shutdown()
        self._server.server_close()
