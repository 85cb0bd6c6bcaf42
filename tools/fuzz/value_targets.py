"""Targets: options, overrides and infotexts."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

from lib_facerestore.errors import OptionError
from lib_facerestore.options.per_face import check_overrides, parse_overrides, show_overrides
from lib_facerestore.options.table import PER_FACE, SPECS, Options
from lib_facerestore.webui import infotext
from lib_facerestore.webui.request import ARGUMENTS, request_from_args, request_from_values

from .mutation import Source
from .runner import Target

_TEXTS = (
    "lite", "auto", "0.5", "1", "match", "hair,glasses", "1-3,5", "left-to-right", "ellipse", "true", "2x", "none",
    "640x480", "0,5", "１", "1e-3", "gfpgan-1.4", "../x", "C:\\x.pth",
)  # fmt: skip


def noise() -> list[bytes]:
    """A corpus of random bytes, for targets that read values from them; always the same."""
    chance = random.Random(7)
    return [chance.randbytes(length) for length in (16, 48, 128, 400, 1200)]


def _name(source: Source, names: tuple[str, ...]) -> str:
    name = source.one_of(names)
    if source.below(8) == 0:  # misspelt
        at = source.below(len(name))
        name = name[:at] + name[at + 1 :]
    return name


def _value(source: Source, name: str) -> object:
    spec = SPECS.get(name)
    kind = source.below(4)
    if kind == 0 and spec is not None:
        return spec.default
    if kind == 1:
        return source.one_of(_TEXTS)
    return source.value()


def _options(_folder: Path) -> Callable[[bytes], None]:
    names = tuple(SPECS)

    def take(case: bytes) -> None:
        source = Source(case)
        given = {}
        for _ in range(source.below(5)):
            name = _name(source, names)
            given[name] = _value(source, name)
        before = repr(given)
        try:
            options = Options.from_mapping(given)
            assert Options.from_mapping(options.to_dict()) == options == Options(**given)  # type: ignore[arg-type]
            assert Options.from_mapping(json.loads(json.dumps(options.to_dict()))) == options
            assert options.replace(**options.to_dict()) == options and hash(options) == hash(options.replace())
        finally:
            assert repr(given) == before

    return take


def _arguments(_folder: Path) -> Callable[[bytes], None]:
    def take(case: bytes) -> None:
        source = Source(case)
        if source.below(2):
            names = [_name(source, ARGUMENTS) for _ in range(source.below(5))]
            args: list[object] = [{name: _value(source, name) for name in names}]
        else:
            args = [_value(source, name) for name in ARGUMENTS[: source.below(len(ARGUMENTS) + 3)]]
            if args and isinstance(args[0], dict):
                args[0] = True
        request = request_from_args(args)
        assert request.options == Options.from_mapping(request.options.to_dict())

    return take


def _plans() -> list[bytes]:
    plans = [
        {"2": {"visibility": 0.5}, "3": {"skip": True}}, {"1": {"model": "codeformer", "fidelity": 0.9}},
        {str(number): {"mask_feather": 0.05 * number, "color": "match"} for number in range(1, 4)}, {},
    ]  # fmt: skip
    return [json.dumps(plan).encode() for plan in plans]


def _overrides(_folder: Path) -> Callable[[bytes], None]:
    names = (*sorted(PER_FACE), "skip")

    def take(case: bytes) -> None:
        if case[:1] in (b"{", b""):
            plan = parse_overrides(case.decode("utf-8", "replace"))
        else:
            source = Source(case)
            given: dict[object, dict[str, object]] = {}
            for _ in range(source.below(4)):
                chosen = [_name(source, names) for _ in range(source.below(3))]
                key = source.one_of((None, 1.5, -1, "x", 2**70, True)) if source.below(3) == 0 else str(source.below(5))
                given[key] = {name: _value(source, name) for name in chosen}
            plan = check_overrides(given)
        assert parse_overrides(show_overrides(plan)) == plan == check_overrides(plan)

    return take


def _infotexts() -> list[bytes]:
    keys = infotext.KEYS
    lines: list[dict[str, object]] = [
        {keys["model"]: "lite", keys["visibility"]: 1, keys["grain"]: "auto"},
        {keys["model"]: "codeformer", keys["fidelity"]: 0.5, keys["faces"]: '"1,2"', keys["keep"]: '"hair,glasses"'},
        {
            keys["model"]: "lite",
            keys["overrides"]: json.dumps('{"2": {"visibility": 0.5}}'),
            infotext.RESULT: "2 faces",
        },
    ]
    return [", ".join(f"{key}: {value}" for key, value in one.items()).encode() for one in lines]


def _pasted(_folder: Path) -> Callable[[bytes], None]:
    def take(case: bytes) -> None:
        pairs = (part.partition(":") for part in case.decode("utf-8", "replace").split(", "))
        params = {key.strip(): value.strip().strip('"') for key, colon, value in pairs if colon}
        values = {name: infotext.pasted(name, params) for name in ARGUMENTS}
        try:
            request_from_values(values)
        except OptionError as error:
            raise AssertionError(f"a pasted value is not allowed: {error}") from error

    return take


TARGETS = (
    Target("options", "names and values of every type to Options", noise, _options),
    Target("arguments", "the Script's arguments, as a list or a dict", noise, _arguments),
    Target("overrides", "altered JSON, and values of every type, to the plan of single faces",
           lambda: _plans() + noise(), _overrides),
    Target("infotext", "altered infotexts, pasted into the page's controls", _infotexts, _pasted),
)  # fmt: skip
