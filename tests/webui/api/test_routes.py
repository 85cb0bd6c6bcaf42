"""The extension's routes: a bare FastAPI app, a small network, faces that are known in advance."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageCms
import PIL.PngImagePlugin
import pytest

fastapi = pytest.importorskip("fastapi")
pytest.importorskip("httpx")

from fastapi.testclient import TestClient  # noqa: E402

from lib_facerestore.catalogue import known_model  # noqa: E402
from lib_facerestore.errors import ModelFileError  # noqa: E402
from lib_facerestore.images import files as image_files  # noqa: E402
from lib_facerestore.options.table import PER_FACE, specs_in  # noqa: E402
from lib_facerestore.pipeline import FaceRestorer  # noqa: E402
from lib_facerestore.webui.api import routes  # noqa: E402
from lib_facerestore.webui.api.guard import Limits  # noqa: E402
from lib_facerestore.webui.api.work import webui_turn  # noqa: E402
from lib_facerestore.webui.downloads import DownloadManager  # noqa: E402

from ..double import Host  # noqa: E402
from ..double.module import HostModule  # noqa: E402

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
        return self.restorer.detect(image, options)

    def models(self) -> list[Any]:
        knobs: frozenset[str] = frozenset()
        return [SimpleNamespace(id=name, family="lite", knobs=knobs) for name in ("auto", "small.safetensors", "lite")]


@pytest.fixture
def service(restorer: FaceRestorer) -> Service:
    return Service(restorer)


@pytest.fixture
def downloads(tmp_path: Path) -> DownloadManager:
    return DownloadManager(lambda: tmp_path / "got", offline=lambda: True)


def make(service: Service, downloads: DownloadManager, **more: Any) -> TestClient:
    app = fastapi.FastAPI()
    routes.add_routes(app, service, downloads=downloads, store=lambda: service.restorer.store, **more)
    return TestClient(app)


@pytest.fixture
def client(service: Service, downloads: DownloadManager) -> Iterator[TestClient]:
    with make(service, downloads) as client:
        yield client


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


def test_restores_one_picture(client: TestClient, photo: np.ndarray) -> None:
    answer = client.post(f"{V1}/restore", json={"image": b64(png(photo)), "options": SMALL})
    assert answer.status_code == 200, answer.text
    reply = answer.json()
    assert (reply["restored"], reply["skipped"]) == (2, 0)
    [result] = reply["results"]
    assert result["changed"] and result["model"] == "small.safetensors" and result["format"] == "png"
    assert (result["width"], result["height"]) == (280, 200)
    assert [face["number"] for face in result["faces"]] == [1, 2]
    for face in result["faces"]:
        assert face["applied"] and len(face["landmarks"]) == 5 and "restore" in face["timings"]
    after = np.asarray(opened(result["image"]))
    assert (after != photo).any()
    assert np.array_equal(after[190:], photo[190:])


def test_several_pictures_share_one_call(client: TestClient, service: Service, photo: np.ndarray) -> None:
    body = {
        "images": [b64(png(photo)), "data:image/png;base64," + b64(png(photo[:, :170]))],
        "options": SMALL,
        "overrides": [{"1": {"skip": True}}, None],
    }
    reply = client.post(f"{V1}/restore", json=body).json()
    assert service.calls == [2]
    first, second = reply["results"]
    assert not first["faces"][0]["applied"] and "face 1" in first["faces"][0]["reason"]
    assert first["faces"][1]["applied"]
    assert [face["applied"] for face in second["faces"]] == [True]
    assert reply["restored"] == 2 and reply["skipped"] == 1


def test_overrides_of_one_picture_may_stand_alone(client: TestClient, photo: np.ndarray) -> None:
    body = {"image": b64(png(photo)), "options": SMALL, "overrides": {"2": {"visibility": 0}}}
    result = client.post(f"{V1}/restore", json=body).json()["results"][0]
    assert [face["applied"] for face in result["faces"]] == [True, False]


def test_alpha_profile_and_text_come_back(client: TestClient, photo: np.ndarray) -> None:
    alpha = np.tile(np.arange(280, dtype=np.uint8) % 251, (200, 1))
    profile = PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB")).tobytes()
    text = PIL.PngImagePlugin.PngInfo()
    text.add_text("parameters", "a face, Steps: 20")
    data = png(np.dstack([photo, alpha]), pnginfo=text, icc_profile=profile)
    result = client.post(f"{V1}/restore", json={"image": b64(data), "options": SMALL}).json()["results"][0]
    image = opened(result["image"])
    assert image.mode == "RGBA" and np.array_equal(np.asarray(image)[:, :, 3], alpha)
    assert image.info["parameters"] == "a face, Steps: 20" and image.info["icc_profile"] == profile


def test_sixteen_bits_come_back(client: TestClient, photo: np.ndarray) -> None:
    deep = photo.astype(np.uint16) * 256 + 77
    data = image_files.to_bytes(image_files.from_array(deep), "PNG")
    result = client.post(f"{V1}/restore", json={"image": b64(data), "options": SMALL}).json()["results"][0]
    after = image_files.from_bytes(base64.b64decode(result["image"]))
    assert after.depth == 16 and np.array_equal(after.pixels[190:], deep[190:])
    for name in ("jpeg", "webp"):
        body = {"image": b64(data), "options": SMALL, "format": name}
        refused(client.post(f"{V1}/restore", json=body), 422, "16 bits", "png")


@pytest.mark.parametrize(("name", "kind"), [("jpeg", "JPEG"), ("webp", "WEBP")])
def test_other_formats(client: TestClient, photo: np.ndarray, name: str, kind: str) -> None:
    body = {"image": b64(png(photo)), "options": SMALL, "format": name, "quality": 80}
    result = client.post(f"{V1}/restore", json=body).json()["results"][0]
    assert opened(result["image"]).format == kind and result["format"] == name


def test_without_images(client: TestClient, photo: np.ndarray) -> None:
    reply = client.post(f"{V1}/restore", json={"image": b64(png(photo)), "options": SMALL, "send_images": False}).json()
    assert reply["results"][0]["image"] is None and reply["restored"] == 2


def test_null_means_the_default(client: TestClient, photo: np.ndarray) -> None:
    body: dict[str, Any] = dict.fromkeys(("images", "overrides", "send_images", "format", "quality"))
    body |= {"image": b64(png(photo)), "options": {"model": None, "max_faces": 1.0, "visibility": None}}
    reply = client.post(f"{V1}/restore", json=body).json()
    assert reply["restored"] == 1 and reply["results"][0]["image"]


def test_nothing_to_do_returns_the_same_pixels(client: TestClient, photo: np.ndarray) -> None:
    body = {"image": b64(png(photo)), "options": {"min_face": 5000}}
    reply = client.post(f"{V1}/restore", json=body).json()
    assert reply["restored"] == 0 and reply["skipped"] == 2 and not reply["results"][0]["changed"]
    assert all("min_face" in face["reason"] for face in reply["results"][0]["faces"])
    assert np.array_equal(np.asarray(opened(reply["results"][0]["image"])), photo)


def test_detect(client: TestClient, photo: np.ndarray) -> None:
    reply = client.post(f"{V1}/detect", json={"image": b64(png(photo)), "options": {"faces": "2"}}).json()
    assert (reply["width"], reply["height"]) == (280, 200)
    assert [(face["number"], face["selected"]) for face in reply["faces"]] == [(1, False), (2, True)]
    assert reply["faces"][0]["reason"] and len(reply["faces"][0]["box"]) == 4


def test_uploads(client: TestClient, photo: np.ndarray) -> None:
    files = [("image", ("a.png", png(photo), "image/png")), ("image", ("b.png", png(photo), "image/png"))]
    fields = {"options": json.dumps(SMALL), "overrides": '[null, {"1": {"skip": true}}]', "send_images": "false"}
    reply = client.post(f"{V1}/restore/upload", files=files, data=fields).json()
    assert reply["restored"] == 3 and reply["results"][1]["image"] is None
    answer = client.post(
        f"{V1}/restore/upload", files=files[:1], data={"options": json.dumps(SMALL), "answer": "file", "format": "webp"}
    )
    assert answer.headers["content-type"] == "image/webp"
    assert answer.headers["x-facerestore-result"] == "2 restored, 0 skipped"
    assert PIL.Image.open(io.BytesIO(answer.content)).size == (280, 200)
    reply = client.post(f"{V1}/detect/upload", files=files[:1]).json()
    assert len(reply["faces"]) == 2


def test_bad_uploads(client: TestClient, photo: np.ndarray) -> None:
    good = [("image", ("a.png", png(photo), "image/png"))]
    url = f"{V1}/restore/upload"
    refused(client.post(url, data={"options": "{}"}), 422, "image")
    refused(client.post(url, files=good, data={"options": "{oops"}), 422, "options", "JSON")
    refused(client.post(url, files=good, data={"options": "[]"}), 422, "options", "object")
    refused(client.post(url, files=good, data={"overrides": "7"}), 422, "overrides")
    refused(client.post(url, files=good * 2, data={"answer": "file"}), 422, "one picture")
    refused(client.post(url, files=[("image", ("../../x.png", b"", "image/png"))]), 422, "x.png: is empty")
    refused(client.post(url, files=[("image", ("t.txt", b"hello", "text/plain"))]), 422, "t.txt", "not a picture")
    refused(client.post(f"{V1}/detect/upload", files=[("image", ("t.txt", b"hello", "text/plain"))]), 422, "t.txt")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"options": {"visibilty": 1}}, ["visibilty", "Did you mean visibility"]),
        ({"options": {"visibility": 3}}, ["visibility", "0 to 1"]),
        ({"options": {"visibility": "NaN"}}, ["visibility"]),
        ({"options": {"faces": "0"}}, ["faces"]),
        ({"options": {"upscale": 2}}, ["upscale"]),
        ({"options": [1]}, ["options"]),
        ({"options": "model=lite"}, ["options"]),
        ({"overrides": {"0": {"skip": True}}}, ["overrides"]),
        ({"overrides": {"1": {"order": "left-right"}}}, ["order"]),
        ({"overrides": [None, None]}, ["overrides", "1 pictures"]),
        ({"overrides": "x"}, ["overrides"]),
        ({"format": "bmp"}, ["format"]),
        ({"quality": 0}, ["quality"]),
        ({"option": {}}, ["option"]),
        ({"image": None}, ["image"]),
        ({"image": ""}, ["image", "empty"]),
        ({"image": "!!!"}, ["image", "base64"]),
        ({"image": b64(b"hello")}, ["image", "not a picture"]),
        ({"image": "https://example.com/a.png"}, ["address"]),
        ({"image": "file:///etc/passwd"}, ["address"]),
        ({"image": "/etc/passwd"}, ["image"]),
        ({"images": ["AAAA"]}, ["image", "images"]),
        ({"image": None, "images": []}, ["images", "empty"]),
        ({"image": None, "images": [None]}, ["images"]),
        ({"options": {"model": "../x.pth"}}, ["model", "path"]),
        ({"options": {"model": "/etc/passwd"}}, ["model", "path"]),
        ({"options": {"model": "C:\\x.pth"}}, ["model", "path"]),
        ({"options": {"model": "~root"}}, ["model", "path"]),
        ({"overrides": {"1": {"model": "a/b.pth"}}}, ["model", "path"]),
        ({"options": {"model": "bisenet"}}, ["bisenet", "parser"]),
    ],
)
def test_bad_requests(
    client: TestClient, service: Service, photo: np.ndarray, change: dict[str, Any], words: list[str]
) -> None:
    answer = client.post(f"{V1}/restore", json={"image": b64(png(photo))} | change)
    refused(answer, 422, *words)
    assert service.calls == []


def test_damaged_pictures(client: TestClient, photo: np.ndarray) -> None:
    refused(client.post(f"{V1}/restore", json={"image": b64(png(photo)[:5000])}), 422, "damaged")


def test_transparency_into_jpeg_is_refused_before_the_work(
    client: TestClient, service: Service, photo: np.ndarray
) -> None:
    data = png(np.dstack([photo, photo[:, :, 0]]))
    refused(client.post(f"{V1}/restore", json={"image": b64(data), "format": "jpeg"}), 422, "transparency")
    assert service.calls == []


def test_a_model_of_that_name_in_the_working_folder_is_not_opened(
    client: TestClient, photo: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "secret.pth").write_bytes(b"x")
    monkeypatch.chdir(tmp_path / "here")
    body = {"image": b64(png(photo)), "options": {"model": "secret.pth"}}
    refused(client.post(f"{V1}/restore", json=body), 404, "secret.pth", "small")


def test_a_model_that_is_not_installed(client: TestClient, photo: np.ndarray) -> None:
    body = {"image": b64(png(photo)), "options": {"model": "codeformer"}}
    refused(client.post(f"{V1}/restore", json=body), 409, "codeformer", "not installed", "download")


def test_bodies_that_are_no_json(client: TestClient) -> None:
    refused(client.post(f"{V1}/restore", content=b"{", headers={"Content-Type": "application/json"}), 422, "JSON")
    refused(client.post(f"{V1}/restore", content=b"a=1", headers={"Content-Type": "text/plain"}), 422, "JSON")
    refused(client.post(f"{V1}/restore", json=[1]), 422)
    refused(client.post(f"{V1}/restore"), 422)
    deep = b"[" * 100000
    answer = client.post(f"{V1}/restore", content=deep, headers={"Content-Type": "application/json"})
    assert 400 <= answer.status_code < 500 and isinstance(answer.json()["detail"], str)


def test_what_the_service_raises_is_answered(client: TestClient, service: Service, photo: np.ndarray) -> None:
    body = {"image": b64(png(photo))}
    service.error = ModelFileError("small.safetensors: is damaged; get it again.")
    refused(client.post(f"{V1}/restore", json=body), 409, "is damaged")
    service.error = RuntimeError("out of memory\nmore lines")
    refused(client.post(f"{V1}/restore", json=body), 500, "RuntimeError", "out of memory", "log")


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


def test_a_decompression_bomb_is_refused_by_its_head(client: TestClient, service: Service) -> None:
    out = io.BytesIO()
    PIL.Image.new("1", (20000, 20000)).save(out, "PNG")
    refused(client.post(f"{V1}/restore", json={"image": b64(out.getvalue())}), 413, "pixels")
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


def test_health(client: TestClient) -> None:
    reply = client.get(f"{V1}/health").json()
    assert reply["status"] == "ok" and reply["limits"]["pictures"] == 64 and reply["version"]


def test_options(client: TestClient) -> None:
    reply = client.get(f"{V1}/options").json()
    rows = {row["name"]: row for row in reply["options"]}
    assert list(rows) == [spec.name for spec in specs_in("webui")]
    assert rows["visibility"]["default"] == 1.0 and rows["model"]["default"] == "auto"
    assert {name for name, row in rows.items() if row["per_face"]} == set(PER_FACE)
    properties = reply["json_schema"]["properties"]
    assert properties["visibility"]["maximum"] == 1 and "parsing" in properties["mask"]["enum"]


def test_models(client: TestClient) -> None:
    reply = {row["id"]: row for row in client.get(f"{V1}/models").json()["models"]}
    assert reply["lite"]["installed"] and not reply["lite"]["downloadable"] and reply["lite"]["bytes"] > 1000
    former = reply["codeformer"]
    assert not former["installed"] and former["downloadable"] and former["knobs"] == ["fidelity"]
    assert former["commercial"] == "no" and former["licence"] and former["bytes"] > 300_000_000
    assert reply["small.safetensors"]["installed"] and reply["small.safetensors"]["bytes"]
    assert reply["bisenet"]["kind"] == "parser" and "auto" not in reply


def test_models_have_the_keys_and_values_of_the_command_lines_json(client: TestClient) -> None:
    rows = client.get(f"{V1}/models").json()["models"]
    for row in rows:
        entry = known_model(row["id"])
        if entry is None:
            assert row["id"] == "small.safetensors" and row["licence_note"].startswith("A file of your own")
            continue
        known = entry.as_json()
        assert row.keys() == known.keys() | {"installed", "file", "download"}
        assert {key: row[key] for key in known if key != "bytes"} == {
            key: known[key] for key in known if key != "bytes"
        }
    assert len({frozenset(row) for row in rows}) == 1


def test_download_errors(client: TestClient) -> None:
    url = f"{V1}/models/codeformer/download"
    for unaccepted in ({}, {"accept_licence": False}, {"accept_licence": None}):
        refused(client.post(url, json=unaccepted), 403, "S-Lab", "accept_licence")
    refused(client.post(url, json={"accept_licence": True}), 409, "offline")
    refused(client.post(url, json={"accept_licence": True, "file": "x.pth"}), 409, "x.pth", "codeformer.pth")
    refused(client.post(f"{V1}/models/dfdnet/download", json={"accept_licence": True}), 409, "by hand")
    refused(client.post(f"{V1}/models/lite/download", json={"accept_licence": True}), 409, "part of this package")
    for method in ("POST", "GET", "DELETE"):
        body = {"accept_licence": True} if method == "POST" else None
        refused(client.request(method, f"{V1}/models/codefrmer/download", json=body), 404, "Did you mean codeformer")
    reply = client.get(url).json()
    assert reply["state"] == "none" and reply["total"] == 376637898


def test_adding_twice_changes_nothing(service: Service, downloads: DownloadManager) -> None:
    app = fastapi.FastAPI()
    routes.add_routes(app, service, downloads=downloads, store=lambda: service.restorer.store)
    count = len(app.routes)
    routes.add_routes(app, service, downloads=downloads, store=lambda: service.restorer.store)
    assert len(app.routes) == count


def test_openapi_is_complete(client: TestClient) -> None:
    page = client.get("/openapi.json").json()
    paths = {path: page["paths"][path] for path in page["paths"] if path.startswith(V1)}
    assert {(method.upper(), path.removeprefix(V1)) for path in paths for method in paths[path]} == {
        (method, path.replace("codeformer", "{model}")) for method, path in ROUTES
    }
    names = page["components"]["schemas"]
    for path, methods in paths.items():
        for method, operation in methods.items():
            where = f"{method} {path}"
            assert operation["summary"] and operation["description"], where
            assert operation["security"] == [{"HTTPBasic": []}], where
            for status, answer in operation["responses"].items():
                assert answer["description"], where
                schema = answer["content"]["application/json"]["schema"]
                assert schema["$ref"].split("/")[-1] in names, where
                if not status.startswith("2"):
                    assert schema["$ref"].endswith("/Error"), where
            assert {"401", "422", "500"} <= set(operation["responses"]), where
            if method == "post" and not path.endswith("upload"):
                assert operation["requestBody"]["content"]["application/json"]["examples"], where
    for name in ("RestoreRequest", "RestoreAnswer", "ModelInfo", "OptionInfo", "DownloadState"):
        undescribed = [key for key, field in names[name]["properties"].items() if not field]
        assert not undescribed, (name, undescribed)
    assert "HTTPValidationError" not in json.dumps(paths)


def test_the_examples_of_the_page_work(client: TestClient) -> None:
    page = client.get("/openapi.json").json()
    for path in ("/detect", "/restore"):
        content = page["paths"][V1 + path]["post"]["requestBody"]["content"]["application/json"]
        for example in content["examples"].values():
            answer = client.post(V1 + path, json=example["value"])
            assert answer.status_code == 200, answer.text


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


# -- in a WebUI


def add_queue(host: Host) -> threading.Lock:
    module, lock = HostModule("modules.call_queue"), threading.Lock()
    module.queue_lock = lock
    host._put(module)
    return lock


@pytest.mark.parametrize("host", ["a1111", "forge", "sdnext"], indirect=True)
def test_the_routes_of_a_webui(
    host: Host, service: Service, downloads: DownloadManager, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under its queue's lock, as its current job: an old interrupt does not count."""
    lock = add_queue(host)
    state = host.shared.state
    state.interrupted = True
    seen: list[tuple[bool, bool, str]] = []
    inner = service.restore

    def restore(*args: Any, **named: Any) -> Any:
        seen.append((lock.locked(), state.interrupted, state.job))
        return inner(*args, **named)

    monkeypatch.setattr(service, "restore", restore)
    with make(service, downloads) as client:
        assert client.get(f"{V1}/health").json()["webui"] == host.kind
        reply = client.post(f"{V1}/restore", json={"image": b64(png(photo)), "options": SMALL}).json()
    assert reply["restored"] == 2 and seen == [(True, False, "Face Restore")]
    assert not lock.locked() and state.job == ""


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


def test_a_turn_ends_whatever_happens(host: Host) -> None:
    lock = add_queue(host)

    def work() -> None:
        with webui_turn("job"):
            assert lock.locked() and host.shared.state.job == "job"
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert not lock.locked() and host.shared.state.job == ""


def test_older_states_take_no_title_and_others_fail(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    for begin in (lambda: events.append("begin"), lambda title: 1 / 0):
        state = SimpleNamespace(begin=begin, end=lambda: events.append("end"))
        monkeypatch.setattr(host.shared, "state", state)
        with webui_turn("job"):
            events.append("work")
    assert events == ["begin", "work", "end", "work"]


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
