"""No path and no traceback in any answer; a body with too many values is refused before it is read."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

fastapi = pytest.importorskip("fastapi")
pytest.importorskip("httpx")

from fastapi.testclient import TestClient  # noqa: E402

from lib_facerestore.errors import DownloadError, InputError, ModelFileError  # noqa: E402
from lib_facerestore.webui.api import private  # noqa: E402
from lib_facerestore.webui.api.guard import MOST_SIGNS  # noqa: E402

from .helpers import SMALL, V1, Service, b64, png, refused  # noqa: E402

SECRET = "/srv/people/jane/models/secret.pth"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"{SECRET}: damaged", "secret.pth: damaged"),
        (f"('{SECRET}', 3)", "('secret.pth', 3)"),
        (r"C:\Users\Jane\m.pth: no", "m.pth: no"),
        (r"\\server\share\m.pth: no", "m.pth: no"),
        (
            "see https://a.example/b/c and /facerestore/v1/models",
            "see https://a.example/b/c and /facerestore/v1/models",
        ),
        ("the page /docs; 3/4 of it; image/png", "the page /docs; 3/4 of it; image/png"),
    ],
)
def test_folders_are_taken_out(text: str, shown: str) -> None:
    assert private.without_folders(text) == shown


def test_known_folders_may_have_blanks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    home = tmp_path / "Jane Doe"
    monkeypatch.setattr(sys, "prefix", str(home))
    assert private.without_folders(f"{home / 'm.pth'}: {home} cannot be opened") == "m.pth: Jane Doe cannot be opened"


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError(f"{SECRET}\nTraceback"),
        FileNotFoundError(2, "No such file", SECRET),
        ModelFileError(f"{SECRET}: damaged"),
        InputError(f"{SECRET}: cannot be read"),
        DownloadError(f"{SECRET}: the disk is full"),
        MemoryError(SECRET),
        ImportError(f"cannot import x from {SECRET}"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_no_answer_names_a_path(client: TestClient, service: Service, photo: np.ndarray, error: Exception) -> None:
    service.error = error
    answer = client.post(f"{V1}/restore", json={"image": b64(png(photo)), "options": SMALL})
    assert answer.status_code in (409, 422, 500)
    refused(answer, answer.status_code)
    assert "/srv" not in answer.text and "jane" not in answer.text and "Traceback" not in answer.text


def test_a_body_with_too_many_values_is_refused(client: TestClient) -> None:
    kind = {"Content-Type": "application/json"}
    for body in (b'{"images":[' + b"1," * MOST_SIGNS + b"1]}", b"[" * (MOST_SIGNS + 1), b"{}" * (MOST_SIGNS + 1)):
        refused(client.post(f"{V1}/restore", content=body, headers=kind), 413, "too many values")
