"""The Script in the host double: every stage, arguments, infotext, what must not happen."""

from __future__ import annotations

import copy
import logging
import pickle
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
from .helpers import KINDS, TITLE, args, arrays, equal, every_kind, keys, mask_of, start

pytestmark = pytest.mark.usefixtures("unserved")


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
@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("no <b>"), "no &lt;b&gt;; the console says more"),
        (RuntimeError(), "RuntimeError"),
        (ModuleNotFoundError("No module named 'httpx'", name="httpx"), "pip install"),
        (ModuleNotFoundError("No module named 'gone'", name="gone"), "gone"),
    ],
)
def test_controls_that_cannot_be_made_end_no_start(
    host: Host, known: Known, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    gradio = pytest.importorskip("gradio")
    from lib_facerestore.webui.page import controls

    def fail(*_: object, **__: object) -> Any:
        raise error

    monkeypatch.setattr(controls, "build", fail)
    start(host)
    assert host.errors == []
    script = next(one for one in host.runners["txt2img"].alwayson_scripts if one.title() == TITLE)
    with gradio.Blocks() as page:
        assert script.ui(False) == []
    lines = [str(block.value) for block in page.blocks.values() if isinstance(block, gradio.HTML)]
    assert len(lines) == 1 and said in lines[0]
    done = host.run("txt2img", decoded=[photo()])
    assert equal(done.images[0], photo()) and host.errors == []
    monkeypatch.setattr(gradio, "Accordion", fail)  # not even that
    with gradio.Blocks():
        assert script.ui(True) == []


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
        "Face restore result": "1 restored, 1 skipped (only face 2 was asked for)",
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


@pytest.mark.parametrize("stage", STAGES)
def test_a_network_that_fails_on_a_face_is_told_and_the_others_are_restored(
    host: Host, known: Known, stage: str
) -> None:
    start(host)
    known.restorer.batch_size = 1

    def first_only() -> None:
        if known.batches:
            raise RuntimeError("no kernel")

    known.before = first_only
    done = host.run("txt2img", args=args(stage=stage), decoded=[photo()])
    told = "face 2: small.safetensors failed (RuntimeError: no kernel)"
    found = keys(done.infotexts[0])
    assert found[infotext.ERROR] == told and "1 restored, 1 skipped (small.safetensors failed" in found[infotext.RESULT]
    assert any(told in text for text in host.shared.state.texts) and told in done.comments
    assert not equal(done.images[0], photo())


def test_an_option_without_effect_is_told_below_the_picture_once(host: Host, known: Known) -> None:
    start(host)
    done = host.run("txt2img", args=args(fidelity=0.9), decoded=[photo(), photo(1)], batch_size=2)
    told = "Face Restore: fidelity 0.9 has no effect: small.safetensors has no such knob"
    assert done.comments.count(told) == 1
    assert infotext.NOTE not in keys(done.infotexts[0])


def test_other_scripts_may_copy_p_at_any_time(host: Host, known: Known) -> None:
    from modules import scripts

    class Copying(scripts.Script):
        seen = 0

        def title(self) -> str:
            return "Copying"

        def show(self, is_img2img: bool) -> object:
            return scripts.AlwaysVisible

        def postprocess_image(self, p: Any, pp: Any, *args: Any) -> None:
            alone = copy.copy(p)
            alone.scripts_value = None
            alone.decoded = None
            for copied in (copy.deepcopy(alone), pickle.loads(pickle.dumps(alone))):
                assert copied.extra_generation_params == p.extra_generation_params
            type(self).seen += 1

    host.add_script(Copying)
    start(host)
    done = host.run("txt2img", args=args(), decoded=[photo(), photo(1)], batch_size=2)
    assert Copying.seen == 2
    assert [keys(text)[infotext.RESULT] for text in done.infotexts[1:]] == ["2 restored"] * 2


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


def test_xyz_cells_have_values_of_their_own(host: Host, known: Known) -> None:
    from lib_facerestore.webui.generation import xyz

    start(host)
    xyz.add_axes()
    label = f"{xyz.PREFIX}Visibility"
    cells = host.xyz("txt2img", {label: "0.25, 1", "Steps": "1, 2"}, args(enabled=False), decoded=[photo()])
    shown = [keys(cell.infotexts[0]).get("Face restore visibility") for cell in cells]
    assert shown == ["0.25", None] * 2
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
