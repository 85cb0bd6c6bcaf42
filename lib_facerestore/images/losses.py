"""Which metadata of a Picture is lost when it is written to a file format."""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import InputError
from .encode import HELD, exif_stream, fits_jpeg, profile_for
from .exif_check import is_whole
from .jpeg_parts import segment_names
from .metadata import EXIF_MARK, XMP_MARK, exif_has_resolution
from .modes import settle_mode
from .picture import Picture
from .xmp_claims import claims_video, kept_trailer, true_xmp


def losses_in(picture: Picture, format_name: str) -> Iterator[tuple[str, str]]:
    """Find out which metadata a file format cannot hold.

    Args:
        picture: the picture.
        format_name: a key of `encode.HELD`.

    Yields:
        What is lost, and the extension of a format that would keep it.
    """
    if picture.text and format_name != "PNG":
        yield f"the text {', '.join(dict.fromkeys(item.key for item in picture.text))}", ".png"
    if format_name == "BMP":
        held = {"the color profile": picture.icc_profile, "EXIF": picture.exif, "XMP": picture.xmp}
        for name, value in held.items():
            if value:
                yield name, ".png"
    else:
        yield from _profile(picture, format_name)
    if format_name == "JPEG":
        yield from _too_large(picture)
    if format_name == "TIFF" and picture.exif and not is_whole(picture.exif):
        yield "the damaged part of EXIF", ".png"
    if format_name == "WEBP" and picture.dpi and not exif_has_resolution(picture.exif):
        yield "the resolution", ".png"
    if format_name != "PNG":
        # A resolution in pixels per metre (unit 1) is kept, in the format's own way.
        names = [
            name.decode("latin-1") for name, payload in picture.png_chunks if name != b"pHYs" or payload[8:9] != b"\1"
        ]
        if names:
            yield f"the PNG chunks {', '.join(dict.fromkeys(names))}", ".png"
    if format_name != "JPEG" and picture.jpeg is not None:
        if picture.jpeg.comments:
            yield "the JPEG comment" + ("s" if len(picture.jpeg.comments) > 1 else ""), ".jpg"
        for name in segment_names(picture.jpeg.segments):
            yield name, ".jpg"
    if picture.trailer and not kept_trailer(picture, format_name):
        follows = f"the {len(picture.trailer)} bytes after its end"
        own = ".jpg" if picture.format == "JPEG" else ".png"
        yield "the video of the motion photo" if claims_video(picture) else follows, own


def _profile(picture: Picture, format_name: str) -> Iterator[tuple[str, str]]:
    try:
        mode = settle_mode(picture, HELD[format_name], format_name)
    except InputError:  # the picture cannot be written at all; writing it raises the error
        return
    if picture.icc_profile and not profile_for(picture, mode):
        colours = picture.icc_profile[16:20].decode("latin-1").strip()
        yield f"the {colours} color profile", ".tif"


def _too_large(picture: Picture) -> Iterator[tuple[str, str]]:
    """Metadata that does not fit into one segment of a JPEG."""
    blocks = (("EXIF", EXIF_MARK, exif_stream(picture)), ("XMP", XMP_MARK, true_xmp(picture, "JPEG")))
    for name, mark, block in blocks:
        if block and not fits_jpeg(mark, block):
            yield f"{name} of {len(block)} bytes", ".png"
