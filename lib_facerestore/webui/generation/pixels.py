"""The arithmetic between the WebUI's pictures and ours: tensors, and the inpaint mask.

The WebUI turns a tensor into a picture by cutting off the fraction of 255·x. What is restored is therefore exactly that
picture, and what is written back are exactly the values that differ, in the middle between two steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ...faces.face import Face

MASKED_MODES = ("L", "LA", "RGB", "RGBA")
"""Modes of pictures that can be blended along a mask."""

OUTSIDE = "skipped, it lies outside of the inpaint mask"
"""Why a face that does not touch the mask is left alone."""


def is_decoded(image: object) -> bool:
    """Whether `image` is a tensor 3×H×W, as A1111 gives it to postprocess_batch_list."""
    return hasattr(image, "cpu") and getattr(image, "ndim", 0) == 3 and getattr(image, "shape", (0,))[0] == 3


def pixels_of(tensor: Any) -> NDArray[np.uint8]:
    """The H×W×3 uint8 picture that the WebUI will make of a tensor 3×H×W with values from 0 to 1."""
    values = np.moveaxis(tensor.detach().cpu().numpy(), 0, 2)
    return np.ascontiguousarray((255.0 * values).astype(np.uint8))


def write_back(tensor: Any, before: NDArray[np.uint8], after: NDArray[np.uint8]) -> Any:
    """A tensor whose picture is `after`, where `before` is that of `tensor`; `tensor` itself if they are the same.

    Values that did not change keep all their bits.
    """
    changed = np.moveaxis(before != after, 2, 0)
    if not changed.any():
        return tensor
    import torch

    values = tensor.detach().cpu().numpy().copy()
    values[changed] = ((np.moveaxis(after, 2, 0)[changed].astype(np.float64) + 0.5) / 255).astype(values.dtype)
    return torch.from_numpy(values).to(device=tensor.device)


def mask_for(mask: object, size: tuple[int, int], paste_to: Sequence[int] | None = None) -> NDArray[np.uint8] | None:
    """The inpaint mask (`p.mask_for_overlay`) on a picture of `size` (width, height): H×W, 0 is outside. None: no mask.

    paste_to: x, y, width and height of the crop that the picture is, where it is not the whole ("only masked").
    """
    if not isinstance(mask, PIL.Image.Image):
        return None
    mask = mask.convert("L")
    if paste_to is not None:
        x, y, width, height = paste_to
        mask = mask.crop((x, y, x + width, y + height))
    if mask.size != size:
        mask = mask.resize(size, PIL.Image.Resampling.BILINEAR)
    return np.asarray(mask)


def touches(mask: NDArray[np.uint8], face: Face) -> bool:
    """Whether any pixel of the face's box is inside of the mask."""
    height, width = mask.shape
    x0, y0 = max(int(face.box[0]), 0), max(int(face.box[1]), 0)
    x1, y1 = min(int(np.ceil(face.box[2])), width), min(int(np.ceil(face.box[3])), height)
    return bool(x0 < x1 and y0 < y1 and mask[y0:y1, x0:x1].any())


def blend(before: Any, after: Any, mask: NDArray[np.uint8]) -> Any:
    """`after` where the mask is 255, `before` bit for bit where it is 0, in between by share.

    Takes and gives two arrays or two PIL images of the same size and one of `MASKED_MODES`; alpha stays that of
    `before`.
    """
    if isinstance(before, PIL.Image.Image):
        if before.mode not in MASKED_MODES:
            return before
        made = PIL.Image.fromarray(blend(np.asarray(before), np.asarray(after), mask))
        made.info = dict(after.info)
        return made
    old, new = (_with_channels(pixels) for pixels in (before, after))
    colors = old.shape[2] - (old.shape[2] in (2, 4))
    share = mask[..., None].astype(np.float32) / 255
    mixed = np.rint(old[..., :colors] + (new[..., :colors].astype(np.float32) - old[..., :colors]) * share)
    result = old.copy()
    result[..., :colors] = np.where(mask[..., None] == 0, old[..., :colors], mixed.astype(np.uint8))
    return result.reshape(before.shape)


def _with_channels(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return pixels[..., None] if pixels.ndim == 2 else pixels


__all__ = [
    "MASKED_MODES", "OUTSIDE", "blend", "is_decoded", "mask_for", "pixels_of", "touches",
    "write_back",
]  # fmt: skip
