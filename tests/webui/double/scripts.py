"""`modules.scripts`: the Script base class, the arguments of the hooks, the runner, and how scripts/*.py are loaded."""

from __future__ import annotations

import importlib.util
import inspect
import os
import re
import sys
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from . import uiconfig
from .module import HostModule

AlwaysVisible = object()
ScriptClassData = namedtuple("ScriptClassData", ["script_class", "path", "basedir", "module"])


class PostprocessImageArgs:
    """`index` is given by Forge only (F4)."""

    def __init__(self, image: Any, *index: int) -> None:
        self.image = image
        if index:
            self.index = index[0]


class PostprocessBatchListArgs:
    def __init__(self, images: list[Any]) -> None:
        self.images = images


class PostProcessMaskOverlayArgs:
    def __init__(self, index: int, mask_for_overlay: Any, overlay_image: Any) -> None:
        self.index, self.mask_for_overlay, self.overlay_image = index, mask_for_overlay, overlay_image


class PostSampleArgs:
    def __init__(self, samples: Any) -> None:
        self.samples = samples


class Script:
    """What an extension's script derives from; the hooks that do nothing are added below."""

    name: str | None = None
    section: str | None = None
    filename: str | None = None
    tabname: str | None = None
    args_from = 0
    args_to = 0
    group: Any = None
    controls: list[Any] | None = None
    infotext_fields: list[Any] | None = None
    paste_field_names: list[str] | None = None
    api_info: Any = None
    alwayson = is_txt2img = is_img2img = setup_for_ui_only = False
    create_group = True

    def title(self) -> str:
        raise NotImplementedError

    def ui(self, is_img2img: bool) -> list[Any] | None:
        return None

    def show(self, is_img2img: bool) -> object:
        return True

    def run(self, p: Any, *args: Any) -> Any:
        return None

    def elem_id(self, item: str) -> str:
        need_tab = self.show(True) == self.show(False)
        tab = ("img2img_" if self.is_img2img else "txt2img_") if need_tab else ""
        title = re.sub(r"[^a-z_0-9]", "", re.sub(r"\s", "_", self.title().lower()))
        return f"script_{tab}{title}_{item}"


HOOKS = (
    "setup", "before_process", "process", "before_process_batch", "process_batch", "process_before_every_sampling",
    "before_hr", "post_sample", "postprocess_batch", "postprocess_batch_list", "postprocess_image",
    "postprocess_maskoverlay", "postprocess_image_after_composite", "postprocess",
)  # fmt: skip
NOT_IN_SDNEXT = ("postprocess_batch_list", "postprocess_maskoverlay", "postprocess_image_after_composite", "before_hr",
                 "post_sample")  # fmt: skip


def _nothing(self: Script, p: Any, *args: Any, **kwargs: Any) -> None:
    return None


def give_hooks(kind: str) -> None:
    """Give Script the hooks that this kind of host has, and no others."""
    for hook in HOOKS:
        if kind == "sdnext" and hook in NOT_IN_SDNEXT:
            if hasattr(Script, hook):
                delattr(Script, hook)
        else:
            setattr(Script, hook, _nothing)


class ScriptRunner:
    """The scripts of one tab. `inputs[0]` is the Script dropdown, as in the host."""

    def __init__(self, host: Any, tab: str) -> None:
        self.host, self.tab, self.is_img2img = host, tab, tab == "img2img"
        self.scripts: list[Script] = []
        self.alwayson_scripts: list[Script] = []
        self.selectable_scripts: list[Script] = []
        self.inputs: list[Any] = [None]
        self.infotext_fields: list[Any] = []
        self.paste_field_names: list[str] = []
        self.defaults: list[Any] = [0]

    def initialize_scripts(self) -> None:
        self.scripts, self.alwayson_scripts, self.selectable_scripts = [], [], []
        for data in self.host.main_ui_extras() + self.host.modules.scripts.scripts_data:
            try:
                script = data.script_class()
            except Exception as error:
                self.host.report(f"failed to initialize {data.path}", error)
                continue
            script.filename = data.path
            script.is_img2img, script.is_txt2img, script.tabname = self.is_img2img, not self.is_img2img, self.tab
            visibility = script.show(self.is_img2img)
            if visibility is AlwaysVisible:
                script.alwayson = True
                self.alwayson_scripts.append(script)
            elif visibility:
                self.selectable_scripts.append(script)
            if visibility:
                self.scripts.append(script)

    def create_ui(self) -> None:
        """The first of the three `ui()` calls; a `ui()` that fails leaves a script without controls."""
        import gradio as gr

        for script in [*self.alwayson_scripts, *self.selectable_scripts]:
            script.args_from = script.args_to = len(self.inputs)
            with gr.Group(visible=script.alwayson):
                try:
                    controls = script.ui(self.is_img2img)
                    script.name = script.title().lower()
                except Exception as error:
                    self.host.report(f"creating UI for {script.filename}", error)
                    continue
            if controls is None:
                continue
            script.controls = controls = list(controls)
            uiconfig.mark(controls, script.filename or "")
            self.infotext_fields += script.infotext_fields or []
            self.paste_field_names += script.paste_field_names or []
            self.inputs += controls
            script.args_to = len(self.inputs)

    def read_defaults(self) -> None:
        """The second and third call, on the same instance: the API's defaults are the components' values."""
        import gradio as gr

        self.defaults = [0] + [None] * (len(self.inputs) - 1)
        with gr.Blocks():
            for script in self.scripts:
                if script.ui(self.is_img2img):
                    values = [component.value for component in script.ui(self.is_img2img) or []]
                    self.defaults[script.args_from : script.args_to] = values

    def find(self, title: str) -> Script | None:
        wanted = title.lower()
        return next((script for script in self.scripts if script.title().lower() == wanted), None)

    def arguments(self, given: dict[str, list[Any]] | None) -> list[Any]:
        """All scripts' arguments, with those that are given by title put in: short lists filled, extra ones dropped."""
        values = list(self.defaults)
        for title, own in (given or {}).items():
            script = self.find(title)
            if script is None:
                raise LookupError(title)
            for offset, value in enumerate(list(own)[: script.args_to - script.args_from]):
                values[script.args_from + offset] = value
        return values

    def hook(self, name: str, p: Any, *before: Any, **kwargs: Any) -> None:
        """Run one hook of every always-on script that has its own; exceptions are caught and recorded (point 4)."""
        self.host.log.append(name)
        for script in self.alwayson_scripts:
            own = getattr(type(script), name, None)
            if own is None or own is getattr(Script, name, None) or own is _nothing:
                continue
            if self.host.kind == "sdnext" and name in NOT_IN_SDNEXT:
                continue
            try:
                getattr(script, name)(p, *before, *p.script_args[script.args_from : script.args_to], **kwargs)
            except Exception as error:
                self.host.report(f"{name} of {script.filename}", error)


def load_module(path: Path) -> ModuleType:
    """Point 8: the module is called "x.py" and never enters sys.modules."""
    spec = importlib.util.spec_from_file_location(os.path.basename(path), path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load_scripts(host: Any, root: Path, postprocessing: type) -> None:
    """Run every scripts/*.py of the extension at `root`, which is on sys.path meanwhile, and take its classes."""
    module = host.modules.scripts
    before = list(sys.path)
    for path in sorted((root / "scripts").glob("*.py")):
        sys.path = [str(root), *before]
        module.current_basedir = str(root)
        try:
            loaded = load_module(path)
            register(host, loaded, str(path), str(root), postprocessing)
        except Exception as error:
            host.report(f"loading script {path.name}", error)
        finally:
            sys.path = before
            module.current_basedir = str(host.root)


def register(host: Any, loaded: ModuleType, path: str, basedir: str, postprocessing: type) -> None:
    """Every class in the module's namespace counts, imported ones too, the base class included."""
    for item in list(vars(loaded).values()):
        if not inspect.isclass(item):
            continue
        if issubclass(item, Script):
            host.modules.scripts.scripts_data.append(ScriptClassData(item, path, basedir, loaded))
        elif issubclass(item, postprocessing):
            data = ScriptClassData(item, path, basedir, loaded)
            host.modules.scripts.postprocessing_scripts_data.append(data)


def make(host: Any) -> ModuleType:
    module = HostModule("modules.scripts")
    give_hooks(host.kind)
    for item in (AlwaysVisible, Script, PostprocessImageArgs, PostprocessBatchListArgs, PostProcessMaskOverlayArgs):
        setattr(module, getattr(item, "__name__", "AlwaysVisible"), item)
    module.PostSampleArgs, module.ScriptClassData = PostSampleArgs, ScriptClassData
    module.scripts_data, module.postprocessing_scripts_data = [], []
    module.current_basedir = str(host.root)
    basedir: Callable[[], str] = lambda: module.current_basedir  # noqa: E731
    module.basedir = basedir
    return module
