"""The Extras tab: order against upscaling, modes of pictures, None arguments, errors, the strip, other places."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import PIL.Image
import pytest

from lib_facerestore import pipeline
from lib_facerestore.errors import ModelFileError
from lib_facerestore.pipeline import FaceRestorer
from lib_facerestore.webui import infotext, service

from .double import Host

pytestmark = pytest.mark.usefixtures("unserved")

NAME = "Face Restore"
ON: dict[str, Any] = {"enabled": True, "model": "small", "mask": "ellipse"}
UPSCALE = {"upscale_enabled": True, "upscale_by": 2}


@pytest.fixture
def tab(host: Host, restorer: FaceRestorer, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A started host with the step; two faces are known in every picture."""
    monkeypatch.setattr(service, "restorer", lambda: restorer)
    from lib_facerestore.webui import extras

    service.remember("extras", [])
    host.add_extras(extras.FaceRestoreExtras)
    host.start(load=False)
    return host


@pytest.fixture
def image(photo: np.ndarray) -> PIL.Image.Image:
    return PIL.Image.fromarray(photo)


def step() -> Any:
    from lib_facerestore.webui.extras import FaceRestoreExtras

    return FaceRestoreExtras()


def pixels(image: PIL.Image.Image) -> np.ndarray:
    return np.asarray(image)


def lines(pp: Any) -> dict[str, Any]:
    return {key: value for key, value in pp.info.items() if key.startswith(infotext.PREFIX)}


def test_off_leaves_the_picture_alone(tab: Host, image: PIL.Image.Image) -> None:
    (done,) = tab.extras([image])
    assert np.array_equal(pixels(done.image), pixels(image)) and done.info == {}


def test_the_api_gives_none_for_everything_which_means_off(tab: Host, image: PIL.Image.Image) -> None:
    (done,) = tab.extras_api([image])
    assert np.array_equal(pixels(done.image), pixels(image)) and done.info == {}


def test_an_option_without_effect_is_told(tab: Host, image: PIL.Image.Image) -> None:
    (done,) = tab.extras([image], {NAME: ON | {"fidelity": 0.9}})
    assert lines(done)[infotext.NOTE] == "fidelity 0.9 has no effect: small has no such knob"
    (done,) = tab.extras([image], {NAME: ON})
    assert infotext.NOTE not in lines(done)


def test_on_restores_and_tells(tab: Host, image: PIL.Image.Image) -> None:
    (done,) = tab.extras([image], {NAME: ON})
    assert not np.array_equal(pixels(done.image), pixels(image))
    assert lines(done) == {
        "Face restore model": "small", "Face restore mask": "ellipse",
        "Face restore result": "2 restored",
    }  # fmt: skip
    assert np.array_equal(pixels(tab.saved[-1].image), pixels(done.image))


def test_a_network_that_fails_is_told(tab: Host, image: PIL.Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no kernel")

    monkeypatch.setattr(pipeline, "_restore", fail)
    (done,) = tab.extras([image], {NAME: ON})
    told = "faces 1, 2: small failed (RuntimeError: no kernel)"
    assert lines(done)[infotext.ERROR] == told and any(told in text for text in tab.shared.state.texts)
    assert np.array_equal(pixels(done.image), pixels(image))


def test_none_for_some_arguments_takes_their_defaults(tab: Host, image: PIL.Image.Image) -> None:
    values: dict[str, Any] = dict.fromkeys(tab.extras_runner.scripts[-1].controls) | ON
    (done,) = tab.extras([image], {NAME: values})
    assert lines(done)["Face restore result"] == "2 restored"


def test_one_dict_for_all_arguments(tab: Host, image: PIL.Image.Image) -> None:
    (done,) = tab.extras([image], {NAME: {"enabled": {"model": "small", "faces": "2", "stage": "last"}}})
    assert lines(done)["Face restore result"] == "1 restored, 1 skipped (only face 2 was asked for)"


@pytest.mark.parametrize("when", ["After upscaling", "Before upscaling", "before", None])
def test_the_order_against_upscaling_is_a_choice(
    tab: Host, image: PIL.Image.Image, restorer: FaceRestorer, when: str | None
) -> None:
    (done,) = tab.extras([image], {NAME: {**ON, "when": when}, "Upscale": UPSCALE})
    detector: Any = restorer.loaded.own_detector
    first = when is not None and when.lower().startswith("before")
    assert detector.seen == ([(280,)] if first else [(560,)])
    assert done.image.size == (560, 400) and done.shared.target_width == 560
    assert lines(done)["Face restore result"] == "2 restored" and done.info["Postprocess upscale by"] == 2
    (alone,) = tab.extras([image], {NAME: ON})
    upscaled = alone.image.resize((560, 400), PIL.Image.Resampling.NEAREST)
    assert np.array_equal(pixels(done.image), pixels(upscaled)) is first


@pytest.mark.parametrize(("when", "runs"), [("After upscaling", 2), ("Before upscaling", 1)])
def test_pictures_that_other_steps_add(
    tab: Host, image: PIL.Image.Image, restorer: FaceRestorer, when: str, runs: int
) -> None:
    from modules import scripts_postprocessing

    class Copies(scripts_postprocessing.ScriptPostprocessing):
        name, order = "Copies", 1200

        def ui(self) -> dict[str, Any]:
            return {}

        def process(self, pp: Any) -> None:
            pp.extra_images.append(pp.create_copy(pp.image.copy(), nametags=["copy"]))

    tab.add_extras(Copies)
    tab.reload_ui(load=False)
    first, second = tab.extras([image], {NAME: {**ON, "when": when}})
    assert np.array_equal(pixels(first.image), pixels(second.image))
    assert not np.array_equal(pixels(first.image), pixels(image))
    assert lines(first) == lines(second) and lines(first)
    detector: Any = restorer.loaded.own_detector
    assert len(detector.seen) == runs


@pytest.mark.parametrize("host", ["a1111", "forge"], indirect=True)
def test_alpha_is_kept_exactly(tab: Host, photo: np.ndarray) -> None:
    alpha = np.random.default_rng(0).integers(0, 256, photo.shape[:2], np.uint8)
    given = PIL.Image.fromarray(np.dstack([photo, alpha]))
    tab.hidden_bits_in_extras = False
    (done,) = tab.extras([given], {NAME: ON})
    assert done.image.mode == "RGBA" and np.array_equal(pixels(done.image)[..., 3], alpha)
    assert not np.array_equal(pixels(done.image)[..., :3], photo)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "YCbCr", "I;16", "I", "F"])
def test_no_mode_of_a_picture_raises(tab: Host, image: PIL.Image.Image, mode: str) -> None:
    if mode == "I;16":
        given = PIL.Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    else:
        given = image.convert(mode)
    pp = tab.modules.scripts_postprocessing.PostprocessedImage(given)
    step().process(pp, **ON)
    assert pp.image.size == given.size
    assert pp.image.mode == {"P": "RGB", "1": "L"}.get(mode, mode)  # these two cannot hold a restored face
    told = lines(pp)
    assert told.get("Face restore result") == "2 restored" or told[infotext.ERROR]
    if mode in ("RGB", "RGBA", "L", "LA", "I;16"):
        assert infotext.ERROR not in told
    for run in service.last_run("extras"):
        assert run.before.mode in ("RGB", "RGBA") and run.after.mode in ("RGB", "RGBA")


def test_the_original_is_saved_beside_the_result(tab: Host, image: PIL.Image.Image) -> None:
    done, original = tab.extras([image], {NAME: {**ON, "save_before": True}, "Upscale": UPSCALE}, names=["a.png"])
    assert original.nametags == ["before"]
    assert lines(original) == {"Face restore result": "the picture before restoration"}
    upscaled = image.resize((560, 400), PIL.Image.Resampling.NEAREST)
    assert np.array_equal(pixels(original.image), pixels(upscaled))
    assert lines(done)["Face restore save before"] == "True"
    done, original = tab.extras([image], {NAME: {**ON, "save_before": True, "when": "before"}, "Upscale": UPSCALE})
    assert original.image.size == image.size and np.array_equal(pixels(original.image), pixels(image))
    only = {**ON, "save_before": True, "visibility": 0}
    (done,) = tab.extras([image], {NAME: only})
    assert lines(done)["Face restore result"] == "0 restored, 2 skipped (visibility is 0)"
    assert np.array_equal(pixels(done.image), pixels(image))


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"model": "gpen-2048"}, "gpen-2048"),
        ({"visibility": 7}, "visibility: 7 is not allowed; give a number from 0 to 1."),
        ({"when": "never"}, "when: 'never' is not allowed; give After upscaling or Before upscaling."),
        ({"enabled": "perhaps"}, "enabled: 'perhaps' is not allowed; give true or false."),
        ({"overrides": "{"}, "is not valid JSON"),
    ],
)
def test_what_cannot_be_done_is_told_and_nothing_is_raised(
    tab: Host, image: PIL.Image.Image, values: dict[str, Any], told: str
) -> None:
    (done,) = tab.extras([image], {NAME: {**ON, **values}})
    assert np.array_equal(pixels(done.image), pixels(image))
    assert list(lines(done)) == [infotext.ERROR] and told in lines(done)[infotext.ERROR]
    assert tab.shared.state.job_count == 0


@pytest.mark.parametrize("error", [RuntimeError("out of\nmemory"), ModelFileError("damaged"), MemoryError()])
def test_a_crash_is_told_too(
    tab: Host, image: PIL.Image.Image, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object, **__: object) -> Any:
        raise error

    monkeypatch.setattr(service, "restore", fail)
    done = tab.extras([image, image], {NAME: {**ON, "when": "Before upscaling"}})
    assert len(done) == 2
    assert "\n" not in lines(done[0])[infotext.ERROR] and lines(done[1]) == lines(done[0])


def test_overrides_reach_the_faces(tab: Host, image: PIL.Image.Image) -> None:
    (done,) = tab.extras([image], {NAME: {**ON, "overrides": '{"1": {"skip": true}}'}})
    assert lines(done)["Face restore result"].startswith("1 restored, 1 skipped")


def test_an_interrupt_leaves_the_faces_that_are_not_done(
    tab: Host, image: PIL.Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def stop() -> bool:
        asked.append(True)
        return len(asked) > 1

    monkeypatch.setattr(service.host, "interrupted", stop)
    (done,) = tab.extras([image], {NAME: ON})
    assert asked and "stopped" in lines(done)["Face restore result"]


def test_the_pictures_of_one_job_are_kept_together_for_the_strip(tab: Host, image: PIL.Image.Image) -> None:
    tab.extras([image, image, None], {NAME: ON}, names=["a.png", "b.png", "c.png"])
    kept = service.last_run("extras")
    assert len(kept) == 2 and [face.number for face in kept[0].faces] == [1, 2]
    assert np.array_equal(pixels(kept[0].before), pixels(image))
    assert not np.array_equal(pixels(kept[0].after), pixels(image))
    tab.extras([image], {NAME: ON})
    assert len(service.last_run("extras")) == 1


def test_the_names_of_the_arguments(tab: Host) -> None:
    names = list(tab.extras_runner.scripts[-1].controls)
    assert names[:4] == ["enabled", "model", "fidelity", "visibility"]
    assert {"when", "save_before", "overrides"} <= set(names) and "stage" not in names
    assert tab.extras_runner.ordered()[1].name == NAME  # right after Upscale
    assert not tab.duplicates


@pytest.mark.parametrize("host", ["sdnext"], indirect=True)
def test_sdnext_has_neither_a_first_pass_nor_a_second_picture(tab: Host, image: PIL.Image.Image) -> None:
    names = list(tab.extras_runner.scripts[-1].controls)
    assert "when" not in names and "save_before" not in names
    (done,) = tab.extras([image], {NAME: ON})
    assert lines(done)["Face restore result"] == "2 restored"
    shared: dict[str, Any] = {"Face restore error": "of the picture before", "kept": 1}
    bare = SimpleNamespace(image=image, info=shared)  # its pictures may share one dict
    step().process(bare, **ON, save_before=True)
    assert lines(bare)["Face restore result"] == "2 restored" and "Face restore error" not in bare.info
    assert bare.info["kept"] == 1 and "Face restore result" not in shared


def test_in_the_main_ui_it_has_ids_of_its_own_and_works(tab: Host, photo: np.ndarray) -> None:
    import gradio as gr

    tab.set_opts(postprocessing_enable_in_main_ui=[NAME])
    tab.reload_ui(load=False)
    ids = [c.elem_id for runner in tab.runners.values() for c in runner.inputs if c is not None]
    ids += [component.elem_id for component in tab.extras_runner.scripts[-1].controls.values()]
    ours = [name for name in ids if name and name.startswith("facerestore_")]
    assert len(ours) == len(set(ours)) and any(name.startswith("facerestore_extras_img2img_") for name in ours)
    done = tab.run("txt2img", args={NAME: [True, "small"]}, decoded=[photo])
    assert "Face restore result: 2 restored" in done.infotexts[0]
    assert not tab.duplicates
    with gr.Blocks():  # the host pairs the names of one place with the values of another
        assert list(tab.extras_runner.scripts[-1].controls) == list(step().ui())


def test_controls_that_cannot_be_made_do_not_take_the_tab_with_them(
    tab: Host, image: PIL.Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lib_facerestore.webui.page import controls

    def fail(*_: object, **__: object) -> Any:
        raise RuntimeError("no")

    monkeypatch.setattr(controls, "build", fail)
    assert step().ui() == {}
    tab.reload_ui(load=False)
    (done,) = tab.extras([image])
    assert done.info == {}
