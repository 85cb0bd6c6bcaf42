"""What the own routes do with pictures: check, wait for the turn, detect or restore, and put the answer together.

Knows nothing of FastAPI.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from ...catalogue import Store
from ...errors import InputError
from ...faces.face import Face, FaceReport, select_faces
from ...images.files import Picture
from ...options.spec import Scope
from ...options.table import Options
from .. import host
from . import pictures as api_pictures
from .guard import Limits, Turnstile
from .schema import DetectAnswer, DetectedFace, Format, RestoreAnswer, RestoredFace, RestoredPicture

logger = logging.getLogger(__name__)


class RestoreService(Protocol):
    """What does the work: the module `service`, or anything with these functions."""

    def restore(
        self, images: Sequence[Any], options: Options, overrides: Sequence[Any] | None = None, origin: str = ""
    ) -> list[Any]:
        """A `pipeline.Result` for each image (a `Picture`)."""

    def detect(self, image: Any, options: Options) -> list[Face]:
        """The faces of one image (a `Picture`)."""

    def models(self) -> list[Any]:
        """The restorers that can be chosen: `service.ModelChoice`."""


@contextmanager
def webui_turn(title: str) -> Iterator[None]:
    """Wait for the WebUI's queue, and be its current job: then an old interrupt does not count, and a new one does."""
    with host.queue_lock():
        state = getattr(host.module("shared"), "state", None)
        begun = state is not None and _begin(state, title)
        try:
            yield
        finally:
            if state is not None and begun:
                state.end()


def _begin(state: Any, title: str) -> bool:
    """Whether the WebUI has taken the job; where it has not, the pictures are restored all the same."""
    try:
        try:
            state.begin(title)
        except TypeError:  # older ones take no title
            state.begin()
    except Exception as error:
        logger.debug("shared.state.begin: %s", error)
        return False
    return True


@dataclass(frozen=True)
class Sent:
    """What came with a request, still unchecked: the files, what messages call them, and how they are to be treated.

    single: whether it is one picture by itself, not a list of one.
    """

    files: Sequence[bytes]
    names: Sequence[str]
    single: bool
    options: Mapping[str, Any] | None = None
    overrides: object = None


@dataclass(frozen=True)
class Work:
    """Detects and restores for the routes.

    service: what does it. store: gives the model folders. turn: a context manager, given a title, in which the heavy
    part runs. scope: which options are offered.
    """

    service: RestoreService
    store: Callable[[], Store]
    limits: Limits
    turnstile: Turnstile
    turn: Callable[[str], AbstractContextManager[Any]]
    scope: Scope

    def detect(self, sent: Sent) -> DetectAnswer:
        """The faces of the one picture. Raises FaceRestoreError."""
        started = time.perf_counter()
        with self.turnstile.enter():
            options = api_pictures.read_options(sent.options, self.scope, self.store())
            picture = api_pictures.read_pictures(sent.files, sent.names, self.limits)[0]
            with self.turn("Face Restore: detect"):
                faces = self.service.detect(picture, options)
        found = [
            DetectedFace(**_face(face), selected=not reason, reason=reason)
            for face, reason in sorted(select_faces(faces, options), key=lambda pair: pair[0].number)
        ]
        seconds = round(time.perf_counter() - started, 4)
        return DetectAnswer(width=picture.width, height=picture.height, faces=found, seconds=seconds)

    def restore(
        self, sent: Sent, format_name: Format = "png", quality: int | None = None, send: bool = True
    ) -> tuple[RestoreAnswer, list[bytes]]:
        """The answer with its pictures as base64, and the same as the bytes of files (both none without `send`).

        Raises FaceRestoreError.
        """
        started = time.perf_counter()
        with self.turnstile.enter():
            store = self.store()
            options = api_pictures.read_options(sent.options, self.scope, store)
            overrides = api_pictures.read_overrides(sent.overrides, len(sent.files), sent.single, store)
            pictures = api_pictures.read_pictures(sent.files, sent.names, self.limits)
            if send:
                for picture, name in zip(pictures, sent.names, strict=True):
                    _check_format(picture, format_name, name)
            with self.turn("Face Restore"):
                results = self.service.restore(pictures, options, overrides, "API")
            files = [
                api_pictures.encode(result.image, format_name, quality, name)
                for result, name in zip(results, sent.names, strict=True)
                if send
            ]
        shown = [
            _picture(result, api_pictures.to_base64(files[index]) if send else None, format_name)
            for index, result in enumerate(results)
        ]
        applied = [face.applied for result in shown for face in result.faces]
        answer = RestoreAnswer(
            results=shown,
            restored=sum(applied),
            skipped=len(applied) - sum(applied),
            seconds=round(time.perf_counter() - started, 4),
        )
        return answer, files


def _check_format(picture: Picture, format_name: str, name: str) -> None:
    """Before the work is done: whether what comes back can be written as asked. Raises InputError."""
    if format_name != "png" and picture.depth == 16:
        raise InputError(f"{name}: has 16 bits per channel, which {format_name} cannot hold; ask for png.")
    if format_name == "jpeg" and picture.alpha is not None:
        raise InputError(f"{name}: has transparency, which jpeg cannot hold; ask for png or webp.")


def _face(face: Face | FaceReport) -> dict[str, Any]:
    return {
        "number": face.number,
        "box": [round(float(value), 2) for value in face.box],
        "landmarks": [[round(float(x), 2), round(float(y), 2)] for x, y in face.landmarks],
        "score": round(float(face.score), 4),
    }


def _picture(result: Any, image: str | None, format_name: Format) -> RestoredPicture:
    return RestoredPicture(
        image=image,
        format=format_name,
        width=result.image.width,
        height=result.image.height,
        changed=bool(result.changed),
        model=result.model,
        faces=[
            RestoredFace(
                **_face(report),
                model=report.model,
                applied=report.applied,
                reason=report.reason,
                timings=_seconds(report.timings),
            )
            for report in result.faces
        ],
        notes=[*result.notes, *result.hints],
        timings=_seconds(result.timings),
    )


def _seconds(timings: Mapping[str, float]) -> dict[str, float]:
    return {stage: round(float(value), 4) for stage, value in timings.items()}
