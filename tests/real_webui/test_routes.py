"""Our own routes /facerestore/v1/ in a running WebUI."""

from __future__ import annotations

import io
import json
from typing import Any

import httpx
import numpy as np
import PIL.Image
import pytest

from .client import FailedError, WebUI, changed_outside, from_base64, to_base64, to_pixels

PREFIX = "/facerestore/v1"


def refused(webui: WebUI, path: str, body: Any, status: int) -> str:
    """The sentence of an answer with that status."""
    with pytest.raises(FailedError) as caught:
        webui.post(PREFIX + path, body)
    assert caught.value.status == status, caught.value
    return caught.value.detail


def test_health(webui: WebUI) -> None:
    answer = webui.get(f"{PREFIX}/health")
    assert answer["status"] == "ok" and answer["version"] and answer["working"] == 0
    assert answer["webui"] in ("a1111", "forge", "sdnext")


def test_every_route_is_there_once_and_described(webui: WebUI) -> None:
    paths = {path: what for path, what in webui.get("/openapi.json")["paths"].items() if path.startswith(PREFIX)}
    names = {path.removeprefix(PREFIX) for path in paths}
    assert {"/health", "/options", "/models", "/detect", "/restore", "/detect/upload", "/restore/upload"} <= names
    assert "/models/{model}/download" in names
    for path, methods in paths.items():
        for method, what in methods.items():
            assert what.get("summary"), f"{method} {path}"
            assert {"200", "202"} & set(what["responses"]) and "422" in what["responses"], f"{method} {path}"


def test_options_tell_the_table(webui: WebUI) -> None:
    answer = webui.get(f"{PREFIX}/options")
    rows = {row["name"]: row for row in answer["options"]}
    assert rows["visibility"]["minimum"] == 0 and rows["visibility"]["maximum"] == 1
    assert rows["model"]["default"] == "auto" and rows["mask"]["choices"] == ["parsing", "ellipse", "box"]
    assert set(answer["json_schema"]["properties"]) == set(rows)


def test_models_tell_what_is_installed(webui: WebUI) -> None:
    rows = {row["id"]: row for row in webui.get(f"{PREFIX}/models")["models"]}
    assert rows["lite"]["installed"] and rows["lite"]["kind"] == "restorer"
    assert rows["codeformer"]["knobs"] == ["fidelity"] and rows["codeformer"]["commercial"] == "no"
    assert rows["codeformer"]["licence"]


def test_detect(webui: WebUI, photo: PIL.Image.Image) -> None:
    answer = webui.post(f"{PREFIX}/detect", {"image": to_base64(photo), "options": {"detector": "lite"}})
    assert (answer["width"], answer["height"]) == photo.size
    assert [face["number"] for face in answer["faces"]] == [1]
    x0, y0, x1, y1 = answer["faces"][0]["box"]
    assert 0 <= x0 < x1 <= 512 and 0 <= y0 < y1 <= 512
    assert len(answer["faces"][0]["landmarks"]) == 5 and answer["faces"][0]["selected"]


def test_detect_tells_why_a_face_would_be_left_alone(webui: WebUI, two_faces: PIL.Image.Image) -> None:
    answer = webui.post(f"{PREFIX}/detect", {"image": to_base64(two_faces), "options": {"faces": "2"}})
    assert [face["selected"] for face in answer["faces"]] == [False, True]
    assert answer["faces"][0]["reason"] and not answer["faces"][1]["reason"]


def test_restore_one(webui: WebUI, photo: PIL.Image.Image) -> None:
    answer = webui.post(f"{PREFIX}/restore", {"image": to_base64(photo), "options": {"model": "lite"}})
    result = answer["results"][0]
    made = from_base64(result["image"])
    assert made.size == photo.size and result["changed"] and result["model"] == "lite"
    assert changed_outside(to_pixels(photo), to_pixels(made), result["faces"][0]["box"]) == 0
    assert answer["restored"] == 1 and answer["skipped"] == 0 and answer["seconds"] > 0


def test_restore_many_with_overrides(webui: WebUI, photo: PIL.Image.Image, two_faces: PIL.Image.Image) -> None:
    body = {
        "images": [to_base64(photo), to_base64(two_faces)],
        "options": {"model": "lite"},
        "overrides": [None, {"2": {"skip": True}}],
    }
    answer = webui.post(f"{PREFIX}/restore", body)
    assert (answer["restored"], answer["skipped"]) == (2, 1)
    assert [[face["applied"] for face in result["faces"]] for result in answer["results"]] == [[True], [True, False]]
    assert answer["results"][1]["faces"][1]["reason"]


def test_visibility_0_gives_the_picture_back_bit_for_bit(webui: WebUI, photo: PIL.Image.Image) -> None:
    alpha = PIL.Image.fromarray(np.arange(512, dtype=np.uint16)[None].repeat(512, 0).astype(np.uint8))
    with_alpha = photo.copy()
    with_alpha.putalpha(alpha)
    body = {"image": to_base64(with_alpha), "options": {"visibility": 0}}
    made = from_base64(webui.post(f"{PREFIX}/restore", body)["results"][0]["image"])
    assert made.mode == "RGBA" and np.array_equal(np.asarray(made), np.asarray(with_alpha))


def test_the_picture_may_be_left_out_of_the_answer(webui: WebUI, photo: PIL.Image.Image) -> None:
    answer = webui.post(f"{PREFIX}/restore", {"image": to_base64(photo), "send_images": False})
    assert answer["results"][0]["image"] is None and answer["restored"] == 1


def test_upload(webui: WebUI, photo: PIL.Image.Image) -> None:
    file = io.BytesIO()
    photo.save(file, "PNG")
    answer = webui.http.post(
        f"{PREFIX}/restore/upload",
        files={"image": ("photo.png", file.getvalue(), "image/png")},
        data={"options": json.dumps({"model": "lite"}), "answer": "file", "format": "webp"},
    )
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/webp"
    assert answer.headers["x-facerestore-result"] == "1 restored, 0 skipped"
    assert PIL.Image.open(io.BytesIO(answer.content)).size == photo.size


def test_errors_are_sentences(webui: WebUI, photo: PIL.Image.Image) -> None:
    image = to_base64(photo)
    assert "modle" in refused(webui, "/restore", {"image": image, "options": {"modle": "lite"}}, 422)
    assert "visibility" in refused(webui, "/restore", {"image": image, "options": {"visibility": 3}}, 422)
    assert "image" in refused(webui, "/restore", {}, 422)
    assert refused(webui, "/restore", {"image": "not a picture"}, 422)
    assert refused(webui, "/restore", {"image": "/etc/passwd"}, 422)
    assert refused(webui, "/restore", {"image": "http://127.0.0.1:9/x.png"}, 422)
    assert "no-such" in refused(webui, "/restore", {"image": image, "options": {"model": "no-such"}}, 404)
    assert refused(webui, "/restore", {"image": image, "options": {"model": "../../secret.pth"}}, 422)
    assert refused(webui, "/models/no-such/download", {"accept_licence": True}, 404)
    assert "licence" in refused(webui, "/models/codeformer/download", {}, 403).lower()


def test_a_login_is_asked_for_where_the_webui_asks_for_one(webui: WebUI) -> None:
    """Needs a WebUI with --api-auth, and WEBUI_AUTH."""
    if webui.http.auth is None:
        pytest.skip("needs a WebUI with --api-auth, and its login in WEBUI_AUTH")
    for auth in (None, ("somebody", "else")):
        answer = httpx.get(f"{webui.url}{PREFIX}/models", auth=auth, trust_env=False, timeout=30)
        assert answer.status_code == 401 and answer.json()["detail"]
        assert answer.headers["www-authenticate"].lower().startswith("basic")
