"""Detection and restoration for the routes: check the request, wait for the WebUI's queue, run, make the answer."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from ...catalogue import Store
from ...errors import InputError
from ...faces.face import NO_FACE, select_faces
from ...images.encode import LONGEST
from ...images.files import Picture, left_out, to_bytes, unseen
from ...options.per_face import OverridesLike
from ...options.spec import Scope
from ...options.table import Options
from .. import clients, data_url, host
from . import pictures as api_pictures
from .guard import Limits, Turnstile
from .line import Line
from .private import without_folders
from .schema import AskedFormat, DetectAnswer, DetectedFace, Format, RestoreAnswer, RestoredFace, RestoredPicture

if TYPE_CHECKING:
    from ...results import Found, Result
    from ..service import ModelChoice

logger = logging.getLogger(__name__)

PICTURES_A_TURN = 4
"""Pictures that are restored before other jobs of the WebUI get their turn; as many faces share a network's batch."""

PAUSE = 0.005
"""Seconds between two turns: without them, who waits for the lock would find it taken again."""


_line = Line(host.queue_lock)


class RestoreService(Protocol):
    """What detects and restores: the module `service`, or anything with these functions.

    They may end early, with any result, once `clients.current` has hung up.
    """

    def restore(
        self,
        images: Sequence[Picture],
        options: Options,
        overrides: Sequence[OverridesLike] | None = None,
        origin: str = "",
    ) -> list[Result[Picture]]:
        """A result for each picture."""

    def detect(self, image: Picture, options: Options) -> Found:
        """The faces of one picture, and which may have been missed."""

    def models(self) -> list[ModelChoice]:
        """The restorers that can be chosen."""


@contextmanager
def webui_turn(title: str) -> Iterator[None]:
    """Wait for the WebUI's queue, then be its current job: an earlier interrupt does not count then, a new one does.

    Raises HungUpError where the client hangs up meanwhile.
    """
    with _line.turn():
        state = getattr(host.module("shared"), "state", None)
        begun = state is not None and _begin(state, title)
        try:
            yield
        finally:
            if state is not None and begun:
                state.end()


def _begin(state: Any, title: str) -> bool:
    """Whether the WebUI took the job; where it did not, the pictures are restored all the same."""
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
    """A request, still unchecked.

    Attributes:
        files, names: the bytes of each picture's file, and what messages call it.
        single: whether it is one picture by itself, not a list of one.
        options, overrides: as they came.
    """

    files: Sequence[bytes]
    names: Sequence[str]
    single: bool
    options: Mapping[str, object] | None = None
    overrides: object = None


@dataclass(frozen=True)
class Work:
    """Detects and restores for the routes.

    Attributes:
        service: what detects and restores.
        store: gives the model folders.
        limits: what a request may be at most.
        turnstile: counts the requests that are worked on or wait.
        turn: a context manager, given a title, in which the networks run.
        scope: which options are offered.
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
                found = self.service.detect(picture, options)
                clients.current().check()
        faces = [
            DetectedFace(**face.to_dict(), selected=not reason, reason=reason)
            for face, reason in sorted(select_faces(found.faces, options), key=lambda pair: pair[0].number)
        ]
        notes = [NO_FACE] if not faces else []
        notes += [*picture.faults, *unseen(picture), *([found.missed] if found.missed else [])]
        return DetectAnswer(
            width=picture.width,
            height=picture.height,
            faces=faces,
            notes=[without_folders(note) for note in notes],
            seconds=round(time.perf_counter() - started, 4),
        )

    def restore(
        self, sent: Sent, asked_format: AskedFormat = "png", quality: int | None = None, send: bool = True
    ) -> tuple[RestoreAnswer, list[bytes]]:
        """The answer with its pictures as base64, and the same as the bytes of files (both none without `send`).

        Raises FaceRestoreError.
        """
        started = time.perf_counter()
        format_name = format_of(asked_format)
        with self.turnstile.enter():
            store = self.store()
            options = api_pictures.read_options(sent.options, self.scope, store)
            overrides = api_pictures.read_overrides(sent.overrides, len(sent.files), sent.single, store)
            pictures = api_pictures.read_pictures(sent.files, sent.names, self.limits)
            if send:
                for picture, name in zip(pictures, sent.names, strict=True):
                    _check_format(picture, format_name, name)
            results = self._in_turns(pictures, options, overrides)
            files = _encoded(results, sent.names, format_name, quality) if send else []
        shown = [
            _picture(
                result,
                data_url.encode(files[index]) if send else None,
                format_name,
                _lost(pictures[index], result.image, files[index], format_name, sent.names[index]) if send else (),
            )
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

    def _in_turns(
        self, pictures: Sequence[Picture], options: Options, overrides: Sequence[OverridesLike] | None
    ) -> list[Result[Picture]]:
        """A result for each picture. Other jobs get their turn after every few of them; once the user has asked to
        stop, the others are left alone in the same turn.

        Raises HungUpError once the client has hung up."""
        results: list[Result[Picture]] = []
        while len(results) < len(pictures):
            if results:
                time.sleep(PAUSE)
            with self.turn("Face Restore"):
                while len(results) < len(pictures):
                    part = slice(len(results), len(results) + PICTURES_A_TURN)
                    plans = None if overrides is None else overrides[part]
                    results += self.service.restore(pictures[part], options, plans, "API")
                    clients.current().check()  # or else they may be unfinished
                    if not host.interrupted():
                        break
        return results


def _encoded(
    results: Sequence[Result[Picture]], names: Sequence[str], format_name: Format, quality: int | None
) -> list[bytes]:
    """The content of the results' files. Raises FaceRestoreError, HungUpError."""
    files = []
    for result, name in zip(results, names, strict=True):
        clients.current().check()
        files.append(to_bytes(result.image, format_name, quality, name))
    return files


def format_of(asked: AskedFormat) -> Format:
    """The format by its own name."""
    return "jpeg" if asked == "jpg" else asked


def _check_format(picture: Picture, format_name: str, name: str) -> None:
    """Check, before faces are restored, that the format can hold the result. Raises InputError."""
    longest = LONGEST.get(format_name.upper())
    if longest is not None and max(picture.width, picture.height) > longest:
        most = f"{format_name} holds at most {longest:,} a side"
        raise InputError(f"{name}: has {picture.width}×{picture.height} pixels, and {most}; ask for png.")
    if format_name != "png" and picture.depth == 16:
        raise InputError(f"{name}: has 16 bits per channel, which {format_name} cannot hold; ask for png.")
    if format_name == "jpeg" and picture.alpha is not None:
        raise InputError(f"{name}: has transparency, which jpeg cannot hold; ask for png or webp.")


def _lost(picture: Picture, result: Picture, data: bytes, format_name: Format, name: str) -> tuple[str, ...]:
    """What the file of a result (its content is `data`) lacks of the picture's file, beside what the result notes."""
    if result.encoded is not None and data is result.encoded.data:  # the file that was sent
        return ()
    return (*(picture.losses if result is picture else ()), *left_out(result, name, format_name))


def _picture(result: Result[Picture], image: str | None, format_name: Format, lost: tuple[str, ...]) -> RestoredPicture:
    return RestoredPicture(
        image=image,
        format=format_name,
        width=result.image.width,
        height=result.image.height,
        changed=bool(result.changed),
        model=result.model,
        faces=[_face(report.to_dict()) for report in result.faces],
        notes=[without_folders(note) for note in (*result.notes, *lost, *result.hints, *result.failures)],
        timings={stage: round(float(seconds), 4) for stage, seconds in result.timings.items()},
    )


def _face(fields: Mapping[str, Any]) -> RestoredFace:
    return RestoredFace(**{**fields, "reason": without_folders(str(fields["reason"]))})
