"""Pictures sent as files in a form."""

from __future__ import annotations

import io
import json

import numpy as np
import PIL.Image
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("httpx")

from fastapi.testclient import TestClient

from .helpers import SMALL, V1, png, refused


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
    fields = {"options": json.dumps(SMALL), "answer": "file", "format": "jpg"}
    assert client.post(f"{V1}/restore/upload", files=files[:1], data=fields).headers["content-type"] == "image/jpeg"
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


def test_a_form_field_that_is_not_known_is_named(client: TestClient, photo: np.ndarray) -> None:
    good = [("image", ("a.png", png(photo), "image/png"))]
    url = f"{V1}/restore/upload"
    refused(
        client.post(url, files=good, data={"optoins": "{}"}), 422, "'optoins' is not a field", "did you mean options"
    )
    refused(client.post(url, files=good, data={"visiblity": "0.5"}), 422, "'visiblity'", "did you mean visibility")
    refused(client.post(url, files=good, data={"visibility": "0.5"}), 422, "visibility: is an option; put it into")
    refused(client.post(f"{V1}/detect/upload", files=good, data={"answer": "file"}), 422, "'answer' is not a field")
