"""The download manager: start to end, progress, cancelling, what may not start, the settings that it follows."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from lib_facerestore.catalogue import ModelEntry, ModelFile, known_model
from lib_facerestore.catalogue import download as downloading
from lib_facerestore.catalogue.download import OFFLINE
from lib_facerestore.errors import DownloadError, ModelFileError
from lib_facerestore.webui import downloads, service, wiring
from lib_facerestore.webui.downloads import AT_ONCE, Download, DownloadManager, LicenceError, download_folder

from .double import Host
from .download_script import Script, ended

CONTENT = b"PK\x03\x04" + bytes(range(256)) * 2000


def test_a_download_from_start_to_end(manager: DownloadManager, script: Script, tmp_path: Path) -> None:
    assert manager.state("codeformer") is None and manager.states() == []
    first = manager.start("CodeFormer", True)
    assert first.active and first.file == "codeformer.pth" and first.total == 376637898
    assert manager.start("codeformer", True).active  # under way: no second one
    script.go()
    end = ended(manager, "codeformer")
    assert end.state == "done" and end.done == end.total == 2000 and "SHA-256" in end.message
    assert len(script.asked) == 1 and script.asked[0]["folder"] == tmp_path / "models"
    assert script.asked[0]["mirror"] == "https://mirror.example" and script.asked[0]["name"] == "codeformer.pth"
    assert manager.states() == [end] and end.text.startswith("codeformer: done")


def test_progress_and_speed(manager: DownloadManager, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 1000, 2))
    monkeypatch.setattr(downloads.time, "monotonic", lambda: float(next(clock)))
    seen: list[Download | None] = []
    script.watch = lambda: seen.append(manager.state("codeformer"))
    script.go()
    manager.start("codeformer", True)
    ended(manager, "codeformer")
    expected = [(0, 2000, 0.0), (1000, 2000, 500.0), (2000, 2000, 500.0)]
    assert [(one.done, one.total, one.speed) for one in seen if one is not None] == expected


def test_cancelling_keeps_what_has_arrived_and_allows_another(manager: DownloadManager, script: Script) -> None:
    manager.start("codeformer", True)
    assert script.started.acquire(timeout=20)
    manager.cancel("codeformer")
    script.go()
    end = ended(manager, "codeformer")
    assert end.state == "cancelled" and "kept" in end.message
    assert manager.start("codeformer", True).active
    assert ended(manager, "codeformer").state == "done"
    assert manager.cancel("gpen-512") is None


def test_only_so_many_run_at_once(manager: DownloadManager, script: Script) -> None:
    ids = ["codeformer", "gfpgan-1.4", "gfpgan-1.3", "gfpgan-1.2"]
    for name in ids:
        manager.start(name, True)
    for _ in range(AT_ONCE):
        assert script.started.acquire(timeout=20)
    assert sum(state.state == "waiting" for state in manager.states()) == len(ids) - AT_ONCE
    waiting = next(state.id for state in manager.states() if state.state == "waiting")
    manager.cancel(waiting)
    assert ended(manager, waiting).state == "cancelled"
    script.go()
    for name in ids:
        assert ended(manager, name).state == ("cancelled" if name == waiting else "done")
    assert script.most == AT_ONCE


@pytest.mark.parametrize(
    ("error", "words"), [(DownloadError("codeformer: the disk is full."), "disk"), (ValueError("odd"), "ValueError")]
)
def test_a_failure_is_shown(manager: DownloadManager, script: Script, error: Exception, words: str) -> None:
    script.error = error
    script.go()
    manager.start("codeformer", True)
    end = ended(manager, "codeformer")
    assert end.state == "failed" and words in end.message and not end.active


def test_what_may_not_start(manager: DownloadManager, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelFileError, match="Did you mean codeformer"):
        manager.start("codefrmer", True)
    with pytest.raises(LicenceError, match=r"S-Lab License 1\.0.*No commercial use\."):
        manager.start("codeformer", False)
    with pytest.raises(DownloadError, match="part of this package"):
        manager.start("lite", True)
    with pytest.raises(DownloadError, match=r"has no file x\.pth"):
        manager.start("codeformer", True, "x.pth")
    with pytest.raises(DownloadError, match="by hand"):
        manager.start("dfdnet", True)
    monkeypatch.setenv(OFFLINE, "1")
    with pytest.raises(DownloadError, match="offline"):
        manager.start("codeformer", True)
    monkeypatch.delenv(OFFLINE)
    strict = DownloadManager(lambda: Path("nowhere"), offline=lambda: True)
    with pytest.raises(DownloadError, match="offline"):
        strict.start("codeformer", True)
    assert script.asked == [] and manager.states() == strict.states() == []


def test_what_may_not_start_is_said_in_the_words_of_the_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(OFFLINE, "1")
    made = DownloadManager(lambda: tmp_path)
    for model, file in (("codeformer", None), ("codeformer", "x.pth"), ("dfdnet", None), ("lite", None)):
        entry = known_model(model)
        assert entry is not None
        with pytest.raises(DownloadError) as theirs:
            downloading.download(entry, tmp_path, name=file)
        with pytest.raises(DownloadError) as ours:
            made.start(model, True, file)
        assert str(ours.value) == str(theirs.value)


def test_a_file_that_is_there_is_no_error_though_downloads_are_off(tmp_path: Path) -> None:
    """As the API's page says of its route."""
    (tmp_path / "codeformer.pth").write_bytes(b"not codeformer")
    made = DownloadManager(lambda: tmp_path, offline=lambda: True)
    assert made.start("codeformer", True).active
    end = ended(made, "codeformer")
    assert end.state == "failed" and "has 14 bytes" in end.message and "move that file away" in end.message


def test_after_a_download_the_service_starts_anew(script: Script, tmp_path: Path) -> None:
    calls: list[str] = []
    made = DownloadManager(lambda: tmp_path, done=lambda: calls.append("done"))
    script.go()
    made.start("codeformer", True)
    ended(made, "codeformer")
    assert calls == ["done"]

    def fail() -> None:
        raise RuntimeError("broken")

    made = DownloadManager(lambda: tmp_path, done=fail)
    made.start("gfpgan-1.4", True)
    assert ended(made, "gfpgan-1.4").state == "done"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT)

    def log_message(self, *_: Any) -> None:
        """Silence."""


@pytest.fixture
def server() -> Iterator[str]:
    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{http.server_port}"
    http.shutdown()
    http.server_close()


def test_a_real_download_by_way_of_the_mirror(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(OFFLINE, raising=False)
    file = ModelFile("t.pth", len(CONTENT), hashlib.sha256(CONTENT).hexdigest(), ("https://huggingface.co/a/t.pth",))
    entry = ModelEntry("tiny", 1, ("t.pth",), licence="MIT", commercial="yes", published=(file,))
    monkeypatch.setattr(downloads, "known_models", lambda kind: (entry,))
    made = DownloadManager(lambda: tmp_path / "models", mirror=lambda: server)
    made.start("tiny", True)
    end = ended(made, "tiny")
    assert end.state == "done", end
    assert (tmp_path / "models" / "t.pth").read_bytes() == CONTENT


def test_where_downloads_go(host: Host, tmp_path: Path) -> None:
    own = host.root / "models" / "facerestore"
    assert download_folder() == own  # not the folder of GFPGAN, which the command line of the WebUI always names
    host.shared.cmd_opts.facerestore_models_path = str(tmp_path / "given")
    assert download_folder() == tmp_path / "given"
    pytest.importorskip("gradio")
    wiring.connect()
    host.set_opts(facerestore_folders=f"{tmp_path / 'mine'}\n{tmp_path / 'other'}")
    assert download_folder() == tmp_path / "mine"


def test_the_settings_reach_the_webuis_manager(host: Host, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gradio")
    wiring.connect()
    assert downloads.manager() is downloads.manager()
    made = downloads.new_manager()
    host.set_opts(facerestore_offline=True)
    with pytest.raises(DownloadError, match="offline"):
        made.start("codeformer", True)
    host.set_opts(facerestore_offline=False, facerestore_mirror="https://m.example")
    calls: list[str] = []
    monkeypatch.setattr(service, "reset", lambda: calls.append("reset"))
    script.go()
    made.start("codeformer", True)
    assert ended(made, "codeformer").state == "done"
    assert script.asked[0]["mirror"] == "https://m.example" and calls == ["reset"]
