"""The Script in the host double: every stage, inpaint, batches, infotext, what must not happen."""

from __future__ import annotations

import logging
import subprocess
import sys
from typing import Any

import numpy as np
import PIL.Image
import pytest

from lib_facerestore.webui import infotext, service
from lib_facerestore.webui.request import ARGUMENTS, STAGES

from ..double import Host
from ..double.host import EXTENSION
from ..helpers import LEFT, OPTIONS, Known, photo, without_face

KINDS = ["a1111", "forge", "sdnext"]
every_kind = pytest.mark.parametrize("host", KINDS, indirect=True)
TITLE = "Face Restore"


def args(**values: Any) -> dict[str, list[Any]]:
    return {TITLE: [OPTIONS | values]}


def start(host: Host) -> Any:
    """The host with the Script alone, loaded as the WebUI loads it."""
    host.start()
    return host


def arrays(done: Any) -> list[np.ndarray]:
    return [np.asarray(image) for image in done.images[done.index_of_first_image :]]


def keys(text: str) -> dict[str, str]:
    from modules.infotext_utils import parse_generation_parameters

    return {k: v for k, v in parse_generation_parameters(text).items() if k.startswith("Face rest")}


def equal(first: Any, second: Any) -> bool:
    return bool(np.array_equal(np.asarray(first), np.asarray(second)))


@every_kind
def test_disabled_does_nothing_at_all(host: Host, known: Known, monkeypatch: pytest.MonkeyPatch) -> None:
    start(host)
    for name in ("restore", "detect", "remember"):
        monkeypatch.setattr(service, name, lambda *a, **k: pytest.fail("nothing may be asked of the service"))
    floats = np.random.default_rng(0).random((128, 192, 3)).astype(np.float32)
    plain = host.run("txt2img", scripts=False, decoded=[floats, photo()], batch_size=2)
    for given in (None, {TITLE: [False]}, {TITLE: [{"enabled": False, "nonsense": 1}]}, {TITLE: [None] * 3}):
        done = host.run("txt2img", args=given, decoded=[floats, photo()], batch_size=2)
        assert all(equal(a, b) for a, b in zip(arrays(plain), arrays(done), strict=True))
        assert done.infotexts == plain.infotexts


def test_the_scripts_load_little_and_a_disabled_generation_imports_nothing(tmp_path: Any) -> None:
    code = f"""
import sys
sys.path.insert(0, {str(EXTENSION)!r})
from pathlib import Path
import numpy as np
from tests.webui.double import Host, extras, scripts
host = Host(Path({str(tmp_path)!r})).install()
scripts.load_scripts(host, Path({str(EXTENSION)!r}), extras.ScriptPostprocessing)
ours = [name for name in sys.modules if name.startswith("lib_facerestore")]
print([name for name in ours if name.split(".")[1:2] in (["catalogue"], ["images"], ["pipeline"], ["networks"])])
host.start()
before = set(sys.modules)
host.run("txt2img", decoded=[np.zeros((16, 16, 3), np.uint8)])
print(sorted(name for name in set(sys.modules) - before if "facerestore" in name), host.errors)
print("lib_facerestore.pipeline" in sys.modules)
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.splitlines()[-3:] == ["[]", "[] []", "False"]


@every_kind
@pytest.mark.parametrize("stage", STAGES)
def test_each_stage_gives_what_the_library_gives(host: Host, known: Known, stage: str) -> None:
    start(host)
    expected = known.restored(photo())
    done = host.run("txt2img", args=args(stage=stage), decoded=[photo()], enable_hr=True)
    assert equal(done.images[0], expected) and not equal(expected, photo())
    assert equal(host.saved[-1].image, expected)
    assert [face.applied for face in service.last_run("txt2img")[0].faces] == [True, True]


@pytest.mark.parametrize("stage", STAGES)
def test_without_a_face_the_picture_is_bit_identical(host: Host, known: Known, stage: str) -> None:
    start(host)
    done = host.run("txt2img", args=args(stage=stage), decoded=[without_face()])
    assert equal(done.images[0], without_face())
    assert keys(done.infotexts[0])[infotext.RESULT] == "no face was found"


def test_decoding_changes_only_the_values_that_differ(host: Host, known: Known) -> None:
    import torch
    from modules import scripts

    seen: list[Any] = []

    class Before(scripts.Script):
        def title(self) -> str:
            return "Before"

        def show(self, is_img2img: bool) -> object:
            return scripts.AlwaysVisible

        def postprocess_batch(self, p: Any, *a: Any, images: Any, **k: Any) -> None:
            seen.append(images.clone())

        def postprocess_batch_list(self, p: Any, pp: Any, *a: Any, **k: Any) -> None:
            seen.append(torch.stack(pp.images))

    start(host)
    host.add_script(Before)
    host.reload_ui()
    host.run("txt2img", args=args(), decoded=[photo(), without_face()], batch_size=2)
    before, after = seen
    assert torch.equal(before[1], after[1])
    same = photo() == known.restored(photo())
    assert torch.equal(before[0].permute(1, 2, 0)[same], after[0].permute(1, 2, 0)[same])


def test_a_batch_of_four_is_one_call_of_the_network(host: Host, known: Known) -> None:
    start(host)
    pictures = [photo(seed) for seed in range(4)]
    expected = [known.restored(picture) for picture in pictures]
    done = host.run("txt2img", args=args(), decoded=pictures, batch_size=4)
    assert known.batches == [8]
    assert all(equal(a, b) for a, b in zip(arrays(done), expected, strict=True))


def test_batches_keep_their_own_texts_and_the_grid_gets_no_stale_one(host: Host, known: Known) -> None:
    start(host)
    pictures = [photo(0), without_face(1), photo(2), without_face(3)]
    for stage in STAGES:
        done = host.run("txt2img", args=args(stage=stage), decoded=pictures, batch_size=2, n_iter=2)
        told = [keys(text)[infotext.RESULT] for text in done.infotexts]
        assert told[1:] == ["2 restored", "no face was found"] * 2
        assert told[0].startswith("4 restored") and "in 4 pictures" in told[0]
    again = host.run("txt2img", args={TITLE: [False]}, decoded=pictures, batch_size=2)
    assert all(not keys(text) for text in again.infotexts)


def test_a_job_of_several_generations_is_kept_together_for_the_strip(host: Host, known: Known) -> None:
    """As img2img's tab Batch does: the same `p`, once for each picture."""
    start(host)
    process, state = host.modules.processing.process_images, host.shared.state
    for _ in range(2):
        state.begin(job="img2img")
        p = host.make_p("txt2img", args(), decoded=[photo()])
        for picture in (photo(0), without_face(), photo(1)):
            p.decoded = [picture]
            told = process(p).infotexts
        state.end()
        kept = service.last_run("txt2img")
        assert [len(one.faces) for one in kept] == [2, 0, 2] and keys(told[0])[infotext.RESULT] == "2 restored"
    host.run("txt2img", args=args(), decoded=[photo()])
    assert len(service.last_run("txt2img")) == 1


def test_infotext_is_exact_and_pastes_back(host: Host, known: Known) -> None:
    start(host)
    values = {"visibility": 0.5, "stage": "last", "faces": "2", "overrides": {"2": {"grain": 0.25}}}
    done = host.run("txt2img", args=args(**values), decoded=[photo()])
    assert keys(done.infotexts[0]) == {
        "Face restore model": "small.safetensors",
        "Face restore visibility": "0.5",
        "Face restore faces": "2",
        "Face restore mask": "ellipse",
        "Face restore stage": "last",
        "Face restore overrides": '{"2": {"grain": 0.25}}',
        "Face restore result": "1 restored, 1 skipped (not among faces 2)",
    }
    again = host.api("txt2img", infotext=done.infotexts[0], decoded=[photo()])
    assert again.infotexts == done.infotexts and equal(again.images[0], done.images[0])


def test_arguments_as_a_list_a_short_list_and_a_dict(host: Host, known: Known) -> None:
    start(host)
    expected = known.restored(photo(), visibility=0.5)
    full = {"enabled": True, "stage": "decode", "visibility": 0.5} | OPTIONS
    for given in (
        [full.get(name) for name in ARGUMENTS],
        [True, "small.safetensors", None, 0.5, *[None] * 4, *(full.get(name) for name in ARGUMENTS[8:])],
        [OPTIONS | {"visibility": "0.5"}],
    ):
        for title in (TITLE, TITLE.upper()):
            done = host.api("txt2img", alwayson_scripts={title: {"args": given}}, decoded=[photo()])
            assert equal(done.images[0], expected)


@pytest.mark.parametrize("wrong", [{"visibility": 7}, {"visiblity": 1}, {"stage": "soon"}, {"overrides": "{"}])
def test_a_bad_option_is_told_once_and_the_picture_stays(host: Host, known: Known, wrong: Any, caplog: Any) -> None:
    start(host)
    with caplog.at_level(logging.WARNING):
        done = host.run("txt2img", args=args(**wrong), decoded=[photo(), photo(1)], batch_size=2)
    assert equal(arrays(done)[0], photo()) and equal(arrays(done)[1], photo(1))
    assert sum("Face Restore:" in text for text in host.shared.state.texts) == 1
    assert done.comments.count("Face Restore") == 1
    assert set(keys(done.infotexts[1])) == {infotext.ERROR}


@pytest.mark.parametrize("stage", STAGES)
def test_nothing_is_raised_when_restoring_fails(
    host: Host, known: Known, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(host)

    def broken(*a: Any, **k: Any) -> Any:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(service, "restore", broken)
    done = host.run("txt2img", args=args(stage=stage), decoded=[photo()])
    assert equal(done.images[0], photo())
    assert "out of memory" in keys(done.infotexts[0])[infotext.ERROR]
    assert any("out of memory" in text for text in host.shared.state.texts)
    missing = host.run("txt2img", args=args(stage=stage, model="nobody"), decoded=[photo()])
    assert equal(missing.images[0], photo()) and infotext.ERROR in keys(missing.infotexts[0])


def test_a_missing_model_is_told(host: Host, known: Known) -> None:
    start(host)
    done = host.run("txt2img", args=args(model="nobody"), decoded=[photo()])
    assert "nobody" in keys(done.infotexts[0])[infotext.ERROR]


@pytest.mark.parametrize("stage", STAGES)
def test_interrupt_and_skip(host: Host, known: Known, stage: str) -> None:
    start(host)
    state = host.shared.state
    done = host.run("txt2img", args=args(stage=stage), decoded=[photo()], on_sample=lambda step: state.interrupt())
    assert equal(done.images[0], photo()) and not keys(done.infotexts[0]) and not known.batches
    known.restorer.batch_size = 1
    known.before = state.skip
    done = host.run("txt2img", args=args(stage=stage), decoded=[photo()])
    assert known.batches == [1]
    assert "1 restored, 1 skipped (stopped)" in keys(done.infotexts[0])[infotext.RESULT]


def mask_of(box: tuple[int, int, int, int], size: tuple[int, int] = (192, 128)) -> PIL.Image.Image:
    mask = PIL.Image.new("L", size)
    mask.paste(255, box)
    return mask


@pytest.mark.parametrize("host", ["a1111", "forge"], indirect=True)
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("overlay", [True, False])
def test_inpaint_leaves_what_is_outside_of_the_mask(
    host: Host, known: Known, stage: str, whole: bool, overlay: bool
) -> None:
    """`init` and what is generated differ everywhere; the mask covers the upper part of the left face."""
    start(host)
    host.set_opts(overlay_inpaint=overlay)
    box = (16, 20, 92, 60)
    fields: dict[str, Any] = {
        "init_images": [PIL.Image.fromarray(photo(5))], "mask": mask_of(box), "mask_blur": 3,
        "inpaint_full_res": not whole, "inpaint_full_res_padding": 16, "decoded": [photo(6)],
    }  # fmt: skip
    plain = np.asarray(host.run("img2img", **fields).images[0])
    done = host.run("img2img", args=args(stage=stage), **fields)
    image = np.asarray(done.images[0])
    p = host.saved[-1].p
    assert image.shape == plain.shape
    mask = p.mask_for_overlay
    if not (overlay or whole):  # the crop comes out as it is
        x, y, width, height = p.paste_to
        mask = mask.crop((x, y, x + width, y + height)).resize(done.images[0].size, PIL.Image.Resampling.BILINEAR)
    outside = np.asarray(mask) == 0
    assert outside.any() and equal(image[outside], plain[outside])
    assert not equal(image, plain)
    if whole:
        assert keys(done.infotexts[0])[infotext.RESULT] == "1 restored, 1 skipped (it lies outside of the inpaint mask)"


@pytest.mark.parametrize("overlay", [True, False])
def test_inpaint_only_masked_at_the_last_stage_is_soft_along_the_mask(host: Host, known: Known, overlay: bool) -> None:
    start(host)
    host.set_opts(overlay_inpaint=overlay)
    fields: dict[str, Any] = {
        "init_images": [PIL.Image.fromarray(photo(5))], "mask": mask_of((0, 0, 96, 60)), "mask_blur": 6,
        "inpaint_full_res": True, "decoded": [photo(6)], "width": 192, "height": 128,
    }  # fmt: skip
    plain = np.asarray(host.run("img2img", **fields).images[0])
    done = host.run("img2img", args=args(stage="last"), **fields)
    p = host.saved[-1].p
    drawn = p.mask_for_overlay
    if not overlay:  # without it, the crop is not put back
        x, y, width, height = p.paste_to
        drawn = drawn.crop((x, y, x + width, y + height)).resize((192, 128), PIL.Image.Resampling.BILINEAR)
    mask = np.asarray(drawn)[..., None]
    assert 0 < (mask == 0).mean() < 0.9 and (mask == 255).any()
    free = known.restored(plain, faces="1" if overlay else "all")  # both faces touch the mask in the crop
    image = np.asarray(done.images[0])
    assert equal(image[mask[..., 0] == 255], free[mask[..., 0] == 255])
    assert equal(image[mask[..., 0] == 0], plain[mask[..., 0] == 0])
    assert np.abs(image - (plain + (free.astype(float) - plain) * (mask / 255))).max() <= 0.5


@pytest.mark.parametrize("stage", STAGES)
def test_with_a_mask_a_picture_is_detected_once(host: Host, known: Known, stage: str) -> None:
    start(host)
    fields: dict[str, Any] = {
        "init_images": [PIL.Image.fromarray(photo(5))], "mask": mask_of((0, 0, 96, 128)), "inpaint_full_res": False,
        "decoded": [photo(6)],
    }  # fmt: skip
    host.run("img2img", args=args(stage=stage), **fields)
    assert known.detector.seen == [(192,)] and known.batches == [1]


def test_a_mask_without_a_face_changes_nothing(host: Host, known: Known) -> None:
    start(host)
    fields: dict[str, Any] = {
        "init_images": [PIL.Image.fromarray(photo(5))], "mask": mask_of((90, 100, 110, 120)), "mask_blur": 0,
        "inpaint_full_res": False, "decoded": [photo(6)],
    }  # fmt: skip
    plain = host.run("img2img", **fields)
    for stage in STAGES:
        assert equal(host.run("img2img", args=args(stage=stage), **fields).images[0], plain.images[0])
    assert known.batches == []


def test_alpha_is_kept_bit_for_bit(host: Host, known: Known) -> None:
    from modules import scripts

    class Transparent(scripts.Script):
        def title(self) -> str:
            return "Transparent"

        def show(self, is_img2img: bool) -> object:
            return scripts.AlwaysVisible

        def postprocess_image(self, p: Any, pp: Any, *a: Any) -> None:
            pp.image = host.hidden_bits(pp.image)

    host.add_script(Transparent)
    start(host)
    done = host.run("txt2img", args=args(stage="last"), decoded=[photo()])
    image, plain = np.asarray(done.images[0]), np.asarray(host.hidden_bits(PIL.Image.fromarray(photo())))
    assert image.shape[2] == 4 and equal(image[..., 3], plain[..., 3])
    assert not equal(image[..., :3], plain[..., :3])


@pytest.mark.parametrize("stage", STAGES)
def test_the_picture_before_is_saved_beside_the_result(host: Host, known: Known, stage: str) -> None:
    start(host)
    given = args(stage=stage, save_before=True)
    done = host.run("txt2img", args=given, decoded=[photo(), without_face()], batch_size=2)
    assert [saved.suffix for saved in host.saved] == ["-before-face-restore", "", "", ""]  # the last is the grid
    before, after = host.saved[:2]
    assert equal(before.image, photo()) and equal(after.image, known.restored(photo()))
    assert not keys(before.info or "") and keys(after.info or "") and "Seed: 7" in (before.info or "")
    assert len(done.images) == 3
    host.saved.clear()
    host.run("txt2img", args=given, decoded=[photo()], do_not_save_samples=True)
    assert host.saved == []
    mask = mask_of((10, 10, 290, 150), (300, 200))
    fields: dict[str, Any] = {"init_images": [PIL.Image.fromarray(photo(5, 300, 200))], "mask": mask}
    plain = host.run("img2img", **fields, decoded=[photo()])
    host.saved.clear()
    host.run("img2img", args=given, **fields, decoded=[photo()])
    assert equal(host.saved[0].image, plain.images[0])


def test_img2img_batch_uses_p_again(host: Host, known: Known) -> None:
    start(host)
    fields: dict[str, Any] = {"init_images": [PIL.Image.fromarray(photo(5))]}
    p = host.make_p("img2img", args(), decoded=[photo()], **fields)
    first = host.modules.processing.process_images(p)
    p.decoded = [without_face()]
    second = host.modules.processing.process_images(p)
    assert keys(first.infotexts[0])[infotext.RESULT] == "2 restored"
    assert keys(second.infotexts[0])[infotext.RESULT] == "no face was found" and equal(second.images[0], without_face())
    host.shared.state.interrupt()
    third = host.modules.processing.process_images(p)
    assert third.images == [] and keys(third.infotexts[0]) == {}


def test_xyz_cells_have_values_of_their_own(host: Host, known: Known) -> None:
    from lib_facerestore.webui.generation import xyz

    start(host)
    xyz.add_axes()
    label = f"{xyz.PREFIX}Visibility"
    cells = host.xyz("txt2img", {label: "0.25, 1", "Steps": "1, 2"}, args(enabled=False), decoded=[photo()])
    shown = [keys(cell.infotexts[0])["Face restore visibility"] for cell in cells]
    assert shown == ["0.25", "1.0"] * 2
    assert equal(cells[0].images[0], known.restored(photo(), visibility=0.25))
    off = host.xyz("txt2img", {f"{xyz.PREFIX}Enabled": "True, False"}, args(), decoded=[photo()])
    assert keys(off[0].infotexts[0]) and not keys(off[1].infotexts[0]) and equal(off[1].images[0], photo())


def test_without_scripts_and_after_reload(host: Host, known: Known) -> None:
    start(host)
    assert host.run("txt2img", scripts=False, decoded=[photo()]).images
    for _ in range(2):
        host.reload_ui()
    assert len([s for s in host.runners["txt2img"].scripts if s.title() == TITLE]) == 1
    assert equal(host.run("txt2img", args=args(), decoded=[photo()]).images[0], known.restored(photo()))


@pytest.mark.parametrize("host", [*KINDS, "classic"], indirect=True)
def test_the_ui_offers_every_argument_once(host: Host) -> None:
    start(host)
    for tab in ("txt2img", "img2img"):
        script = host.runners[tab].find(TITLE)
        assert script is not None and script.args_to - script.args_from == len(ARGUMENTS)
        assert host.runners[tab].defaults[script.args_from] is False
    assert [path for path in host.duplicates if "facerestore" in path] == []


def test_per_face_overrides_reach_the_face(host: Host, known: Known) -> None:
    start(host)
    done = host.run("txt2img", args=args(overrides='{"2": {"skip": true}}'), decoded=[photo()])
    image = np.asarray(done.images[0])
    x = int(LEFT[0] + 50)
    assert equal(image[:, x:], photo()[:, x:]) and not equal(image[:, :x], photo()[:, :x])
