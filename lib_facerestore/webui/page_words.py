"""Messages in the words of the page: options by their labels there, in place of the names that programs use."""

from __future__ import annotations

import re

from ..options.table import TABLE

_LABELS = {spec.name: spec.label for spec in TABLE}
_UNMISTAKABLE = re.compile(rf"\b(?:{'|'.join(name for name in _LABELS if '_' in name)})\b")
_LEADING = re.compile(rf"^(?:{'|'.join(_LABELS)})(?=: )")


def in_page_words(message: str) -> str:
    """The message with an option's label wherever its name stands: at the beginning before a colon, and, for names that
    are no words, such as max_face, anywhere."""

    def label(found: re.Match[str]) -> str:
        return _LABELS[found[0]]

    return _UNMISTAKABLE.sub(label, _LEADING.sub(label, message))
