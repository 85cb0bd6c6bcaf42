"""Help and messages in the words of the page: options by their labels, in place of the names that programs use."""

from __future__ import annotations

import re

from ..options.spec import OptionSpec
from ..options.table import TABLE

_HELP = {
    "model": "The network that restores the faces. auto takes the best installed one.",
    "keep": "Parts of the face that are not changed.",
    "grain": "How much of the picture's grain the face gets, from 0 to 1. auto gives it the grain of film, print and "
    "scans, but not the noise of a camera; clean pictures get none.",
}
"""Where the table's help is about text that a program or a command gives, or longer than a label's help can be."""

_LABELS = {spec.name: spec.label for spec in TABLE}
_UNMISTAKABLE = re.compile(rf"\b(?:{'|'.join(name for name in _LABELS if '_' in name)})\b")
_LEADING = re.compile(rf"^(?:{'|'.join(_LABELS)})(?=: )")


def help_of(spec: OptionSpec) -> str:
    """What the page says of an option, under its label or on hover."""
    return _HELP.get(spec.name, spec.help)


def in_page_words(message: str) -> str:
    """The message with an option's label wherever its name stands: at the beginning before a colon, and, for names that
    are no words, such as max_face, anywhere."""

    def label(found: re.Match[str]) -> str:
        return _LABELS[found[0]]

    return _UNMISTAKABLE.sub(label, _LEADING.sub(label, message))
