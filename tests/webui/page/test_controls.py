"""The accordion of a tab: what it is made of, what it shows and hides, what the WebUI keeps of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lib_facerestore.catalogue import Store
from lib_facerestore.options.table import SPECS
from lib_facerestore.webui import infotext, service
from lib_facerestore.webui.page import controls, face_strip, gradio_compat, saved_defaults
from lib_facerestore.webui.page.model_notes import detector_choices, model_note
from lib_facerestore.webui.page_words import help_of
from lib_facerestore.webui.request import ARGUMENTS, OPTION_NAMES, Request, request_from_args

from ..double import Host

pytestmark = pytest.mark.usefixtures("unserved")


@pytest.fixture
def made(host: Host) -> Iterator[controls.Controls]:
    import gradio as gr

    with gr.Blocks():
        yield controls.build("txt2img")


def no_controls(prefix: str) -> dict[str, Any]:
    """In place of `controls.stage_box`."""
    return {}


def script_class() -> Any:
    from modules import scripts

    class Spy(scripts.Script):
        infotext_fields: Any = None
        seen: Any = None

        def title(self) -> str:
            return "Face Restore"

        def show(self, is_img2img: bool) -> object:
            return scripts.AlwaysVisible

        def ui(self, is_img2img: bool) -> list[Any]:
            made = controls.build("img2img" if is_img2img else "txt2img")
            self.infotext_fields = infotext.paste_fields(made)
            return made.inputs

        def process(self, p: Any, *args: Any) -> None:
            type(self).seen = args

    return Spy


def test_the_inputs_are_the_arguments_in_their_order_and_ask_for_the_defaults(made: controls.Controls) -> None:
    assert tuple(made.by_name) == ARGUMENTS
    assert made.inputs == list(made.by_name.values())
    assert request_from_args([component.value for component in made.inputs]) == Request()
    for name, component in made.by_name.items():
        assert component.elem_id == "facerestore_txt2img" + ("-checkbox" if name == "enabled" else f"_{name}")


def test_ranges_labels_and_help_come_from_the_table(made: controls.Controls) -> None:
    for name in OPTION_NAMES:
        spec, component = SPECS[name], made.by_name[name]
        assert component.label == spec.label and component.info == help_of(spec)
        if spec.kind == "float":
            assert (component.minimum, component.maximum, component.step) == (spec.minimum, spec.maximum, spec.step)
        if spec.kind in ("choice", "flags"):
            choices = [choice if isinstance(choice, str) else choice[1] for choice in component.choices]
            assert choices == list(spec.choices)
        if spec.kind == "number":
            choices = [choice if isinstance(choice, str) else choice[1] for choice in component.choices]
            assert choices == ["auto", "0", "0.25", "0.5", "0.75", "1"] and component.allow_custom_value
            assert component.value == "auto"
    assert made.by_name["max_faces"].minimum == 0 and made.by_name["max_faces"].precision == 0


def test_every_option_is_placed_once() -> None:
    placed = [name for rows in controls.option_groups().values() for row in rows for name in row]
    assert sorted([*placed, "model", "fidelity", "visibility"]) == sorted(OPTION_NAMES)


def test_ids_and_labels_are_unique_in_a_page(host: Host) -> None:
    import gradio as gr

    with gr.Blocks() as page:
        for tab in ("txt2img", "img2img", "extras", "extras_txt2img"):
            when = controls.stage_box if tab.endswith("2img") else no_controls
            controls.build(tab, when, strip="_" not in tab)
    ids = [block.elem_id for block in page.blocks.values() if getattr(block, "elem_id", None)]
    assert len(ids) == len(set(ids))
    assert page.get_config_file()["components"]


@pytest.mark.parametrize("host", ["a1111", "forge", "sdnext"], indirect=True)
def test_in_every_host_the_frozen_defaults_come_back_and_nothing_collides(host: Host) -> None:
    host.add_script(script_class())
    host.start(load=False)
    assert host.duplicates == []
    ours = [key for key in host.ui_config if "facerestore_" in key or "Options of single" in key]
    assert ours == []  # neither the strip's hidden parts nor what belongs to one picture
    saved = {key.split("/")[-2] for key in host.ui_config if "/txt2img/" in key}
    assert {SPECS[name].label for name in OPTION_NAMES} <= saved
    for key in host.ui_config:
        if key.endswith("txt2img/Visibility/value"):
            host.ui_config[key] = 0.5
        if key.endswith("txt2img/Model/value"):
            host.ui_config[key] = "gpen-2048"  # not installed: the host passes over it
    host.reload_ui(load=False)
    assert host.value_of("txt2img", "facerestore_txt2img_visibility") == 0.5
    assert host.value_of("img2img", "facerestore_img2img_visibility") == 1.0
    assert host.value_of("txt2img", "facerestore_txt2img_model") == "auto"


def test_making_them_again_shares_nothing(host: Host) -> None:
    import gradio as gr

    with gr.Blocks():
        first, second = controls.build("txt2img"), controls.build("txt2img")
    assert not {id(one) for one in first.inputs} & {id(one) for one in second.inputs}


def test_a_pasted_infotext_fills_the_controls(host: Host) -> None:
    spy = script_class()
    host.add_script(spy)
    host.start(load=False)
    text = (
        "a cat\nSteps: 20, Sampler: Euler, Seed: 1, Face restore model: gpen-512, Face restore visibility: 0.75, "
        'Face restore keep: "eyes,hair", Face restore stage: last, Face restore max faces: 2, '
        'Face restore overrides: "{\\"2\\": {\\"skip\\": true}}"'
    )
    filled = host.paste("txt2img", text)
    found = {name: filled.get(f"facerestore_txt2img_{name}") for name in ARGUMENTS}
    request = request_from_args([filled["facerestore_txt2img-checkbox"], *[found[name] for name in ARGUMENTS[1:]]])
    assert request.enabled and request.stage == "last" and request.overrides == {2: {"skip": True}}
    assert request.options.model == "gpen-512" and request.options.keep == "eyes,hair"
    assert request.options.visibility == 0.75 and request.options.max_faces == 2
    assert host.paste("txt2img", "a cat\nSteps: 20, Sampler: Euler, Seed: 1")["facerestore_txt2img-checkbox"] is False


def test_the_api_takes_an_infotext(host: Host) -> None:
    spy = script_class()
    host.add_script(spy)
    host.start(load=False)
    host.api("txt2img", infotext="x\nSteps: 1, Sampler: a, Seed: 1, Face restore model: lite, Face restore grain: 0.5")
    request = request_from_args(spy.seen)
    assert request.enabled and request.options.model == "lite" and request.options.grain == 0.5


def test_the_fidelity_shows_only_for_models_that_have_it(made: controls.Controls) -> None:
    assert made.by_name["fidelity"].visible is False  # auto is lite here
    shown, note = controls.on_model_change("codeformer")
    assert shown["visible"] is True and "codeformer is not installed" in note["value"]
    hidden, note = controls.on_model_change("lite")
    assert hidden["visible"] is False and note["visible"] is False
    assert model_note("auto") == model_note(None) == "auto is lite now."
    assert model_note("codefromer<b>").startswith("There is no model codefromer<b>.")
    assert "&lt;b&gt;" in controls.on_model_change("codefromer<b>")[1]["value"]


def test_refresh_finds_files_that_were_added(host: Host, models: Path, made: controls.Controls) -> None:
    assert "small.safetensors" not in controls.on_refresh("auto")[0]["choices"]
    added = host.root / "models" / "facerestore"
    added.mkdir(parents=True)
    (models / "small.safetensors").rename(added / "small.safetensors")
    host.shared.cmd_opts.facerestore_models_path = str(added)
    choices, _, note, _ = controls.on_refresh("small.safetensors")
    assert choices["choices"] == ["auto", "small.safetensors", "lite"]
    assert note["value"] == "" and model_note("small") == ""


def test_the_default_model_of_the_settings_is_shown(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controls.settings, "read", lambda: controls.settings.Settings(default_model="gpen-512"))
    note = model_note("auto")
    assert note.startswith("auto is gpen-512 now, as Default model in the Settings says. gpen-512 is not installed.")


@pytest.mark.parametrize(
    ("model", "why"),
    [
        ("mine.pth", "is not installed any more"),
        ("gfpgan-1.4", "cannot be used: auto is chosen instead."),
    ],
)
def test_a_saved_default_that_is_gone_is_shown(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, why: str
) -> None:
    import gradio as gr

    (tmp_path / "GFPGANv1.4.pth").write_bytes(b"hello")
    monkeypatch.setattr(service, "store", lambda: Store([tmp_path], paths=False))
    file = tmp_path / "ui-config.json"
    file.write_text(json.dumps({"customscript/facerestore.py/txt2img/Model/value": model}))
    host.shared.cmd_opts.ui_config_file = str(file)
    with gr.Blocks():
        made = controls.build("txt2img")
        assert f"{model}, the saved default of this page, {why}" in made.note.value
        assert ("damaged" in made.note.value) == (model == "gfpgan-1.4")
        assert made.note.visible and made.by_name["model"].value == "auto"
        assert controls.build("img2img").note.value == "<p>auto is lite now.</p>"
    file.write_text("[broken")
    with gr.Blocks():
        assert controls.build("txt2img").note.value == "<p>auto is lite now.</p>"


def restarted(host: Host, **saved: object) -> None:
    """Start the host with defaults that were saved for txt2img earlier, as "Label/value" in ui-config.json."""
    host.ui_config |= {f"customscript/facerestore.py/txt2img/{label}/value": value for label, value in saved.items()}
    file = host.root / "ui-config.json"
    file.write_text(json.dumps(host.ui_config))
    host.shared.cmd_opts.ui_config_file = str(file)
    host.start()


SAVED_GRAIN = [
    ("a1111", 0.3, "0.3"), ("a1111", 0.0, "0"), ("a1111", "0.3", "0.3"), ("a1111", " .3", "0.3"), ("forge", 0.5, "0.5"),
]  # fmt: skip


@pytest.mark.parametrize(("host", "saved", "shown"), SAVED_GRAIN, indirect=["host"])
def test_a_default_of_grain_that_was_saved_as_a_slider_or_typed_comes_back(
    host: Host, saved: object, shown: str
) -> None:
    restarted(host, Grain=saved)
    assert host.value_of("txt2img", "facerestore_txt2img_grain") == shown
    assert host.value_of("img2img", "facerestore_img2img_grain") == "auto"
    # the API's defaults are those of the table, whatever the page has saved
    script = host.runners["txt2img"].find("Face Restore")
    assert script is not None
    values = host.runners["txt2img"].defaults[script.args_from : script.args_to]
    assert request_from_args(values) == Request()


@pytest.mark.parametrize("saved", [7.5, True, [0.5]])
def test_a_saved_default_of_grain_that_cannot_be_used_is_named(host: Host, saved: object) -> None:
    restarted(host, Grain=saved)
    assert host.value_of("txt2img", "facerestore_txt2img_grain") == "auto"
    note = saved_defaults.note(saved_defaults.read("txt2img"), ["auto"])
    assert note.startswith("The saved default of Grain cannot be used: grain: ") and "auto is chosen instead." in note


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (("all", 0, 0, "auto", ""), ""),
        (("all", 0, 0, "0.5", ""), ""),
        (("all", 0, 0, "much", ""), "Grain: &#x27;much&#x27; is not allowed; give auto, or a number from 0 to 1."),
        (("1,3", 0.0, None, None, '{"2": {"skip": true}}'), ""),
        (("first", 0, 0, "auto", ""), "Faces: &#x27;first&#x27; is not allowed"),
        (("all", 300, 200, "auto", ""), "Smallest face: 300 is above Largest face 200"),
        (("all", 0, 0, "auto", "{"), "is not valid JSON"),
        (("all", 0, 0, "auto", '{"2": {"fidellity": 1}}'), "Did you mean fidelity?"),
    ],
)
def test_text_that_cannot_be_used_is_shown_at_once(values: tuple[object, ...], expected: str) -> None:
    answer = controls.on_text_change(*values)
    assert answer["visible"] is bool(expected) and expected in answer["value"]


def test_it_can_start_open_without_being_on(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    import gradio as gr

    monkeypatch.setattr(controls.settings, "read", lambda: controls.settings.Settings(accordion_open=True))
    with gr.Blocks() as page:
        made = controls.build("txt2img")
        other = controls.build("extras", no_controls)
    opened = {block.elem_id: block.open for block in page.blocks.values() if isinstance(block, gr.Accordion)}
    assert opened["facerestore_txt2img"] is True and opened["facerestore_extras"] is False
    assert type(made.enabled) is gr.Checkbox and made.enabled.value is False and made.enabled.visible
    assert other.enabled.elem_id == "facerestore_extras-checkbox"


def test_the_strip_is_wired_and_its_hidden_parts_are_in_the_page(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    import gradio as gr

    wired: list[tuple[str, Any]] = []
    monkeypatch.setattr(face_strip, "wire", lambda tab, made: wired.append((tab, made)))
    with gr.Blocks():
        made = controls.build("img2img")
        assert controls.build("extras_txt2img", strip=False).strip is None
    assert wired == [("img2img", made)]
    parts = made.strip
    assert parts is not None and parts.html.elem_id == "facerestore_img2img_strip"
    for name in ("image", "detect", "last"):
        part = getattr(parts, name)
        assert part.elem_id == f"facerestore_img2img_strip_{name}" and part.visible
        assert gradio_compat.HIDDEN_CLASS in part.elem_classes and part.do_not_save_to_config


def test_it_is_made_even_if_models_and_strip_fail(
    host: Host, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import gradio as gr

    def fail(*_: object) -> Any:
        raise RuntimeError("no")

    for owner, name in ((service, "models"), (service, "knobs_of"), (face_strip, "wire")):
        monkeypatch.setattr(owner, name, fail)
    with gr.Blocks():
        made = controls.build("txt2img")
    assert made.by_name["fidelity"].visible and made.by_name["model"].value == "auto"
    assert "the face strip cannot be set up" in caplog.text


def test_events_run_outside_of_a_webui() -> None:
    import gradio as gr

    with gr.Blocks() as page:
        controls.build("page")
    events = page.fns.values() if isinstance(page.fns, dict) else page.fns
    listeners: list[Callable[..., Any]] = [event.fn for event in events]
    assert controls.on_model_change in listeners and controls.on_refresh in listeners


def test_a_detector_that_is_not_there_is_marked_in_the_list(made: controls.Controls) -> None:
    marked = dict(detector_choices())
    assert marked["auto"] == "auto" and marked["lite"] == "lite" and marked["yunet (not installed)"] == "yunet"
    detector = made.by_name["detector"]
    assert detector.value == "auto" and ("yunet (not installed)", "yunet") in detector.choices
    assert controls.on_refresh("auto")[3]["choices"] == detector_choices()
