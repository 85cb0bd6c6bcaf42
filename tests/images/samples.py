"""Pictures in every mode of Pillow and both depths, and what the tests of this folder do with them."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageCms

from lib_facerestore.images.files import Picture, replace_pixels

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
RNG = np.random.default_rng(7)
EIGHT = RNG.integers(0, 256, (23, 31, 4), dtype=np.uint8)
DEEP = RNG.integers(0, 65536, (23, 31, 4), dtype=np.uint16)
EIGHT[0, :8, 3] = [0, 1, 254, 255, 0, 254, 255, 128]
PIL_MODES = ["1", "L", "LA", "P", "P+alpha", "RGB", "RGBA", "CMYK", "I;16"]


def pil_image(mode: str) -> Image.Image:
    if mode == "1":
        return Image.fromarray(EIGHT[:, :, 0]).convert("1")
    if mode == "I;16":
        return Image.fromarray(DEEP[:, :, 0].copy())
    if mode.startswith("P"):
        image = Image.fromarray(EIGHT[:, :, 0] // 4).convert("P")
        image = Image.frombytes("P", image.size, (EIGHT[:, :, 0] // 4).tobytes())
        image.putpalette(RNG.integers(0, 256, 192, dtype=np.uint8).tobytes())
        if mode == "P+alpha":
            image.info["transparency"] = bytes(range(0, 256, 4))
        return image
    channels = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4, "CMYK": 4}[mode]
    return Image.frombytes(mode, (31, 23), np.ascontiguousarray(EIGHT[:, :, 4 - channels :]).tobytes())


def same(one: Picture, two: Picture) -> bool:
    if (one.alpha is None) != (two.alpha is None) or one.pixels.dtype != two.pixels.dtype:
        return False
    alpha = one.alpha is None or two.alpha is None or np.array_equal(one.alpha, two.alpha)
    return alpha and np.array_equal(one.pixels, two.pixels)


def exif_bytes(orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "Maker of cameras"
    exif[0x8769] = {0x9003: "2020:01:02 03:04:05", 0x9286: b"UNICODE\0h\0i\0"}
    exif[0x8825] = {1: "N", 2: (10.0, 20.0, 30.0)}
    return exif.tobytes()


def touched(picture: Picture) -> Picture:
    """The picture with a patch of other colours, as a restored face would be."""
    pixels = picture.pixels.copy()
    pixels[5:9, 4:9] = (pixels[5:9, 4:9].astype(int) + np.array([41, 17, 99])) % (2**picture.depth)
    return replace_pixels(picture, pixels)
