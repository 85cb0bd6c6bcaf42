"""Small helpers for messages to users."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable


def did_you_mean(text: str, known: Iterable[str]) -> str:
    """A sentence that suggests the word of `known` most similar to `text`, after a space; "" if none is similar."""
    near = difflib.get_close_matches(text.strip().lower(), list(known), n=1, cutoff=0.6)
    return f" Did you mean {near[0]}?" if near else ""


def pip_install(*arguments: str) -> str:
    """The command that installs packages into the Python that runs this program.

    A plain `pip` often belongs to another Python than a WebUI's, or than that of an environment that is not activated.

    Args:
        arguments: those after `pip install`: packages and options.
    """
    python = sys.executable or "python"
    return " ".join([f'"{python}"' if " " in python else python, "-m pip install", *arguments])


def with_article(noun: str) -> str:
    """The noun after "a" or "an"."""
    return f"{'an' if noun.startswith(tuple('aeiou')) else 'a'} {noun}"


def shown(value: object) -> str:
    """The value's `repr`, cut to 80 characters."""
    try:
        text = repr(value)
    except ValueError:  # an int with too many digits to print
        text = "a number that long"
    return text if len(text) <= 80 else text[:77] + "..."
