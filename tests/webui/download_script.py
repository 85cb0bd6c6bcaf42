"""A download that goes only as far as the test lets it, and the wait for a download's end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lib_facerestore.catalogue import ModelEntry
from lib_facerestore.catalogue.download import Downloaded
from lib_facerestore.webui.downloads import Download, DownloadManager


class Script:
    """Takes the place of `catalogue.download.download`: three steps, each when `go` allows it.

    watch: called after each step, in the download's thread. asked: its arguments. most: calls at the same time.
    """

    def __init__(self) -> None:
        self.steps = threading.Semaphore(0)
        self.started = threading.Semaphore(0)
        self.error: Exception | None = None
        self.asked: list[dict[str, Any]] = []
        self.most = self.now = 0
        self.watch: Callable[[], object] = lambda: None
        self.lock = threading.Lock()

    def __call__(self, entry: ModelEntry, folder: Path, **how: Any) -> Downloaded:
        with self.lock:
            self.asked.append({"id": entry.id, "folder": folder} | how)
            self.now += 1
            self.most = max(self.most, self.now)
        self.started.release()
        try:
            for done in (0, 1000, 2000):
                assert self.steps.acquire(timeout=20)
                how["progress"](done, 2000)
                self.watch()
            if self.error:
                raise self.error
            folder.mkdir(parents=True, exist_ok=True)
            (folder / how["name"]).write_bytes(b"x" * 2000)
            return Downloaded(folder / how["name"], "http://x", "sha256")
        finally:
            with self.lock:
                self.now -= 1

    def go(self, steps: int = 100) -> None:
        self.steps.release(steps)


def ended(manager: DownloadManager, model: str) -> Download:
    """Wait until a download has ended, and return it."""
    for _ in range(4000):
        download = manager.state(model)
        assert download is not None, f"{model} was never started"
        if not download.active:
            return download
        time.sleep(0.005)
    raise AssertionError(f"did not end: {download}")
