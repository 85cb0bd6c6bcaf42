"""txt2img and img2img over the API: what our Script does to the pictures, and what it leaves alone."""

from __future__ import annotations

import threading
import time

import numpy as np
import PIL.Image
import pytest

from .client import Made, WebUI, changed_outside, lines, ours, to_base64
from .conftest import STEPS, Scene, base_fields


def run(webui: WebUI, scene: Scene, *values: object, **options: object) -> Made:
    """The scene with our Script."""
    return webui.make(scene.tab, **scene.fields, alwayson_scripts=ours(*values, **options))


def test_the_script_is_listed_for_both_tabs(webui: WebUI) -> None:
    scripts = webui.get("/sdapi/v1/scripts")
    assert all([name.lower() for name in scripts[tab]].count("face restore") == 1 for tab in ("txt2img", "img2img"))
    infos = [info for info in webui.get("/sdapi/v1/script-info") if info["name"].lower() == "face restore"]
    assert sorted(info["is_img2img"] for info in infos) == [False, True]
    assert all(info["is_alwayson"] for info in infos)
    assert [arg["label"] for arg in infos[0]["args"]][1:4] == ["Model", "Fidelity (CodeFormer weight)", "Visibility"]
    assert infos[0]["args"][0]["value"] is False  # off unless it is asked for


@pytest.mark.parametrize("tab", ["portrait", "repainted"])
def test_a_dict_restores_the_face_and_nothing_else(webui: WebUI, tab: str, request: pytest.FixtureRequest) -> None:
    """Needs a checkpoint that gives a face; pixels away from it must not change at all."""
    scene: Scene = request.getfixturevalue(tab)
    made = run(webui, scene, model="lite", faces="1")
    assert (made.pixels != scene.plain.pixels).any()
    assert changed_outside(scene.plain.pixels, made.pixels, scene.box) == 0
    told = lines(made.infotext)
    assert told["model"] == "lite" and "visibility" not in told and told["result"].startswith("1 restored")


def test_a_list_is_the_same_as_a_dict(webui: WebUI, repainted: Scene) -> None:
    as_dict = run(webui, repainted, model="lite", visibility=0.5)
    as_list = run(webui, repainted, True, "lite", None, 0.5)
    assert np.array_equal(as_dict.pixels, as_list.pixels)
    assert lines(as_dict.infotext) == lines(as_list.infotext)
    assert lines(as_list.infotext)["visibility"] == "0.5"


@pytest.mark.parametrize(
    "args", [[False], [False, "lite", 0.5, 1.0], [None], [{"enabled": False, "model": "lite"}], ["false"], []]
)
def test_disabled_is_bit_identical(webui: WebUI, repainted: Scene, args: list[object]) -> None:
    made = webui.make("img2img", **repainted.fields, alwayson_scripts={"Face Restore": {"args": args}})
    assert np.array_equal(made.pixels, repainted.plain.pixels)
    assert made.infotext == repainted.plain.infotext


def test_the_name_may_be_written_in_any_case(webui: WebUI, repainted: Scene) -> None:
    made = webui.make("img2img", **repainted.fields, alwayson_scripts={"fAcE rEsToRe": {"args": [{"model": "lite"}]}})
    assert lines(made.infotext)["model"] == "lite"


@pytest.mark.parametrize("options", [{"visibility": 0}, {"faces": "9"}, {"max_face": 8}, {"confidence": 1.0}])
def test_where_no_face_is_to_change_none_does(webui: WebUI, repainted: Scene, options: dict[str, object]) -> None:
    made = run(webui, repainted, **options)
    assert np.array_equal(made.pixels, repainted.plain.pixels)


def test_visibility_lies_between_before_and_after(webui: WebUI, repainted: Scene) -> None:
    """Without grain, of which a half restored face needs more than half: its own is made weaker by the restored one."""
    full = run(webui, repainted, model="lite", grain=0).pixels.astype(int)
    half = run(webui, repainted, model="lite", grain=0, visibility=0.5).pixels.astype(int)
    plain = repainted.plain.pixels.astype(int)
    inside = (full != plain).any(axis=2)
    assert inside.any()
    assert np.abs(half - (full + plain) / 2)[inside].max() <= 1.5


def test_at_half_visibility_no_more_changes_than_at_the_whole(webui: WebUI, repainted: Scene) -> None:
    full, half = (run(webui, repainted, model="lite", visibility=share).pixels.astype(int) for share in (1, 0.5))
    plain = repainted.plain.pixels.astype(int)
    assert np.square(half - plain).sum() <= np.square(full - plain).sum()


@pytest.mark.parametrize("stage", ["decode", "composite", "last"])
def test_every_stage_restores(webui: WebUI, repainted: Scene, stage: str) -> None:
    made = run(webui, repainted, model="lite", stage=stage)
    assert (made.pixels != repainted.plain.pixels).any()
    assert changed_outside(repainted.plain.pixels, made.pixels, repainted.box) == 0
    assert lines(made.infotext).get("stage", "decode") == stage


def test_the_stages_agree_where_nothing_comes_between_them(webui: WebUI, repainted: Scene) -> None:
    first, *others = [run(webui, repainted, model="lite", stage=stage) for stage in ("decode", "composite", "last")]
    for other in others:
        assert np.abs(first.pixels.astype(int) - other.pixels).max() <= 1


def test_faces_are_chosen_by_number(webui: WebUI, repainted_two: Scene) -> None:
    """Needs a checkpoint that keeps both faces of the photograph."""
    width = repainted_two.plain.picture.width
    made = run(webui, repainted_two, model="lite", faces="2")
    changed = (made.pixels != repainted_two.plain.pixels).any(axis=(0, 2))
    assert changed[width // 2 :].any() and not changed[: width // 4].any()
    assert "1 restored, 1 skipped" in lines(made.infotext)["result"]


def test_overrides_reach_single_faces(webui: WebUI, repainted_two: Scene) -> None:
    made = run(webui, repainted_two, model="lite", overrides={"1": {"skip": True}})
    only_second = run(webui, repainted_two, model="lite", faces="2")
    assert np.array_equal(made.pixels, only_second.pixels)
    assert lines(made.infotext)["overrides"] == '{"1": {"skip": true}}'


def test_batch_of_four(webui: WebUI, repainted: Scene) -> None:
    """Every picture is restored and has its own lines."""
    fields = repainted.fields | {"batch_size": 4}
    plain, made = webui.make("img2img", **fields), webui.make("img2img", **fields, alwayson_scripts=ours(model="lite"))
    assert len(made.pictures) == len(plain.pictures) == 4
    for before, after, text in zip(plain.pictures, made.pictures, made.infotexts, strict=True):
        assert np.asarray(before).shape == np.asarray(after).shape
        assert (np.asarray(before) != np.asarray(after)).any()
        assert lines(text)["result"].startswith("1 restored")
    seeds = [text.split("Seed: ")[1].split(",")[0] for text in made.infotexts]
    assert len(set(seeds)) == 4


def test_batch_count_and_size_together(webui: WebUI, repainted: Scene) -> None:
    fields = repainted.fields | {"batch_size": 2, "n_iter": 2}
    made = webui.make("img2img", **fields, alwayson_scripts=ours(model="lite", stage="last"))
    assert [lines(text)["result"].startswith("1 restored") for text in made.infotexts[-4:]] == [True] * 4


def test_hires_restores_the_large_picture_once(webui: WebUI) -> None:
    """Needs a checkpoint whose hires fix gives a face."""
    more = {"enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "Lanczos", "denoising_strength": 0.2}
    if webui.get("/facerestore/v1/health")["webui"] == "forge":  # which fails without it, with or without us
        more["hr_additional_modules"] = ["Use same choices"]
    fields = base_fields(width=384, height=384, **more)
    plain = webui.make("txt2img", **fields)
    assert plain.picture.size == (576, 576)
    found = webui.post("/facerestore/v1/detect", {"image": plain.files[0]})["faces"]
    if not found:
        pytest.skip("needs a checkpoint whose hires fix gives a face")
    made = webui.make("txt2img", **fields, alwayson_scripts=ours(model="lite", faces="1"))
    assert made.picture.size == (576, 576)
    assert (made.pixels != plain.pixels).any()
    assert changed_outside(plain.pixels, made.pixels, found[0]["box"]) == 0
    assert lines(made.infotext)["result"].startswith("1 restored")


def test_an_unknown_option_is_told_and_costs_no_picture(webui: WebUI, repainted: Scene) -> None:
    made = run(webui, repainted, modle="lite")
    assert np.array_equal(made.pixels, repainted.plain.pixels)
    assert "modle" in lines(made.infotext)["error"] and "model" in lines(made.infotext)["error"]


@pytest.mark.parametrize(
    "options", [{"visibility": 7}, {"faces": "some"}, {"stage": "sometime"}, {"overrides": "{"}, {"keep": "ears"}]
)
def test_a_bad_value_is_told_and_costs_no_picture(webui: WebUI, repainted: Scene, options: dict[str, object]) -> None:
    made = run(webui, repainted, **options)
    assert np.array_equal(made.pixels, repainted.plain.pixels)
    assert next(iter(options)) in lines(made.infotext)["error"]


def test_a_model_that_is_not_there_is_told_and_costs_no_picture(webui: WebUI, repainted: Scene) -> None:
    made = run(webui, repainted, model="no-such-model")
    assert np.array_equal(made.pixels, repainted.plain.pixels)
    assert "no-such-model" in lines(made.infotext)["error"]


def test_no_face_says_so(webui: WebUI) -> None:
    """A grey picture at no denoising; whatever comes of it, the run must not fail."""
    grey = PIL.Image.new("RGB", (256, 256), (128, 128, 128))
    fields = base_fields(init_images=[to_base64(grey)], denoising_strength=0.05, width=256, height=256)
    plain, made = webui.make("img2img", **fields), webui.make("img2img", **fields, alwayson_scripts=ours(model="lite"))
    if webui.post("/facerestore/v1/detect", {"image": plain.files[0]})["faces"]:
        pytest.skip("needs a checkpoint that makes no face of a grey picture")
    assert np.array_equal(plain.pixels, made.pixels)
    assert "no face" in lines(made.infotext)["result"].lower()


def test_interrupt_leaves_a_picture_and_no_claim(webui: WebUI) -> None:
    """The run ends early with a picture, and its infotext does not claim what was not done."""
    fields = base_fields(steps=max(150, STEPS), alwayson_scripts=ours(model="lite"))
    answers: list[Made | Exception] = []

    def generate() -> None:
        try:
            answers.append(webui.make("txt2img", **fields))
        except Exception as error:
            answers.append(error)

    thread = threading.Thread(target=generate)
    thread.start()
    try:
        deadline = time.monotonic() + 60
        while webui.get("/sdapi/v1/progress", skip_current_image="true")["state"]["sampling_step"] < 2:
            assert time.monotonic() < deadline and thread.is_alive(), "the generation did not begin"
            time.sleep(0.1)
        webui.post("/sdapi/v1/interrupt")
    finally:
        thread.join(120)
    assert len(answers) == 1 and isinstance(answers[0], Made), answers
    assert answers[0].pictures
    assert "restored" not in lines(answers[0].infotext).get("result", "")
    follow_up = webui.make("txt2img", **base_fields(alwayson_scripts=ours(model="lite")))
    assert follow_up.pictures  # and the next run is as any other


def test_progress_is_at_rest_afterwards(webui: WebUI, repainted: Scene) -> None:
    run(webui, repainted, model="lite")
    state = webui.get("/sdapi/v1/progress", skip_current_image="true")["state"]
    assert state["job_count"] == 0 and state["job"] == ""
