"""The words of the page: the one table of labels, help, and messages in which options have their labels, in place of
the names that programs use. The accordion, Extras, the Settings and the axes of plots take their words from here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from ..options.spec import OptionSpec
from ..options.table import TABLE

LABELS: Mapping[str, str] = MappingProxyType(
    {
        **{spec.name: spec.label for spec in TABLE},
        "enabled": "Enabled",
        "stage": "When",
        "save_before": "Save the picture before restoration",
        "overrides": "Options of single faces",
    }
)
"""The label of every argument (`request.ARGUMENTS`), wherever it is shown. The WebUI saves defaults under them."""

DEFAULT_MODEL = f"Default {LABELS['model'].lower()}"
"""The label of the setting that says which model auto is."""
COMPARE = "before / after"
"""What the panel below the gallery is called; its script has the same words."""

_MODEL, _AUTO = "network that restores the faces", "auto takes the best installed one."
DEFAULT_MODEL_HELP = f"the {_MODEL} where {LABELS['model']} is auto, also in the API and in Face restoration; {_AUTO}"

_HELP = {
    "model": f"The {_MODEL}. {_AUTO}",
    "keep": "Parts of the face that are not changed.",
    "grain": "How much of the picture's grain the face gets, from 0 to 1. auto gives it the grain of film, print and "
    "scans, but not the noise of a camera; clean pictures get none.",
}
"""Where the table's help is about text that a program or a command gives, or longer than a label's help can be."""

_UNMISTAKABLE = re.compile(rf"\b(?:{'|'.join(name for name in LABELS if '_' in name)})\b")
_LEADING = re.compile(rf"^(?:{'|'.join(LABELS)})(?=: )")


def help_of(spec: OptionSpec) -> str:
    """What the page says of an option, under its label or on hover."""
    return _HELP.get(spec.name, spec.help)


def in_page_words(message: str) -> str:
    """The message with an option's label wherever its name stands: at the beginning before a colon, and, for names that
    are no words, such as max_face, anywhere."""

    def label(found: re.Match[str]) -> str:
        return LABELS[found[0]]

    return _UNMISTAKABLE.sub(label, _LEADING.sub(label, message))
