"""Detection and restoration over the routes, and their turn in the WebUI's queue."""

from __future__ import annotations

import base64
import io
import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import PIL.ImageCms
import PIL.PngImagePlugin
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("httpx")

from fastapi.testclient import TestClient

from lib_facerestore import pipeline
from lib_facerestore.errors import ModelFileError
from lib_facerestore.images import files as image_files
from lib_facerestore.options.table import Options
from lib_facerestore.webui.api import work
from lib_facerestore.webui.api.work import webui_turn
from lib_facerestore.webui.downloads import DownloadManager

from ...stages.detection.test_reach import Reducing
from ..double import Host
from ..double.module import HostModule
from .helpers import SMALL, V1, Service, b64, make, opened, png, refused


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


@pytest.mark.parametrize(("name", "kind"), [("jpeg", "JPEG"), ("jpg", "JPEG"), ("webp", "WEBP")])
def test_other_formats(client: TestClient, photo: np.ndarray, name: str, kind: str) -> None:
    body = {"image": b64(png(photo)), "options": SMALL, "format": name, "quality": 80}
    result = client.post(f"{V1}/restore", json=body).json()["results"][0]
    assert opened(result["image"]).format == kind and result["format"] == kind.lower()


def test_a_size_that_the_format_cannot_hold_is_refused_before_the_work(client: TestClient) -> None:
    body = {"image": b64(png(np.zeros((8, 17000, 3), np.uint8))), "options": SMALL, "format": "webp"}
    answer = client.post(f"{V1}/restore", json=body)
    refused(answer, 422, "17000×8 pixels, and webp holds at most 16,383 a side; ask for png")


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
    assert reply["notes"] == []


def test_detect_tells_what_it_may_have_missed(service: Service, client: TestClient, photo: np.ndarray) -> None:
    service.restorer.loaded.own_detector = Reducing()
    cut = png(photo)[:-12]  # without its end mark
    for reply in (
        client.post(f"{V1}/detect", json={"image": b64(cut)}).json(),
        client.post(f"{V1}/detect/upload", files=[("image", ("image", cut, "image/png"))]).json(),
    ):
        none, end, missed = reply["notes"]
        assert none == "no face was found" and end.startswith("image: ") and "end" in end
        assert missed.endswith("faces smaller than about 60 pixels may have been missed")


def test_a_model_that_is_not_installed(client: TestClient, photo: np.ndarray) -> None:
    body = {"image": b64(png(photo)), "options": {"model": "codeformer"}}
    refused(client.post(f"{V1}/restore", json=body), 409, "codeformer", "not installed", "download")


def test_what_the_service_raises_is_answered(client: TestClient, service: Service, photo: np.ndarray) -> None:
    body = {"image": b64(png(photo))}
    service.error = ModelFileError("small.safetensors: is damaged; get it again.")
    refused(client.post(f"{V1}/restore", json=body), 409, "is damaged")
    service.error = RuntimeError("out of memory\nmore lines")
    refused(client.post(f"{V1}/restore", json=body), 500, "RuntimeError", "log")


def test_a_network_that_fails_is_no_error_but_a_reason_and_a_note(
    client: TestClient, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no kernel")

    monkeypatch.setattr(pipeline, "_restore", fail)
    answer = client.post(f"{V1}/restore", json={"image": b64(png(photo)), "options": SMALL}).json()
    assert (answer["restored"], answer["skipped"]) == (0, 2)
    told = "small.safetensors failed (RuntimeError: no kernel)"
    assert answer["results"][0]["notes"] == [f"faces 1, 2: {told}"]
    assert answer["results"][0]["faces"][0]["reason"] == f"face 1: left alone, {told}"


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


def test_other_jobs_get_their_turn_between_the_pictures(
    host: Host, service: Service, downloads: DownloadManager, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A generation that waits begins after a few pictures, and what comes back is what one turn would have given."""
    monkeypatch.setattr(work, "PICTURES_A_TURN", 2)
    lock = add_queue(host)
    order: list[str] = []

    def generation() -> None:
        with lock:
            order.append("generation")

    other = threading.Thread(target=generation)
    inner = service.restore

    def restore(images: Any, *args: Any, **named: Any) -> Any:
        order.append(f"{len(images)} restored")
        if len(order) == 1:
            other.start()
        return inner(images, *args, **named)

    monkeypatch.setattr(service, "restore", restore)
    body: dict[str, Any] = {
        "images": [b64(png(photo))] * 3,
        "options": SMALL,
        "overrides": [None, None, {"1": {"skip": True}}],
    }
    with make(service, downloads) as client:
        reply = client.post(f"{V1}/restore", json=body).json()
        other.join(5)
    assert order == ["2 restored", "generation", "1 restored"]
    assert [face["applied"] for result in reply["results"] for face in result["faces"]] == [True] * 4 + [False, True]
    whole = service.restorer.restore_many(
        [photo] * 3, Options.from_mapping(SMALL), overrides=[{}, {}, {1: {"skip": True}}]
    )
    for result, expected in zip(reply["results"], whole, strict=True):
        assert np.array_equal(np.asarray(opened(result["image"])), expected.image)


def test_after_an_interrupt_the_other_pictures_are_left_alone_in_the_same_turn(
    host: Host, service: Service, downloads: DownloadManager, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "PICTURES_A_TURN", 1)
    turns: list[bool] = []

    def restore(images: Any, *args: Any, **named: Any) -> Any:
        turns.append(host.shared.state.interrupted)
        host.shared.state.interrupted = True
        return service.restorer.restore_many(images, *args[:1], stop=lambda: turns[-1])

    monkeypatch.setattr(service, "restore", restore)
    with make(service, downloads) as client:
        body = {"images": [b64(png(photo))] * 3, "options": SMALL, "send_images": False}
        results = client.post(f"{V1}/restore", json=body).json()["results"]
    assert turns == [False, True, True]
    assert [result["changed"] for result in results] == [True, False, False]


def test_a_turn_ends_whatever_happens(host: Host) -> None:
    lock = add_queue(host)

    def job() -> None:
        with webui_turn("job"):
            assert lock.locked() and host.shared.state.job == "job"
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        job()
    assert not lock.locked() and host.shared.state.job == ""


def test_older_states_take_no_title_and_others_fail(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    for begin in (lambda: events.append("begin"), lambda title: 1 / 0):
        state = SimpleNamespace(begin=begin, end=lambda: events.append("end"))
        monkeypatch.setattr(host.shared, "state", state)
        with webui_turn("job"):
            events.append("work")
    assert events == ["begin", "work", "end", "work"]


@pytest.mark.parametrize("skip", [False, True], ids=["changed", "unchanged"])
def test_what_the_answer_lacks_of_the_sent_file_is_noted(client: TestClient, photo: np.ndarray, skip: bool) -> None:
    stream = io.BytesIO()
    PIL.Image.fromarray(photo).save(
        stream, "JPEG", comment=b"by hand", extra=b"\xff\xeb\0\x1aJP\0\1\0\0\0\1\0\0\0\x14jumb____c2pa"
    )
    body = {"image": b64(stream.getvalue() + b"video"), "options": SMALL}
    body |= {"overrides": {"1": {"skip": True}, "2": {"skip": True}}} if skip else {}
    told = {}
    for asked in ("png", "jpeg"):
        [result] = client.post(f"{V1}/restore", json=body | {"format": asked}).json()["results"]
        assert result["changed"] is not skip
        told[asked] = " ".join(result["notes"])
    assert "PNG has no place for the JPEG comment, the 5 bytes after its end: left out" in told["png"]
    assert told["png"].count("content credentials (C2PA)") == 1
    assert "left out; write" not in told["jpeg"] and told["jpeg"].count("C2PA") == (0 if skip else 1)
