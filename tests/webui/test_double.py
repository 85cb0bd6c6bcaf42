"""The double itself: that it does to an extension what it says."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch

from .double import ApiError, Host

KINDS = ["a1111", "forge", "sdnext"]


def picture(value: int = 100, side: int = 16) -> np.ndarray:
    return (np.arange(side * side * 3).reshape(side, side, 3) * 37 % 120 + value).astype(np.uint8)


def spy_class(seen: list[str]) -> type:
    from modules import scripts

    class Spy(scripts.Script):
        infotext_fields: Any = None
        calls = 0

        def title(self) -> str:
            return "Spy"

        def show(self, is_img2img: bool) -> object:
            return scripts.AlwaysVisible

        def ui(self, is_img2img: bool) -> list[Any]:
            import gradio as gr

            type(self).calls += 1
            controls = [gr.Slider(0, 1, 0.25, label="Share"), gr.Textbox("abc", label="Word")]
            self.infotext_fields = [(controls[0], "Spy share"), (controls[1], lambda d: d.get("Spy word"))]
            return controls

        def postprocess_image(self, p: Any, pp: Any, share: Any, word: Any) -> None:
            seen.append(f"image {share} {word}")
            p.extra_generation_params["Spy share"] = share
            if word == "fail":
                raise RuntimeError("caught")

        def postprocess_batch_list(self, p: Any, pp: Any, *args: Any, batch_number: int = 0, **kwargs: Any) -> None:
            seen.append(f"batch {len(pp.images)} {torch.is_inference_mode_enabled()}")

    return Spy


@pytest.mark.parametrize("host", ["a1111", "forge"], indirect=True)
def test_hooks_run_in_the_order_of_the_contract(host: Host) -> None:
    seen: list[str] = []
    host.add_script(spy_class(seen))
    host.start(load=False)
    host.run("txt2img", restore_faces=True, enable_hr=True, decoded=[picture()])
    expected = [
        "setup", "before_process", "process", "before_process_batch", "process_batch", "process_before_every_sampling",
        "before_hr", "process_before_every_sampling", "post_sample", "postprocess_batch", "postprocess_batch_list",
        "restore_faces", "postprocess_image", "postprocess_maskoverlay", "overlay", "postprocess_image_after_composite",
        "save", "postprocess",
    ]  # fmt: skip
    assert host.log == expected
    assert seen == [f"batch 1 {host.kind == 'forge'}", "image 0.25 abc"]


@pytest.mark.parametrize("host", ["sdnext"], indirect=True)
def test_sdnext_lacks_what_it_lacks(host: Host) -> None:
    seen: list[str] = []
    host.add_script(spy_class(seen))
    host.start(load=False)
    host.run("txt2img", decoded=[picture()])
    assert seen == ["image 0.25 abc"]
    with pytest.raises(ImportError):
        importlib.import_module("modules.face_restoration")
    from modules import shared

    assert not hasattr(shared, "face_restorers")
    with pytest.raises(ImportError):
        from modules.ui_components import InputAccordion  # noqa: F401


def test_ui_is_called_three_times_a_tab_and_its_values_are_frozen(host: Host) -> None:
    spy = spy_class([])
    host.add_script(spy)
    host.start(load=False)
    assert spy.calls == 6  # type: ignore[attr-defined]
    assert host.ui_config["customscript/Spy.py/txt2img/Share/maximum"] == 1
    host.ui_config["customscript/Spy.py/txt2img/Share/value"] = 0.75
    host.reload_ui(load=False)
    assert host.runners["txt2img"].inputs[1].value == 0.75
    assert host.runners["txt2img"].defaults[1:] == [0.25, "abc"]  # the API reads later calls


def test_exceptions_in_hooks_are_caught_and_those_in_restorers_are_not(host: Host) -> None:
    from modules import shared
    from modules.face_restoration import FaceRestoration

    class Broken(FaceRestoration):
        def name(self) -> str:
            return "Broken"

        def restore(self, np_image: np.ndarray) -> np.ndarray:
            raise RuntimeError("not caught")

    host.add_script(spy_class([]))
    host.start(load=False)
    assert host.api("txt2img", alwayson_scripts={"SPY": {"args": [0.5, "fail", "extra"]}}).images
    assert [what for what, _ in host.take_errors()] == ["postprocess_image of Spy.py"]
    shared.face_restorers.append(Broken())
    host.set_opts(face_restoration_model="Broken")
    with pytest.raises(ApiError) as failure:
        host.api("txt2img", restore_faces=True)
    assert failure.value.status == 500
    with pytest.raises(ApiError) as failure:
        host.api("txt2img", alwayson_scripts={"Nobody": {"args": []}})
    assert failure.value.status == 422


def test_pictures_are_truncated_and_overlaid(host: Host) -> None:
    host.start(load=False)
    shown = picture()
    assert np.array_equal(np.asarray(host.run("txt2img", decoded=[shown]).images[0]), shown)
    init = PIL.Image.fromarray(picture(20, 32))
    mask = np.zeros((32, 32), np.uint8)
    mask[8:24, 8:24] = 255
    fields: dict[str, Any] = {"init_images": [init], "mask": PIL.Image.fromarray(mask), "mask_blur": 0}
    whole = host.run("img2img", decoded=[picture(90, 32)], inpaint_full_res=False, **fields).images[0]
    crop = host.run("img2img", decoded=[picture(90, 32)], inpaint_full_res=True, **fields).images[0]
    for image in (whole, crop):
        assert np.array_equal(np.asarray(image)[mask == 0], np.asarray(init)[mask == 0])
        assert not np.array_equal(np.asarray(image), np.asarray(init))
    assert host.run("img2img", decoded=[picture(90, 32)], **fields | {"mask": None}).images[0].size == (32, 32)


def test_overrides_of_settings_that_config_json_lacks_leak(host: Host) -> None:
    from modules import shared

    host.start(load=False)
    shared.opts.add_option("added", shared.OptionInfo(1, "Added"))
    host.run("txt2img", override_settings={"added": 2, "code_former_weight": 0.9})
    assert shared.opts.added == 1
    assert shared.opts.code_former_weight == 0.9
    with pytest.raises(KeyError):
        shared.opts.set("unknown", 1)


def test_infotext_is_written_read_and_pasted(host: Host) -> None:
    host.add_script(spy_class([]))
    host.start(load=False)
    done = host.run("txt2img", args={"Spy": [0.5]}, batch_size=2, decoded=[picture(), picture(9)])
    assert done.index_of_first_image == 1 and len(done.images) == 3
    assert "Spy share: 0.5" in done.infotexts[1]
    assert list(host.paste("txt2img", done.infotexts[1]).values()) == [0.5]
    again = host.api("txt2img", infotext=done.infotexts[1])
    assert "Spy share: 0.5" in again.infotexts[0]


def test_the_xyz_script_is_found_in_scripts_data_only(host: Host) -> None:
    from modules import scripts

    host.add_script(spy_class([]))
    host.start(load=False)
    entry = next(data for data in scripts.scripts_data if data.path.endswith("xyz_grid.py"))

    def apply(p: Any, x: Any, xs: Any) -> None:
        p.steps = x

    entry.module.axis_options.append(entry.module.AxisOption("Mine", int, apply))
    cells = host.xyz("txt2img", {"Mine": "1, 2", "Steps": "3, 4"})
    assert [text.split("Steps: ")[1][0] for cell in cells for text in cell.infotexts] == ["3", "3", "4", "4"]


@pytest.mark.parametrize("host", KINDS, indirect=True)
def test_extras_are_sorted_and_the_api_gives_none(host: Host) -> None:
    from modules import scripts_postprocessing

    seen: list[Any] = []

    class Mine(scripts_postprocessing.ScriptPostprocessing):
        name, order = "Mine", 500

        def ui(self) -> dict[str, Any]:
            import gradio as gr

            return {"enable": gr.Checkbox(True, label="Mine")}

        def process(self, pp: Any, enable: Any) -> None:
            seen.append((enable, pp.image.mode, pp.image.size))
            pp.info["Mine"] = "a, b"

    host.add_extras(Mine)
    host.start(load=False)
    image = PIL.Image.fromarray(picture()).convert("RGBA")
    host.extras([image], {"Upscale": {"upscale_enabled": True}})
    assert host.saved[-1].info == 'Mine: "a, b", Postprocess upscale by: 2'
    host.extras_api([image])
    assert seen == [(True, "RGBA", (16, 16)), (None, "RGBA", (16, 16))]
    host.set_opts(postprocessing_operation_order=["Upscale", "Mine"])
    host.reload_ui(load=False)
    host.extras([image], {"Upscale": {"upscale_enabled": True}})
    assert seen[-1][2] == (32, 32)


def test_torch_load_gives_none_for_what_it_rejects(host: Host, tmp_path: Path) -> None:
    path = tmp_path / "recent.pth"
    torch.save({"a": torch.zeros(2)}, path)
    with path.open("rb") as file:
        assert torch.load(file) is None
    from modules import safe

    assert set(safe.unsafe_torch_load(path, weights_only=True)) == {"a"}


@pytest.mark.parametrize("host", ["forge"], indirect=True)
def test_forge_renames_files_that_fail_to_load(host: Host, tmp_path: Path) -> None:
    path = tmp_path / "bad.pth"
    path.write_bytes(b"nonsense")
    with pytest.raises(Exception):
        torch.load(path)
    assert path.exists()
    with pytest.raises(Exception):
        torch.load(str(path))
    assert not path.exists() and (tmp_path / "bad.pth.corrupted").exists()


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    import sys

    before, load = {name for name in sys.modules if name.split(".")[0] == "modules"}, torch.load
    made = Host(tmp_path).install()
    assert isinstance(sys.modules["modules"], ModuleType) and torch.load is not load
    made.remove()
    assert {name for name in sys.modules if name.split(".")[0] == "modules"} == before and torch.load is load
