"""The Picture: RGB pixels plus everything needed to give the same kind of file back.

Data only, no file access and no Pillow: `modes` converts, `decode` and `encode` hold the formats, `files` reads and
writes.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np

from ..errors import InputError

TextKind = Literal["tEXt", "zTXt", "iTXt"]


class TextItem(NamedTuple):
    """One PNG text chunk: keyword (Latin-1, 1 to 79 characters) and value; language and translated belong to iTXt."""

    key: str
    value: str
    kind: TextKind = "tEXt"
    language: str = ""
    translated: str = ""


class Encoded(NamedTuple):
    """The content of the file that a Picture was read from, and `Picture.digest` as it was then."""

    data: bytes
    digest: tuple[int, ...]


class JpegSettings(NamedTuple):
    """How a JPEG was coded, so that the same tables can be used again, and what else only a JPEG holds.

    qtables      quantization tables of 64 values each; empty where they cannot be used again
    subsampling  as Pillow counts it (-1 unknown)
    segments     (marker, payload) of IPTC and extended-XMP segments
    """

    qtables: tuple[tuple[int, ...], ...]
    subsampling: int
    progressive: bool
    comment: bytes | None
    segments: tuple[tuple[int, bytes], ...]


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture in viewing orientation.

    pixels       H×W×3, RGB, uint8 (0 to 255) or uint16 (0 to 65535)
    alpha        H×W of the same dtype, or None where the picture has no transparency
    mode         what the pixels were: 1, L, LA, P, RGB, RGBA, CMYK, YCbCr, HSV, I, I;16, LA;16, RGB;16, RGBA;16.
                 A PNG colour key (tRNS without palette) is read as real alpha: RGBA or LA
    format       Pillow's name of the file format it came from, or ""
    icc_profile  the profile of the *original* mode (for a CMYK picture: the CMYK profile; its pixels are then sRGB)
    exif         TIFF stream without the "Exif\\0\\0" prefix. The orientation tag in it is already 1 because the pixels
                 are upright; every other byte is the file's. ``orientation`` holds the tag's original value
    xmp          XMP packet, orientation likewise set to 1
    text         PNG text chunks in file order, "parameters" included (XMP is in ``xmp`` instead)
    dpi          (x, y) or None
    native       the original values where RGB cannot carry them: palette indices H×W; CMYK, YCbCr, HSV H×W×channels
    palette      N×4 uint8 RGBA of a P picture
    jpeg         how the JPEG that it came from was coded, with its comment and IPTC data
    lossy        True where the file was stored with loss
    png_chunks   colour and resolution chunks of a PNG (gAMA, cHRM, sRGB, cICP, pHYs, ...), copied as they are
    info         Pillow's ``info`` where the picture came from a Pillow image
    encoded      the content of the file it was read from, until its pixels are replaced: an unchanged picture is
                 written back as this, with all that a Picture cannot hold
    losses       what the file holds and the Picture does not, such as further frames; each names the file
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    mode: str = "RGB"
    format: str = ""
    icc_profile: bytes | None = field(default=None, repr=False)
    exif: bytes | None = field(default=None, repr=False)
    xmp: bytes | None = field(default=None, repr=False)
    text: tuple[TextItem, ...] = ()
    dpi: tuple[float, float] | None = None
    orientation: int = 1
    native: np.ndarray | None = field(default=None, repr=False)
    palette: np.ndarray | None = field(default=None, repr=False)
    jpeg: JpegSettings | None = field(default=None, repr=False)
    lossy: bool = False
    png_chunks: tuple[tuple[bytes, bytes], ...] = field(default=(), repr=False)
    info: Mapping[str, Any] = field(default_factory=dict, repr=False)
    encoded: Encoded | None = field(default=None, repr=False)
    losses: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_pixels(self.pixels, "pixels")
        if self.alpha is not None and (
            self.alpha.shape != self.pixels.shape[:2] or self.alpha.dtype != self.pixels.dtype
        ):
            raise InputError(
                f"alpha is {self.alpha.shape} {self.alpha.dtype}, but must be {self.pixels.shape[:2]} "
                f"{self.pixels.dtype} like the pixels"
            )

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])

    @property
    def depth(self) -> int:
        """Bits per channel: 8 or 16."""
        return 8 * self.pixels.dtype.itemsize

    def digest(self) -> tuple[int, ...]:
        """A checksum of each field that is written to a file. Equal pictures have equal ones; where anything differs,
        pixels that were changed in place too, they differ but for one chance in 2^32."""
        return tuple(
            _checksum(getattr(self, one.name))
            for one in dataclasses.fields(self)
            if one.name not in ("info", "encoded", "losses")
        )


def _checksum(value: object) -> int:
    if isinstance(value, np.ndarray):
        header = f"{value.shape} {value.dtype}".encode()
        return zlib.crc32(np.ascontiguousarray(value).view(np.uint8).data, zlib.crc32(header))
    return zlib.crc32(repr(value).encode("utf-8", "backslashreplace"))


def check_pixels(array: np.ndarray, name: str) -> None:
    """InputError unless the array is H×W×3, uint8 or uint16, and not empty."""
    if not isinstance(array, np.ndarray):
        raise InputError(f"{name}: expected a numpy array, got {type(array).__name__}")
    if array.dtype not in (np.uint8, np.uint16):
        raise InputError(f"{name}: dtype {array.dtype} is not supported; convert to uint8 (0-255) or uint16 (0-65535)")
    if array.ndim != 3 or array.shape[2] != 3:
        raise InputError(f"{name}: shape {array.shape} is not supported; expected height × width × 3 (RGB)")
    if array.size == 0:
        raise InputError(f"{name}: shape {array.shape} holds no pixels; width and height must be at least 1")


def from_array(array: np.ndarray) -> Picture:
    """A Picture of an array: H×W grey, H×W×3 RGB or H×W×4 RGBA, uint8 or uint16. Not copied where avoidable."""
    if not isinstance(array, np.ndarray):
        raise InputError(f"expected a numpy array, got {type(array).__name__}")
    deep = ";16" if array.dtype == np.uint16 else ""
    if array.ndim == 2:
        pixels = np.repeat(array[:, :, None], 3, axis=2)
        return Picture(pixels, mode="I;16" if deep else "L")
    if array.ndim == 3 and array.shape[2] == 4:
        rgb, alpha = np.ascontiguousarray(array[:, :, :3]), np.ascontiguousarray(array[:, :, 3])
        return Picture(rgb, alpha, mode="RGBA" + deep)
    if array.ndim == 3 and array.shape[2] == 3:
        return Picture(np.ascontiguousarray(array), mode="RGB" + deep)
    raise InputError(
        f"array of shape {array.shape} is not a picture; expected height × width, optionally × 3 (RGB) or 4 (RGBA)"
    )


def to_array(picture: Picture) -> np.ndarray:
    """The inverse of from_array, always a new array: H×W for grey without alpha, else H×W×3 RGB or H×W×4 RGBA."""
    if picture.alpha is not None:
        return np.dstack([picture.pixels, picture.alpha])
    if picture.mode in ("1", "L", "I", "I;16"):
        return luma(picture.pixels)
    return picture.pixels.copy()


def luma(pixels: np.ndarray) -> np.ndarray:
    """H×W luma (ITU-R BT.601: 0.299 R + 0.587 G + 0.114 B, rounded). A grey pixel keeps exactly its value."""
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    if np.array_equal(red, green) and np.array_equal(red, blue):
        return np.ascontiguousarray(red).copy()
    weighted = 0.299 * red.astype(np.float64) + 0.587 * green + 0.114 * blue
    return np.rint(weighted).astype(pixels.dtype)


def replace_pixels(picture: Picture, pixels: np.ndarray) -> Picture:
    """The same picture with other RGB pixels (H×W×3, same dtype; not copied).

    Another size is allowed (an upscaled picture): alpha is resized with it, and original palette indices or CMYK values
    no longer apply. InputError for another depth or shape.
    """
    check_pixels(pixels, "pixels")
    if pixels.dtype != picture.pixels.dtype:
        raise InputError(f"pixels are {pixels.dtype} but the picture is {picture.pixels.dtype}; keep its depth")
    if pixels.shape == picture.pixels.shape:
        # Whatever changed is coded anew, so that the file's bytes need not be held (nor compared) any longer.
        encoded = picture.encoded if np.array_equal(pixels, picture.pixels) else None
        return dataclasses.replace(picture, pixels=pixels, encoded=encoded)
    alpha = picture.alpha
    if alpha is not None:
        height, width = pixels.shape[:2]
        bigger = width >= picture.width and height >= picture.height
        alpha = cv2.resize(alpha, (width, height), interpolation=cv2.INTER_CUBIC if bigger else cv2.INTER_AREA)
    return dataclasses.replace(picture, pixels=pixels, alpha=alpha, native=None, encoded=None)
