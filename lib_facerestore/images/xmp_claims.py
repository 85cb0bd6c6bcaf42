"""What an XMP packet says of the file around it, such as a video that follows: removed where it is not true."""

from __future__ import annotations

import re
from collections.abc import Callable
from xml.dom.minidom import Element

from .metadata import EXTENDED_XMP_MARK
from .picture import Picture
from .xmp_edit import Properties, Spaces, edited, elements, local_name, properties_in, remove, split, text_of, value_in

GAIN_MAP_NAMESPACE = b"hdr-gain-map"
_GAIN_MAPS = ("http://ns.adobe.com/hdr-gain-map/1.0/", "http://ns.apple.com/HDRGainMap/1.0/")
_CONTAINER = "http://ns.google.com/photos/1.0/container/"
_CLAIMS = re.compile(
    rb"hdr-gain-map|HDRGainMap|MotionPhoto|MicroVideo|[Cc]ontainer|HasExtendedXMP|self#jumbf|Thumbnails"
)
_SIZE = re.compile(rb"((?:exif:Pixel([XY])Dimension|tiff:Image(Width|Length))(?:=[\"']|>)\s*)\d+")
_Named = Callable[[str, str, str], bool]
"""Whether a property goes, from its namespace, its name without the prefix, and its value ("" for an element's)."""


def true_xmp(picture: Picture, format_name: str) -> bytes | None:
    """The picture's XMP packet, without what is not true of a file that is written anew in this format,
    and with the size that is written.

    These claims go: a gain map, content credentials in the file, and a thumbnail of other pixels; extended XMP, and a
    video or other data after the picture's end, unless they go along.
    """
    xmp = picture.xmp and _with_size(picture.xmp, picture.width, picture.height)
    if not xmp or not _CLAIMS.search(xmp):
        return xmp
    extended = format_name == "JPEG" and has_extended_xmp(picture)
    follows = kept_trailer(picture, format_name)

    def goes(space: str, name: str, value: str) -> bool:
        if space in _GAIN_MAPS or (name == "provenance" and "self#jumbf" in value):
            return True
        if name == "Thumbnails":
            return not shows_as_read(picture)
        if name == "HasExtendedXMP":
            return not extended
        if name.startswith(("MotionPhoto", "MicroVideo")):
            return b"ftyp" not in follows
        return name == "Directory" and space == _CONTAINER and not follows

    return _without(xmp, goes, _primary_has_no_length)


def _with_size(xmp: bytes, width: int, height: int) -> bytes:
    """The packet with this size, where it tells one; no other byte changes."""
    return _SIZE.sub(
        lambda found: found[1] + b"%d" % (width if found[2] == b"X" or found[3] == b"Width" else height), xmp
    )


def without_pictures(xmp: bytes) -> bytes:
    """The packet without its entries (Container:Directory) for pictures after the first one of the file."""
    return _without(xmp, lambda space, name, value: False, _drop_pictures) if b"ontainer" in xmp else xmp


def has_extended_xmp(picture: Picture) -> bool:
    """Whether the JPEG that the picture was read from has extended XMP (XMP specification, part 3, 1.1.3.1)."""
    return picture.jpeg is not None and any(
        payload.startswith(EXTENDED_XMP_MARK) for _, payload in picture.jpeg.segments
    )


def shows_as_read(picture: Picture) -> bool:
    """Whether a thumbnail in the file that the picture was read from still is that of the picture."""
    return picture.encoded is not None and picture.orientation == 1


def kept_trailer(picture: Picture, format_name: str) -> bytes:
    """What follows the picture's end in a file of this format: the trailer that it was read with, or b""."""
    return picture.trailer if picture.format == format_name else b""


def claims_video(picture: Picture) -> bool:
    """Whether the trailer is the video of a motion photo."""
    head, xmp = picture.trailer[:4096], picture.xmp or b""
    return b"ftyp" in head or (b"ftyp" in picture.trailer and (b"MotionPhoto" in xmp or b"MicroVideo" in xmp))


def _without(xmp: bytes, goes: _Named, change: Callable[[Element], bool]) -> bytes:
    """The packet without the properties that go, its directory changed by `change`; the same bytes if nothing is."""

    def apply(element: Element, spaces: Spaces) -> bool:
        changed = False
        for attribute in list(element.attributes.values()):
            declared = attribute.name.startswith("xmlns:")
            if (declared and attribute.value in _GAIN_MAPS and goes(attribute.value, "", "")) or (
                not declared and goes(*split(attribute.name, spaces), attribute.value)
            ):
                remove(attribute)
                changed = True
        space, name = split(element.tagName, spaces)
        if goes(space, name, text_of(element)):
            remove(element)
            return True
        if name == "Directory" and space == _CONTAINER:
            return change(element) or changed
        return changed

    return edited(xmp, apply)


def _items(directory: Element) -> list[Element]:
    return [element for element in elements(directory) if local_name(element.tagName) == "li"]


def _drop(found: Properties, *names: str) -> bool:
    nodes = [node for name in names for node in found.get(name, [])]
    for node in nodes:
        remove(node)
    return bool(nodes)


def _primary_has_no_length(directory: Element) -> bool:
    """The first picture is written with another length, which need not be told."""
    items = [properties_in(item) for item in _items(directory)]
    dropped = [_drop(item, "Length") for item in items if value_in(item, "Semantic") == "Primary"]
    return any(dropped)


def _drop_pictures(directory: Element) -> bool:
    left = 0
    for item in _items(directory):
        found = properties_in(item)
        if value_in(found, "Semantic") == "Primary":
            _drop(found, "Length", "Padding")  # the padding was before the second picture
        elif value_in(found, "Mime").startswith("image/") or value_in(found, "Semantic") == "GainMap":
            remove(item)
        else:
            left += 1
    if not left:
        remove(directory)
    return True
