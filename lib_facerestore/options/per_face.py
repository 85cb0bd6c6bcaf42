"""Per-face overrides: options that the faces of some numbers have of their own, checked, read from JSON and written.

A plan maps a face's number to options of its own (those of `options.PER_FACE`) and "skip":
``{2: {"model": "codeformer", "fidelity": 0.9}, 3: {"skip": True}}``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TypeAlias

from ..errors import OptionError
from ..wording import did_you_mean, shown
from .spec import LARGEST_FACE_NUMBER, Value
from .table import PER_FACE, Options, spec_for

SKIP = "skip"
Overrides: TypeAlias = dict[int, dict[str, Value]]
OverridesLike: TypeAlias = Mapping[int, Mapping[str, Value]] | Mapping[str, Mapping[str, Value]]
"""What may be handed in for `Overrides`: numbers may be text, as JSON has them."""


def check_overrides(plan: object) -> Overrides:
    """The plan in canonical form: whole numbers as keys, in order, checked values; faces without any change left out.

    Numbers may be text, as JSON has them. Raises OptionError that names the face and the option.
    """
    if not isinstance(plan, Mapping):
        raise OptionError(f'overrides: {shown(plan)} is not a table such as {{"2": {{"visibility": 0.5}}}}.')
    found: Overrides = {}
    for key, changes in plan.items():
        number = _number(key)
        if number in found:
            raise OptionError(f"overrides: face {number} is there twice; give each face once.")
        if not isinstance(changes, Mapping):
            raise OptionError(f'overrides: face {number} has {shown(changes)}; give e.g. {{"visibility": 0.5}}.')
        found[number] = {}
        for name, value in changes.items():
            found[number] |= _change(number, name, value)
    return {number: found[number] for number in sorted(found) if found[number]}


def parse_overrides(text: str) -> Overrides:
    """The plan that `text` holds as JSON; empty text is an empty plan. Raises OptionError."""
    if not text.strip():
        return {}
    try:
        plan = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise OptionError(
            f'overrides: {shown(text)} is not valid JSON ({error}); write {{"2": {{"visibility": 0.5}}}}.'
        ) from error
    return check_overrides(plan)


def show_overrides(plan: Mapping[int, Mapping[str, Value]]) -> str:
    """The inverse of `parse_overrides`: one line of JSON, "" for an empty plan."""
    return json.dumps({str(number): dict(changes) for number, changes in plan.items()}, allow_nan=False) if plan else ""


def for_face(options: Options, changes: Mapping[str, Value]) -> Options:
    """`options` with a face's own changes; its "skip" is left to the caller."""
    return options.replace(**{name: value for name, value in changes.items() if name != SKIP})


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """A JSON object, unless a name is in it twice."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is twice in one table")
    return found


def _number(key: object) -> int:
    text = key.strip() if isinstance(key, str) else key
    number = int(text) if isinstance(text, str) and text.isascii() and text.isdigit() and len(text) < 10 else text
    if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= LARGEST_FACE_NUMBER:
        raise OptionError(f"overrides: {shown(key)} is not a face number; give a whole number from 1.")
    return number


def _change(number: int, name: object, value: object) -> dict[str, Value]:
    if name == SKIP:
        if not isinstance(value, bool):
            raise OptionError(f"overrides: face {number}, skip: {shown(value)} is not allowed; give true or false.")
        return {SKIP: True} if value else {}
    if not isinstance(name, str) or name not in PER_FACE:
        allowed = (*PER_FACE, SKIP)
        near = did_you_mean(str(name), allowed)
        raise OptionError(
            f"overrides: face {number} cannot have {shown(name)} of its own.{near} Possible are {', '.join(allowed)}."
        )
    try:
        return {name: spec_for(name).parse(value)}
    except OptionError as error:
        raise OptionError(f"overrides: face {number}, {error}") from error
