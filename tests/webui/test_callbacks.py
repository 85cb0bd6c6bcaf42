"""The callbacks that bring routes, settings and tab into the WebUI."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from lib_facerestore.webui import callbacks

from .double import Host


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
        "callbacks_script_unloaded": 2,
    }  # fmt: skip
    fastapi = pytest.importorskip("fastapi")
    module.fire("ui_settings")
    module.fire("before_ui")
    [[(_, title, elem_id)]] = module.fire("ui_tabs")
    assert (title, elem_id) == ("Face Restore models", "facerestore")
    for page in (None, object()):
        app = fastapi.FastAPI()
        module.fire("app_started", page, app)
        assert any(route.path == "/facerestore/v1/health" for route in app.routes)
    module.fire("script_unloaded")


def test_the_names_by_which_users_order_callbacks_do_not_follow_the_modules(host: Host) -> None:
    """A1111's Settings keep an order of callbacks by name."""
    named: dict[str, list[str]] = {}

    def add_callback(listed: list[Any], call: Any, *, name: str, category: str, filename: str) -> None:
        listed.append(call)
        named.setdefault(category, []).append(name)

    host.modules.script_callbacks.add_callback = add_callback
    callbacks.register()
    assert named == {
        "ui_settings": ["facerestore-settings"],
        "before_ui": ["facerestore-checkbox", "facerestore-xyz"],
        "ui_tabs": ["facerestore-downloads-panel"],
        "app_started": ["facerestore-settings", "facerestore-api"],
        "script_unloaded": ["facerestore-checkbox", "facerestore-copies"],
    }


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
