"""The OpenAPI page: every route is described, and its examples work."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("httpx")

from fastapi.testclient import TestClient

from .helpers import ROUTES, V1


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
