"""Editing of XMP packets as XML, prefixes and all: what is not edited stays as it was written.

A packet that is no XML is not changed, since no reader of XMP can read it; nor is one of enormous size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias
from xml.dom import expatbuilder
from xml.dom.minidom import Attr, Document, Element, Node
from xml.parsers.expat import ExpatError

Spaces: TypeAlias = dict[str, str]
"""The namespaces of the prefixes."""
_MOST_TAGS = 100_000
"""Angle brackets or equal signs in a packet that is edited: the parsed one takes about 1 KB of memory for each."""
Properties: TypeAlias = dict[str, list[Attr | Element]]
"""Attributes and elements by their names without the prefix."""


def edited(xmp: bytes, change: Callable[[Element, Spaces], bool]) -> bytes:
    """The packet after `change` was called for each of its elements; the same bytes if it never returned true."""
    if b"<!DOCTYPE" in xmp.replace(b"\0", b""):  # in UTF-16 too: it may define entities without end
        return xmp
    if max(xmp.count(b"<"), xmp.count(b"=")) > _MOST_TAGS:
        return xmp
    try:
        document = expatbuilder.parseString(xmp.strip(b"\0"), namespaces=False)
        spaces = _namespaces(document)
        changes = [change(element, spaces) for element in list(elements(document))]
        if not any(changes):
            return xmp
        return "\n".join(node.toxml() for node in document.childNodes).encode("utf-8", "replace")
    except (ExpatError, ValueError, LookupError, RecursionError):
        return xmp


def _namespaces(document: Document) -> Spaces:
    found: Spaces = {}
    for element in elements(document):
        for attribute in element.attributes.values():
            if attribute.name.startswith("xmlns:"):
                found[attribute.name[6:]] = attribute.value
    return found


def elements(node: Node) -> Iterator[Element]:
    """All elements inside a node."""
    yield from node.getElementsByTagName("*")  # type: ignore[attr-defined]


def split(name: str, spaces: Spaces) -> tuple[str, str]:
    """The namespace of a name ("" if its prefix has none), and the name without the prefix."""
    prefix, _, local = name.rpartition(":")
    return spaces.get(prefix, ""), local


def local_name(name: str) -> str:
    return name.rpartition(":")[2]


def text_of(node: Attr | Element) -> str:
    """The value of an attribute, or the text directly in an element, without spaces around it."""
    if isinstance(node, Attr):
        return str(node.value).strip()
    return "".join(child.data for child in node.childNodes if child.nodeType == Node.TEXT_NODE).strip()


def remove(node: Attr | Element) -> None:
    if isinstance(node, Attr):
        if node.ownerElement is not None:
            node.ownerElement.removeAttribute(node.name)
    elif node.parentNode is not None:
        node.parentNode.removeChild(node)


def properties_in(element: Element) -> Properties:
    """The attributes of an element and of all inside it, and these elements."""
    found: Properties = {}
    for one in (element, *elements(element)):
        found.setdefault(local_name(one.tagName), []).append(one)
        for attribute in one.attributes.values():
            found.setdefault(local_name(attribute.name), []).append(attribute)
    return found


def value_in(found: Properties, name: str) -> str:
    """The value of the first property of this name; "" if there is none."""
    return text_of(found[name][0]) if found.get(name) else ""
