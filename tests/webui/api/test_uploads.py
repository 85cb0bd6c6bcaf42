"""Pictures sent as files in a form."""

from __future__ import annotations

import io
import json
from types import SimpleNamespace

import numpy as np
import PIL.Image
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("httpx")

from fastapi.testclient import TestClient

from lib_facerestore.webui.api.uploads import LONGEST_HEADER, _in_a_header

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


def test_a_file_comes_with_its_notes_in_a_header(client: TestClient, photo: np.ndarray) -> None:
    stream = io.BytesIO()
    PIL.Image.fromarray(photo).save(stream, "JPEG", comment=b"by hand")
    files = [("image", ("caf\u00e9.jpg", stream.getvalue(), "image/jpeg"))]
    fields = {"options": json.dumps(SMALL | {"keep": "hair"}), "overrides": '{"2": {"skip": true}}'}
    told = client.post(f"{V1}/restore/upload", files=files, data=fields).json()["results"][0]
    answer = client.post(f"{V1}/restore/upload", files=files, data=fields | {"answer": "file"})
    assert answer.headers["x-facerestore-result"] == "1 restored, 1 skipped"
    header = answer.headers["x-facerestore-notes"]
    assert header.isascii() and json.loads(header) == [*told["notes"], told["faces"][1]["reason"]]
    assert "caf\u00e9.jpg: PNG has no place for the JPEG comment" in " ".join(json.loads(header))
    plain = client.post(f"{V1}/restore/upload", files=files[:1], data={"options": json.dumps(SMALL), "format": "jpeg"})
    assert plain.json()["results"][0]["notes"] == []
    fields = {"options": json.dumps(SMALL), "format": "jpeg", "answer": "file"}
    assert client.post(f"{V1}/restore/upload", files=files, data=fields).headers["x-facerestore-notes"] == "[]"


def test_a_header_has_an_end() -> None:
    faces = [SimpleNamespace(reason=f"face {number}: skipped, \u00e9\n" + str(number) * 40) for number in range(1, 99)]
    picture = SimpleNamespace(notes=["no face 9"], faces=faces)
    header = _in_a_header(SimpleNamespace(results=[picture]))  # type: ignore[arg-type]
    assert header.isascii() and "\n" not in header and len(header) < LONGEST_HEADER + 100
    *told, last = json.loads(header)
    assert last == f"and {99 - len(told)} more, which answer=json tells" and told[0] == "no face 9" and len(told) > 20
