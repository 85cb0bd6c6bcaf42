"""The OpenAPI page: every route is described, and its examples work."""

from __future__ import annotations

import json
import sys
import types
import warnings
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("httpx")

from fastapi.testclient import TestClient

from lib_facerestore.webui.api import schema
from lib_facerestore.webui.downloads import DownloadManager

from .helpers import ROUTES, V1, Service, make, refused


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
            assert "security" not in operation and "401" not in operation["responses"], where
            for status, answer in operation["responses"].items():
                assert answer["description"], where
                kinds = {*answer["content"]} - {"application/json"}
                file = path.endswith("restore/upload") and status == "200"
                assert kinds == ({"image/png", "image/jpeg", "image/webp"} if file else set()), where
                schema = answer["content"]["application/json"]["schema"]
                assert schema["$ref"].split("/")[-1] in names, where
                if not status.startswith("2"):
                    assert schema["$ref"].endswith("/Error"), where
            assert {"422", "500"} <= set(operation["responses"]), where
            assert ("400" in operation["responses"]) == (method == "post"), where
            if method == "post" and not path.endswith("upload"):
                assert operation["requestBody"]["content"]["application/json"]["examples"], where
    for name in ("RestoreRequest", "RestoreAnswer", "ModelInfo", "OptionInfo", "DownloadState"):
        undescribed = [key for key, field in names[name]["properties"].items() if not field]
        assert not undescribed, (name, undescribed)
    assert "HTTPValidationError" not in json.dumps(paths)


def test_a_password_is_declared_where_one_is_asked_for(service: Service, downloads: DownloadManager) -> None:
    for answer in ({"ann": "secret"}, None):
        with make(service, downloads, credentials=lambda answer=answer: answer) as client:
            page = client.get("/openapi.json").json()
        for method, path in ROUTES:
            operation = page["paths"][V1 + path.replace("codeformer", "{model}")][method.lower()]
            assert operation["security"] == [{"HTTPBasic": []}] and "401" in operation["responses"]
        assert "HTTPBasic" in page["components"]["securitySchemes"]


def test_bodies_that_cannot_be_read_have_the_status_of_the_page(client: TestClient) -> None:
    for path, kind, body in (
        ("/restore", "application/json", b'{"image": "\xff"}'),
        ("/restore/upload", "multipart/form-data; boundary=y", b"x"),
    ):
        refused(client.post(V1 + path, content=body, headers={"Content-Type": kind}), 400)


def test_pydantic_1_declares_what_may_be_null(monkeypatch: pytest.MonkeyPatch) -> None:
    """A1111 has it; its schema for a field that may be null says nothing of null by itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of the newest Pythons
        one = pytest.importorskip("pydantic.v1")
    monkeypatch.setitem(sys.modules, "pydantic", one)
    namespace: dict[str, Any] = {"__name__": "facerestore_schema_of_pydantic_1"}
    monkeypatch.setitem(sys.modules, namespace["__name__"], types.ModuleType(namespace["__name__"]))
    exec(compile(Path(schema.__file__).read_text("utf-8"), schema.__file__, "exec", dont_inherit=True), namespace)
    for name, model in vars(schema).items():
        if isinstance(model, type) and issubclass(model, schema.BaseModel) and model.__module__ == schema.__name__:
            properties = namespace[name].schema()["properties"]
            optional = {key for key, kind in get_type_hints(model).items() if type(None) in get_args(kind)}
            assert {key for key, shown in properties.items() if shown.get("nullable")} == optional, name
    asked: Any = namespace["RestoreRequest"]
    newer: Any = schema.RestoreRequest
    items, table = asked.schema()["properties"]["overrides"]["anyOf"]
    assert (items["items"], table) == ({"type": "object", "nullable": True}, {"type": "object"})
    right: Any
    wrong: Any
    for right in ([None], [None, {"1": None}], [{}], {"1": {"skip": True}}, None):
        assert asked(image="x", overrides=right).overrides == right
    for wrong in ([[]], [[["1", {}]]], [5], "x", [["a", "b"]]):
        for model in (asked, newer):  # the same as pydantic 2, which takes no pairs for a table
            with pytest.raises(ValueError, match="overrides"):
                model(image="x", overrides=wrong)
    for name, values in (("options", [["visibility", 0.5]]), ("image", 5), ("images", [5])):
        for model in (asked, newer):
            with pytest.raises(ValueError, match=name):
                model(**{name: values})
    for right in (80, 80.0, "80"):
        assert asked(image="x", quality=right).quality == newer(image="x", quality=right).quality == 80
    for wrong in (80.5, True, "80.5", 0, 101, 100.5, 1e400):
        for model in (asked, newer):
            with pytest.raises(ValueError, match="quality"):
                model(image="x", quality=wrong)
    for page in (asked.schema(), newer.model_json_schema() if hasattr(newer, "model_json_schema") else newer.schema()):
        shown = page["properties"]["quality"]
        shown = next((kind for kind in shown.get("anyOf", []) if kind["type"] != "null"), shown)
        assert (shown["type"], shown["minimum"], shown["maximum"]) == ("integer", 1, 100)
    for name in ("DetectRequest", "RestoreRequest", "DownloadRequest"):
        assert namespace[name].schema()["additionalProperties"] is False
        for wrong in ([], "", [["accept_licence", True]], [["image", "x"]]):  # FastAPI calls this for a body
            with pytest.raises((TypeError, ValueError)):
                namespace[name].validate(wrong)


def test_the_examples_of_the_page_work(client: TestClient) -> None:
    page = client.get("/openapi.json").json()
    for path in ("/detect", "/restore"):
        content = page["paths"][V1 + path]["post"]["requestBody"]["content"]["application/json"]
        for example in content["examples"].values():
            answer = client.post(V1 + path, json=example["value"])
            assert answer.status_code == 200, answer.text
