"""What is asked of the WebUI and told to it, with every kind of host and with none."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

from lib_facerestore.webui import host as room

from .double import Host

EVERY_KIND = pytest.mark.parametrize("host", ["a1111", "forge", "sdnext"], indirect=True)


def test_without_a_webui_everything_has_an_answer() -> None:
    assert "modules" not in sys.modules
    assert room.kind() == ""
    assert room.models_root() is None
    assert room.model_folders() == []
    assert room.option("face_restoration_unload", 7) == 7
    assert room.device() == "auto" and room.device("cpu") == "cpu"
    assert not room.interrupted()
    assert room.api_credentials() == {}
    room.set_text("x")
    room.notify("x")
    room.free_memory()
    with room.progress_bar() as bar, room.queue_lock():
        bar("restore", 1, 2)


@EVERY_KIND
def test_the_kind_is_told(host: Host) -> None:
    assert room.kind() == host.kind


@EVERY_KIND
def test_folders_come_from_the_host(host: Host) -> None:
    assert room.models_root() == host.root / "models"
    host.shared.cmd_opts.facerestore_models_path = str(host.root / "own")
    assert room.model_folders()[:2] == [host.root / "own", host.root / "models" / "facerestore"]


@EVERY_KIND
def test_the_device_follows_the_host(host: Host) -> None:
    assert room.device() == str(host.modules.devices.device)
    host.shared.cmd_opts.use_cpu = ["facerestore"]
    if host.kind != "forge":
        assert room.device() == "cpu"
    assert room.device("cuda:1") == "cuda:1"


def test_forge_says_cpu_in_its_own_way(host: Host) -> None:
    host.shared.cmd_opts.always_cpu = True
    assert room.device() == "cpu"


def test_interrupt_and_skip_are_seen(host: Host) -> None:
    assert not room.interrupted()
    host.shared.state.skip()
    assert room.interrupted()
    host.shared.state.begin()
    host.shared.state.interrupt()
    assert room.interrupted()


def test_the_bar_counts_faces_as_steps_and_puts_everything_back(host: Host) -> None:
    state = host.shared.state
    state.job_count, state.job_no, state.sampling_steps, state.sampling_step, state.textinfo = 2, 2, 20, 20, "mine"
    with room.progress_bar() as bar:
        bar("detect", 0, 1)
        assert (state.textinfo, state.job_count) == ("Finding faces", 3)
        bar("restore", 1, 4)
        assert (state.textinfo, state.sampling_step, state.sampling_steps) == ("Restoring faces 2/4", 1, 4)
        bar("restore", 4, 4)
        assert state.textinfo == "Restoring faces 4/4"
        bar("paste", 0, 4)
        assert state.textinfo == "Putting faces back"
    assert (state.job_count, state.job_no, state.sampling_steps, state.sampling_step) == (3, 3, 20, 20)
    assert state.textinfo == "mine"


def test_the_bar_is_put_back_after_an_error_too(host: Host) -> None:
    host.shared.state.textinfo = "mine"
    with contextlib.suppress(RuntimeError), room.progress_bar() as bar:
        bar("restore", 0, 1)
        raise RuntimeError
    assert host.shared.state.textinfo == "mine"


def test_credentials_are_those_of_the_api(host: Host) -> None:
    host.shared.cmd_opts.api_auth = "ann:secret:with:colons,bob:two"
    assert room.api_credentials() == {"ann": "secret:with:colons", "bob": "two"}


def test_a_module_that_breaks_while_it_is_imported_is_no_module(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(host.root) / "broken"
    folder.mkdir(parents=True)
    (folder / "breaks.py").write_text("raise RuntimeError('no')")
    package = ModuleType("modules")
    package.__path__ = [str(folder)]
    monkeypatch.setitem(sys.modules, "modules", package)
    assert room.module("breaks") is None
