"""`Host`: puts the fake modules together, starts like the WebUI, and runs jobs. See the package's docstring."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import PIL.Image
import torch

from . import api, callbacks, extras, infotext, options, pictures, processing, scripts, shared, torchload, uiconfig, xyz
from .module import HostModule

EXTENSION = Path(__file__).resolve().parents[3]
TABS = ("txt2img", "img2img")


class Host:
    """One WebUI of a kind: "a1111", "forge", "classic" (Forge Classic) or "sdnext".

    `root` is a folder of its own; `config` is config.json.
    """

    def __init__(self, root: Path, kind: str = "a1111", config: dict[str, Any] | None = None) -> None:
        if kind not in ("a1111", "forge", "classic", "sdnext"):
            raise ValueError(f"there is no double of {kind}")
        self.root, self.kind, self.named_callbacks = root, kind, kind != "classic"
        self.forge = kind in ("forge", "classic")
        self.errors: list[tuple[str, BaseException]] = []
        self.log: list[str] = []
        self.saved: list[pictures.Saved] = []
        self.ui_config: dict[str, Any] = {}
        self.duplicates: list[str] = []
        self.gc_calls = 0
        self.hidden_bits_in_extras = True
        self.last_failure: BaseException | None = None
        self.runners: dict[str, scripts.ScriptRunner] = Tabs(self)
        self.app: Any = None
        self.xyz_module: Any = None
        self.modules: Any = SimpleNamespace()
        self._names: list[str] = []
        self._hidden: dict[str, ModuleType] = {}
        self._own_scripts: list[tuple[type, bool]] = []
        self.loaders = torchload.Loaders(self)
        self._config = config or {}
        for folder in ("models/GFPGAN", "models/Codeformer", "extensions"):
            (root / folder).mkdir(parents=True, exist_ok=True)

    # -- installing

    def install(self) -> Host:
        """Put the fake package into sys.modules; what was there under these names comes back with `remove`."""
        self._hidden = {n: m for n, m in sys.modules.items() if n.split(".")[0] in ("modules", "modules_forge")}
        for name in self._hidden:
            del sys.modules[name]
        package = HostModule("modules")
        package.__path__ = []  # a package, in which nothing is found but what is put there
        self._put(package)
        self.shared = self._shared()
        made = [self.shared, callbacks.make(self), scripts.make(self), extras.make(self), pictures.make(self),
                processing.make(self), infotext.make(self), uiconfig.make_ui_components(self),
                self.loaders.install(), *self._small_modules()]  # fmt: skip
        for module in made:
            self._put(module)
        if self.kind != "sdnext":
            module = HostModule("modules.face_restoration")
            module.FaceRestoration = shared.FaceRestoration
            module.restore_faces = lambda image: shared.restore_faces(self, image)
            self._put(module)
        sys.modules["modules.generation_parameters_copypaste"] = self.modules.infotext_utils
        self._names.append("modules.generation_parameters_copypaste")
        self.extras_runner = extras.Runner(self)
        return self

    def remove(self) -> None:
        self.loaders.remove()
        for name in self._names:
            sys.modules.pop(name, None)
        sys.modules.update(self._hidden)

    def _put(self, module: ModuleType) -> None:
        sys.modules[module.__name__] = module
        self._names.append(module.__name__)
        parent, _, name = module.__name__.rpartition(".")
        if parent:
            setattr(sys.modules[parent], name, module)
            if parent == "modules":
                setattr(self.modules, name, module)

    def _shared(self) -> ModuleType:
        module = HostModule("modules.shared")
        module.opts = options.make(self, self._config)
        module.state, module.cmd_opts = shared.State(), shared.command_line(self)
        module.OptionInfo, module.OptionHTML = options.OptionInfo, options.OptionHTML
        module.options_section, module.demo, module.device = options.options_section, None, torch.device("cpu")
        if self.kind != "sdnext":
            module.face_restorers = [shared.BuiltInRestorer("CodeFormer"), shared.BuiltInRestorer("GFPGAN")]
        return module

    def _small_modules(self) -> list[ModuleType]:
        paths, devices = HostModule("modules.paths"), HostModule("modules.devices")
        paths.script_path = paths.data_path = str(self.root)
        paths.models_path = str(self.root / "models")
        internal = HostModule("modules.paths_internal")
        internal.__dict__.update({key: value for key, value in vars(paths).items() if not key.startswith("__")})
        devices.cpu = devices.device = torch.device("cpu")
        devices.dtype = torch.float32

        def collect() -> None:
            self.gc_calls += 1

        devices.torch_gc = collect
        devices.get_optimal_device = lambda: devices.device
        use_cpu = self.shared.cmd_opts.use_cpu
        devices.get_device_for = lambda task: devices.cpu if {task, "all"} & set(use_cpu) else devices.device
        module = HostModule("modules.options")
        module.OptionInfo, module.categories = options.OptionInfo, options.Categories()
        command_line = HostModule("modules.shared_cmd_options")
        command_line.cmd_opts = self.shared.cmd_opts
        errors = HostModule("modules.errors")
        errors.report = lambda message, exc_info=False: None
        found: list[ModuleType] = [paths, internal, devices, module, command_line, errors]
        if self.forge:
            forge, utils = HostModule("modules_forge"), HostModule("modules_forge.utils")
            forge.__path__ = []
            utils.prepare_free_memory = collect
            found += [forge, utils]
        return found

    # -- starting

    def add_script(self, script_class: type) -> None:
        self._own_scripts.append((script_class, True))

    def add_extras(self, script_class: type) -> None:
        self._own_scripts.append((script_class, False))

    def start(self, load: bool = True, nowebui: bool = False) -> None:
        """Load the scripts, build settings, UI and API in the host's order; with --nowebui before_ui comes late."""
        with uiconfig.quick_blocks():
            self._start(load, nowebui)

    def start_for_jobs(self) -> None:
        """As `start`, without Extras tab and API; a tab is built when its runner is first asked for.

        For the many tests that run a job in one tab: building everything takes longer than their job.
        """
        with uiconfig.quick_blocks():
            self._load(True)
            self._settings()
        self.runners.clear()

    def _settings(self) -> None:
        fire = self.modules.script_callbacks.fire
        fire("before_ui", newest_first=True)
        fire("ui_settings")

    def _start(self, load: bool, nowebui: bool) -> None:
        import gradio as gr
        from fastapi import FastAPI

        self._load(load)
        fire = self.modules.script_callbacks.fire
        if nowebui:
            fire("ui_settings")
        else:
            self._settings()
        for tab in TABS:
            self.runners[tab] = self.make_tab(tab)
        self.extras_runner.initialize()
        with gr.Blocks() as blocks:
            self.extras_runner.create_ui()
        uiconfig.freeze(self, "extras", blocks)
        for runner in self.runners.values():
            runner.read_defaults()
        if nowebui:
            fire("before_ui", newest_first=True)
        self.app = FastAPI()
        fire("app_started", None if nowebui else blocks, self.app)

    def make_tab(self, tab: str) -> scripts.ScriptRunner:
        """The runner of a tab, with the tab's page built for the first time."""
        import gradio as gr

        runner = scripts.ScriptRunner(self, tab)
        self.modules.scripts.scripts_current = runner
        setattr(self.modules.scripts, f"scripts_{tab}", runner)
        runner.initialize_scripts()
        with gr.Blocks() as blocks:
            runner.create_ui()
        uiconfig.freeze(self, tab, blocks)
        given, make = runner.infotext_fields, infotext.PasteField
        fields = [entry if isinstance(entry, make) else make(*entry) for entry in given]
        self.modules.infotext_utils.paste_fields[tab] = {"init_img": None, "fields": fields}
        self.modules.scripts.scripts_current = None
        return runner

    def reload_ui(self, load: bool = True) -> None:
        """Settings and face_restorers persist, helper modules too; scripts are run anew."""
        self.modules.script_callbacks.fire("script_unloaded", newest_first=True)
        self.modules.script_callbacks.fire("before_reload")
        self.start(load)

    def _load(self, load: bool) -> None:
        module = self.modules.scripts
        module.scripts_data.clear()
        module.postprocessing_scripts_data.clear()
        self.modules.script_callbacks.clear_callbacks()
        self.xyz_module = xyz.register(self)
        if load:
            scripts.load_scripts(self, EXTENSION, extras.ScriptPostprocessing)
        for script_class, main in self._own_scripts:
            data = scripts.ScriptClassData(script_class, f"{script_class.__name__}.py", str(self.root), None)
            (module.scripts_data if main else module.postprocessing_scripts_data).append(data)

    def main_ui_extras(self) -> list[Any]:
        wanted = self.shared.opts.postprocessing_enable_in_main_ui
        found = [d for d in self.modules.scripts.postprocessing_scripts_data if d.script_class.name in wanted]
        return [extras.main_ui_script(self, data) for data in found]

    # -- jobs

    def make_p(self, tab: str, args: dict[str, list[Any]] | None = None, scripts: bool = True, **fields: Any) -> Any:
        module = self.modules.processing
        names = {"txt2img": "StableDiffusionProcessingTxt2Img", "img2img": "StableDiffusionProcessingImg2Img"}
        decoded = fields.get("decoded")
        if decoded is not None:
            fields.setdefault("height", decoded[0].shape[0])
            fields.setdefault("width", decoded[0].shape[1])
        p = getattr(module, names[tab])(**fields)
        if scripts:
            runner = self.runners[tab]
            p.scripts, p.script_args = runner, runner.arguments(args)
        return p

    def run(self, tab: str, args: dict[str, list[Any]] | None = None, scripts: bool = True, **fields: Any) -> Any:
        """One job as the page starts it; what is not caught inside reaches the caller, as it would fail the job."""
        self.shared.state.begin(job=tab)
        try:
            return self.modules.processing.process_images(self.make_p(tab, args, scripts, **fields))
        finally:
            self.shared.state.end()

    def api(self, tab: str, **request: Any) -> Any:
        return api.generate(self, tab, request)

    def xyz(self, tab: str, axes: dict[str, str], args: dict[str, list[Any]] | None = None, **fields: Any) -> list[Any]:
        self.shared.state.begin(job=tab)
        return xyz.run(self, tab, axes, self.make_p(tab, args, **fields))

    def extras(
        self, images: list[Any], given: dict[str, dict[str, Any]] | None = None, names: list[str | None] | None = None
    ) -> list[Any]:
        """The Extras tab: a `PostprocessedImage` for each picture. `names` are the files' names (upload and folder)."""
        args = self.extras_runner.arguments(given or {}, defaults=True)
        return extras.run_extras(self, images, args, names or [None] * len(images))

    def extras_api(self, images: list[Any], upscale_by: float = 1.0) -> list[Any]:
        """/sdapi/v1/extra-*: built-in scripts get their fields, every other argument is None (point 15)."""
        given = {"Upscale": {"upscale_enabled": True, "upscale_by": upscale_by}}
        args = self.extras_runner.arguments(given, defaults=False)
        made = extras.run_extras(self, images, args, [None] * len(images))
        if len(made) < len(images):
            raise api.ApiError(500, "IndexError: list index out of range")
        return made

    def paste(self, tab: str, text: str) -> dict[str, Any]:
        assert self.runners[tab]  # built by now
        found = infotext.paste(self, self.modules.infotext_utils.paste_fields[tab]["fields"], text)
        return {getattr(component, "elem_id", "") or str(component): value for component, value in found.items()}

    # -- looking

    def report(self, what: str, error: BaseException) -> None:
        self.errors.append((what, error))

    def take_errors(self) -> list[tuple[str, BaseException]]:
        taken, self.errors = self.errors, []
        return taken

    def set_opts(self, **values: Any) -> None:
        for key, value in values.items():
            self.shared.opts.set(key, value)

    def value_of(self, tab: str, elem_id: str) -> Any:
        """The value of a script's control, as the page would show it at first."""
        return next(c.value for c in self.runners[tab].inputs if c is not None and c.elem_id == elem_id)

    def hidden_bits(self, image: PIL.Image.Image) -> PIL.Image.Image:
        return pictures._with_hidden_bits(image)


class Tabs(dict[str, scripts.ScriptRunner]):
    """The runners by tab; one that is not built yet is built when it is asked for."""

    def __init__(self, host: Host) -> None:
        super().__init__()
        self.host = host

    def __missing__(self, tab: str) -> scripts.ScriptRunner:
        if tab not in TABS:
            raise KeyError(tab)
        with uiconfig.quick_blocks():
            self[tab] = runner = self.host.make_tab(tab)
            runner.read_defaults()
        return runner
