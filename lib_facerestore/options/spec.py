"""`OptionSpec`: the description of one option, which also checks its values and brings them into canonical form."""

from __future__ import annotations

import math
import numbers
import re
import unicodedata
from dataclasses import dataclass
from typing import Literal, get_args

from ..errors import OptionError
from ..wording import did_you_mean, shown

Kind = Literal["choice", "text", "float", "int", "number", "flags", "faces"]
Scope = Literal["cli", "webui"]
Value = str | int | float

EVERYWHERE: frozenset[Scope] = frozenset(get_args(Scope))
OUTSIDE_WEBUI: frozenset[Scope] = EVERYWHERE - {"webui"}
LARGEST_INT = 1_000_000  # for whole numbers whose OptionSpec has no maximum
LARGEST_FACE_NUMBER = 9_999

_TRUE, _FALSE = ("true", "1", "1.0", "yes", "on"), ("false", "0", "0.0", "no", "off", "")
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_FACE_ITEM = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?", re.ASCII)


@dataclass(frozen=True)
class OptionSpec:
    """One row of the table: everything that an interface needs to show, explain, check and store an option.

    Attributes:
        name: name in the library, the API and the command line.
        label: short name in user interfaces.
        kind: kind of its values; a "number" is a float or one of the choices.
        default: default value.
        help: explanation for users.
        infotext: key in the infotext of pictures.
        choices: allowed words of a "choice", "number" or "faces", or parts of "flags"; else empty.
        minimum: smallest number allowed.
        maximum: largest number allowed. None means no natural limit, so that a number box is better than a slider.
        step: step of a slider.
        scope: interfaces that offer the option; the library has all options.
        per_face: whether the option can be set for a single face.
    """

    name: str
    label: str
    kind: Kind
    default: Value
    help: str
    infotext: str
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    scope: frozenset[Scope] = EVERYWHERE
    per_face: bool = False

    @property
    def allowed(self) -> str:
        """The allowed values, as words that follow "give": "a number from 0 to 1", "one of parsing, ellipse, box"."""
        if self.kind == "choice":
            return f"one of {', '.join(self.choices)}"
        if self.kind == "text":
            return "a name on one line (not empty)"
        if self.kind == "flags":
            return f"none or a list of {', '.join(self.choices)}"
        if self.kind == "faces":
            return f"{', '.join(self.choices)}, or face numbers from 1 to {LARGEST_FACE_NUMBER} such as 1,3 or 2-4"
        low, high = self._limits()
        if self.kind == "number":
            return f"{' or '.join(self.choices)}, or a number from {low:.12g} to {high:.12g}"
        return f"{'a whole number' if self.kind == 'int' else 'a number'} from {low:.12g} to {high:.12g}"

    def check(self, value: object) -> Value:
        """Check a value and return it in canonical form.

        Numbers must be finite and may be text (" 0.5 "), so that every interface takes the same values; True and False
        are no numbers. A whole number may be a float (3.0, as the WebUI sends it). Words may have any case and blanks
        around them. "flags" and "faces" also take a list, tuple, set or NumPy array, e.g. ["eyes", "mouth"] or [1, 3].

        Raises:
            OptionError: the value is not allowed.
        """
        if self.kind in ("float", "int", "number"):
            return self._check_number_text(value) if isinstance(value, str) else self._check_number(value)
        if self.kind == "flags":
            return self._check_flags(value)
        if self.kind == "faces":
            return self._check_faces(value)
        return self._check_word(value)

    def parse(self, value: object) -> Value:
        """As `check`, for values from interfaces, where None means that there is none: it gives the default."""
        return self.default if value is None else self.check(value)

    def _limits(self) -> tuple[float, float]:
        low = -math.inf if self.minimum is None else self.minimum
        return low, LARGEST_INT if self.maximum is None else self.maximum

    def _error(self, value: object, hint: str = "") -> OptionError:
        return OptionError(f"{self.name}: {shown(value)} is not allowed; give {self.allowed}.{hint}")

    def _check_number_text(self, value: str) -> Value:
        """A number as text, or one of the words of a "number"."""
        text = value.strip()
        if text.lower() in self.choices:
            return text.lower()
        if not _NUMBER.fullmatch(text):
            raise self._error(value, did_you_mean(text, self.choices))
        # Whole numbers stay int, so that an error message shows them as given; very long ones become float.
        return self._check_number(int(text) if text.lstrip("+-").isdigit() and len(text) < 16 else float(text))

    def _check_number(self, value: object) -> Value:
        number = finite_number(value)
        low, high = self._limits()
        if number is None or not low <= number <= high or (self.kind == "int" and not number.is_integer()):
            raise self._error(value)
        return int(number) if self.kind == "int" else number

    def _check_word(self, value: object) -> Value:
        if not isinstance(value, str):
            raise self._error(value)
        text = value.strip()
        if self.kind == "choice":
            if text.lower() not in self.choices:
                raise self._error(value, did_you_mean(text, self.choices))
            return text.lower()
        if not text or any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in text):
            raise self._error(value)
        return self.default if text.lower() == self.default else text

    def _check_flags(self, value: object) -> Value:
        chosen = set()
        for item in _items(value):
            if not isinstance(item, str):
                raise self._error(value)
            chosen.add(item.strip().lower())
        if chosen <= {"none"}:
            return "none"
        for item in sorted(chosen):
            if item == "none":
                raise self._error(value, " none cannot be combined with others.")
            if item not in self.choices:
                raise self._error(value, did_you_mean(item, self.choices))
        return ",".join(part for part in self.choices if part in chosen)

    def _check_faces(self, value: object) -> Value:
        if isinstance(value, str) and value.strip().lower() in self.choices:
            return value.strip().lower()
        found: set[int] = set()
        for item in _items(re.sub(r"\s*-\s*", "-", value) if isinstance(value, str) else value):
            number = finite_number(item)
            text = f"{number:.0f}" if number is not None and number.is_integer() else item
            match = _FACE_ITEM.fullmatch(text.strip()) if isinstance(text, str) else None
            if match is None:
                raise self._error(value, did_you_mean(item, self.choices) if isinstance(item, str) else "")
            first, last = int(match[1]), int(match[2] or match[1])
            if not 1 <= first <= LARGEST_FACE_NUMBER or not 1 <= last <= LARGEST_FACE_NUMBER:
                raise self._error(value)
            if last < first:
                raise self._error(value, f" Did you mean {last}-{first}?")
            found.update(range(first, last + 1))
        if not found:
            raise self._error(value)
        return ",".join(map(str, sorted(found)))


def read_switch(value: object) -> bool | None:
    """The value of a switch: True and False, 1 and 0 (also as floats), words such as "yes". None for anything else."""
    if isinstance(value, str):
        word = value.strip().lower()
        return True if word in _TRUE else False if word in _FALSE else None
    # NumPy's own bool is no number; its class is recognised by its name, so that NumPy need not be loaded.
    is_switch = type(value).__name__ in ("bool", "bool_") or (isinstance(value, numbers.Real) and value in (0, 1))
    return bool(value) if is_switch else None


def finite_number(value: object) -> float | None:
    """A finite real number as a float (never negative zero); None for anything else, including bool."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return None
    try:
        number = float(value) + 0.0
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _items(value: object) -> list[object]:
    """The items of text such as "a, b" (separated by commas or blanks), or of a list, tuple, set or NumPy array; else
    one item."""
    if isinstance(value, str):
        return [item for item in re.split(r"[,\s]+", value) if item]
    if getattr(value, "ndim", 0) == 1 and hasattr(value, "tolist"):
        value = value.tolist()
    return list(value) if isinstance(value, (list, tuple, set, frozenset)) else [value]


def number_choices(spec: OptionSpec) -> list[str]:
    """What the list of an option offers that takes a number or a word: the words, and numbers of its range.

    Any other number can be typed.
    """
    low, high = spec.minimum or 0.0, spec.maximum or 1.0
    return [*spec.choices, *(f"{low + (high - low) * part / 4:g}" for part in range(5))]


def number_text(value: Value) -> str:
    """How such a list shows a value: always text, and whole numbers without ".0"."""
    return str(value).removesuffix(".0")
