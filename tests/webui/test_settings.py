"""The section in Settings: what is registered, what is read back, and what a change does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lib_facerestore.webui import settings
from lib_facerestore.webui.settings import PREFIX, ROWS, Settings

from .double import Host

KINDS = ["a1111", "forge", "sdnext"]


def register() -> None:
    settings.register(lambda: ["auto", "lite"], lambda: None)


@pytest.mark.parametrize("host", KINDS, indirect=True)
def test_every_option_is_registered_once(host: Host) -> None:
    pytest.importorskip("gradio")
    register()
    register()
    labels = {key: info for key, info in host.shared.opts.data_labels.items() if key.startswith(PREFIX)}
    assert set(labels) == {PREFIX + row.name for row in ROWS}
    for key, info in labels.items():
        assert info.section == ("facerestore", "Face Restore") and info.label and info.onchange, key
        arguments = info.component_args() if callable(info.component_args) else info.component_args
        assert "allow_custom_value" not in (arguments or {}), key  # gradio 3.41's Dropdown.update refuses it
        assert set(arguments or {}) <= {"choices", "lines"}, key  # hosts hand them to gr.update as well
        if info.component is not None:
            made = info.component(label=info.label, value=info.default, **(arguments or {}))
            assert made.value == info.default
    assert settings.read() == Settings()


def test_the_fields_are_those_of_the_section() -> None:
    names = [row.name for row in ROWS]
    assert names == list(Settings.__dataclass_fields__)
    made = {row.name: row.default for row in ROWS} | {"folders": ()}
    assert Settings(**made) == Settings()  # type: ignore[arg-type]


def test_help_is_shown_where_the_host_can(host: Host) -> None:
    pytest.importorskip("gradio")
    info_method = host.shared.OptionInfo.info
    try:
        del host.shared.OptionInfo.info
        register()
    finally:
        host.shared.OptionInfo.info = info_method
    assert PREFIX + "offline" in host.shared.opts.data_labels
    register()
    assert "the API asks" in host.shared.opts.data_labels[PREFIX + "offline"].comment_after


def test_a_host_that_refuses_does_not_fail(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise TypeError("another signature")

    monkeypatch.setattr(host.shared, "OptionInfo", refuse)
    register()
    assert settings.read() == Settings()


def test_without_a_webui_there_are_defaults() -> None:
    register()
    assert settings.read() == Settings()


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("default_model", " gfpgan-1.4 ", "gfpgan-1.4"),
        ("default_model", "", "auto"),
        ("default_model", 3.0, "auto"),
        ("device", "cuda:1", "cuda:1"),
        ("device", "", "auto"),
        ("precision", "BFloat16", "bfloat16"),
        ("precision", "int4", "auto"),
        ("unload", 1.0, True),
        ("unload", 0.0, False),
        ("unload", "true", True),
        ("unload", "no", False),
        ("in_restorers", [], True),
        ("offline", True, True),
        ("mirror", " https://hf-mirror.com ", "https://hf-mirror.com"),
        ("mirror", None, ""),
        ("folders", '/a\n\n  "/b c" \n/a\n', (Path("/a"), Path("/b c"))),
        ("folders", 7, ()),
        ("folders", "/a\n/b\0c", (Path("/a"),)),
        ("accordion_open", True, True),
    ],
)
def test_values_of_any_sort_are_read(name: str, given: object, expected: object) -> None:
    assert getattr(settings.read({PREFIX + name: given}), name) == expected


def test_home_is_understood() -> None:
    assert settings.read({PREFIX + "folders": "~/models"}).folders == (Path.home() / "models",)


def test_a_change_is_told(host: Host) -> None:
    pytest.importorskip("gradio")
    seen: list[str] = []
    settings.register(lambda: ["auto"], lambda: seen.append(settings.read().device))
    assert host.shared.opts.set(PREFIX + "device", "cpu")
    assert seen == ["cpu"]


def test_a_change_is_kept_whatever_fails_after_it(host: Host) -> None:
    pytest.importorskip("gradio")

    def fail() -> None:
        raise RuntimeError("broken")

    settings.register(lambda: ["auto"], fail)
    assert host.shared.opts.set(PREFIX + "offline", True)
    assert settings.read().offline


def test_the_default_model_is_chosen_from_what_is_there_when_the_page_is_made(host: Host) -> None:
    pytest.importorskip("gradio")
    there = ["auto", "lite"]
    settings.register(lambda: there, lambda: None)
    there.append("new")
    assert host.shared.opts.data_labels[PREFIX + "default_model"].component_args()["choices"] == there
