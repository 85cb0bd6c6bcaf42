"""The downloads that the page and the API start: a background thread for each, with progress and cancelling.

Only `DownloadManager.start` starts one, and only when the licence is accepted.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ..catalogue import ModelEntry, entry_of, known_models
from ..catalogue import download as downloading
from ..catalogue.terms import VERIFIED, licence_text, sentence
from ..errors import DownloadError, FaceRestoreError
from . import packages, service, settings

logger = logging.getLogger(__name__)

State = Literal["waiting", "running", "done", "failed", "cancelled"]
AT_ONCE = 2
"""Downloads that run at the same time; the others wait their turn."""


class LicenceError(FaceRestoreError):
    """The licence has not been accepted; the message is the licence, and how to accept it."""


class _CancelledError(Exception):
    """Raised inside of a download to end it."""


@dataclass(frozen=True)
class Download:
    """A download at one moment.

    Attributes:
        id, file: the model and the name of its file.
        state: "done", "failed" and "cancelled" are final.
        done, total: bytes that have arrived and in all (total is None while unknown).
        speed: bytes a second, 0 while unknown.
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
        """Whether it has not ended yet."""
        return self.state in ("waiting", "running")

    @property
    def text(self) -> str:
        """One line for a person, e.g. "codeformer: 120 of 359 MB, 4.1 MB/s"."""
        if self.state == "running":
            whole = f" of {self.total / 2**20:.0f}" if self.total else ""
            speed = f", {self.speed / 2**20:.1f} MB/s" if self.speed else ""
            return f"{self.id}: {self.done / 2**20:.0f}{whole} MB{speed}"
        return f"{self.id}: {self.state}{'. ' + self.message if self.message else ''}"


def downloadable(model: str) -> ModelEntry:
    """The catalogue's entry of a model that something here uses. Raises ModelFileError, which names them all."""
    used = [entry for entry in known_models(None) if entry.used]
    return entry_of(model, used, f"Known: {', '.join(entry.id for entry in used)}.")


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

    def start(self, model: str, accept_licence: bool, file: str | None = None) -> Download:
        """Start a download; nothing is started where one of this model is under way already.

        Args:
            model: id in the catalogue.
            accept_licence: whether the user has read its licence and accepts it.
            file: another of the files that are published for it.

        Returns:
            The download that was started, or is under way.

        Raises:
            ModelFileError: there is no such model.
            LicenceError: the licence was not accepted.
            MissingPackageError: a package that downloads need is not installed.
            DownloadError: offline, no direct address, no such file, part of the package.
        """
        missing = packages.note("download")
        if missing:
            raise packages.MissingPackageError(missing)
        entry, folder = downloadable(model), self._folder()
        chosen = downloading.published_file(entry, file)
        if not accept_licence:
            raise LicenceError(f"{licence_text(entry)} Accept the licence to download it.")
        downloading.check_available(entry, chosen, folder, self._offline())
        with self._lock:
            now = self._states.get(entry.id)
            if now is not None and now.active:
                return now
            state = Download(entry.id, chosen.name, total=chosen.bytes or None)
            stop = threading.Event()
            arguments = (entry, chosen.name, folder, self._mirror(), stop)
            thread = threading.Thread(target=self._run, args=arguments, name=f"facerestore {entry.id}", daemon=True)
            self._states[entry.id], self._stops[entry.id] = state, stop
            thread.start()
        return state

    def state(self, model: str) -> Download | None:
        """The last download of a model since the start, None where there was none."""
        with self._lock:
            return self._states.get(model.lower())

    def states(self) -> list[Download]:
        """The last download of every model since the start, the newest model last."""
        with self._lock:
            return list(self._states.values())

    def cancel(self, model: str) -> Download | None:
        """Ask a download to end, and return it; what has arrived is kept, so that the next one goes on there."""
        with self._lock:
            stop = self._stops.get(model.lower())
            if stop is not None:
                stop.set()
        return self.state(model)

    def _set(self, model: str, **changes: object) -> None:
        with self._lock:
            self._states[model] = replace(self._states[model], **changes)  # type: ignore[arg-type]

    def _run(self, entry: ModelEntry, file: str, folder: Path, mirror: str | None, stop: threading.Event) -> None:
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

                got = downloading.download(
                    entry, folder, name=file, offline=False, progress=progress, lock_seconds=5, mirror=mirror
                )
            finally:
                self._slots.release()
        except _CancelledError:
            self._set(entry.id, state="cancelled", speed=0.0, message="What has arrived is kept for the next try.")
        except DownloadError as error:
            self._set(entry.id, state="failed", speed=0.0, message=str(error))
        except Exception as error:  # a thread that dies silently would leave "running" on the page
            logger.exception("the download of %s failed", entry.id)
            self._set(entry.id, state="failed", speed=0.0, message=f"{type(error).__name__}: {error}")
        else:
            size = got.path.stat().st_size if got.path.is_file() else None
            self._finish(entry.id)
            message = sentence(VERIFIED[got.verified])
            self._set(entry.id, state="done", done=size or 0, total=size, speed=0.0, message=message)

    def _finish(self, model: str) -> None:
        try:
            self._done()
        except Exception:  # the file is there, and is found the next time that the folders are searched
            logger.exception("after the download of %s", model)


class _Meter:
    """Speed over the last five seconds, and whether it is time to report progress again."""

    def __init__(self) -> None:
        self._marks: list[tuple[float, int]] = []
        self._reported = 0.0
        self.speed = 0.0

    def due(self, done: int) -> bool:
        now = time.monotonic()
        if self._marks and now - self._reported < 0.2:
            return False
        self._reported = now
        self._marks = [*(mark for mark in self._marks if now - mark[0] < 5), (now, done)]
        seconds = now - self._marks[0][0]
        self.speed = (done - self._marks[0][1]) / seconds if seconds > 0 else 0.0
        return True


def download_folder() -> Path:
    """Where downloads go: the first folder of the settings, --facerestore-models-path, or the WebUI's own for us."""
    return service.store().folders[0]


def new_manager() -> DownloadManager:
    """A manager that follows the WebUI's settings."""
    return DownloadManager(
        download_folder,
        offline=lambda: settings.read().offline or None,  # off in the settings does not overrule the environment
        mirror=lambda: settings.read().mirror or None,
        done=lambda: service.reset(),
    )


_manager = new_manager()


def manager() -> DownloadManager:
    """The manager of this process; what it downloads goes on through "Reload UI"."""
    return _manager
