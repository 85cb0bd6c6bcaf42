"""The routes as a whole: health, added once, in a WebUI with its own service."""

from __future__ import annotations

import numpy as np
import pytest

fastapi = pytest.importorskip("fastapi")
pytest.importorskip("httpx")

from fastapi.testclient import TestClient  # noqa: E402

from lib_facerestore.webui.api import routes  # noqa: E402
from lib_facerestore.webui.downloads import DownloadManager  # noqa: E402

from ..double import Host  # noqa: E402
from .helpers import V1, Service, b64, opened, png  # noqa: E402


def test_health(client: TestClient) -> None:
    reply = client.get(f"{V1}/health").json()
    assert reply["status"] == "ok" and reply["limits"]["pictures"] == 64 and reply["version"]


def test_adding_twice_changes_nothing(service: Service, downloads: DownloadManager) -> None:
    app = fastapi.FastAPI()
    routes.add_routes(app, service, downloads=downloads, store=lambda: service.restorer.store)
    count = len(app.routes)
    routes.add_routes(app, service, downloads=downloads, store=lambda: service.restorer.store)
    assert len(app.routes) == count


def test_registering_never_raises(caplog: pytest.LogCaptureFixture) -> None:
    routes.register(None)  # type: ignore[arg-type]
    assert V1 in caplog.text


def test_the_real_service_answers(host: Host, photo: np.ndarray) -> None:
    """From the route down to the network in the package: what the fake service above leaves out."""
    app = fastapi.FastAPI()
    routes.register(app)
    with TestClient(app) as client:
        body = {"image": b64(png(photo)), "options": {"model": "lite", "detector": "lite"}}
        answer = client.post(f"{V1}/restore", json=body)
        assert answer.status_code == 200, answer.text[:500]
        assert np.asarray(opened(answer.json()["results"][0]["image"])).shape == photo.shape
        assert {row["id"] for row in client.get(f"{V1}/models").json()["models"]} >= {"lite", "codeformer"}
