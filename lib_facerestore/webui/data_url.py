"""Files as base64 text, plain or as a data URL: how pictures come from the page and from programs, and go back."""

from __future__ import annotations

import base64
import binascii
import re

from ..errors import InputError

_HEAD = re.compile(r"\s*data:([\w.+ /-]*)(?:;[\w.+=-]+)*;base64,", re.ASCII | re.IGNORECASE)
_LONGEST_HEAD = 200
_BREAKS = re.compile(r"[^\S ]+")
_URL_SAFE = str.maketrans("-_", "+/")


def media_type(text: str) -> str:
    """The media type in a data URL's head, in small letters, e.g. "image/png"; "" where the text has no such head."""
    head = _HEAD.match(text[:_LONGEST_HEAD])
    return head[1].replace(" ", "+").lower() if head else ""


def decode(text: str, name: str) -> bytes:
    """The bytes that base64 text stands for, with or without a data URL's head.

    Line breaks, - and _ in place of + and /, and blanks in place of + (forms decode it so) are accepted. InputError,
    which begins with `name`, for other text.
    """
    head = _HEAD.match(text[:_LONGEST_HEAD])
    body = text[head.end() :] if head else text
    try:
        return base64.b64decode(_without_blanks(body).translate(_URL_SAFE), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError(f"{name}: is not valid base64 ({error}); send a picture file's bytes as base64.") from error


def _without_blanks(body: str) -> str:
    """The text without line breaks; blanks are pluses that a form has decoded, unless they stand for line breaks.

    Base64 has a multiple of four characters, and lines have the same length each: by that the two are told apart.
    """
    text = _BREAKS.sub("", body).lstrip(" ")
    pieces = text.rstrip(" ").split(" ")
    joined, with_pluses = "".join(pieces), "+".join(pieces)
    lengths = {len(piece) for piece in pieces[:-1]}
    lines = len(lengths) == 1 and not lengths.pop() % 4 and not len(joined) % 4
    with_pluses += "+" * min(-len(with_pluses) % 4, len(text) - len(text.rstrip(" ")))
    return joined if lines or len(with_pluses) % 4 else with_pluses


def encode(data: bytes, media_type: str = "") -> str:
    """The bytes as base64 text, as a data URL where a media type is given."""
    text = base64.b64encode(data).decode("ascii")
    return f"data:{media_type};base64,{text}" if media_type else text
