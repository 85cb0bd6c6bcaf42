"""Requests from foreign web pages (CSRF), under rebound names (DNS rebinding), and those that must go on working."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

fastapi = pytest.importorskip("fastapi")
pytest.importorskip("httpx")

from fastapi.testclient import TestClient  # noqa: E402

from lib_facerestore.webui.api import routes  # noqa: E402
from lib_facerestore.webui.api.origin import HOSTS  # noqa: E402

from ..double import Host  # noqa: E402
from .helpers import ROUTES, V1, basic, refused  # noqa: E402

HEALTH, DETECT = f"{V1}/health", f"{V1}/detect"
OWN = "127.0.0.1:7860"


@pytest.fixture
def app(host: Host) -> Iterator[TestClient]:
    app = fastapi.FastAPI()
    routes.register(app)
    with TestClient(app) as client:
        yield client


def status(client: TestClient, method: str = "POST", place: str = OWN, **headers: str) -> int:
    """403 for a request that is refused, 422 (its body is empty) or 200 for one that is let through."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = client.request(method, HEALTH if method == "GET" else DETECT, headers={"Host": place, **named})
    if answer.status_code == 403:
        refused(answer, 403, "--cors-allow-origins", HOSTS)
    assert "access-control-allow-origin" not in answer.headers
    return int(answer.status_code)


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_a_foreign_page_is_refused_on_every_route(app: TestClient, method: str, path: str) -> None:
    for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": "http://127.0.0.1:3000"}):
        refused(app.request(method, V1 + path, headers={"Host": OWN, **headers}), 403, "a web page of")
    refused(app.request(method, V1 + path, headers={"Host": "evil.example:7860"}), 403, "not known as evil.example")


def test_forms_and_bodies_that_need_no_preflight_are_refused(app: TestClient) -> None:
    assert status(app, Origin="https://evil.example", Sec_Fetch_Site="cross-site") == 403
    assert status(app, Sec_Fetch_Site="cross-site") == 403
    assert status(app, Origin="http://localhost:3000", Sec_Fetch_Site="same-site", place="localhost:7860") == 403
    assert (
        status(app, Origin="https://evil.example", Sec_Fetch_Site="cross-site", X_Forwarded_Host="evil.example") == 403
    )
    answer = app.options(DETECT, headers={"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"})
    assert answer.status_code == 405 and "access-control-allow-origin" not in answer.headers


def test_a_rebound_name_is_refused(app: TestClient, host: Host) -> None:
    own = {"Origin": "http://evil.example:7860"}
    for name in ("evil.example:7860", "127.0.0.1.evil.example:7860", "localhost.evil.example:7860"):
        assert status(app, "GET", name) == 403
        assert status(app, "POST", name, Origin=f"http://{name}") == 403
    assert status(app, "POST", "evil.example:7860", X_Forwarded_Host="localhost", **own) == 403
    host.shared.cmd_opts.listen = True
    assert status(app, "POST", "evil.example:7860", **own) == 403, "a page that changes something"
    host.shared.cmd_opts.api_auth = "a:b"
    assert status(app, "POST", "evil.example:7860", **own) == 401, "it does not know the password"
    assert status(app, Origin="https://evil.example", Authorization=basic("a:b")) == 403, "a browser remembers it"


@pytest.mark.parametrize(
    "place", [OWN, "localhost:7860", "[::1]:7860", "192.168.1.7:7860", "gpu", "gpu.local", "x.gradio.live"]
)
def test_programs_and_the_own_page_are_let_through(app: TestClient, place: str) -> None:
    assert status(app, "GET", place) == 200
    assert status(app, "POST", place) == 422
    assert status(app, "POST", place, Origin=f"http://{place}") == 422
    assert status(app, "POST", place, Origin=f"http://{place}", Sec_Fetch_Site="same-origin") == 422
    assert status(app, "GET", place, Sec_Fetch_Site="cross-site") == 200, "a link on another page"


def test_reverse_proxies(app: TestClient, host: Host) -> None:
    page = {"Origin": "https://faces.example.org", "Sec_Fetch_Site": "same-origin"}
    assert status(app, "POST", "faces.example.org", **page) == 422, "over HTTPS, the name goes along"
    assert status(app, "POST", OWN, **page) == 422, "over HTTPS, the name does not go along"
    plain = {"Origin": "http://faces.example.org"}
    assert status(app, "POST", OWN, X_Forwarded_Host="faces.example.org", **plain) == 422
    assert status(app, "POST", OWN, X_Forwarded_Host="faces.example.org:80, inner", **plain) == 422
    host.shared.cmd_opts.listen = True
    assert status(app, "POST", "faces.example.org") == status(app, "POST", OWN) == 422, "programs"
    assert status(app, "GET", "faces.example.org") == 200


def test_listed_origins_and_hosts(app: TestClient, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    opts = host.shared.cmd_opts
    foreign = {"Origin": "https://tool.example", "Sec_Fetch_Site": "cross-site"}
    opts.cors_allow_origins = "http://a.example, https://tool.example/"
    assert status(app, **foreign) == 422
    assert status(app, Origin="https://tool.example:1") == status(app, Origin="https://evil.example") == 403
    assert status(app, "GET", "tool.example") == 200
    opts.cors_allow_origins, opts.cors_allow_origins_regex = "", r"https://.*\.example"
    assert status(app, **foreign) == 422
    assert status(app, Origin="https://x.example.evil.org") == 403
    opts.cors_allow_origins_regex = "("
    assert status(app, **foreign) == 403
    opts.cors_allow_origins, opts.cors_allow_origins_regex = "*", ""
    assert status(app, **foreign) == 422
    opts.cors_allow_origins = ""
    monkeypatch.setenv(HOSTS, "my.example.org")
    assert status(app, "GET", "my.example.org") == 200
    assert status(app, "POST", "my.example.org", Origin="http://my.example.org") == 422
    assert status(app, "GET", "evil.example") == 403
    monkeypatch.setenv(HOSTS, "*")
    assert status(app, "GET", "evil.example") == 200
