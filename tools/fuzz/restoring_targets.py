"""Targets: what a detector answers, and the bodies of the API's requests."""

from __future__ import annotations

import base64
import contextlib
import importlib.util
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import numpy as np
import PIL.Image
import torch

from lib_facerestore import FaceRestorer, Options
from lib_facerestore.faces.face import Face, number_faces, select_faces
from lib_facerestore.networks.archs.lite import LiteRestorer
from lib_facerestore.networks.load import load_network
from lib_facerestore.options.table import Order
from lib_facerestore.stages.detection.postprocess import Detections

from .mutation import Source
from .runner import Target
from .value_targets import noise

_ORDERS: tuple[Order, ...] = get_args(Order)


class _Answers:
    """A detector that answers what it is told."""

    name = "answers"

    def __init__(self) -> None:
        self.found: list[Face] = []

    def detect(self, images: Sequence[np.ndarray], confidence: float) -> list[list[Face]]:
        return [list(self.found) for _ in images]


def _restorer(folder: Path, detector: _Answers) -> FaceRestorer:
    """One whose restorer is a network of a few thousand random weights."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = LiteRestorer((4, 4, 8, 8), (1, 1, 1, 1, 1, 1))
    restorer = FaceRestorer(folder, "cpu", detector=detector)
    loaded = load_network(network.state_dict())
    restorer.loaded.network = lambda restorer: loaded  # type: ignore[method-assign]
    return restorer


def _detections(source: Source) -> Detections:
    """Few or many detections: ordinary ones, equal ones, on a line, far outside, empty, infinite, not a number."""
    count = source.one_of((0, 1, 1, 2, 3, 3, 7, 500))
    kind = source.below(8)
    boxes, points = np.zeros((count, 4), np.float32), np.zeros((count, 5, 2), np.float32)
    template = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]])
    with np.errstate(all="ignore"):
        for index in range(count):
            corner = np.array([source.below(64) - 8, source.below(64) - 8]) if kind != 1 else np.zeros(2)
            side = source.one_of((0.5, 4, 20, 40, 300, 1e5))
            boxes[index] = (*corner, *(corner + side))
            points[index] = corner + template * side
        if count and kind == 2:
            points[:, :, 1] = points[:, :1, 1]  # on a line
        if count and kind == 3:
            points[:] = points[:, :1]  # all in one place
        if kind in (4, 5):
            for place in (boxes, points):
                flat = place.reshape(-1)
                for _ in range(min(len(flat), 3)):
                    flat[source.below(len(flat))] = source.real()
        if kind == 6:
            boxes += np.float32(source.real())
            points = points[:, ::-1]
    scores = np.array([source.real() for _ in range(min(count, 8))] + [0.9] * max(0, count - 8), np.float32)
    return Detections(boxes, scores, points)


def _detector_answers(folder: Path) -> Callable[[bytes], None]:
    answers = _Answers()
    restorer = _restorer(folder, answers)
    picture = np.random.default_rng(0).integers(0, 256, (40, 56, 3)).astype(np.uint8)

    def take(case: bytes) -> None:
        source = Source(case)
        restored = source.below(64) == 0
        with np.errstate(all="ignore"):
            faces = _detections(source).faces()
        options = Options(
            mask="ellipse", faces=source.one_of(("all", "all", "1", "2-4")), min_face=source.one_of((0, 8, 60)),
            max_faces=source.one_of((0, 1, 4)), order=source.one_of(_ORDERS),
        )  # fmt: skip
        numbered = number_faces(faces, options.order)
        assert sorted(face.number for face in numbered) == list(range(1, len(faces) + 1))
        assert len(select_faces(numbered, options)) == len(faces)
        if not restored or len(faces) > 8:  # restoring takes a thousand times as long as the rest
            return
        answers.found = faces
        before = picture.copy()
        result = restorer.restore(picture, options)
        assert np.array_equal(picture, before)
        assert (result.image.shape, result.image.dtype) == (picture.shape, picture.dtype)
        assert all(face.applied or face.reason for face in result.faces) and len(result.faces) == len(faces)

    return take


def _png() -> str:
    file = io.BytesIO()
    PIL.Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def _bodies() -> list[bytes]:
    image = _png()
    bodies: list[Any] = [
        {"image": image}, {"images": [image, image], "overrides": [None, {"1": {"skip": True}}]},
        {"image": image, "options": {"visibility": 0.5, "faces": "1"}, "format": "jpeg", "quality": 80},
        {"image": "data:image/png;base64," + image, "send_images": False}, {"accept_licence": True},
        [{"image": image}], "image", None,
    ]  # fmt: skip
    return [json.dumps(body).encode() for body in bodies] + noise()[:3]


def _api(folder: Path) -> Callable[[bytes], None]:
    """Requests to every route: the status is one of those that are documented, and the answer is one sentence."""
    import fastapi
    from fastapi.testclient import TestClient

    from lib_facerestore.webui.api import routes
    from lib_facerestore.webui.downloads import DownloadManager

    restorer = _restorer(folder, _Answers())
    service = SimpleNamespace(
        restore=lambda images, options, overrides=None, origin="": restorer.restore_many(
            images, options, overrides=overrides
        ),
        detect=restorer.detect,
        models=lambda: [SimpleNamespace(id=name, family="lite", knobs=frozenset()) for name in ("auto", "lite")],
    )
    app = fastapi.FastAPI()
    routes.add_routes(
        app,
        service,
        downloads=DownloadManager(lambda: folder, offline=lambda: True),
        store=lambda: restorer.store,
        credentials=dict,
        turn=lambda _title: contextlib.nullcontext(),
    )
    client = TestClient(app, raise_server_exceptions=False)
    client.__enter__()
    paths = ("restore", "detect", "restore", "detect", "models/gfpgan-1.4/download", "models/x/download", "options")
    schema = client.get("/openapi.json").json()["paths"]

    def take(case: bytes) -> None:
        path = f"/facerestore/v1/{paths[sum(case) % len(paths)]}"
        kind = "application/json" if len(case) % 16 else "text/plain"
        answer = client.post(path, content=case, headers={"Content-Type": kind})
        template = path if path in schema else "/facerestore/v1/models/{model}/download"
        allowed = {*schema[template].get("post", {"responses": {"405": 1}})["responses"], "200"}
        assert str(answer.status_code) in allowed, f"{answer.status_code} is not documented for {path}: {answer.text}"
        if answer.status_code >= 400:
            detail = answer.json()["detail"]
            assert isinstance(detail, str) and detail and "Traceback" not in detail, detail
            assert str(folder) not in detail and "/lib_facerestore/" not in detail, detail

    return take


TARGETS = (
    Target("detections", "0 to 500 detections, odd ones among them, to faces; a 64th is restored", noise,
           _detector_answers),
    *((Target("api", "altered bodies to the API's routes", _bodies, _api),)
      if importlib.util.find_spec("fastapi") and importlib.util.find_spec("httpx") else ()),
)  # fmt: skip
