"""Decoding of TIFF files of the kinds that `tiff_kinds` knows to be read rightly; others are refused by their names."""

from __future__ import annotations

import io
import logging
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImagePalette, UnidentifiedImageError

from ..errors import InputError
from ..wording import pip_install
from .deep import decode_by_opencv, deep_fields
from .encode import TIFF_STRUCTURE
from .exif_check import is_whole
from .metadata import CREDENTIALS_LOST, strip_exif_prefix, upright
from .modes import decode_mode
from .opening import open_image
from .pil_info import dpi_in
from .room import check_room
from .tiff_kinds import TiffKind, kind_of, with_values

logger = logging.getLogger(__name__)

_LOST_TAGS = {
    330: "its smaller or further pictures (SubIFDs) are left out",
    37724: "its Photoshop layers, which show the old pixels, are left out",
    52545: CREDENTIALS_LOST,
}


def decode_tiff(data: bytes, most_pixels: int | None) -> tuple[dict[str, Any], bytes | None, bytes | None, int, int]:
    """Decode the first picture of a TIFF file, and turn it upright.

    Args:
        data: content of the file.
        most_pixels: as for `decode_picture`.

    Returns:
        The fields of a `Picture` without EXIF and XMP, the EXIF stream, the XMP packet, the original orientation, and
        the number of pictures in the file.

    Raises:
        InputError: the file's kind is not supported; the message names it and the remedy; or it is too large.
        Exception: for a damaged file, whatever Pillow, OpenCV, tifffile and struct raise.
    """
    kind = kind_of(data)
    reader = kind.reader
    if reader is None:
        raise _refused(kind)
    # What the readers take wrongly is taken out of the directory first: the orientation, which only some of them apply;
    # planes of a single channel; and white-is-zero, which they apply to some depths.
    inverted = kind.photometric == 0 and kind.bits[0] >= 8
    changes = {274: 1} | ({284: 1} if len(kind.bits) == 1 else {}) | ({262: 1} if inverted else {})
    plain = with_values(data, changes)
    try:
        with open_image(plain, ("TIFF",)) as image:
            check_room(image.width, image.height, most_pixels, kind.bits[0])
            tags: Any = image.tag_v2  # type: ignore[attr-defined]
            count = getattr(image, "n_frames", 1)
            (exif, damaged), xmp = _exif(image), tags.get(700)
            fields: dict[str, Any] = {"format": "TIFF", "icc_profile": image.info.get("icc_profile") or None}
            fields["losses"] = tuple(loss for tag, loss in _LOST_TAGS.items() if tag in tags)
            if damaged or (data[2:4] in (b"*\0", b"\0*") and not is_whole(data)):
                fields["losses"] += ("damaged tags are left out",)
            # Without these tags Pillow reports 1 dpi.
            fields["dpi"] = dpi_in(image) if 282 in tags and 283 in tags else None
            if reader == "Pillow":
                fields |= _by_pillow(image, tags, kind)
            else:
                size = (image.height, image.width)
                fields |= _by_others(plain, kind, size)
    except InputError:
        raise
    except (OSError, ValueError) as error:
        # Bits that were reversed before they were compressed look like damage.
        if isinstance(error, UnidentifiedImageError) or (kind.reversed and kind.compression != 1):
            raise _refused(kind) from error
        raise
    if inverted:
        fields["pixels"] = ~fields["pixels"]
    return fields, exif, xmp if isinstance(xmp, bytes) else None, kind.orientation, count


def _refused(kind: TiffKind) -> InputError:
    return InputError(
        f"is a TIFF of {kind}, which cannot be read; convert it to RGB or grey of 8 or 16 bits, without a sign, first"
    )


def _by_pillow(image: Image.Image, tags: Any, kind: TiffKind) -> dict[str, Any]:
    if kind.photometric == 3:
        table = tags[320]
        if max(table) < 256:  # old writers gave 8 bits where 16 are due
            image.palette = ImagePalette.raw("RGB;L", bytes(table))
    image.load()
    fields = decode_mode(image, kind.orientation)
    if kind.bits[0] == 12:
        levels = np.rint(np.arange(4096) * (65535 / 4095)).astype(np.uint16)
        fields["pixels"] = levels[fields["pixels"]]
    return fields


def _by_others(data: bytes, kind: TiffKind, size: tuple[int, int]) -> dict[str, Any]:
    """Fields of a 16-bit RGB(A) picture, or of an 8-bit YCbCr one that is no JPEG."""
    values = _planes(data) if kind.reader == "tifffile" else decode_by_opencv(data, kind.bits[0])
    if values.ndim != 3 or values.shape[:2] != size:
        raise ValueError(f"the {kind.bits[0]}-bit pixels cannot be decoded")
    if kind.bits[0] == 8:
        return {"pixels": upright(values[:, :, :3], kind.orientation), "mode": "RGB"}
    if kind.extra == (0,):
        values = values[:, :, :3]
    elif kind.extra == (1,):  # the colours are multiplied with alpha
        alpha = values[:, :, 3:].astype(np.float64)
        whole = np.rint(values[:, :, :3] * (65535.0 / np.maximum(alpha, 1.0)))
        values = np.dstack([np.minimum(whole, 65535.0).astype(np.uint16), values[:, :, 3]])
    return deep_fields(np.ascontiguousarray(values), False, kind.orientation)


def _planes(data: bytes) -> NDArray[Any]:
    """H×W×channels of a planar TIFF."""
    try:
        import tifffile
    except ImportError as error:
        command = pip_install("--no-deps", "tifffile")
        raise InputError(f"planar 16-bit TIFF needs the package tifffile; install it with `{command}`") from error
    return np.moveaxis(tifffile.imread(io.BytesIO(data), key=0), 0, -1)


def _exif(image: Image.Image) -> tuple[bytes | None, bool]:
    """The descriptive tags of a TIFF with its EXIF and GPS directories, as an EXIF stream; and if they are lost."""
    source, kept = image.getexif(), Image.Exif()
    for tag, value in source.items():
        if tag not in TIFF_STRUCTURE and tag not in (0x8769, 0x8825):
            kept[tag] = value
    for tag in (0x8769, 0x8825):
        inner = {key: value for key, value in source.get_ifd(tag).items() if key != 0xA005}
        if inner:
            kept[tag] = inner
    if not len(kept):
        return None, False
    try:
        return strip_exif_prefix(kept.tobytes()), False
    except (ValueError, TypeError, struct.error, OverflowError) as error:
        logger.warning("EXIF data of a TIFF cannot be kept (%s)", error)
        return None, True
