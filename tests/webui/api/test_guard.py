"""Passwords, limits of size and number, and bodies that are no JSON."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

fastapi = pytest.importorskip("fastapi")
pytest.importorskip("httpx")

from fastapi.testclient import TestClient  # noqa: E402

from lib_facerestore.webui.api import routes  # noqa: E402
from lib_facerestore.webui.api.guard import Limits  # noqa: E402
from lib_facerestore.webui.downloads import DownloadManager  # noqa: E402

from ..double import Host  # noqa: E402
from .helpers import ROUTES, SMALL, V1, Service, b64, basic, make, png, refused  # noqa: E402


def test_bodies_that_are_no_json(client: TestClient) -> None:
    refused(client.post(f"{V1}/restore", content=b"{", headers={"Content-Type": "application/json"}), 422, "JSON")
    refused(client.post(f"{V1}/restore", content=b"a=1", headers={"Content-Type": "text/plain"}), 422, "JSON")
    for body in ([1], [], "", [["image", "x"]]):
        for path in ("/detect", "/restore", "/models/lite/download"):
            refused(client.post(V1 + path, json=body), 422, "The body must be a JSON object")
    refused(client.post(f"{V1}/restore"), 422)
    deep = b"[" * 100000
    answer = client.post(f"{V1}/restore", content=deep, headers={"Content-Type": "application/json"})
    assert 400 <= answer.status_code < 500 and isinstance(answer.json()["detail"], str)


def test_a_field_that_is_not_known_is_named_with_the_one_that_was_meant(client: TestClient) -> None:
    url = f"{V1}/restore"
    refused(
        client.post(url, json={"image": "", "optoins": {}}), 422, "'optoins' is not a field", "did you mean options"
    )
    refused(client.post(url, json={"image": "", "visiblity": 1}), 422, "'visiblity'", "did you mean visibility.")
    refused(client.post(url, json={"image": "", "visibility": 1}), 422, "visibility: is an option; put it into")
    refused(client.post(url, json={"image": "", "xyz": 1}), 422, "'xyz' is not a field of this request; the page /docs")
    refused(client.post(f"{V1}/models/lite/download", json={"image": ""}), 422, "of this request; the page /docs")
    refused(client.post(url, json={"image": "", "options": {"visiblity": 1}}), 422, "Did you mean visibility?")


def test_limits(service: Service, downloads: DownloadManager, photo: np.ndarray) -> None:
    limits = Limits(body_bytes=200_000, pictures=2, megapixels=0.1, total_megapixels=0.15)
    with make(service, downloads, limits=limits) as client:
        url = f"{V1}/restore"
        one, large = b64(png(photo)), b64(png(np.zeros((400, 400, 3), np.uint8)))
        tiny = b64(png(photo[:50, :50]))
        refused(client.post(url, json={"images": [tiny] * 3}), 413, "3 pictures", "at most 2")
        refused(client.post(url, json={"image": large}), 413, "image", "0.2 megapixels", "0.1")
        blank = b64(png(np.zeros((250, 320, 3), np.uint8)))
        refused(client.post(url, json={"images": [blank, blank]}), 413, "together")
        refused(client.post(f"{V1}/detect", json={"image": large}), 413, "megapixels")
        refused(client.post(url, json={"images": [one, one]}), 413, "MiB")
        files = [("image", ("a.png", png(photo) * 3, "image/png"))]
        refused(client.post(f"{url}/upload", files=files), 413, "MiB")

        def chunks() -> Iterator[bytes]:
            for _ in range(50):
                yield b" " * 10_000

        answer = client.post(url, content=chunks(), headers={"Content-Type": "application/json"})
        refused(answer, 413, "MiB")
        assert service.calls == []


def test_too_many_at_once(service: Service, downloads: DownloadManager, photo: np.ndarray) -> None:
    with make(service, downloads, limits=Limits(waiting=0)) as client:
        body = {"image": b64(png(photo)), "options": SMALL}
        service.gate.clear()
        answers: list[Any] = []
        first = threading.Thread(target=lambda: answers.append(client.post(f"{V1}/restore", json=body)))
        first.start()
        assert service.entered.acquire(timeout=20)
        second = client.post(f"{V1}/restore", json=body)
        assert client.get(f"{V1}/health").json()["working"] == 1
        service.gate.set()
        first.join(20)
        refused(second, 503, "again later")
        assert second.headers["retry-after"] == "5"
        assert answers[0].status_code == 200 and client.get(f"{V1}/health").json()["working"] == 0


def test_credentials(service: Service, downloads: DownloadManager, photo: np.ndarray) -> None:
    pairs = {"ann": "secret:with:colons", "björn": "pass"}
    with make(service, downloads, credentials=lambda: pairs) as client:
        for method, path in ROUTES:
            answer = client.request(method, V1 + path)
            refused(answer, 401, "--api-auth")
            assert answer.headers["www-authenticate"] == "Basic"
        good = [basic("ann:secret:with:colons"), basic("björn:pass")]
        bad = [basic(pair) for pair in ("ann:pass", "ann", "", ":", "ann:secret")] + ["Basic !!", "Basic", "Bearer x"]
        for header in good:
            assert client.get(f"{V1}/health", headers={"Authorization": header}).status_code == 200
        for header in bad:
            refused(client.get(f"{V1}/health", headers={"Authorization": header}), 401, "Incorrect")


def test_credentials_that_cannot_be_read_let_nobody_in(service: Service, downloads: DownloadManager) -> None:
    with make(service, downloads, credentials=lambda: None) as client:
        refused(client.get(f"{V1}/health", headers={"Authorization": basic("a:b")}), 401)


def test_old_middleware_of_the_host_sees_no_exception(service: Service, downloads: DownloadManager) -> None:
    """The WebUI turns HTTPException into an answer of its own shape and loses its headers: ours never reach it."""
    app = fastapi.FastAPI()

    @app.exception_handler(Exception)
    async def handler(request: Any, error: Exception) -> Any:
        raise AssertionError(f"reached: {error!r}")

    @app.middleware("http")
    async def catching(request: Any, call_next: Any) -> Any:
        return await call_next(request)

    more: dict[str, Any] = {"store": lambda: service.restorer.store, "credentials": lambda: {"a": "b"}}
    routes.add_routes(app, service, downloads=downloads, **more)
    with TestClient(app) as client:
        answer = client.post(f"{V1}/restore", json={})
        refused(answer, 401)
        assert "www-authenticate" in answer.headers
        refused(client.post(f"{V1}/restore", json={}, headers={"Authorization": basic("a:b")}), 422, "image")


def test_the_webuis_credentials_guard_the_routes(host: Host) -> None:
    app = fastapi.FastAPI()
    routes.register(app)
    with TestClient(app) as client:
        assert client.get(f"{V1}/health").status_code == 200
        host.shared.cmd_opts.api_auth = "ann:secret,bob:pass"
        refused(client.get(f"{V1}/health"), 401)
        assert client.get(f"{V1}/health", headers={"Authorization": basic("bob:pass")}).status_code == 200
        host.shared.cmd_opts.api_auth = "nonsense"
        refused(client.get(f"{V1}/health", headers={"Authorization": basic("nonsense:")}), 401)


def test_a_page_with_a_login_has_no_open_api(host: Host, tmp_path: Path) -> None:
    opts = host.shared.cmd_opts
    assert routes.webui_credentials() == {}
    opts.gradio_auth = "ann:one, bob:two:three"
    assert routes.webui_credentials() == {"ann": "one", "bob": "two:three"}
    opts.gradio_auth, opts.gradio_auth_path = None, str(tmp_path / "passwords")
    assert routes.webui_credentials() is None
    (tmp_path / "passwords").write_text("ann:one,eve:x\nbob:two\n")
    assert routes.webui_credentials() == {"ann": "one", "eve": "x", "bob": "two"}
    opts.api_auth = "only:this"
    assert routes.webui_credentials() == {"only": "this"}
