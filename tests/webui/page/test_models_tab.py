"""The tab with the models: what it offers, the terms, downloads with and without gradio's queue."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lib_facerestore.catalogue import Store, known_model, known_models
from lib_facerestore.errors import DownloadError
from lib_facerestore.webui import service
from lib_facerestore.webui.downloads import DownloadManager
from lib_facerestore.webui.page import model_notes, models_tab

from ...catalogue.test_inventory import close
from ..double import Host
from ..download_script import Script, ended

pytestmark = pytest.mark.usefixtures("unserved")


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
    start, cancel = (find(panel.blocks, f"facerestore_models_{name}") for name in ("download", "cancel"))
    assert (start.variant, start.scale, cancel.size, cancel.scale) == ("primary", None, "sm", 0)


def test_the_tab_says_what_is_damaged_and_which_folder_is_closed(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "GFPGANv1.4.pth").write_bytes(b"hello")
    (tmp_path / "shut").mkdir()
    close(monkeypatch, tmp_path / "shut")
    table = models_tab.table_html(Store([tmp_path]).scan())
    assert "<td>damaged</td>" in table and "GFPGANv1.4.pth: damaged, or not a checkpoint" in table
    assert "Move it away, then download it here." in table
    assert "shut: cannot be opened (Permission denied), so its models are not seen" in table
    monkeypatch.setattr(service, "store", lambda: Store([tmp_path]))
    note = model_notes.model_note("gfpgan-1.4")
    assert note.startswith("gfpgan-1.4 cannot be used: ") and "damaged" in note and "not installed" not in note
    assert "shut: cannot be opened (Permission denied)" in model_notes.model_note("codeformer"), "it may be in there"


def test_a_file_under_a_name_of_its_own_is_named(tmp_path: Path) -> None:
    entry = known_model("gpen-256")
    assert entry is not None
    assert "<td>yes, as my_gpen.pth</td>" in models_tab._row(entry, tmp_path / "my_gpen.pth", None)
    assert "<td>yes</td>" in models_tab._row(entry, tmp_path / "gpen-bfr-256.PTH", None)


def test_another_model_shows_its_licence_and_takes_the_consent_back(panel: SimpleNamespace) -> None:
    [chosen] = handlers(panel.blocks, "facerestore_models_choice", "change")
    text, accepted = chosen("restoreformer")
    assert "Apache-2.0" in text and accepted["value"] is False
    assert chosen(None)[0] == ""


def test_a_download_from_the_tab(panel: SimpleNamespace, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models_tab, "POLL", 0.01)
    [start] = handlers(panel.blocks, "facerestore_models_download", "click")
    refusal = list(start("codeformer", False))[-1][2]
    assert "codeformer: read the licence above, and tick" in refusal and "S-Lab" not in refusal and script.asked == []
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
    assert "No download of codeformer is under way." in cancel("codeformer") and "No download is" in cancel(None)
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


def test_a_kind_without_models_has_no_heading(monkeypatch: pytest.MonkeyPatch, host: Host) -> None:
    listed = [entry for entry in known_models(None) if entry.kind == "detector"]
    monkeypatch.setattr(models_tab, "_listed", lambda installed: listed)
    table = models_tab.table_html(service.store().scan())
    assert "Detectors: find the faces" in table and "Upscalers" not in table and "Restorers" not in table
