"""What an XMP packet says of the file around it, such as a video that follows: removed where it is not true.

A packet that is no XML is not changed, since no reader of XMP can read it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from xml.dom import expatbuilder
from xml.dom.minidom import Attr, Document, Element, Node
from xml.parsers.expat import ExpatError

from .picture import Picture

GAIN_MAP_NAMESPACE = b"hdr-gain-map"
_GAIN_MAPS = ("http://ns.adobe.com/hdr-gain-map/1.0/", "http://ns.apple.com/HDRGainMap/1.0/")
_CONTAINER = "http://ns.google.com/photos/1.0/container/"
_CLAIMS = re.compile(
    rb"hdr-gain-map|HDRGainMap|MotionPhoto|MicroVideo|[Cc]ontainer|HasExtendedXMP|self#jumbf|Thumbnails"
)
_Named = Callable[[str, str, str], bool]
"""Whether a property goes, from its namespace, its name without the prefix, and its value ("" for an element's)."""


def true_xmp(picture: Picture, format_name: str) -> bytes | None:
    """The picture's XMP packet, without what is not true of a file that is written anew in this format.

    These claims go: a gain map, content credentials in the file, and a thumbnail of other pixels; extended XMP, and a
    video or other data after the picture's end, unless they go along.
    """
    xmp = picture.xmp
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

    return _edited(xmp, goes, _primary_has_no_length)


def without_pictures(xmp: bytes) -> bytes:
    """The packet without its entries (Container:Directory) for pictures after the first one of the file."""
    return _edited(xmp, lambda space, name, value: False, _drop_pictures) if b"ontainer" in xmp else xmp


def has_extended_xmp(picture: Picture) -> bool:
    """Whether the JPEG that the picture was read from has extended XMP (XMP specification, part 3, 1.1.3.1)."""
    return picture.jpeg is not None and any(
        b"/xmp/extension/\0" in payload[:40] for _, payload in picture.jpeg.segments
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


def _edited(xmp: bytes, goes: _Named, change: Callable[[Element], bool]) -> bytes:
    """The packet without the properties that go, its directory changed by `change`; the same bytes if nothing is."""
    if b"<!DOCTYPE" in xmp:  # it may define entities without end
        return xmp
    try:
        document = expatbuilder.parseString(xmp.strip(b"\0"), namespaces=False)
        if not _change(document, goes, change):
            return xmp
        return "\n".join(node.toxml() for node in document.childNodes).encode("utf-8", "replace")
    except (ExpatError, ValueError, LookupError, RecursionError):
        return xmp


def _change(document: Document, goes: _Named, change: Callable[[Element], bool]) -> bool:
    """Do to the document what `_edited` does to the packet; returns whether anything changed."""
    spaces = _namespaces(document)
    changed = False
    for element in list(_elements(document)):
        for attribute in list(element.attributes.values()):
            declared = attribute.name.startswith("xmlns:")
            if (declared and attribute.value in _GAIN_MAPS and goes(attribute.value, "", "")) or (
                not declared and goes(*_split(attribute.name, spaces), attribute.value)
            ):
                element.removeAttribute(attribute.name)
                changed = True
        space, name = _split(element.tagName, spaces)
        if goes(space, name, _text(element)):
            _remove(element)
            changed = True
        elif name == "Directory" and space == _CONTAINER:
            changed = change(element) or changed
    return changed


def _namespaces(document: Document) -> dict[str, str]:
    """The namespaces of all prefixes that the packet declares."""
    names: dict[str, str] = {}
    for element in _elements(document):
        for attribute in element.attributes.values():
            if attribute.name.startswith("xmlns:"):
                names[attribute.name[6:]] = attribute.value
    return names


def _split(name: str, spaces: dict[str, str]) -> tuple[str, str]:
    prefix, _, local = name.rpartition(":")
    return spaces.get(prefix, ""), local


def _local(name: str) -> str:
    return name.rpartition(":")[2]


def _elements(node: Node) -> Iterator[Element]:
    yield from node.getElementsByTagName("*")  # type: ignore[attr-defined]


def _text(element: Element) -> str:
    return "".join(node.data for node in element.childNodes if node.nodeType == Node.TEXT_NODE)


def _remove(element: Element) -> None:
    if element.parentNode is not None:
        element.parentNode.removeChild(element)


def _item_values(item: Element) -> dict[str, list[Attr | Element]]:
    """The properties of an entry of a directory by their names without the prefix."""
    values: dict[str, list[Attr | Element]] = {}
    for element in (item, *_elements(item)):
        values.setdefault(_local(element.tagName), []).append(element)
        for attribute in element.attributes.values():
            values.setdefault(_local(attribute.name), []).append(attribute)
    return values


def _value(values: dict[str, list[Attr | Element]], name: str) -> str:
    for node in values.get(name, []):
        return (node.value if isinstance(node, Attr) else _text(node)).strip()
    return ""


def _drop_properties(values: dict[str, list[Attr | Element]], *names: str) -> bool:
    found = [node for name in names for node in values.get(name, [])]
    for node in found:
        if isinstance(node, Attr):
            node.ownerElement.removeAttribute(node.name)  # type: ignore[union-attr]
        else:
            _remove(node)
    return bool(found)


def _items(directory: Element) -> list[Element]:
    return [element for element in _elements(directory) if _local(element.tagName) == "li"]


def _primary_has_no_length(directory: Element) -> bool:
    """The first picture is written with another length, which need not be told."""
    changed = False
    for item in _items(directory):
        values = _item_values(item)
        if _value(values, "Semantic") == "Primary":
            changed = _drop_properties(values, "Length") or changed
    return changed


def _drop_pictures(directory: Element) -> bool:
    left = 0
    for item in _items(directory):
        values = _item_values(item)
        if _value(values, "Semantic") == "Primary":
            _drop_properties(values, "Length", "Padding")  # the padding was before the second picture
        elif _value(values, "Mime").startswith("image/") or _value(values, "Semantic") == "GainMap":
            _remove(item)
        else:
            left += 1
    if not left:
        _remove(directory)
    return True
