"""The downloads that the page and the API start: one background thread each, with progress, cancelling and an end.

Nothing here runs unasked. `start` is the one door, and it opens only to somebody who accepts the licence.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal

from ..catalogue import BUILT_IN, ModelEntry, known_model, known_models
from ..errors import DownloadError, FaceRestoreError, ModelFileError
from ..wording import did_you_mean
from . import packages

logger = logging.getLogger(__name__)

State = Literal["waiting", "running", "done", "failed", "cancelled"]
AT_ONCE = 2
"""Downloads that run at the same time; the others wait their turn."""

COMMERCIAL = {
    "yes": "Commercial use is allowed.",
    "no": "Commercial use is not allowed.",
    "unclear": "Whether commercial use is allowed is unclear.",
}


class LicenceError(FaceRestoreError):
    """The licence has not been accepted; the message is the licence, and how to accept it."""


class _CancelledError(Exception):
    """Raised inside of a download to end it."""


@dataclass(frozen=True)
class Download:
    """How a download stands.

    id, file: the model and the name of its file. state: "done", "failed" and "cancelled" are the ends.
    done, total: bytes that are here and in all (total is None while unknown). speed: bytes a second, 0 while unknown.
    message: why it failed, or how the file was verified.
    """

    id: str
    file: str
    state: State = "waiting"
    done: int = 0
    total: int | None = None
    speed: float = 0.0
    message: str = ""

    @property
    def active(self) -> bool:
        """Whether it goes on."""
        return self.state in ("waiting", "running")

    @property
    def text(self) -> str:
        """One line for a person, e.g. "codeformer: 120 of 359 MB, 4.1 MB/s"."""
        if self.state == "running":
            whole = f" of {self.total / 2**20:.0f}" if self.total else ""
            speed = f", {self.speed / 2**20:.1f} MB/s" if self.speed else ""
            return f"{self.id}: {self.done / 2**20:.0f}{whole} MB{speed}"
        return f"{self.id}: {self.state}{'. ' + self.message if self.message else ''}"


def licence_text(entry: ModelEntry) -> str:
    """On which terms a model may be used, in full sentences."""
    parts = [f"{entry.id}: {entry.licence or 'no licence is stated'}", entry.licence_note, COMMERCIAL[entry.commercial]]
    return " ".join(part.rstrip(".") + "." for part in parts if part)


def entry_of(model: str) -> ModelEntry:
    """The catalogue's entry. ModelFileError with the nearest id where there is none."""
    entry = known_model(model)
    if entry is None or not entry.used:
        ids = [one.id for one in known_models(None) if one.used]
        raise ModelFileError(f"model {model} is not known.{did_you_mean(model, ids)} Known: {', '.join(ids)}.")
    return entry


class DownloadManager:
    """Downloads by model id.

    Args:
        folder: asked at each start: where files go.
        offline: asked at each start: True refuses, None leaves it to FACERESTORE_OFFLINE.
        mirror: asked at each start: another address for huggingface.co, None leaves it to HF_ENDPOINT.
        done: called after a file has arrived, in the download's thread.
    """

    def __init__(
        self,
        folder: Callable[[], Path],
        offline: Callable[[], bool | None] = lambda: None,
        mirror: Callable[[], str | None] = lambda: None,
        done: Callable[[], None] = lambda: None,
    ) -> None:
        self._folder, self._offline, self._mirror, self._done = folder, offline, mirror, done
        self._lock = threading.Lock()
        self._slots = threading.Semaphore(AT_ONCE)
        self._states: dict[str, Download] = {}
        self._stops: dict[str, threading.Event] = {}
        self._threads: dict[str, threading.Thread] = {}

    def start(self, model: str, accept_licence: bool, file: str | None = None) -> Download:
        """Start a download, or tell how it stands where it is under way already.

        Args:
            model: id in the catalogue.
            accept_licence: whether whoever asks has read and accepts its licence.
            file: another of the files that are published for it.

        Raises:
            ModelFileError: there is no such model.
            LicenceError: the licence was not accepted.
            MissingPackageError: a package that downloads need is not installed.
            DownloadError: it cannot be had: offline, no direct address, no such file, part of the package.
        """
        missing = packages.note("download")
        if missing:
            raise packages.MissingPackageError(missing)
        entry = entry_of(model)
        if entry.id == BUILT_IN or not entry.published:
            raise DownloadError(f"{entry.id}: is part of this package; there is nothing to download.")
        names = list(dict.fromkeys(one.name for one in entry.published))
        chosen = next((one for one in entry.published if file is None or one.name.lower() == file.lower()), None)
        if chosen is None:
            raise DownloadError(f"{entry.id}: has no file {file}; the files it has: {', '.join(names)}.")
        if not accept_licence:
            raise LicenceError(f"{licence_text(entry)} Accept the licence to download it.")
        if not chosen.urls:
            raise DownloadError(
                f"{entry.id}: there is no direct address for {chosen.name}; get it by hand"
                f"{' from ' + entry.page if entry.page else ''} and put it into {self._folder()}."
            )
        from ..catalogue.download import is_offline

        if is_offline(self._offline()):
            raise DownloadError(f"{entry.id}: offline is set, nothing is downloaded; put {chosen.name} into the "
                                "model folder yourself, or allow downloads in the settings.")  # fmt: skip
        with self._lock:
            now = self._states.get(entry.id)
            if now is not None and now.active:
                return now
            state = Download(entry.id, chosen.name, total=chosen.bytes or None)
            stop = threading.Event()
            arguments = (entry, chosen.name, self._folder(), self._mirror(), stop)
            thread = threading.Thread(target=self._run, args=arguments, name=f"facerestore {entry.id}", daemon=True)
            self._states[entry.id], self._stops[entry.id], self._threads[entry.id] = state, stop, thread
            thread.start()
        return state

    def state(self, model: str) -> Download | None:
        """How a download stands or ended; None if it was never asked for since the start."""
        with self._lock:
            return self._states.get(model.lower())

    def states(self) -> list[Download]:
        """Every download since the start, the last one last."""
        with self._lock:
            return list(self._states.values())

    def cancel(self, model: str) -> Download | None:
        """Ask a download to end; what has arrived is kept, so that the next one goes on there."""
        with self._lock:
            stop = self._stops.get(model.lower())
            if stop is not None:
                stop.set()
        return self.state(model)

    def wait(self, model: str, seconds: float | None = None) -> Download | None:
        """Wait until a download has ended, at most `seconds`; how it stands then."""
        with self._lock:
            thread = self._threads.get(model.lower())
        if thread is not None:
            thread.join(seconds)
        return self.state(model)

    def _set(self, model: str, **changes: object) -> None:
        with self._lock:
            self._states[model] = replace(self._states[model], **changes)  # type: ignore[arg-type]

    def _run(self, entry: ModelEntry, file: str, folder: Path, mirror: str | None, stop: threading.Event) -> None:
        from ..catalogue.download import download

        try:
            while not self._slots.acquire(timeout=0.2):
                if stop.is_set():
                    raise _CancelledError
            try:
                self._set(entry.id, state="running")
                meter = _Meter()

                def progress(done: int, total: int | None) -> None:
                    if stop.is_set():
                        raise _CancelledError
                    if meter.due(done):
                        self._set(entry.id, done=done, total=total, speed=meter.speed)

                got = download(
                    entry, folder, name=file, offline=False, progress=progress, lock_seconds=5, mirror=mirror
                )
            finally:
                self._slots.release()
        except _CancelledError:
            self._set(entry.id, state="cancelled", speed=0.0, message="What has arrived is kept for the next try.")
        except DownloadError as error:
            self._set(entry.id, state="failed", speed=0.0, message=str(error))
        except Exception as error:  # a thread that dies silently would leave "running" on the page for ever
            logger.exception("the download of %s failed", entry.id)
            self._set(entry.id, state="failed", speed=0.0, message=f"{type(error).__name__}: {error}")
        else:
            how = {
                "sha256": "It is the published file (SHA-256).",
                "size": "Its size is as published; nobody states its SHA-256.",
                "nothing": "Nobody states its size or SHA-256, so it could not be checked.",
            }[got.verified]
            size = got.path.stat().st_size if got.path.is_file() else None
            self._finish(entry.id)
            self._set(entry.id, state="done", done=size or 0, total=size, speed=0.0, message=how)

    def _finish(self, model: str) -> None:
        try:
            self._done()
        except Exception:  # the file is there; whoever wanted to know finds it at the next look
            logger.exception("after the download of %s", model)


class _Meter:
    """Speed over the last seconds, and whether it is time to tell it again."""

    def __init__(self) -> None:
        self._marks: list[tuple[float, int]] = []
        self._told = 0.0
        self.speed = 0.0

    def due(self, done: int) -> bool:
        now = time.monotonic()
        if self._marks and now - self._told < 0.2:
            return False
        self._told = now
        self._marks = [*(mark for mark in self._marks if now - mark[0] < 5), (now, done)]
        seconds = now - self._marks[0][0]
        self.speed = (done - self._marks[0][1]) / seconds if seconds > 0 else 0.0
        return True


def download_folder() -> Path:
    """Where downloads go: the first folder of the settings, --facerestore-models-path, or the WebUI's own for us."""
    from . import service

    return service.store().folders[0]


@lru_cache(maxsize=1)
def manager() -> DownloadManager:
    """The one manager of this process, made from the WebUI's settings; it outlives "Reload UI"."""

    def offline() -> bool | None:
        from . import settings

        return True if settings.read().offline else None  # off in the settings does not overrule the environment

    def mirror() -> str | None:
        from . import settings

        return settings.read().mirror or None

    def done() -> None:
        from . import service

        service.reset()

    return DownloadManager(download_folder, offline, mirror, done)
