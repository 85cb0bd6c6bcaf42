"""Reading and writing picture files with their mode, depth, orientation, profile and metadata.

PNG, JPEG, WebP, TIFF, BMP and the first frame of a GIF can be read; all of these except GIF can be written. The formats
are in `decode` and `encode`. Other parts of the package import what they need for pictures from this module.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import struct
from pathlib import Path

from PIL import UnidentifiedImageError
from PIL.Image import DecompressionBombError

from ..errors import InputError
from .atomic_write import check_target, write_atomically
from .decode import decode_picture
from .encode import HELD, check_size, encode_picture
from .foreign import what_it_is
from .losses import losses_in
from .metadata import ONLY_FIRST
from .modes import from_pil, settle_mode, to_pil
from .opening import pixels_allowed, strict, unlimited
from .picture import Encoded, Picture, TextItem, from_array, replace_pixels, to_array

__all__ = [
    "LOSSY_EXTENSIONS",
    "PICTURE_EXTENSIONS",
    "WRITABLE_EXTENSIONS",
    "Picture",
    "TextItem",
    "check_holds",
    "coded_anew",
    "from_array",
    "from_bytes",
    "from_pil",
    "is_clear_bmp",
    "is_picture_file",
    "left_out",
    "other_extension",
    "read_picture",
    "replace_pixels",
    "to_array",
    "to_bytes",
    "to_pil",
    "unseen",
    "write_picture",
]

logger = logging.getLogger(__name__)

_FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jpe": "JPEG",
    ".jfif": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
    ".dib": "BMP",
}
WRITABLE_EXTENSIONS: frozenset[str] = frozenset(_FORMATS)
LOSSY_EXTENSIONS: frozenset[str] = frozenset(suffix for suffix, name in _FORMATS.items() if name in ("JPEG", "WEBP"))
"""Those of the formats that have a quality."""
PICTURE_EXTENSIONS: frozenset[str] = WRITABLE_EXTENSIONS | {".gif"}
_MARKS = {b"\x89PNG\r\n": ".png", b"\xff\xd8\xff": ".jpg", b"II*\0": ".tif", b"MM\0*": ".tif", b"II+\0": ".tif"}
_MARKS |= {b"MM\0+": ".tif", b"GIF8": ".gif", b"BM": ".bmp"}
_DAMAGED = (OSError, ValueError, SyntaxError, TypeError, IndexError, KeyError, EOFError, ArithmeticError, struct.error)
"""What Pillow, OpenCV and tifffile raise for data that they cannot read."""


def is_picture_file(path: str | os.PathLike[str]) -> bool:
    """Whether the extension, in upper or lower case, is that of a picture. The file is not opened."""
    return Path(path).suffix.lower() in PICTURE_EXTENSIONS


def other_extension(path: str | os.PathLike[str]) -> str:
    """The extension that suits the content of a picture file whose name has that of another format, such as ".png" for
    a PNG named x.jpg. "" if the name is right, or if that is not known."""
    file = Path(path)
    named = ".gif" if file.suffix.lower() == ".gif" else _FORMATS.get(file.suffix.lower())
    try:
        with file.open("rb") as stream:
            head = stream.read(16)
    except (OSError, ValueError):  # reading the picture will say why
        return ""
    webp = head[:4] == b"RIFF" and head[8:12] == b"WEBP"
    found = ".webp" if webp else next((suffix for mark, suffix in _MARKS.items() if head.startswith(mark)), "")
    return found if named and found and named != _FORMATS.get(found, found) else ""


def is_clear_bmp(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a BMP with transparency, which can be read, but not written. False if that is not known."""
    try:
        with Path(path).open("rb") as stream:
            head = stream.read(70)
    except (OSError, ValueError):  # reading the picture will say why
        return False
    if head[:2] != b"BM" or len(head) < 70:
        return False
    size, bits, masks, alpha = (
        *struct.unpack_from("<L", head, 14), *struct.unpack_from("<H", head, 28),
        *struct.unpack_from("<L", head, 30), *struct.unpack_from("<L", head, 66),
    )  # fmt: skip
    return size >= 56 and bits == 32 and masks == 3 and alpha != 0


def check_holds(picture: Picture, path: str | os.PathLike[str], size: tuple[int, int]) -> None:
    """Check, before the work, that a file with this name can hold the result.

    Args:
        picture: the picture before the work.
        path: the file for the result.
        size: width and height of the result in pixels.

    Raises:
        InputError: the format holds no such mode or size. A picture that keeps its format and size is not checked, but
            for a BMP with transparency.
    """
    target = Path(os.fspath(path))
    kind = _format_name(target, None)
    own = kind == picture.format and size == (picture.width, picture.height)
    if own and not (kind == "BMP" and picture.alpha is not None):  # which can be read, but not written
        return
    try:
        settle_mode(picture, HELD[kind], kind)
        check_size(*size, kind)
    except InputError as error:
        raise InputError(f"{target}: {error}") from error


def read_picture(path: str | os.PathLike[str]) -> Picture:
    """Read a picture from a file, and turn it upright. The content decides the format, not the name.

    Raises:
        InputError: the file is missing, a folder, unreadable, empty, not a picture, damaged, too large, or of a kind
            that is not supported; names the file and the remedy.
    """
    file = Path(os.fspath(path))
    with unlimited():
        return _decoded(_read_file(file), str(file), None)


def from_bytes(data: bytes, name: str = "picture") -> Picture:
    """As `read_picture`, for the content of a file; `name` is its name in messages.

    The data may come from anywhere, so Pillow's limit for the number of pixels holds. `read_picture` does not have it:
    whoever names a file wants it read, and only the memory sets a limit.
    """
    return _decoded(data, name, pixels_allowed())


def _decoded(data: bytes, name: str, most_pixels: int | None) -> Picture:
    if not data:
        raise InputError(f"{name}: is empty (0 bytes); get the file again")
    try:
        with strict(name):
            picture = decode_picture(data, most_pixels)
    except UnidentifiedImageError as error:
        raise InputError(f"{name}: {_not_readable(data, name)}") from error
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
    except DecompressionBombError as error:  # a frame, whose size the file's header does not say
        raise InputError(f"{name}: has a frame of too many pixels to open safely; make it smaller first") from error
    except MemoryError as error:
        raise InputError(f"{name}: is too large for this machine's memory; make it smaller first") from error
    except _DAMAGED as error:
        raise InputError(f"{name}: is truncated or damaged ({error}); get the file again") from error
    losses, faults = (tuple(f"{name}: {one}" for one in some) for some in (picture.losses, picture.faults))
    for one in (*losses, *faults):
        logger.info(one)
    return dataclasses.replace(picture, losses=losses, faults=faults, encoded=Encoded(data, picture.digest()))


def _not_readable(data: bytes, name: str) -> str:
    what = what_it_is(data, " in spite of its name" if is_picture_file(name) else "")
    return f"is {what}" if what else "is not a picture that can be read; use PNG, JPEG, WebP, TIFF, BMP or GIF"


def to_bytes(picture: Picture, format: str, quality: int | None = None, name: str = "picture") -> bytes:
    """The content of the file that `write_picture` would write; arguments and errors are as there."""
    _check_quality(quality)
    kind = _format_name(Path(name), format)
    try:
        return _unchanged_bytes(picture, kind, quality) or encode_picture(picture, kind, quality)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error


def write_picture(
    picture: Picture,
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    quality: int | None = None,
    overwrite: bool = False,
) -> bool:
    """Write a picture to a file, completely or not at all, in its original mode if the format can hold that.

    Lossless formats keep pixels and alpha bit-identical, also the RGB of transparent pixels. Grey pictures stay grey.
    An unchanged palette picture keeps its indices and palette; a changed one is written as RGB or RGBA, because 256
    colours are too few for a face, and a changed picture of mode 1 as L. A CMYK pixel whose RGB did not change keeps
    its exact values; others are converted by the picture's ICC profile, or keep their black without one. PNG, WebP and
    BMP hold sRGB instead of CMYK. Metadata that the format cannot hold is left out; `left_out` names it.

    Args:
        picture: the picture.
        path: the file.
        format: "PNG", "JPEG", "WEBP", "TIFF" or "BMP"; None takes it from the extension. Also "GIF" for an unchanged
            picture that was read from one, whose content is written again.
        quality: 1 to 100 for JPEG and WebP. With None, a JPEG keeps the tables and subsampling that it was read with
            (95 for other pictures), a lossy WebP is written at 95, and other pictures as lossless WebP.
        overwrite: whether an existing file is replaced.

    Returns:
        Whether the content of the file that the picture was read from was written again. It is if nothing has changed,
        the format is the same, and no quality is given.

    Raises:
        InputError: the file cannot be written, or exists (also if it appears in the meantime); or the format cannot
            hold the picture: alpha in JPEG or BMP, 16 bits in JPEG, WebP or BMP.
    """
    _check_quality(quality)
    target = check_target(path, overwrite=overwrite)
    copied = _unchanged_bytes(picture, "GIF", quality) if format == "GIF" else None
    name = "GIF" if copied is not None else _format_name(target, format)
    try:
        own = copied or _unchanged_bytes(picture, name, quality)
        data = own or encode_picture(picture, name, quality)
    except InputError as error:
        raise InputError(f"{target}: {error}") from error
    write_atomically(target, data, overwrite=overwrite)
    return own is not None


def coded_anew(format: str, quality: int | None) -> bool:
    """Whether a picture of this format is encoded again although nothing has changed: a quality is given for it."""
    return quality is not None and format in ("JPEG", "WEBP")


def unseen(picture: Picture) -> tuple[str, ...]:
    """Those of `Picture.losses` that also matter if nothing is written: further frames, pages or pictures."""
    return tuple(loss for loss in picture.losses if f": {ONLY_FIRST} " in loss)


def left_out(picture: Picture, path: str | os.PathLike[str], format: str | None = None) -> tuple[str, ...]:
    """What is lost if the picture is written to a file with this name: sentences that name the file.

    They are about what this format has no place for; `Picture.losses` says what no format keeps. Nothing is lost where
    `write_picture` writes the content of the file that was read.

    Args:
        picture: the picture.
        path: the file; need not exist.
        format: as for `write_picture`.

    Raises:
        InputError: the format cannot be written.
    """
    target = Path(os.fspath(path))
    kind = _format_name(target, format)
    by_remedy: dict[str, list[str]] = {}
    for what, remedy in losses_in(picture, kind):
        by_remedy.setdefault(remedy, []).append(what)
    return tuple(
        f"{target}: {kind} has no place for {', '.join(whats)}: left out; write {remedy} to keep it"
        for remedy, whats in by_remedy.items()
    )


def _check_quality(quality: int | None) -> None:
    if quality is not None and (isinstance(quality, bool) or not isinstance(quality, int) or not 1 <= quality <= 100):
        raise InputError(f"quality {quality!r} is not allowed; give a whole number from 1 to 100")


def _format_name(target: Path, format_name: str | None) -> str:
    if format_name is not None:
        wanted = _FORMATS.get(f".{format_name.lower().lstrip('.')}")
        if wanted is None:
            raise InputError(f"{target}: format {format_name!r} cannot be written; use PNG, JPEG, WEBP, TIFF or BMP")
        return wanted
    wanted = _FORMATS.get(target.suffix.lower())
    if wanted is None:
        raise InputError(f"{target}: files named {target.suffix or 'without extension'} cannot be written; use .png")
    return wanted


def _unchanged_bytes(picture: Picture, format_name: str, quality: int | None) -> bytes | None:
    """The content of the file that the picture was read from, if the format is the same and nothing has changed."""
    if picture.encoded is None or picture.format != format_name or coded_anew(format_name, quality):
        return None
    return picture.encoded.data if picture.digest() == picture.encoded.digest else None


def _read_file(file: Path) -> bytes:
    try:
        if file.is_dir():
            raise InputError(f"{file}: is a folder; name a picture inside it")
        if file.exists() and not file.is_file():
            raise InputError(f"{file}: is not a regular file; copy the picture to a file first")
        return file.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{file}: not found; check the name and the folder") from error
    except InputError:
        raise
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise InputError(f"{file}: cannot be opened ({why}); check its name and permissions") from error
