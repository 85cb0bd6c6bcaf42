"""The download manager, the tab with the models, and the callbacks that bring both into the WebUI."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lib_facerestore.catalogue import ModelEntry, ModelFile, known_model
from lib_facerestore.catalogue import download as downloading
from lib_facerestore.catalogue.download import MIRROR, OFFLINE, Downloaded, addresses
from lib_facerestore.catalogue.terms import licence_text
from lib_facerestore.errors import DownloadError, ModelFileError
from lib_facerestore.webui import callbacks, downloads, service, wiring
from lib_facerestore.webui.downloads import AT_ONCE, Download, DownloadManager, LicenceError, download_folder
from lib_facerestore.webui.page import models_tab

from .double import Host

CONTENT = b"PK\x03\x04" + bytes(range(256)) * 2000


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


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    monkeypatch.delenv(OFFLINE, raising=False)
    made = Script()
    monkeypatch.setattr(downloading, "download", made)
    return made


@pytest.fixture
def manager(script: Script, tmp_path: Path) -> DownloadManager:
    return DownloadManager(lambda: tmp_path / "models", mirror=lambda: "https://mirror.example")


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


def test_every_licence_is_whole_sentences() -> None:
    entry = known_model("codeformer")
    assert entry is not None
    text = licence_text(entry)
    assert text.startswith("codeformer: S-Lab License 1.0.") and entry.licence_note in text and ".." not in text
    assert text.endswith(" No commercial use.")


def test_the_mirror_goes_first() -> None:
    file = ModelFile("a", urls=("https://github.com/a", "https://huggingface.co/b/c"))
    assert addresses(file, "https://m.example/")[0] == "https://m.example/b/c"
    assert addresses(file, "") == list(file.urls)


def test_the_environments_mirror_counts_where_none_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    file = ModelFile("a", urls=("https://huggingface.co/b",))
    monkeypatch.setenv(MIRROR, "https://env.example")
    assert addresses(file)[0] == addresses(file, None)[0] == "https://env.example/b"
    assert addresses(file, "https://m.example")[0] == "https://m.example/b"


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
    monkeypatch.setattr(downloads, "known_model", lambda name: entry if name == "tiny" else None)
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


# -- the tab


def find(blocks: Any, elem_id: str) -> Any:
    return next(one for one in blocks.blocks.values() if getattr(one, "elem_id", None) == elem_id)


def handlers(blocks: Any, elem_id: str, event: str) -> list[Any]:
    """The functions behind an event of a component, in any gradio."""
    wanted = (find(blocks, elem_id)._id, event)
    fns = blocks.fns.values() if isinstance(blocks.fns, dict) else blocks.fns
    found = []
    for function, config in zip(fns, blocks.config["dependencies"], strict=False):
        targets = config["targets"]  # gradio 3 names the event beside them
        if wanted in [tuple(one) if isinstance(one, (list, tuple)) else (one, config["trigger"]) for one in targets]:
            found.append(function.fn)
    return found


@pytest.fixture
def panel(host: Host, manager: DownloadManager, tmp_path: Path) -> SimpleNamespace:
    gradio = pytest.importorskip("gradio")
    with gradio.Blocks() as blocks:
        models_tab.build(manager, queued=True)
    with gradio.Blocks() as plain:
        models_tab.build(manager, queued=False)
    return SimpleNamespace(blocks=blocks, plain=plain, manager=manager)


def test_the_tab_offers_what_is_not_there(panel: SimpleNamespace) -> None:
    choice = find(panel.blocks, "facerestore_models_choice")
    offered = [one[0] if isinstance(one, (tuple, list)) else one for one in choice.choices]
    assert choice.value == offered[0] == "gfpgan-1.4" and "bisenet" in offered
    assert "lite" not in offered and "dfdnet" not in offered
    table = find(panel.blocks, "facerestore_models_table").value
    assert "S-Lab License 1.0" in table and "built in" in table and "by hand" in table and "facerestore" in table
    assert "Apache-2.0, with exceptions" in find(panel.blocks, "facerestore_models_licence").value
    assert find(panel.blocks, "facerestore_models_accept").value is False


def test_another_model_shows_its_licence_and_takes_the_consent_back(panel: SimpleNamespace) -> None:
    [chosen] = handlers(panel.blocks, "facerestore_models_choice", "change")
    text, accepted = chosen("restoreformer")
    assert "Apache-2.0" in text and accepted["value"] is False
    assert chosen(None)[0] == ""


def test_a_download_from_the_tab(panel: SimpleNamespace, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models_tab, "POLL", 0.01)
    [start] = handlers(panel.blocks, "facerestore_models_download", "click")
    assert "S-Lab" in list(start("codeformer", False))[-1][2] and script.asked == []
    assert "Choose" in list(start(None, True))[-1][2]
    steps = start("codeformer", True)
    assert "codeformer" in next(steps)[2]
    script.go()
    last = list(steps)[-1]
    assert "codeformer: done" in last[2] and "<table>" in last[0]


def test_a_download_without_gradios_queue(panel: SimpleNamespace, script: Script) -> None:
    [start] = handlers(panel.plain, "facerestore_models_download", "click")
    [cancel] = handlers(panel.plain, "facerestore_models_cancel", "click")
    [look] = handlers(panel.plain, "facerestore_models_refresh", "click")
    shown = start("codeformer", True)
    assert "refresh" in shown[2]
    cancel("codeformer")
    script.go()
    ended(panel.manager, "codeformer")
    assert "cancelled" in look("codeformer")[2]
    assert look("codeformer")[1]["value"] == "codeformer" and look("gone")[1]["value"] == "gfpgan-1.4"
    assert look("bisenet")[1]["value"] == "bisenet"


def test_file_names_and_messages_are_escaped(manager: DownloadManager, script: Script) -> None:
    script.error = DownloadError("<script>alert(1)</script>\nline two")
    script.go()
    manager.start("codeformer", True)
    ended(manager, "codeformer")
    shown = models_tab.states_html(manager)
    assert "<script>" not in shown and "&lt;script&gt;" in shown and "<br>line two" in shown


def test_the_tab_is_left_out_where_it_cannot_be_made(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(models_tab, "build", fail)
    assert models_tab.tabs() == []


# -- callbacks


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("host", ["a1111", "sdnext"], indirect=True)
def test_everything_is_registered(host: Host, named: bool) -> None:
    pytest.importorskip("gradio")
    host.named_callbacks = named
    host.modules.script_callbacks.clear_callbacks()
    from .double import callbacks as double

    module = double.make(host)
    host._put(module)
    callbacks.register()
    registered = {kind: len(calls) for kind, calls in module.callback_map.items() if calls}
    assert registered == {
        "callbacks_ui_settings": 1, "callbacks_before_ui": 2, "callbacks_ui_tabs": 1, "callbacks_app_started": 2,
        "callbacks_script_unloaded": 1,
    }  # fmt: skip
    fastapi = pytest.importorskip("fastapi")
    module.fire("ui_settings")
    module.fire("before_ui")
    [[(_, title, elem_id)]] = module.fire("ui_tabs")
    assert (title, elem_id) == ("Face Restore", "facerestore")
    for page in (None, object()):
        app = fastapi.FastAPI()
        module.fire("app_started", page, app)
        assert any(route.path == "/facerestore/v1/health" for route in app.routes)
    module.fire("script_unloaded")


@pytest.mark.parametrize("host", ["a1111", "forge", "sdnext"], indirect=True)
def test_reloading_the_page_twice(host: Host) -> None:
    """Each start has an app of its own; what persists is not there twice."""
    pytest.importorskip("fastapi")
    host.start()
    first, apps = list(getattr(host.shared, "face_restorers", [])), [host.app]
    for _ in range(2):
        host.reload_ui()
        apps.append(host.app)
    assert len({id(app) for app in apps}) == 3
    for app in apps:
        paths = [(route.path, *sorted(route.methods)) for route in app.routes if "facerestore" in route.path]
        assert len(paths) == len(set(paths)) == 10
    assert [one.name() for one in getattr(host.shared, "face_restorers", [])] == [one.name() for one in first]


def test_without_a_page(host: Host) -> None:
    pytest.importorskip("fastapi")
    host.start(nowebui=True)
    assert any(route.path == "/facerestore/v1/restore" for route in host.app.routes)


def test_the_settings_are_there_where_nobody_fires_ui_settings(host: Host) -> None:
    pytest.importorskip("gradio")
    fastapi = pytest.importorskip("fastapi")
    callbacks.register()
    host.modules.script_callbacks.fire("app_started", None, fastapi.FastAPI())
    assert "facerestore_offline" in host.shared.opts.data_labels


def test_one_that_fails_disturbs_no_other(
    host: Host, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: Any) -> None:
        raise RuntimeError("broken piece")

    monkeypatch.setattr("lib_facerestore.webui.generation.xyz.add_axes", fail)
    callbacks.register()
    with caplog.at_level(logging.ERROR):
        host.modules.script_callbacks.fire("before_ui")
        assert callbacks.guarded("nothing_of_that_name", "x")() is None
    assert "xyz.add_axes" in caplog.text and "nothing_of_that_name" in caplog.text
    assert host.take_errors() == []


def test_without_callbacks_nothing_is_raised(caplog: pytest.LogCaptureFixture) -> None:
    callbacks.register()
    assert "nothing can be registered" in caplog.text
