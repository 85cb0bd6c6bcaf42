"""`modules.images` and the picture stages of a batch: masks, crops, overlay, colour correction, saving."""

from __future__ import annotations

import os
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import PIL.Image
from PIL import ImageChops, ImageFilter, ImageOps

from .module import HostModule


@dataclass
class Saved:
    """One call of images.save_image. `image` is a copy of what was handed in, `file` what would be in the file."""

    image: PIL.Image.Image
    file: PIL.Image.Image
    path: str
    basename: str
    suffix: str
    info: str | None
    name: str
    section: str
    p: Any


def make(host: Any) -> ModuleType:
    module = HostModule("modules.images")

    def save_image(
        image: PIL.Image.Image, path: str, basename: str | None, seed: Any = None, prompt: Any = None,
        extension: str = "png", info: str | None = None, short_filename: bool = False, no_prompt: bool = False,
        grid: bool = False, pnginfo_section_name: str = "parameters", p: Any = None, existing_info: Any = None,
        forced_filename: str | None = None, suffix: str = "", save_to_dirs: bool | None = None,
    ) -> tuple[str, None]:  # fmt: skip
        if not isinstance(image, PIL.Image.Image):
            raise TypeError("save_image needs a PIL image")
        name = forced_filename if forced_filename is not None else f"{len(host.saved):05}-{seed}{suffix}"
        full = os.path.join(path, f"{name}.{extension}")
        stored = _with_hidden_bits(image) if host.kind == "forge" else image.copy()
        host.saved.append(
            Saved(image.copy(), stored, str(path), basename or "", suffix, info, full, pnginfo_section_name, p)
        )
        host.log.append(f"save{suffix}" if not grid else "save grid")
        return full, None

    module.save_image, module.resize_image = save_image, resize_image
    module.flatten = lambda image, color: image.convert("RGB")
    module.fix_image = lambda image: image
    module.read_info_from_image = lambda image: (image.info.get("parameters"), dict(image.info))
    module.image_grid = image_grid
    return module


def _with_hidden_bits(image: PIL.Image.Image) -> PIL.Image.Image:
    """F3: metadata in the lowest bit of alpha."""
    stored = np.array(image.convert("RGBA"))
    stored[..., 3] = 254 + (np.indices(stored.shape[:2]).sum(axis=0) % 2)
    return PIL.Image.fromarray(stored)


def resize_image(mode: int, image: PIL.Image.Image, width: int, height: int, *args: Any) -> PIL.Image.Image:
    if image.size == (width, height):
        return image.copy()
    return image.resize((width, height), PIL.Image.Resampling.LANCZOS)


def image_grid(images: list[PIL.Image.Image], *args: Any) -> PIL.Image.Image:
    width, height = max(image.width for image in images), max(image.height for image in images)
    grid = PIL.Image.new("RGB", (width * len(images), height))
    for index, image in enumerate(images):
        grid.paste(image.convert("RGB"), (index * width, 0))
    return grid


def apply_overlay(image: PIL.Image.Image, paste_to: Any, overlay: PIL.Image.Image | None) -> PIL.Image.Image:
    """Put the original over what was made, where the mask says so; "only masked" puts the crop back first."""
    if overlay is None:
        return image
    if paste_to is not None:
        x, y, width, height = paste_to
        whole = PIL.Image.new("RGBA", overlay.size)
        whole.paste(resize_image(1, image, width, height), (x, y))
        image = whole
    image = image.convert("RGBA")
    image.alpha_composite(overlay)
    return image.convert("RGB")


def color_correction(target: np.ndarray, image: PIL.Image.Image) -> PIL.Image.Image:
    """A stand-in for histogram matching: moves every channel's mean to the target's. Always RGB."""
    pixels = np.asarray(image.convert("RGB"), np.float32)
    moved = pixels + (target.astype(np.float32).mean((0, 1)) - pixels.mean((0, 1)))
    return PIL.Image.fromarray(np.clip(moved, 0, 255).astype(np.uint8))


def prepare_img2img(host: Any, p: Any) -> None:
    """What `p.init` does for img2img: sets mask_for_overlay, paste_to, overlay_images and color_corrections."""
    mask = p.image_mask
    if mask is not None:
        mask = mask.convert("L")
        if p.inpainting_mask_invert:
            mask = ImageOps.invert(mask)
        if p.mask_blur:
            mask = mask.filter(ImageFilter.GaussianBlur(p.mask_blur))
        if p.inpaint_full_res and mask.getbbox():
            p.mask_for_overlay = mask
            left, top, right, bottom = mask.getbbox()
            pad = p.inpaint_full_res_padding
            left, top = max(left - pad, 0), max(top - pad, 0)
            right, bottom = min(right + pad, mask.width), min(bottom + pad, mask.height)
            p.paste_to = (left, top, right - left, bottom - top)
        elif p.inpaint_full_res:  # a blank mask: plain img2img
            mask, p.mask_for_overlay = None, None
        else:
            mask = resize_image(0, mask, p.width, p.height)
            p.mask_for_overlay = ImageChops.add(mask, mask)
        p.overlay_images = []
    if host.shared.opts.img2img_color_correction and p.color_corrections is None:
        p.color_corrections = []
    for init in p.init_images or []:
        image = init.convert("RGB")
        if p.paste_to is None:
            image = resize_image(0, image, p.width, p.height)
        if mask is not None:
            if p.mask_for_overlay.size != image.size:
                p.mask_for_overlay = resize_image(0, p.mask_for_overlay, *image.size)
            overlay = image.convert("RGBA")
            overlay.putalpha(ImageOps.invert(p.mask_for_overlay))
            p.overlay_images.append(overlay)
        if p.color_corrections is not None:
            p.color_corrections.append(np.asarray(image))
    for values in (p.overlay_images, p.color_corrections):
        if values is not None and len(values) == 1:
            values *= p.batch_size
