"""Small pictures for the soak: many formats, with and without a face, some of them damaged or odd."""

from __future__ import annotations

import functools
import io
import random
from pathlib import Path

import numpy as np
import PIL.Image
import safetensors.torch
import torch
from PIL import PngImagePlugin

from lib_facerestore.networks.archs.lite import LiteRestorer

FORMATS = (".png", ".jpg", ".webp", ".tif", ".bmp", ".jpeg", ".gif", ".tiff")
FAST = ["--model", "small", "--mask", "ellipse", "--detector", "lite"]
"""Options of the command line with which a small picture takes little time; see `model_folder`."""


def model_folder(folder: Path, name: str = "small.safetensors", seed: int = 0) -> Path:
    """Put a restorer of a few thousand random weights into a folder, and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    network = LiteRestorer((4, 4, 8, 8), (1, 1, 1, 1, 1, 1))
    torch.nn.init.normal_(network.unfold_half.weight, 0, 0.3)
    assert network.unfold_half.bias is not None
    torch.nn.init.normal_(network.unfold_half.bias, 0.2, 0.05)
    safetensors.torch.save_file(network.state_dict(), folder / name)
    return folder


@functools.cache
def _photograph() -> PIL.Image.Image:
    from skimage.data import astronaut

    return PIL.Image.fromarray(astronaut()[0:256, 96:352])


def picture(chance: random.Random, face: bool = True) -> PIL.Image.Image:
    """A picture of 64 to 104 pixels a side."""
    size = chance.randrange(64, 105)
    if face:
        made = _photograph().resize((size, size), PIL.Image.Resampling.LANCZOS)
        return made.rotate(chance.uniform(-8, 8), PIL.Image.Resampling.BICUBIC)
    noise = np.random.default_rng(chance.randrange(2**32)).integers(0, 255, (6, 6, 3), np.uint8)
    return PIL.Image.fromarray(noise).resize((size, chance.randrange(48, 100)), PIL.Image.Resampling.BICUBIC)


def write_sound(path: Path, chance: random.Random) -> None:
    """Write a picture that can be read, in the format of the name, sometimes with metadata or in another mode."""
    made, kind = picture(chance, face=chance.random() < 0.3), chance.randrange(6)
    if path.suffix == ".png" and kind == 0:
        made.putalpha(128)
    elif path.suffix in (".png", ".jpg", ".tif") and kind == 1:
        made = made.convert("L")
    more: dict[str, PngImagePlugin.PngInfo] = {}
    if path.suffix == ".png" and kind < 3:
        text = PngImagePlugin.PngInfo()
        text.add_text("parameters", f"a face\nSteps: {chance.randrange(50)}")
        more["pnginfo"] = text
    made.save(path, None, **more)


def write_damaged(path: Path, chance: random.Random) -> None:
    """Write a file that is no whole picture: empty, cut, with changed bytes, of another kind, or a text."""
    data = io.BytesIO()
    picture(chance).save(data, PIL.Image.registered_extensions()[path.suffix])
    whole = bytearray(data.getvalue())
    kind = chance.randrange(6)
    if kind == 0:
        whole.clear()
    elif kind == 1:
        del whole[chance.randrange(1, len(whole)) :]
    elif kind == 2:
        for _ in range(20):
            whole[chance.randrange(len(whole))] = chance.randrange(256)
    elif kind == 3:
        whole[:] = b"<!doctype html><title>404</title>"
    elif kind == 4:
        whole[:16] = bytes(16)
    else:  # whole, but of another format than its name says
        data = io.BytesIO()
        picture(chance).save(data, "PNG" if path.suffix != ".png" else "JPEG")
        whole[:] = data.getvalue()
    path.write_bytes(bytes(whole))


def make_folder(folder: Path, count: int, seed: int) -> Path:
    """Fill a folder with `count` files in sub-folders, one in ten damaged or odd, and return it."""
    chance = random.Random(seed)
    for index in range(count):
        path = folder / f"{index // 100:02}" / f"picture {index:04}{FORMATS[chance.randrange(len(FORMATS))]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        (write_damaged if chance.random() < 0.1 else write_sound)(path, chance)
    return folder
