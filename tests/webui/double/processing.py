"""`modules.processing`: `p`, and one job from its first hook to its last, in the order of point 1."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import PIL.Image
import torch

from . import infotext, pictures, shared
from .module import HostModule
from .scripts import PostprocessBatchListArgs, PostprocessImageArgs, PostProcessMaskOverlayArgs, PostSampleArgs

_FIELDS: dict[str, Any] = {
    "outpath_samples": "outputs/samples", "outpath_grids": "outputs/grids", "prompt": "a face", "negative_prompt": "",
    "seed": 7, "subseed": 1, "subseed_strength": 0, "sampler_name": "Euler a", "batch_size": 1, "n_iter": 1,
    "steps": 2, "cfg_scale": 7.0, "width": 64, "height": 64, "restore_faces": None, "do_not_save_samples": False,
    "do_not_save_grid": False, "overlay_images": None, "denoising_strength": None,
    "override_settings_restore_afterwards": True, "paste_to": None, "color_corrections": None, "iteration": 0,
    "is_hr_pass": False, "is_api": False, "enable_hr": False, "all_prompts": None, "all_seeds": None,
    "all_subseeds": None, "all_negative_prompts": None, "prompts": None, "seeds": None, "subseeds": None,
    "negative_prompts": None, "decoded": None, "on_sample": None, "main_prompt": "a face", "user": None,
}  # fmt: skip
_IMG2IMG: dict[str, Any] = {
    "init_images": None, "mask_blur": 4, "inpaint_full_res": True, "inpaint_full_res_padding": 0,
    "inpainting_mask_invert": 0, "image_mask": None, "mask_for_overlay": None, "resize_mode": 0,
}  # fmt: skip


class StableDiffusionProcessing:
    """`p`. `decoded` (pictures) and `on_sample` (called in the middle of sampling) are the double's own."""

    own: dict[str, Any] = _FIELDS
    save_samples: Callable[[Any], bool]
    """Set for each host (see `make`)."""

    def __init__(self, **fields: Any) -> None:
        self.scripts_value: Any = None
        self.script_args_value: Any = None
        self.scripts_setup_complete = False
        for name, value in self.own.items():
            setattr(self, name, value)
        self.extra_generation_params: dict[str, Any] = {}
        self.override_settings: dict[str, Any] = {}
        self.comments: dict[str, int] = {}
        self.extra_result_images: list[Any] = []
        self.styles: list[str] = []
        for name, value in fields.items():
            if name == "mask":
                name = "image_mask"
            if name not in self.own and name not in ("override_settings", "extra_generation_params", "styles"):
                raise TypeError(f"p has no field {name!r}")
            setattr(self, name, value)

    @property
    def scripts(self) -> Any:
        return self.scripts_value

    @scripts.setter
    def scripts(self, value: Any) -> None:
        self.scripts_value = value
        self._set_up()

    @property
    def script_args(self) -> Any:
        return self.script_args_value

    @script_args.setter
    def script_args(self, value: Any) -> None:
        self.script_args_value = value
        self._set_up()

    def _set_up(self) -> None:
        if self.scripts_value and self.script_args_value and not self.scripts_setup_complete:
            self.scripts_setup_complete = True
            self.scripts_value.hook("setup", self)

    def comment(self, text: str) -> None:
        self.comments[text] = 1


class StableDiffusionProcessingTxt2Img(StableDiffusionProcessing):
    pass


class StableDiffusionProcessingImg2Img(StableDiffusionProcessing):
    own = _FIELDS | _IMG2IMG


class Processed:
    """What a job gives back; the first image is the grid if there is one (`index_of_first_image` is then 1)."""

    def __init__(self, p: Any, images: list[Any], infotexts: list[str], first: int = 0) -> None:
        self.images, self.infotexts, self.index_of_first_image = images, infotexts, first
        self.extra_images: list[Any] = []
        self.info = infotexts[0] if infotexts else ""
        self.all_seeds, self.all_prompts = p.all_seeds, p.all_prompts
        self.extra_generation_params = p.extra_generation_params
        self.comments = "".join(f"{text}\n" for text in p.comments)


def make(host: Any) -> ModuleType:
    module = HostModule("modules.processing")

    def save_samples(self: Any) -> bool:
        opts, state = host.shared.opts, host.shared.state
        complete = opts.save_incomplete_images or not (state.interrupted or state.skipped)
        return bool(opts.samples_save and not self.do_not_save_samples and complete)

    StableDiffusionProcessing.save_samples = save_samples
    module.StableDiffusionProcessing, module.Processed = StableDiffusionProcessing, Processed
    module.StableDiffusionProcessingTxt2Img = StableDiffusionProcessingTxt2Img
    module.StableDiffusionProcessingImg2Img = StableDiffusionProcessingImg2Img
    module.process_images = lambda p: process_images(host, p)
    module.create_infotext = lambda *args, **kwargs: infotext.create_infotext(host, *args, **kwargs)
    module.apply_overlay = lambda image, paste_to, overlay: (pictures.apply_overlay(image, paste_to, overlay), image)
    return module


def process_images(host: Any, p: Any) -> Processed:
    """One job. Overrides for keys that are not in config.json are never taken back (point 10)."""
    opts = host.shared.opts
    _hook(p, "before_process")
    stored = {key: opts.data[key] for key in p.override_settings if key in opts.data}
    inference = torch.inference_mode() if host.forge else contextlib.nullcontext()  # F1
    try:
        for key, value in p.override_settings.items():
            opts.set(key, value, is_api=True, run_callbacks=False)
        with inference:
            return _job(host, p)
    finally:
        if p.override_settings_restore_afterwards:
            for key, value in stored.items():
                setattr(opts, key, value)


def _hook(p: Any, name: str, *before: Any, **kwargs: Any) -> None:
    if p.scripts is not None:
        p.scripts.hook(name, p, *before, **kwargs)


def _job(host: Any, p: Any) -> Processed:
    opts, state = host.shared.opts, host.shared.state
    total = p.batch_size * p.n_iter
    if p.restore_faces is None:
        p.restore_faces = getattr(opts, "face_restoration", False)
    p.main_prompt = p.prompt
    p.all_prompts, p.all_negative_prompts = [p.prompt] * total, [p.negative_prompt] * total
    p.all_seeds, p.all_subseeds = [p.seed + i for i in range(total)], [p.subseed + i for i in range(total)]
    _hook(p, "process")
    if isinstance(p, StableDiffusionProcessingImg2Img):
        pictures.prepare_img2img(host, p)
    if state.job_count == -1:
        state.job_count = p.n_iter
    images: list[Any] = []
    texts: list[str] = []
    for n in range(p.n_iter):
        p.iteration = n
        if state.skipped:
            state.skipped = False
        if state.interrupted or state.stopping_generation:
            break
        _batch(host, p, n, images, texts)
    p.color_corrections = None
    first = 0
    if len(images) > 1 or not opts.grid_only_if_multiple:
        first = _grid(host, p, images, texts)
    done = Processed(p, images, texts or [infotext.create_infotext(host, p, p.all_prompts, p.all_seeds)], first)
    _hook(p, "postprocess", done)
    return done


def _text(host: Any, p: Any, index: int = 0, use_main_prompt: bool = False) -> str:
    return infotext.create_infotext(
        host, p, p.prompts, p.seeds, p.subseeds, use_main_prompt=use_main_prompt, index=index
    )


def _grid(host: Any, p: Any, images: list[Any], texts: list[str]) -> int:
    opts = host.shared.opts
    if p.do_not_save_grid or not (opts.return_grid or opts.grid_save):
        return 0
    grid = pictures.image_grid(images)
    text = _text(host, p, use_main_prompt=True)
    if opts.grid_save:
        host.modules.images.save_image(grid, p.outpath_grids, "grid", p.all_seeds[0], info=text, p=p, grid=True)
    if not opts.return_grid:
        return 0
    texts.insert(0, text)
    images.insert(0, grid)
    return 1


def _batch(host: Any, p: Any, n: int, images: list[Any], texts: list[str]) -> None:
    state = host.shared.state
    chosen = slice(n * p.batch_size, (n + 1) * p.batch_size)
    p.prompts, p.negative_prompts = p.all_prompts[chosen], p.all_negative_prompts[chosen]
    p.seeds, p.subseeds = p.all_seeds[chosen], p.all_subseeds[chosen]
    _hook(p, "before_process_batch", batch_number=n, prompts=p.prompts, seeds=p.seeds, subseeds=p.subseeds)
    _hook(p, "process_batch", batch_number=n, prompts=p.prompts, seeds=p.seeds, subseeds=p.subseeds)
    samples = _sample(host, p, n)
    sampled = PostSampleArgs(samples)
    _hook(p, "post_sample", sampled)
    decoded = torch.stack(list(sampled.samples)).float()
    state.nextjob()
    _hook(p, "postprocess_batch", batch_number=n, images=decoded)
    batch = PostprocessBatchListArgs(list(decoded))
    _hook(p, "postprocess_batch_list", batch, batch_number=n)
    save = p.save_samples()
    for i, sample in enumerate(batch.images):
        image = _finish(host, p, i, sample, save)
        text = _text(host, p, i)
        texts.append(text)
        image.info["parameters"] = text
        images.append(image)
        mask = getattr(p, "mask_for_overlay", None)
        if mask is not None and host.shared.opts.return_mask:
            images.append(mask.convert("RGB"))


def _sample(host: Any, p: Any, n: int) -> list[torch.Tensor]:
    """The "network": hires samples twice, all other hooks see the final picture only (point 2)."""
    state = host.shared.state
    for hires in (False, True) if p.enable_hr else (False,):
        p.is_hr_pass = hires
        if hires:
            _hook(p, "before_hr")
        state.sampling_steps = p.steps
        for step in range(p.steps):
            state.sampling_step = step
            if p.on_sample is not None:
                p.on_sample(step)
        _hook(p, "process_before_every_sampling")
    p.is_hr_pass = False
    pictures_made = p.decoded if p.decoded is not None else [np.full((p.height, p.width, 3), 128, np.uint8)]
    first = n * p.batch_size
    return [to_tensor(pictures_made[(first + i) % len(pictures_made)]) for i in range(p.batch_size)]


def to_tensor(picture: np.ndarray) -> torch.Tensor:
    """3×H×W float32 in [0, 1]. A uint8 value v becomes (v + f) / 255 with f from 0.05 to 0.95, different everywhere."""
    if picture.dtype == np.uint8:
        fraction = 0.05 + 0.9 * ((np.arange(picture.size) * 7919 % 101) / 100).reshape(picture.shape)
        picture = np.where(picture == 255, 255.0, picture + fraction) / 255
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(picture.astype(np.float32), 2, 0)))


def _finish(host: Any, p: Any, i: int, sample: torch.Tensor, save: bool) -> PIL.Image.Image:
    """One picture from its tensor to its file."""
    opts, save_image = host.shared.opts, host.modules.images.save_image
    p.batch_index = i
    pixels = (255.0 * np.moveaxis(sample.cpu().numpy(), 0, 2)).astype(np.uint8)
    if p.restore_faces and host.kind != "sdnext":
        if save and opts.save_images_before_face_restoration:
            save_image(PIL.Image.fromarray(pixels), p.outpath_samples, "", p.seeds[i], p.prompts[i],
                       info=_text(host, p, i), p=p, suffix="-before-face-restoration")  # fmt: skip
        host.log.append("restore_faces")
        pixels = shared.restore_faces(host, pixels)  # not caught: it fails the job
    index = (i,) if host.forge else ()
    args = PostprocessImageArgs(PIL.Image.fromarray(pixels), *index)
    _hook(p, "postprocess_image", args)
    image, mask, overlay = args.image, getattr(p, "mask_for_overlay", None), None
    if opts.overlay_inpaint and p.overlay_images is not None and i < len(p.overlay_images):
        overlay = p.overlay_images[i]
    covered = PostProcessMaskOverlayArgs(i, mask, overlay)
    _hook(p, "postprocess_maskoverlay", covered)
    if p.color_corrections is not None and i < len(p.color_corrections):
        host.log.append("color correction")
        if save and opts.save_images_before_color_correction:
            before = pictures.apply_overlay(image, p.paste_to, covered.overlay_image)
            save_image(before, p.outpath_samples, "", p.seeds[i], p.prompts[i], info=_text(host, p, i), p=p,
                       suffix="-before-color-correction")  # fmt: skip
        image = pictures.color_correction(p.color_corrections[i], image)
    host.log.append("overlay")
    image = pictures.apply_overlay(image, p.paste_to, covered.overlay_image)
    args = PostprocessImageArgs(image, *index)
    _hook(p, "postprocess_image_after_composite", args)
    if save:
        save_image(args.image, p.outpath_samples, "", p.seeds[i], p.prompts[i], info=_text(host, p, i), p=p)
    return args.image
