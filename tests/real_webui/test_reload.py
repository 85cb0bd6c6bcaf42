""" "Reload UI": what is registered is there once afterwards, however often it is done.

Only with WEBUI_RELOAD=1, since everybody who uses the WebUI at that time loses the page.
"""

from __future__ import annotations

import os
import socket
import time
from collections import Counter
from typing import Any

import pytest

from .browser import until
from .client import WebUI, lines, ours
from .conftest import Scene

pytestmark = pytest.mark.skipif(
    os.environ.get("WEBUI_RELOAD") != "1", reason="reloads the UI of a running WebUI twice: set WEBUI_RELOAD=1"
)

SETTLE = float(os.environ.get("WEBUI_SETTLE", "20"))
"""Seconds from the opening of the port until the API is surely there."""


def registered(webui: WebUI) -> dict[str, list[str]]:
    """All that is ours, by name, with repetitions."""
    paths = webui.get("/openapi.json")["paths"]
    restorers = webui.get("/sdapi/v1/face-restorers") if "/sdapi/v1/face-restorers" in paths else []
    own = {path: methods for path, methods in paths.items() if path.startswith("/facerestore/")}
    ids = [one.get("props", {}).get("elem_id") for one in webui.get("/config")["components"]]
    return {
        "restorers": [row["name"] for row in restorers],
        "scripts": [name for tab in ("txt2img", "img2img") for name in webui.get("/sdapi/v1/scripts")[tab]],
        "axes": [label for label in webui.axes("txt2img") if label.startswith("[Face Restore]")],
        "routes": list(own),
        "operations": [what["operationId"] for methods in own.values() for what in methods.values()],
        "components": [name for name in ids if name and "facerestore" in name],
    }


def press(webui: WebUI, elem_id: str) -> None:
    """What a click on a button of the page sends."""
    config = webui.get("/config")
    button = next(one["id"] for one in config["components"] if one.get("props", {}).get("elem_id") == elem_id)
    for index, event in enumerate(config["dependencies"]):
        targets: list[Any] = event["targets"]
        if button in targets or [button, "click"] in targets:
            webui.post("/run/predict", {"fn_index": index, "data": [], "session_hash": "facerestore-test"})
            return
    pytest.skip(f"needs a WebUI whose button {elem_id} has an event")


def listening(webui: WebUI) -> bool:
    try:
        with socket.create_connection((webui.http.base_url.host, webui.http.base_url.port or 80), timeout=5):
            return True
    except OSError:
        return False


def reload_ui(webui: WebUI) -> None:
    """Press the button, and wait until the port has closed and opened again.

    Nothing may be asked of the server before it is done: A1111 fails at a request that comes between the opening of the
    port and the adding of its API ("Cannot add middleware after an application has started"), whatever is installed.
    """
    press(webui, "settings_restart_gradio")
    webui.http.close()
    until(lambda: not listening(webui), "the port to close")
    until(lambda: listening(webui), "the port to open")
    time.sleep(SETTLE)
    webui.http = webui.connect()
    webui.forget_axes()


def test_twice(webui: WebUI, repainted: Scene) -> None:
    before = registered(webui)
    assert not [name for name, count in Counter(before["restorers"] + before["axes"]).items() if count > 1]
    made = webui.make("img2img", **repainted.fields, alwayson_scripts=ours(model="lite"))
    for _ in range(2):
        reload_ui(webui)
        after = registered(webui)
        assert {name: Counter(found) for name, found in after.items()} == {
            name: Counter(found) for name, found in before.items()
        }
        same = webui.make("img2img", **repainted.fields, alwayson_scripts=ours(model="lite"))
        assert same.pixels.tobytes() == made.pixels.tobytes() and lines(same.infotext) == lines(made.infotext)
