"""Conversion of all Pillow modes to RGB pixels and back; values of unchanged pixels are preserved.

`from_pil` and `to_pil` are for callers; `settle_mode` and `array_in_mode` are for the encoders.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from ..errors import InputError
from .metadata import (
    exif_orientation,
    exif_upright,
    strip_exif_prefix,
    turn_back,
    upright,
    xmp_orientation,
    xmp_upright,
)
from .picture import Picture, luma
from .pil_info import bytes_in, dpi_in, transparency_in
from .xmp_regions import turned_regions

logger = logging.getLogger(__name__)

GREY = frozenset({"1", "L", "LA", "I", "I;16", "LA;16"})
_NATIVE = frozenset({"CMYK", "YCbCr", "HSV"})  # modes whose values cannot be recovered from RGB
# The next wider mode, for formats that cannot hold a mode; palette pictures are handled separately.
_WIDER = {"1": "L", "L": "RGB", "LA": "RGBA", "I": "I;16", "I;16": "RGB;16", "LA;16": "RGBA;16"}
_WIDER.update(dict.fromkeys(_NATIVE, "RGB"))


def from_pil(image: Image.Image, *, upright: bool = True) -> Picture:
    """Convert a Pillow image, which is not changed, to a Picture.

    Args:
        image: the image.
        upright: whether to apply the EXIF or XMP orientation and set it to 1.

    Raises:
        InputError: the image is empty, or its mode is not supported: F, LAB, and I with values beyond 16 bits.
    """
    if not isinstance(image, Image.Image):
        raise InputError(f"expected a Pillow image, got {type(image).__name__}")
    if 0 in image.size:
        raise InputError(f"the image is {image.width}×{image.height}; width and height must be at least 1")
    image.load()
    info: dict[str, Any] = {key: value for key, value in image.info.items() if isinstance(key, str)}
    if "transparency" in info and transparency_in(image) is None:
        del info["transparency"]  # `to_pil` would hand it on
    exif, xmp = strip_exif_prefix(bytes_in(image, "exif")), bytes_in(image, "xmp")
    orientation = exif_orientation(exif) if exif_orientation(exif) != 1 else xmp_orientation(xmp)
    fields = decode_mode(image, orientation if upright else 1)
    if upright:
        exif = exif and exif_upright(exif)
        xmp = xmp and turned_regions(xmp_upright(xmp), orientation)
    return Picture(
        **fields,
        format=image.format or "",
        icc_profile=bytes_in(image, "icc_profile"),
        exif=exif,
        xmp=xmp,
        dpi=dpi_in(image),
        orientation=orientation,
        info=info,
    )


def to_pil(picture: Picture, *, upright: bool = True) -> Image.Image:
    """Convert a Picture to a Pillow image of its own mode, with its info (profile, EXIF, dpi, text).

    If the pixels changed, two modes are widened, because they cannot hold a restored face: P to RGB or RGBA, 1 to L.

    Args:
        picture: the picture.
        upright: if false, a picture that `from_pil` turned upright is turned back, with its original EXIF and XMP.

    Raises:
        InputError: Pillow has no mode for the picture: 16-bit colour, or 16-bit grey with alpha. Use `to_array`.
    """
    mode = natural_mode(picture)
    if mode.endswith(";16") and mode != "I;16":
        raise InputError(f"Pillow cannot hold a {mode} picture; use to_array, or write it with write_picture")
    turned = not upright and picture.orientation != 1
    values = array_in_mode(picture, mode)
    image = array_to_pil(turn_back(values, picture.orientation) if turned else values, mode, picture.palette)
    info: dict[str | tuple[int, int], Any] = dict(picture.info.items())
    info.update({item.key: item.value for item in picture.text})
    if mode != "P":
        info.pop("transparency", None)
    elif picture.alpha is not None and "transparency" not in info and picture.palette is not None:
        info["transparency"] = picture.palette[:, 3].tobytes()
    carried = {"icc_profile": picture.icc_profile, "xmp": picture.xmp, "dpi": picture.dpi}
    carried["exif"] = b"Exif\0\0" + picture.exif if picture.exif else None
    info.update({key: value for key, value in carried.items() if value is not None})
    if turned:
        info.update({key: picture.info[key] for key in ("exif", "xmp") if key in picture.info})
    image.info = info
    return image


def decode_mode(image: Image.Image, orientation: int) -> dict[str, Any]:
    """Decode a loaded Pillow image of any mode.

    Args:
        image: the image.
        orientation: its EXIF orientation, 1 to 8, which is applied.

    Returns:
        The fields pixels, alpha, mode, native and palette of a `Picture`; those without a value are missing.

    Raises:
        InputError: the mode is not supported.
    """
    mode = image.mode
    if mode == "RGBX":
        image, mode = image.convert("RGB"), "RGB"
    elif mode in ("RGBa", "La"):
        image = image.convert(mode[:-1] + "A")
        mode = image.mode
    elif mode == "PA":
        image, mode = image.convert("RGBA"), "RGBA"
    elif mode in ("RGB", "L", "1") and transparency_in(image) is not None:
        image = image.convert("RGBA" if mode == "RGB" else "LA")
        mode = image.mode
    if mode == "P":
        return _decode_palette(image, orientation)
    if mode in ("I", "I;16", "I;16B", "I;16L", "I;16N"):
        deep = np.asarray(image)
        if int(deep.min()) < 0 or int(deep.max()) > 65535:
            raise InputError("32-bit grey values do not fit 16 bits; convert the picture to 16-bit or 8-bit grey first")
        grey = upright(deep.astype(np.uint16), orientation)
        return {"pixels": np.repeat(grey[:, :, None], 3, axis=2), "mode": "I" if mode == "I" else "I;16"}
    if mode not in ("1", "L", "LA", "RGB", "RGBA") and mode not in _NATIVE:
        raise InputError(f"pictures of mode {mode} are not supported; convert to RGB, or to 16-bit PNG or TIFF")
    values = upright(np.asarray(image.convert("L") if mode == "1" else image), orientation)
    if mode in _NATIVE:
        profile = bytes_in(image, "icc_profile")
        return {"pixels": native_to_rgb(values, mode, profile), "mode": mode, "native": values}
    if mode in ("1", "L"):
        return {"pixels": np.repeat(values[:, :, None], 3, axis=2), "mode": mode}
    if mode == "LA":
        grey, alpha = np.repeat(values[:, :, :1], 3, axis=2), np.ascontiguousarray(values[:, :, 1])
        return {"pixels": grey, "alpha": alpha, "mode": mode}
    if mode == "RGBA":
        rgb, alpha = np.ascontiguousarray(values[:, :, :3]), np.ascontiguousarray(values[:, :, 3])
        return {"pixels": rgb, "alpha": alpha, "mode": mode}
    return {"pixels": values if values.flags.writeable else values.copy(), "mode": mode}


def _decode_palette(image: Image.Image, orientation: int) -> dict[str, Any]:
    indices = upright(np.asarray(image), orientation).copy()
    rgb = np.asarray(image.getpalette("RGB") or [], dtype=np.uint8).reshape(-1, 3)
    own_alpha = image.palette is not None and image.palette.mode == "RGBA"
    palette = np.full((max(len(rgb), int(indices.max()) + 1), 4), 255, np.uint8)
    palette[:, :3] = 0
    palette[: len(rgb), :3] = rgb
    key = transparency_in(image)
    if own_alpha:
        table = np.asarray(image.getpalette("RGBA"), dtype=np.uint8).reshape(-1, 4)
        palette[: len(table), 3] = table[: len(palette), 3]
    if isinstance(key, bytes):
        palette[: len(key), 3] = np.frombuffer(key, np.uint8)[: len(palette)]
    elif isinstance(key, int) and key < len(palette):
        palette[key, 3] = 0
    looked_up = palette[indices]
    alpha = np.ascontiguousarray(looked_up[:, :, 3]) if own_alpha or key is not None else None
    pixels = np.ascontiguousarray(looked_up[:, :, :3])
    return {"pixels": pixels, "alpha": alpha, "mode": "P", "native": indices, "palette": palette}


def natural_mode(picture: Picture) -> str:
    """The mode that holds the picture's present pixels exactly, for any file format."""
    mode, alpha = picture.mode, picture.alpha
    if mode == "P":
        return "P" if _palette_holds(picture) else ("RGB" if alpha is None else "RGBA")
    if mode == "1":
        return "1" if alpha is None and bool(np.isin(picture.pixels, (0, 255)).all()) else "L"
    if mode in _NATIVE:
        return mode if alpha is None else "RGBA"
    if picture.depth == 16:
        if mode == "I" and alpha is None:
            return mode
        if mode in GREY:
            return "I;16" if alpha is None else "LA;16"
        return "RGB;16" if alpha is None else "RGBA;16"
    return ("L" if mode in GREY else "RGB") + ("" if alpha is None else "A")


def _palette_holds(picture: Picture) -> bool:
    """Whether indices and palette still give exactly the picture's pixels and alpha."""
    if picture.native is None or picture.palette is None or picture.native.shape != picture.pixels.shape[:2]:
        return False
    looked_up = picture.palette[picture.native]
    if not np.array_equal(looked_up[:, :, :3], picture.pixels):
        return False
    return picture.alpha is None or np.array_equal(looked_up[:, :, 3], picture.alpha)


def settle_mode(picture: Picture, held: Collection[str], format_name: str) -> str:
    """The narrowest mode of a file format that holds the picture without loss.

    Args:
        picture: the picture.
        held: modes that the format can hold.
        format_name: the format's name, for messages.

    Raises:
        InputError: no mode holds the picture; the message says what to do.
    """
    mode = natural_mode(picture)
    opaque_only = not any(name in held for name in ("RGBA", "LA"))
    if mode == "P" and ("P" not in held or (picture.alpha is not None and format_name != "PNG")):
        mode = "RGB" if picture.alpha is None else "RGBA"
    while mode not in held:
        if "A" in mode and opaque_only:
            raise InputError(
                f"{format_name} cannot hold the picture's transparency; write .png, or remove the alpha first"
            )
        if mode not in _WIDER:
            raise InputError(
                f"{format_name} cannot hold 16 bits per channel; write .png or .tif, or convert to 8 bits first"
            )
        mode = _WIDER[mode]
    return mode


def array_in_mode(picture: Picture, mode: str) -> np.ndarray:
    """The picture's values in a mode from `settle_mode` or `natural_mode`: H×W or H×W×channels; bool for "1"."""
    if mode == "P":
        assert picture.native is not None  # natural_mode returns P only if there are indices
        return picture.native
    if mode in _NATIVE:
        return _merge_native(picture)
    if mode in GREY:
        grey = luma(picture.pixels)
        if mode == "1":
            return grey > 127
        if mode == "I":
            return grey.astype(np.int32)
        return grey if picture.alpha is None else np.dstack([grey, picture.alpha])
    return picture.pixels if picture.alpha is None else np.dstack([picture.pixels, picture.alpha])


def _merge_native(picture: Picture) -> np.ndarray:
    """CMYK, YCbCr or HSV values: the original ones of unchanged pixels, converted ones of the others."""
    native, pixels, mode = picture.native, picture.pixels, picture.mode
    if native is None or native.shape[:2] != pixels.shape[:2]:
        return rgb_to_native(pixels, mode, picture.icc_profile)
    changed = (native_to_rgb(native, mode, picture.icc_profile) != pixels).any(axis=2)
    if not changed.any():
        return native
    merged = native.copy()
    black = native[changed][None, :, 3] if mode == "CMYK" else None
    merged[changed] = rgb_to_native(pixels[changed][None], mode, picture.icc_profile, black)[0]
    return merged


def native_to_rgb(values: np.ndarray, mode: str, profile: bytes | None) -> np.ndarray:
    """Convert CMYK, YCbCr or HSV values to sRGB; CMYK by its ICC profile if that is usable."""
    image = array_to_pil(values, mode)
    return np.array(_through_profile(image, profile, "RGB") or image.convert("RGB"))


def rgb_to_native(pixels: np.ndarray, mode: str, profile: bytes | None, black: np.ndarray | None = None) -> np.ndarray:
    """Convert sRGB to CMYK, YCbCr or HSV values.

    Args:
        pixels: H×W×3 uint8 RGB.
        mode: "CMYK", "YCbCr" or "HSV".
        profile: ICC profile of CMYK values, or None.
        black: H×W, the pixels' former K. Without a usable profile it is kept, or lowered if the pixels are too bright
            for it.
    """
    image = Image.fromarray(np.ascontiguousarray(pixels))
    profiled = _through_profile(image, profile, mode)
    if profiled is None and black is not None:
        return _cmyk_with_black(pixels, black)
    return np.array(profiled or image.convert(mode))


def _cmyk_with_black(pixels: np.ndarray, black: np.ndarray) -> np.ndarray:
    """The plain formula, RGB = (255 - CMY) (255 - K) / 255, solved for CMY with K given."""
    kept = np.minimum(black, 255 - pixels.max(axis=2))
    light = np.maximum(255.0 - kept, 1.0)[:, :, None]
    inks = 255.0 - np.minimum(pixels * (255.0 / light), 255.0)
    return np.dstack([np.rint(inks).astype(np.uint8), kept])


def _through_profile(image: Image.Image, profile: bytes | None, mode: str) -> Image.Image | None:
    """Convert between a CMYK profile and sRGB (relative colorimetric); None if the profile cannot be used."""
    if not profile or "CMYK" not in (image.mode, mode) or profile[16:20] != b"CMYK":
        return None
    try:
        srgb = ImageCms.createProfile("sRGB")
        cmyk = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        source, target = (cmyk, srgb) if image.mode == "CMYK" else (srgb, cmyk)
        intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
        return ImageCms.profileToProfile(image, source, target, renderingIntent=intent, outputMode=mode)
    except (ImageCms.PyCMSError, ImportError, OSError, ValueError) as error:
        logger.warning("the CMYK profile cannot be used (%s); using the plain formula", error)
        return None


def to_eight_bit(values: NDArray[np.uint8] | NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Convert an array of any shape to uint8: uint16 is divided by 257 and rounded; uint8 is not copied.

    Raises:
        InputError: the array has another dtype.
    """
    if values.dtype == np.uint8:
        return values.view(np.uint8)
    if values.dtype != np.uint16:
        raise InputError(f"dtype {values.dtype} is not supported; convert to uint8 (0-255) or uint16 (0-65535)")
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)  # 257 is odd, so there are no ties


def array_to_pil(values: np.ndarray, mode: str, palette: np.ndarray | None = None) -> Image.Image:
    """A Pillow image with exactly these values, without info. `mode` must be one of Pillow's."""
    height, width = values.shape[:2]
    if mode == "1":
        return Image.frombytes("1", (width, height), np.packbits(values, axis=1).tobytes())
    raw = np.ascontiguousarray(values).astype("<u2") if mode == "I;16" else np.ascontiguousarray(values)
    image = Image.frombytes(mode, (width, height), raw.tobytes())
    if mode == "P" and palette is not None:
        image.putpalette(palette[:, :3].tobytes(), "RGB")
    return image
