"""Many calls of the API from several clients at once, some of which hang up before the answer.

`python -m tools.soak api --help`
"""

from __future__ import annotations

import argparse
import base64
import http.client
import io
import json
import random
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from .checks import Checks, Level, check_levels, held
from .pictures import picture

V1 = "/facerestore/v1"
OPTIONS = {"model": "small", "mask": "ellipse", "detector": "lite"}
VARYING = ("seconds", "timings", "working")
"""Fields of an answer that differ from call to call."""
HANGS_UP = 0.1
BUSY, TRIES = 503, 2000


@dataclass(frozen=True)
class Call:
    """A request, and how often it is made in proportion to the others."""

    method: str
    path: str
    body: bytes = b""
    kind: str = "application/json"
    weight: int = 1

    def head(self) -> str:
        """Its header lines, for a plain socket."""
        return (
            f"{self.method} {V1}{self.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {self.kind}\r\n"
            f"Content-Length: {len(self.body)}\r\n\r\n"
        )


def calls(seed: int) -> list[Call]:
    """Restoring, detecting, uploads, lists, and wrong requests of several kinds."""
    chance = random.Random(seed)
    made = [Call("GET", path, weight=12) for path in ("/health", "/options", "/models")]
    for index in range(6):
        text = base64.b64encode(_file(chance, index % 3 < 2, "PNG" if index % 2 else "JPEG")).decode()
        asked: dict[str, object] = {"image": text, "options": OPTIONS}
        made.append(_json("/restore", asked | {"format": ("png", "jpeg", "webp")[index % 3]}, 2))
        made.append(_json("/detect", asked, 1))
    made.append(_json("/restore", {"images": [text, text], "options": OPTIONS}, 1))
    for wrong in ({}, {"image": "%%%"}, {"image": text[:200]}, {"image": text, "options": {"visibility": 7}}):
        made.append(_json("/restore", wrong, 6))
    made.append(_json("/restore", {"image": text, "options": {"model": "codeformer"}}, 6))
    made.append(Call("POST", "/restore", b"{not json", weight=6))
    made.append(Call("GET", "/models/nothing/download", weight=6))
    made.append(_upload(_file(chance, True, "PNG"), 2))
    made.append(_upload(b"no picture", 6))
    return made


def _file(chance: random.Random, face: bool, kind: str) -> bytes:
    data = io.BytesIO()
    picture(chance, face).save(data, kind)
    return data.getvalue()


def _json(path: str, body: dict[str, Any], weight: int) -> Call:
    return Call("POST", path, json.dumps(body).encode(), weight=weight)


def _upload(file: bytes, weight: int) -> Call:
    edge, head = "----edge", "Content-Disposition: form-data; name="
    parts = [f'--{edge}\r\n{head}"options"\r\n\r\n{json.dumps(OPTIONS)}\r\n'.encode()]
    parts.append(f'--{edge}\r\n{head}"files"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'.encode() + file)
    parts.append(f"\r\n--{edge}--\r\n".encode())
    return Call("POST", "/restore/upload", b"".join(parts), f"multipart/form-data; boundary={edge}", weight)


def answer_of(port: int, call: Call) -> tuple[int, Any]:
    """Make a call; a busy server is asked again. Returns the status, and the answer without what varies."""
    for _ in range(TRIES):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        try:
            connection.request(call.method, V1 + call.path, call.body or None, {"Content-Type": call.kind})
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        if answer.status != BUSY:
            return answer.status, _steady(json.loads(text))
        time.sleep(0.05)
    return BUSY, None


def _steady(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _steady(item) for key, item in value.items() if key not in VARYING}
    return [_steady(item) for item in value] if isinstance(value, list) else value


def hang_up(port: int, call: Call, chance: random.Random) -> None:
    """Begin a call and close the connection: in the middle of the request, at its end, or a little later."""
    whole = call.head().encode() + call.body
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        how = chance.randrange(3)
        connection.sendall(whole[: chance.randrange(1, len(whole))] if how == 0 else whole)
        if how == 2:
            time.sleep(chance.uniform(0, 0.2))


@dataclass
class Tally:
    """What the clients have seen."""

    done: int = 0
    cancelled: int = 0
    right: int = 0
    wrong: Counter[str] = field(default_factory=Counter)
    samples: list[Level] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


def main(arguments: list[str]) -> int:
    """Run it and print the checks; 1 if one did not hold."""
    parser = argparse.ArgumentParser(prog="python -m tools.soak api", description=__doc__)
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seed", type=int, help="repeat a run's pictures and order")
    given = parser.parse_args(arguments)
    seed = secrets.randbelow(2**31) if given.seed is None else given.seed
    print(f"seed {seed}, {given.calls} calls from {given.clients} clients", flush=True)
    work = Path(tempfile.mkdtemp(prefix="soak-api-"))
    command = [sys.executable, "-m", "tools.soak.api_server", str(work)]
    with (work / "log").open("wb") as log:
        server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
    try:
        assert server.stdout is not None
        return _soak(int(server.stdout.readline()), server, given.calls, given.clients, seed, work / "log")
    finally:
        server.kill()
        server.communicate()
        shutil.rmtree(work, ignore_errors=True)


def _soak(port: int, server: subprocess.Popen[bytes], count: int, clients: int, seed: int, log: Path) -> int:
    checks, all_calls, watched = Checks(), calls(seed), psutil.Process(server.pid)
    _wait_for(port)
    serial = [answer_of(port, call) for call in all_calls]
    tally, every = Tally(), max(1, count // 200)

    def client(number: int) -> None:
        chance = random.Random(seed * 1000 + number)
        for _ in range(number, count, clients):
            index = chance.choices(range(len(all_calls)), [call.weight for call in all_calls])[0]
            call, cancels = all_calls[index], chance.random() < HANGS_UP
            if cancels:
                hang_up(port, call, chance)
            right = cancels or answer_of(port, call) == serial[index]
            with tally.lock:
                tally.done += 1
                tally.cancelled += cancels
                tally.right += right and not cancels
                if not right:
                    tally.wrong[f"{call.method} {call.path}"] += 1
                if tally.done % every == 0:
                    tally.samples.append(held(watched))

    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(client, range(clients)))
    answered = count - tally.cancelled
    note = ", ".join(f"{what}: {number}" for what, number in tally.wrong.items())
    checks.check("answers equal to serial ones", answered, tally.right, note or f"{len(all_calls)} different calls")
    print(f"     {tally.cancelled:,} more calls were cancelled", flush=True)
    again = [answer_of(port, call) for call in all_calls]
    checks.check("answers afterwards", len(again), sum(a == b for a, b in zip(again, serial, strict=True)))
    health = _health(port)
    checks.check("no request counts as waiting afterwards", 1, int(health["working"] == 0))
    check_levels(checks, "the server", tally.samples)
    text = log.read_text("utf-8", "replace")
    checks.check("no traceback in the server's log", 1, int("Traceback" not in text), text[-300:].strip())
    return checks.code()


def _health(port: int) -> dict[str, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", f"{V1}/health")
    found: dict[str, Any] = json.loads(connection.getresponse().read())
    connection.close()
    return found


def _wait_for(port: int) -> None:
    for _ in range(300):
        try:
            _health(port)
            return
        except OSError:
            time.sleep(0.2)
    raise TimeoutError("the server does not answer")
