"""`modules.scripts_postprocessing` and the Extras tab: order, arguments, what fails the job (points 12 to 15)."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import PIL.Image

from . import infotext, uiconfig
from .module import HostModule
from .scripts import AlwaysVisible, Script, ScriptClassData

FIRST_PASS = "process_firstpass"
"""The hook that SD.Next does not have."""


class SharedInfo:
    target_width: int | None = None
    target_height: int | None = None


class PostprocessedImage:
    """`pp`. SD.Next has no nametags (see `make`)."""

    def __init__(self, image: PIL.Image.Image) -> None:
        self.image, self.shared = image, SharedInfo()
        self.info: dict[str, Any] = {}
        self.extra_images: list[Any] = []
        self.nametags: list[str] = []
        self.disable_processing = False
        self.caption: str | None = None

    def create_copy(self, image: Any, *, nametags: list[str] | None = None, disable_processing: bool = False) -> Any:
        made = PostprocessedImage(image)
        made.shared, made.info, made.disable_processing = self.shared, dict(self.info), disable_processing
        made.nametags = [*self.nametags, *(nametags or [])]
        return made


class ScriptPostprocessing:
    filename: str | None = None
    controls: Any = None
    """The dictionary that `ui` gave, once the page is made; anything else is the extension's mistake."""
    args_from: int | None = None
    args_to: int | None = None
    name: str | None = None
    group: Any = None
    order = 1000

    def ui(self) -> dict[str, Any]:
        return {}

    def process(self, pp: PostprocessedImage, *args: Any, **named: Any) -> None:
        return None

    def process_firstpass(self, pp: PostprocessedImage, *args: Any, **named: Any) -> None:
        return None

    def image_changed(self) -> None:
        return None


class Upscale(ScriptPostprocessing):
    """The host's own: doubles the size when asked to, and says the target size in the first pass."""

    name, order = "Upscale", 1000

    def ui(self) -> dict[str, Any]:
        import gradio as gr

        enabled = gr.Checkbox(False, label="Upscale")
        return {"upscale_enabled": enabled, "upscale_by": gr.Slider(1, 8, 2, label="Resize")}

    def process_firstpass(self, pp: PostprocessedImage, upscale_enabled: Any = None, upscale_by: Any = None) -> None:
        if upscale_enabled:
            pp.shared.target_width = int(pp.image.width * (upscale_by or 1))
            pp.shared.target_height = int(pp.image.height * (upscale_by or 1))

    def process(self, pp: PostprocessedImage, upscale_enabled: Any = None, upscale_by: Any = None) -> None:
        if upscale_enabled and upscale_by and upscale_by != 1:
            size = (int(pp.image.width * upscale_by), int(pp.image.height * upscale_by))
            pp.image = pp.image.resize(size, PIL.Image.Resampling.NEAREST)
            pp.info["Postprocess upscale by"] = upscale_by


class Runner:
    def __init__(self, host: Any) -> None:
        self.host = host
        self.scripts: list[ScriptPostprocessing] = []

    def initialize(self) -> None:
        self.scripts = [Upscale()]
        for data in self.host.modules.scripts.postprocessing_scripts_data:
            script = data.script_class()
            script.filename = data.path
            self.scripts.append(script)

    def ordered(self) -> list[ScriptPostprocessing]:
        """By the user's order, then `order`, then the name (point 13)."""
        opts = self.host.shared.opts
        wanted = list(opts.postprocessing_operation_order)
        shown = [script for script in self.scripts if script.name not in opts.postprocessing_disable_in_extras]

        def rank(script: ScriptPostprocessing) -> tuple[Any, ...]:
            place = wanted.index(script.name) if script.name in wanted else len(self.scripts)
            return place, script.order, script.name

        return sorted(shown, key=rank)

    def create_ui(self) -> None:
        import gradio as gr

        start = 0
        for script in self.ordered():
            with gr.Row() as script.group:
                script.controls = script.ui()
            if not isinstance(script.controls, dict):
                raise TypeError(f"ui() of {script.name} must return a dict")
            uiconfig.mark(list(script.controls.values()), script.filename or "postprocessing_upscale.py")
            script.args_from, script.args_to = start, start + len(script.controls)
            start = script.args_to

    def arguments(self, given: dict[str, dict[str, Any]], defaults: bool) -> list[Any]:
        """The values for all controls: what is given by name, else the component's value (page) or None (API)."""
        values: list[Any] = []
        for script in self.ordered():
            own = dict(given.get(script.name or "", {}))
            for name, component in script.controls.items():
                values.append(own.pop(name, component.value if defaults else None))
            if own:
                raise TypeError(f"{script.name} has no argument {sorted(own)}")
        return values

    def run(self, pp: PostprocessedImage, args: list[Any]) -> list[PostprocessedImage]:
        state = self.host.shared.state
        todo = [(s, dict(zip(s.controls, args[s.args_from : s.args_to], strict=True))) for s in self.ordered()]
        if self.host.kind != "sdnext":
            for script, values in todo:
                script.process_firstpass(pp, **values)  # not caught: it fails the job
        everything = [pp]
        for script, values in todo:
            if state.skipped:
                break
            state.job = script.name
            self.host.log.append(f"extras {script.name}")
            for one in list(everything):
                if not one.disable_processing:
                    script.process(one, **values)  # not caught: it fails the job
                for extra in one.extra_images:
                    everything.append(extra if isinstance(extra, PostprocessedImage) else one.create_copy(extra))
                one.extra_images.clear()
        return everything


def run_extras(host: Any, pictures: list[Any], args: list[Any], names: list[str | None]) -> list[PostprocessedImage]:
    """Single picture, upload or folder: `pictures` are PIL images, or None for a file that cannot be read.

    An exception leaves `state.job_count` stale, as in the host. A skipped picture is dropped.
    """
    state, outputs = host.shared.state, []
    state.begin(job="extras")
    state.job_count = len(pictures)
    for picture, name in zip(pictures, names, strict=True):
        state.nextjob()
        state.textinfo = name
        state.skipped = False
        if state.interrupted or state.stopping_generation:
            break
        if picture is None:
            continue
        if host.kind == "classic":
            picture = picture.convert("RGB")
        picture = picture if picture.mode in ("RGB", "RGBA") else picture.convert("RGB")
        if host.kind == "forge" and host.hidden_bits_in_extras:
            picture = host.hidden_bits(picture)
        first = PostprocessedImage(picture)
        if host.kind == "sdnext":
            del first.nametags
        made = host.extras_runner.run(first, args)
        if state.skipped:
            continue
        for pp in made:
            _check(pp)
            text = ", ".join(k if k == v else f"{k}: {infotext.quote(v)}" for k, v in pp.info.items() if v is not None)
            pp.image.info["postprocessing"] = text
            tags = "".join(f"-{tag}" for tag in getattr(pp, "nametags", []))
            stem = Path(name).stem + tags if name else None
            host.modules.images.save_image(pp.image, "outputs/extras-images", "", info=text, suffix=tags,
                                           pnginfo_section_name="extras", forced_filename=stem)  # fmt: skip
            outputs.append(pp)
    state.end()
    return outputs


def _check(pp: PostprocessedImage) -> None:
    if not isinstance(pp.image, PIL.Image.Image):
        raise TypeError("pp.image must be a PIL image")


def main_ui_script(host: Any, data: ScriptClassData) -> ScriptClassData:
    """Point 12: an Extras script wrapped as an always-on Script; `process_firstpass` is never called."""
    extras = data.script_class()

    class ForMainUI(Script):
        def title(self) -> str:
            return extras.name

        def show(self, is_img2img: bool) -> object:
            return AlwaysVisible

        def ui(self, is_img2img: bool) -> list[Any]:
            self.names = extras.ui()
            return list(self.names.values())

        def postprocess_image(self, p: Any, args: Any, *values: Any) -> None:
            pp = PostprocessedImage(args.image)
            extras.process(pp, **dict(zip(self.names, values, strict=False)))
            p.extra_generation_params.update(pp.info)
            args.image = pp.image

    return ScriptClassData(ForMainUI, data.path, data.basedir, data.module)


def make(host: Any) -> ModuleType:
    module = HostModule("modules.scripts_postprocessing")
    module.ScriptPostprocessing, module.PostprocessedImage = ScriptPostprocessing, PostprocessedImage
    if host.kind == "sdnext":
        if hasattr(ScriptPostprocessing, FIRST_PASS):
            delattr(ScriptPostprocessing, FIRST_PASS)
    else:
        setattr(ScriptPostprocessing, FIRST_PASS, lambda self, pp, **args: None)
    return module
