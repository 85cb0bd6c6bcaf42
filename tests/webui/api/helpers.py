"""What the tests of the routes share: a bare FastAPI app around one restorer, pictures in base64, refusals."""

from __future__ import annotations

import base64
import io
import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import PIL.Image
import pytest

fastapi = pytest.importorskip("fastapi")
pytest.importorskip("httpx")

from fastapi.testclient import TestClient  # noqa: E402

from lib_facerestore.pipeline import FaceRestorer  # noqa: E402
from lib_facerestore.webui.api import routes  # noqa: E402
from lib_facerestore.webui.downloads import DownloadManager  # noqa: E402

V1 = "/facerestore/v1"


class Service:
    """What the routes need of `service`, around one restorer."""

    def __init__(self, restorer: FaceRestorer) -> None:
        self.restorer = restorer
        self.calls: list[int] = []
        self.error: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)

    def restore(self, images: Any, options: Any, overrides: Any = None, origin: str = "") -> Any:
        assert origin == "API"
        self.calls.append(len(images))
        self.entered.release()
        self.gate.wait(20)
        if self.error:
            raise self.error
        return self.restorer.restore_many(images, options, overrides=overrides)

    def detect(self, image: Any, options: Any) -> Any:
        return self.restorer.search(image, options)

    def models(self) -> list[Any]:
        knobs: frozenset[str] = frozenset()
        return [SimpleNamespace(id=name, family="lite", knobs=knobs) for name in ("auto", "small.safetensors", "lite")]


def make(service: Service, downloads: DownloadManager, **more: Any) -> TestClient:
    app = fastapi.FastAPI()
    routes.add_routes(app, service, downloads=downloads, store=lambda: service.restorer.store, **more)
    return TestClient(app)


def png(array: np.ndarray, **save: Any) -> bytes:
    out = io.BytesIO()
    PIL.Image.fromarray(array).save(out, "PNG", **save)
    return out.getvalue()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def opened(text: str) -> PIL.Image.Image:
    return PIL.Image.open(io.BytesIO(base64.b64decode(text)))


def refused(answer: Any, status: int, *words: str) -> None:
    """One sentence, the right status, and the words that help."""
    assert answer.status_code == status, answer.text[:500]
    assert list(answer.json()) == ["detail"]
    detail = answer.json()["detail"]
    assert isinstance(detail, str) and "\n" not in detail and "Traceback" not in detail
    for word in words:
        assert word in detail, detail


SMALL = {"model": "small.safetensors", "mask": "ellipse"}


def basic(pair: str) -> str:
    return "Basic " + b64(pair.encode())


ROUTES = [
    ("GET", "/health"),
    ("GET", "/options"),
    ("GET", "/models"),
    ("POST", "/detect"),
    ("POST", "/restore"),
    ("POST", "/detect/upload"),
    ("POST", "/restore/upload"),
    ("POST", "/models/codeformer/download"),
    ("GET", "/models/codeformer/download"),
    ("DELETE", "/models/codeformer/download"),
]
