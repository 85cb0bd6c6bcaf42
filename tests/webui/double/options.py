"""Settings: OptionInfo, Options with the override leak of the real host, categories."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class OptionInfo:
    """One setting as it is registered."""

    def __init__(
        self,
        default: Any = None,
        label: str = "",
        component: Any = None,
        component_args: Any = None,
        onchange: Callable[[], None] | None = None,
        section: tuple[str, ...] | None = None,
        refresh: Any = None,
        comment_before: str = "",
        comment_after: str = "",
        infotext: str | None = None,
        restrict_api: bool = False,
        category_id: str | None = None,
    ) -> None:
        self.default, self.label, self.component, self.component_args = default, label, component, component_args
        self.onchange, self.refresh, self.infotext, self.restrict_api = onchange, refresh, infotext, restrict_api
        self.section, self.category_id = section, category_id
        self.comment_before, self.comment_after, self.do_not_save = comment_before, comment_after, False
        if section is not None and len(section) == 3:  # point 16: (id, label, category)
            self.section, self.category_id = section[:2], section[2]

    def info(self, text: str) -> OptionInfo:
        self.comment_after += f"<span class='info'>({text})</span>"
        return self

    def html(self, text: str) -> OptionInfo:
        self.comment_after += text
        return self

    def link(self, label: str, url: str) -> OptionInfo:
        self.comment_before += f"[<a href='{url}'>{label}</a>]"
        return self

    def needs_reload_ui(self) -> OptionInfo:
        return self.info("requires Reload UI")

    def needs_restart(self) -> OptionInfo:
        return self.info("requires restart")


class OptionHTML(OptionInfo):
    def __init__(self, text: str) -> None:
        super().__init__(text.strip())
        self.do_not_save = True


def options_section(section: tuple[str, ...], options: dict[str, OptionInfo]) -> dict[str, OptionInfo]:
    for info in options.values():
        info.section = section[:2]
        info.category_id = section[2] if len(section) == 3 else info.category_id
    return options


class Categories:
    def __init__(self) -> None:
        self.mapping: dict[str, str] = {}

    def register_category(self, category_id: str, label: str) -> str | None:
        if category_id in self.mapping:
            return category_id
        self.mapping[category_id] = label
        return None


_OWN = {"data", "data_labels", "host"}


class Options:
    """`data` is config.json as it was read, `data_labels` is every setting that is known."""

    def __init__(self, host: Any, labels: dict[str, OptionInfo], data: dict[str, Any]) -> None:
        self.host, self.data_labels, self.data = host, labels, data

    def __setattr__(self, key: str, value: Any) -> None:
        if key not in _OWN and (key in self.data or key in self.data_labels):
            if not self.data_labels[key].do_not_save:
                self.data[key] = value
            return
        super().__setattr__(key, value)

    def __getattr__(self, key: str) -> Any:
        if key in _OWN:
            raise AttributeError(key)
        if key in self.data:
            return self.data[key]
        if key in self.data_labels:
            return self.data_labels[key].default
        raise AttributeError(key)

    def set(self, key: str, value: Any, is_api: bool = False, run_callbacks: bool = True) -> bool:
        """Set a known setting; KeyError for an unknown one. `onchange` runs unless told otherwise."""
        before = self.data.get(key)
        if before == value:
            return False
        info = self.data_labels[key]
        if info.do_not_save or (is_api and info.restrict_api):
            return False
        setattr(self, key, value)
        if run_callbacks and info.onchange is not None:
            try:
                info.onchange()
            except Exception as error:
                self.host.report(f"changing setting {key}", error)
                setattr(self, key, before)
                return False
        return True

    def get_default(self, key: str) -> Any:
        return self.data_labels[key].default if key in self.data_labels else None

    def add_option(self, key: str, info: OptionInfo) -> None:
        self.data_labels[key] = info
        if key not in self.data and not info.do_not_save:
            self.data[key] = info.default

    def onchange(self, key: str, func: Callable[[], None], call: bool = True) -> None:
        self.data_labels[key].onchange = func
        if call:
            func()


BUILT_IN: dict[str, Any] = {
    "face_restoration": False, "face_restoration_model": "CodeFormer", "code_former_weight": 0.5,
    "face_restoration_unload": False, "samples_save": True, "samples_format": "png", "grid_save": True,
    "return_grid": True, "grid_only_if_multiple": True, "enable_pnginfo": True, "overlay_inpaint": True,
    "save_images_before_face_restoration": False, "save_images_before_color_correction": False,
    "img2img_color_correction": False, "return_mask": False, "return_mask_composite": False, "save_mask": False,
    "save_mask_composite": False, "save_incomplete_images": False, "outdir_txt2img_samples": "outputs/txt2img-images",
    "outdir_img2img_samples": "outputs/img2img-images", "outdir_extras_samples": "outputs/extras-images",
    "outdir_samples": "", "use_original_name_batch": True, "CLIP_stop_at_last_layers": 1,
    "postprocessing_enable_in_main_ui": [], "postprocessing_operation_order": [],
    "postprocessing_disable_in_extras": [], "show_progress_every_n_steps": 10, "live_previews_enable": True,
    "live_previews_image_format": "png", "infotext_skip_pasting": [], "send_seed": True,
}  # fmt: skip


def make(host: Any, config: dict[str, Any]) -> Options:
    """The settings of a fresh host. `config` is config.json: what it holds is restored after an override."""
    labels = {key: OptionInfo(value, key, section=("built-in", "Built-in")) for key, value in BUILT_IN.items()}
    if host.kind == "sdnext":
        labels = {key: info for key, info in labels.items() if not key.startswith("face_restoration")}
    return Options(host, labels, dict(config))
