"""Settings, service and the list of face restorers, joined."""

from __future__ import annotations

import logging

import pytest

from lib_facerestore.webui import callbacks, face_restorers, service, settings, wiring

from .double import Host


@pytest.fixture
def followers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_after_reset", [])


def names(host: Host) -> list[str]:
    return [entry.name() for entry in host.shared.face_restorers]


def test_a_changed_setting_makes_another_restorer_and_another_list(host: Host, followers: None) -> None:
    pytest.importorskip("gradio")
    wiring.connect()
    before = service.restorer()
    assert host.shared.opts.set(settings.PREFIX + "precision", "bfloat16")
    assert service.restorer() is not before
    assert names(host) == ["CodeFormer", "GFPGAN", "auto (Face Restore)", "lite (Face Restore)"]
    assert host.shared.opts.set(settings.PREFIX + "in_restorers", False)
    assert names(host) == ["CodeFormer", "GFPGAN"]


def test_the_default_model_offers_what_is_installed(host: Host, followers: None) -> None:
    pytest.importorskip("gradio")
    wiring.connect()
    offered = host.shared.opts.data_labels[settings.PREFIX + "default_model"].component_args()["choices"]
    assert offered == ["auto", "lite"]


def test_the_list_is_renewed_once_however_often_the_page_was_reloaded(
    host: Host, followers: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[int] = []
    monkeypatch.setattr(face_restorers, "register", lambda: called.append(1))
    wiring.connect()
    wiring.connect()
    service.reset()
    assert called == [1]


def test_what_fails_after_a_reset_is_logged_and_the_others_are_called(
    host: Host, followers: None, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise RuntimeError("broken")

    called: list[int] = []
    service.call_after_reset(fail)
    service.call_after_reset(lambda: called.append(1))
    with caplog.at_level(logging.ERROR):
        service.reset()
    assert called == [1] and "a change takes effect after a restart only" in caplog.text


def test_a_start_connects_them(host: Host, followers: None) -> None:
    assert ("ui_settings", "facerestore-settings", "wiring", "connect", 0) in callbacks.CALLBACKS
    host.start()
    assert service._after_reset == [face_restorers.register]
