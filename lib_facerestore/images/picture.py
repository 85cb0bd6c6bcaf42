"""`Picture`: RGB pixels, and everything else that is needed to write a file of the same kind.

Related modules: `modes` converts pixels, `decode` and `encode` handle file formats, `files` reads and writes files.
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
    """A PNG text chunk: keyword (Latin-1, 1 to 79 characters), value, and for iTXt language and translated keyword."""

    key: str
    value: str
    kind: TextKind = "tEXt"
    language: str = ""
    translated: str = ""


class Encoded(NamedTuple):
    """The content of the file that a Picture was read from, and the value of `Picture.digest` at that time."""

    data: bytes
    digest: tuple[int, ...]


class JpegSettings(NamedTuple):
    """How a JPEG was encoded, to encode it the same way again, and data that only a JPEG holds.

    Attributes:
        qtables: quantization tables of 64 values each; empty if they cannot be used again.
        subsampling: Pillow's number for the chroma subsampling, -1 if unknown.
        progressive: whether it was a progressive JPEG.
        comments: its comments, at most 65533 bytes each.
        segments: (marker, payload) of the application segments that only a JPEG holds, such as IPTC and extended XMP.
    """

    qtables: tuple[tuple[int, ...], ...]
    subsampling: int
    progressive: bool
    comments: tuple[bytes, ...]
    segments: tuple[tuple[int, bytes], ...]


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture in viewing orientation.

    Attributes:
        pixels: H×W×3 RGB, uint8 (0 to 255) or uint16 (0 to 65535).
        alpha: H×W of the same dtype, or None if the picture has no transparency.
        mode: original mode: 1, L, LA, P, RGB, RGBA, CMYK, YCbCr, HSV, I, I;16, LA;16, RGB;16 or RGBA;16. A PNG colour
            key (tRNS without palette) is read as alpha: RGBA or LA.
        format: Pillow's name of the file format it came from, or "".
        icc_profile: ICC profile of the *original* mode. The pixels of a CMYK picture are sRGB, its profile is CMYK.
        exif: TIFF stream without the prefix "Exif\\0\\0". Its orientation tag is set to 1, because the pixels are
            upright; all other bytes are those of the file.
        xmp: XMP packet, its orientation set to 1 and its regions turned, without entries for further pictures.
        text: PNG text chunks in file order, including "parameters"; XMP is in `xmp` instead.
        dpi: resolution (x, y) in pixels per inch, or None.
        orientation: original value of the EXIF or XMP orientation, 1 to 8.
        native: original values that cannot be recovered from RGB: palette indices (H×W), or CMYK, YCbCr or HSV values
            (H×W×channels).
        palette: N×4 uint8 RGBA of a P picture.
        jpeg: encoding, comment and IPTC data of the JPEG that it came from.
        lossy: whether the file's format was lossy.
        png_chunks: (name, payload) of the PNG chunks that hold true for other pixels: colours, resolution (gAMA, cHRM,
            sRGB, cICP, pHYs, …), and unknown ones that may be copied.
        trailer: what follows the end of a JPEG or PNG in its file, such as the video of a motion photo. It is written
            to files of the same format.
        info: Pillow's `info`, if the picture came from a Pillow image.
        encoded: content of the file it was read from, until its pixels are replaced. An unchanged picture is written
            as this content, with everything that a Picture cannot hold.
        losses: what the file holds and the Picture does not, such as further frames; each names the file.
        faults: what is wrong with the file although the Picture could be read from it; each names the file.

    Raises:
        InputError: pixels or alpha have another shape or dtype.
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
    trailer: bytes = field(default=b"", repr=False)
    info: Mapping[str, Any] = field(default_factory=dict, repr=False)
    encoded: Encoded | None = field(default=None, repr=False)
    losses: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()

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
        """CRC-32 of each field that is written to a file, to find out whether anything has changed, also in place."""
        return tuple(
            _checksum(getattr(self, one.name))
            for one in dataclasses.fields(self)
            if one.name not in ("info", "encoded", "losses", "faults")
        )


def _checksum(value: object) -> int:
    if isinstance(value, np.ndarray):
        header = f"{value.shape} {value.dtype}".encode()
        return zlib.crc32(np.ascontiguousarray(value).view(np.uint8).data, zlib.crc32(header))
    if isinstance(value, bytes):
        return zlib.crc32(value)
    return zlib.crc32(repr(value).encode("utf-8", "backslashreplace"))


def check_pixels(array: np.ndarray, name: str) -> None:
    """Raise InputError unless the array is H×W×3, uint8 or uint16, and not empty; `name` is for the message."""
    if not isinstance(array, np.ndarray):
        raise InputError(f"{name}: expected a numpy array, got {type(array).__name__}")
    if array.dtype not in (np.uint8, np.uint16):
        raise InputError(f"{name}: dtype {array.dtype} is not supported; convert to uint8 (0-255) or uint16 (0-65535)")
    if array.ndim != 3 or array.shape[2] != 3:
        raise InputError(f"{name}: shape {array.shape} is not supported; expected height × width × 3 (RGB)")
    if array.size == 0:
        raise InputError(f"{name}: shape {array.shape} holds no pixels; width and height must be at least 1")


def from_array(array: np.ndarray) -> Picture:
    """Make a Picture of an array, without copying it if possible.

    Args:
        array: H×W grey, H×W×3 RGB or H×W×4 RGBA, uint8 or uint16.

    Raises:
        InputError: the array has another shape or dtype.
    """
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
    """A new array of the picture's values: H×W for grey without alpha, else H×W×3 RGB or H×W×4 RGBA."""
    if picture.alpha is not None:
        return np.dstack([picture.pixels, picture.alpha])
    if picture.mode in ("1", "L", "I", "I;16"):
        return luma(picture.pixels)
    return picture.pixels.copy()


def luma(pixels: np.ndarray) -> np.ndarray:
    """Luma (H×W) of H×W×3 RGB: 0.299 R + 0.587 G + 0.114 B, rounded (ITU-R BT.601). Grey pixels keep their value."""
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    if np.array_equal(red, green) and np.array_equal(red, blue):
        return np.ascontiguousarray(red).copy()
    weighted = 0.299 * red.astype(np.float64) + 0.587 * green + 0.114 * blue
    return np.rint(weighted).astype(pixels.dtype)


def replace_pixels(picture: Picture, pixels: np.ndarray) -> Picture:
    """The same picture with other RGB pixels.

    Args:
        picture: the picture.
        pixels: H×W×3 of the same dtype, not copied. If they have another size, alpha is resized, and the original
            palette indices or CMYK values are dropped.

    Raises:
        InputError: the pixels have another dtype, or are not H×W×3.
    """
    check_pixels(pixels, "pixels")
    if pixels.dtype != picture.pixels.dtype:
        raise InputError(f"pixels are {pixels.dtype} but the picture is {picture.pixels.dtype}; keep its depth")
    if pixels.shape == picture.pixels.shape:
        # A changed picture is encoded again, so the file's content is not needed any more.
        encoded = picture.encoded if np.array_equal(pixels, picture.pixels) else None
        return dataclasses.replace(picture, pixels=pixels, encoded=encoded)
    alpha = picture.alpha
    if alpha is not None:
        height, width = pixels.shape[:2]
        bigger = width >= picture.width and height >= picture.height
        alpha = cv2.resize(alpha, (width, height), interpolation=cv2.INTER_CUBIC if bigger else cv2.INTER_AREA)
    return dataclasses.replace(picture, pixels=pixels, alpha=alpha, native=None, encoded=None)
