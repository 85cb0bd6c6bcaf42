"""Overrides: options of single faces, and their conversion from and to JSON.

A plan maps a face's number to its options (those in `table.PER_FACE`) and "skip", which leaves the face alone:
`{2: {"model": "codeformer", "fidelity": 0.9}, 3: {"skip": True}}`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from ..errors import InputError, OptionError
from ..wording import did_you_mean, shown
from .spec import LARGEST_FACE_NUMBER, Value, finite_number, read_switch
from .table import PER_FACE, Options, spec_for

SKIP = "skip"
Overrides: TypeAlias = dict[int, dict[str, Value]]
OverridesLike: TypeAlias = Mapping[int, Mapping[str, Value]] | Mapping[str, Mapping[str, Value]]
"""What callers may pass as `Overrides`: numbers may be text, as in JSON."""


def check_overrides(plan: object) -> Overrides:
    """Check a plan and bring it into canonical form.

    Args:
        plan: a plan, as `OverridesLike`.

    Returns:
        The plan with whole numbers as keys, ascending, and canonical values; without faces that have no changes.

    Raises:
        OptionError: the plan is not valid; names the face and the option.
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


def check_plans(overrides: Sequence[OverridesLike] | None, pictures: int) -> list[Overrides]:
    """Check the plans of a number of pictures, one for each; None means none for any.

    Raises:
        InputError: their number is not that of the pictures.
        OptionError: a plan is not valid.
    """
    if overrides is None:
        return [{} for _ in range(pictures)]
    if len(overrides) != pictures:
        raise InputError(f"overrides: {len(overrides)} for {pictures} pictures; give one for each, {{}} for none.")
    return [check_overrides(plan) for plan in overrides]


def parse_overrides(text: str) -> Overrides:
    """Read a plan from JSON; empty text is an empty plan. Raises OptionError."""
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
    """Write a plan as one line of JSON, which `parse_overrides` reads; "" for an empty plan."""
    return json.dumps({str(number): dict(changes) for number, changes in plan.items()}, allow_nan=False) if plan else ""


def for_face(options: Options, changes: Mapping[str, Value]) -> Options:
    """`options` with the changes of one face; the caller handles "skip"."""
    return options.replace(**{name: value for name, value in changes.items() if name != SKIP})


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """A JSON object. Raises ValueError if a name occurs twice in it."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice in one table")
    return found


def _number(key: object) -> int:
    """The number of a face: a whole number of any type (3.0 and NumPy's too), or text."""
    text = key.strip() if isinstance(key, str) else ""
    number = finite_number(int(text) if text.isascii() and text.isdigit() and len(text) < 10 else key)
    if number is None or not number.is_integer() or not 1 <= number <= LARGEST_FACE_NUMBER:
        raise OptionError(f"overrides: {shown(key)} is not a face number; give a whole number from 1.")
    return int(number)


def _change(number: int, name: object, value: object) -> dict[str, Value]:
    if value is None and (name == SKIP or name in PER_FACE):
        return {}  # as if it were absent: the face has the options of all
    if name == SKIP:
        skip = read_switch(value)
        if skip is None:
            raise OptionError(f"overrides: face {number}, skip: {shown(value)} is not allowed; give true or false.")
        return {SKIP: True} if skip else {}
    if not isinstance(name, str) or name not in PER_FACE:
        allowed = (*PER_FACE, SKIP)
        near = did_you_mean(str(name), allowed)
        raise OptionError(
            f"overrides: face {number}: {shown(name)} cannot be set for a single face.{near} "
            f"Possible are {', '.join(allowed)}."
        )
    try:
        return {name: spec_for(name).parse(value)}
    except OptionError as error:
        raise OptionError(f"overrides: face {number}, {error}") from error
