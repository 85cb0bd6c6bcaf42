"""What the routes say of options, models and downloads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("httpx")

from fastapi.testclient import TestClient

from lib_facerestore.catalogue import known_model
from lib_facerestore.options.table import PER_FACE, specs_in

from ...catalogue.test_inventory import close
from .helpers import V1, b64, png, refused


def test_options(client: TestClient) -> None:
    reply = client.get(f"{V1}/options").json()
    rows = {row["name"]: row for row in reply["options"]}
    assert list(rows) == [spec.name for spec in specs_in("webui")]
    assert rows["visibility"]["default"] == 1.0 and rows["model"]["default"] == "auto"
    assert {name for name, row in rows.items() if row["per_face"]} == set(PER_FACE)
    properties = reply["json_schema"]["properties"]
    assert properties["visibility"]["maximum"] == 1 and "parsing" in properties["mask"]["enum"]
    assert (rows["grain"]["kind"], rows["grain"]["default"], rows["grain"]["choices"]) == ("number", "auto", ["auto"])
    number = {"type": "number", "minimum": 0.0, "maximum": 1.0}
    assert properties["grain"]["anyOf"] == [number, {"enum": ["auto"]}, {"type": "null"}]


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
        assert row.keys() == known.keys() | {"installed", "fault", "file", "download"}
        assert {key: row[key] for key in known if key != "bytes"} == {
            key: known[key] for key in known if key != "bytes"
        }
    assert len({frozenset(row) for row in rows}) == 1


def test_damaged_files_and_closed_folders(
    client: TestClient, models: Path, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    (models / "GFPGANv1.4.pth").write_bytes(b"hello")
    (models / "shut").mkdir()
    close(monkeypatch, models / "shut")
    reply = client.get(f"{V1}/models").json()
    (closed,) = reply["closed"]
    assert "shut: cannot be opened (Permission denied)" in closed
    row = {row["id"]: row for row in reply["models"]}["gfpgan-1.4"]
    assert not row["installed"] and row["fault"].startswith("GFPGANv1.4.pth: damaged, or not a checkpoint (")
    body = {"image": b64(png(photo)), "options": {"model": "gfpgan-1.4"}}
    refused(client.post(f"{V1}/restore", json=body), 409, "GFPGANv1.4.pth: damaged", "move that file away", "/download")
    body["options"] = {"model": "codeformer"}
    refused(client.post(f"{V1}/restore", json=body), 409, "codeformer is not installed", "/download", closed)
    body["options"] = {"model": "mine.pth"}
    refused(client.post(f"{V1}/restore", json=body), 404, "is not known", closed)


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
