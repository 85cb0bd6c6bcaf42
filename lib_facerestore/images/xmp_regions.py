"""Regions of faces in XMP (Metadata Working Group, "mwg-rs"): they are turned and mirrored with the picture.

They count from the corner of the picture as it is stored, in fractions of its sides.
"""

from __future__ import annotations

from xml.dom.minidom import Attr, Element

from .xmp_edit import Properties, Spaces, edited, local_name, properties_in, text_of, value_in

_AREA = b"sType/Area#"  # end of the namespace of stArea


def turned_regions(xmp: bytes, orientation: int) -> bytes:
    """The packet with its regions as they are after `metadata.upright`; the same bytes if it has none.

    Args:
        xmp: the packet.
        orientation: EXIF orientation that was applied to the picture, 1 to 8.
    """
    if orientation == 1 or _AREA not in xmp:
        return xmp

    def turn(element: Element, _: Spaces) -> bool:
        found = properties_in(element)
        if local_name(element.tagName) == "AppliedToDimensions":
            return orientation > 4 and _swap(found, "w", "h")
        return local_name(element.tagName) == "Area" and _turn(found, orientation)

    return edited(xmp, turn)


def _turn(area: Properties, orientation: int) -> bool:
    """Turn the middle (x, y) of an area and its sides (w, h)."""
    if value_in(area, "unit") not in ("normalized", ""):
        return False
    try:
        x, y = float(value_in(area, "x")), float(value_in(area, "y"))
    except ValueError:
        return False
    if orientation > 4:
        x, y = y, x
        _swap(area, "w", "h")
    _set(area["x"][0], f"{1 - x if orientation in (2, 3, 6, 7) else x:.6g}")
    _set(area["y"][0], f"{1 - y if orientation in (3, 4, 7, 8) else y:.6g}")
    return True


def _swap(found: Properties, one: str, other: str) -> bool:
    if not (found.get(one) and found.get(other)):
        return False
    first, second = value_in(found, one), value_in(found, other)
    _set(found[one][0], second)
    _set(found[other][0], first)
    return True


def _set(node: Attr | Element, value: str) -> None:
    if isinstance(node, Attr):
        node.value = value
    elif text_of(node):
        node.firstChild.data = value  # type: ignore[union-attr]
