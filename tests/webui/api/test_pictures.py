"""The pictures and options of a request: what is refused before any work."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("httpx")

from fastapi.testclient import TestClient

from .helpers import V1, Service, b64, png, refused


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
        ({"quality": 80.5}, ["quality: value is not a valid integer."]),
        ({"quality": True}, ["quality: value is not a valid integer."]),
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


def test_a_decompression_bomb_is_refused_by_its_head(client: TestClient, service: Service) -> None:
    out = io.BytesIO()
    PIL.Image.new("1", (20000, 20000)).save(out, "PNG")
    refused(client.post(f"{V1}/restore", json={"image": b64(out.getvalue())}), 413, "pixels")
    assert service.calls == []
