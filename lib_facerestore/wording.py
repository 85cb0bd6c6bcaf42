"""Small helpers for messages to users."""

from __future__ import annotations

import difflib
import itertools
import re
import sys
from collections.abc import Collection, Iterable

SIMILAR = 0.6
"""Least similarity of words, 0 to 1 (`difflib`), at which one is suggested for the other."""
_LEAST_BEGINNING = 3
_VERSION = re.compile(r"-[^-]*[0-9].*$")


def did_you_mean(text: str, known: Iterable[str], prefix: str = "") -> str:
    """A sentence that suggests a word of `known` in place of `text`, after a space; "" if none is similar.

    Upper and lower case are the same. If words begin with `text`, the first of them is suggested, else the most similar
    one, and of equal ones the first: so `known` should begin with the most usual word. Where `text` has no digit, the
    versions of one model count as equal: "gfpgann" is as similar to gfpgan-1.4 as to gfpgan-1.

    Args:
        text: what was given.
        known: the words.
        prefix: what is shown before the word, such as "--".
    """
    given, words = text.strip().lower(), list(known)
    begun = [word for word in words if len(given) >= _LEAST_BEGINNING and word.lower().startswith(given)]
    if begun:
        return f" Did you mean {prefix}{begun[0]}?"
    bare = not any(sign.isdigit() for sign in given)
    likeness = [max(_ratio(word, given), _ratio(_VERSION.sub("", word), given) if bare else 0.0) for word in words]
    best = max(likeness, default=0.0)
    return f" Did you mean {prefix}{words[likeness.index(best)]}?" if best >= SIMILAR else ""


def _ratio(word: str, given: str) -> float:
    return difflib.SequenceMatcher(None, word.lower(), given).ratio()


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


def counted(noun: str, names: Collection[str]) -> str:
    """How many there are, and the first of them, e.g. "9 tensors (a, b, c, …)"."""
    first = ", ".join([*itertools.islice(names, 3), *(["…"] if len(names) > 3 else [])])
    return f"{len(names)} {noun}{'' if len(names) == 1 else 's'}{first and f' ({first})'}"


def shown(value: object) -> str:
    """The value's `repr`, cut to 80 characters."""
    try:
        text = repr(value)
    except ValueError:  # an int with too many digits to print
        text = "a number that long"
    return text if len(text) <= 80 else text[:77] + "..."
