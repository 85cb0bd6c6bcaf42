"""`Options`, which holds a valid value of every option, and `TABLE`, which describes all options.

Each field of `Options` is a row of the table. Its name, type, default, label, help, range and infotext key are defined
here only. User interface, API, command line, infotext and X/Y/Z axes are all made from `TABLE`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, TypeVar, cast, get_args, get_type_hints

from ..errors import OptionError
from ..wording import did_you_mean, shown
from .spec import EVERYWHERE, OUTSIDE_WEBUI, Kind, OptionSpec, Scope, Value

DetectorName = Literal["auto", "retinaface-resnet50", "retinaface-mobilenet", "yunet", "lite"]
FacesWord = Literal["all", "none", "largest"]
Order = Literal["left-right", "top-bottom", "large-small", "confidence"]
MaskKind = Literal["parsing", "ellipse", "box"]
Part = Literal["eyes", "mouth", "teeth", "glasses", "hair"]
ColorMode = Literal["match", "none"]
Auto = Literal["auto"]
Precision = Literal["auto", "float32", "bfloat16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
"""Precisions that networks run with: a setting of `FaceRestorer` and of the WebUI, not an option in the table."""

T = TypeVar("T")
_ROW = "option"


def _option(
    default: T,
    label: str,
    infotext: str,
    help: str,
    *,
    kind: Kind | None = None,
    choices: tuple[str, ...] = (),
    minimum: float | None = None,
    maximum: float | None = None,
    step: float | None = None,
    scope: frozenset[Scope] = EVERYWHERE,
    per_face: bool = False,
) -> T:
    """Define a field of `Options`. By default its type decides its kind: a Literal is a "choice", str is "text"."""
    row = {
        "default": default, "label": label, "infotext": infotext, "help": help, "kind": kind, "choices": choices,
        "minimum": minimum, "maximum": maximum, "step": step, "scope": scope, "per_face": per_face,
    }  # fmt: skip
    return cast("T", dataclasses.field(default=default, metadata={_ROW: row}))


def _share(
    default: float, label: str, infotext: str, help: str, *, maximum: float = 1.0, per_face: bool = False
) -> float:
    return _option(default, label, infotext, help, minimum=0.0, maximum=maximum, step=0.01, per_face=per_face)


def _count(default: int, label: str, infotext: str, help: str) -> int:
    return _option(default, label, infotext, help, minimum=0, step=1)


class _KnownNames:
    """Base of `Options` that refuses unknown names before the constructor does, whose TypeError suggests nothing.

    It is a class of its own so that type checkers and `help` show the constructor's signature, not this one.
    """

    def __new__(cls: type[T], *_: object, **values: object) -> T:
        for name in values:
            spec_for(name)
        return object.__new__(cls)


@dataclass(frozen=True)
class Options(_KnownNames):
    """A valid value of every option.

    Values are checked and brought into canonical form (`faces="3, 1-2"` becomes "1,2,3"), so equal settings compare and
    hash as equal. Numbers may be text, as everywhere. `TABLE` describes the options.

    Raises:
        OptionError: a name is unknown; or a value is not allowed: names the option, the value and the allowed values.
    """

    # fmt: off
    model: str = _option(
        "auto", "Model", "Face restore model",
        "The network that restores the faces: a model id or the name of a file in the model folder. auto takes "
        "the best installed one.",
        per_face=True,
    )
    fidelity: float = _share(
        0.5, "Fidelity (CodeFormer weight)", "Face restore fidelity",
        "0 gives the cleanest face, 1 stays closest to the input. Only some models have it, such as CodeFormer.",
        per_face=True,
    )
    visibility: float = _share(
        1.0, "Visibility", "Face restore visibility",
        "Opacity of the restored face over the original: 0 leaves the picture unchanged, 1 shows only the restored "
        "face.",
        per_face=True,
    )
    detector: DetectorName = _option(  # noqa: RUF009
        "auto", "Detector", "Face restore detector",
        "The network that finds the faces. auto takes the best installed one.",
    )
    confidence: float = _share(
        0.5, "Confidence", "Face restore confidence",
        "Least score of a face: a higher value finds fewer, but more certain faces.",
    )
    faces: str = _option(
        "all", "Faces", "Face restore faces",
        "Which faces to restore: all, none, largest, or their numbers, such as 1,3 or 2-4.",
        kind="faces", choices=get_args(FacesWord),
    )
    order: Order = _option(  # noqa: RUF009
        "left-right", "Order", "Face restore order",
        "How the faces are numbered: by position, by size (the largest first), or by score (the highest first).",
    )
    max_faces: int = _count(
        0, "Most faces", "Face restore max faces",
        "Restore at most this many faces, the largest first. 0 means no limit.",
    )
    min_face: int = _count(
        0, "Smallest face", "Face restore min face",
        "Skip faces whose longer side is below this many pixels. 0 means no limit.",
    )
    max_face: int = _count(
        0, "Largest face", "Face restore max face",
        "Skip faces whose longer side is above this many pixels, because they are sharp already. 0 means no limit.",
    )
    mask: MaskKind = _option(  # noqa: RUF009
        "parsing", "Mask", "Face restore mask",
        "Which pixels are replaced: parsing follows the outline of the face, ellipse and box are simple shapes.",
        per_face=True,
    )
    mask_feather: float = _share(
        0.1, "Mask feather", "Face restore mask feather",
        "Width of the soft edge around the restored face, as a fraction of the face's side.",
        maximum=0.5, per_face=True,
    )
    keep: str = _option(
        "none", "Keep", "Face restore keep",
        "Parts of the face that are not changed: none, or a list such as eyes,glasses.",
        kind="flags", choices=get_args(Part), per_face=True,
    )
    color: ColorMode = _option(  # noqa: RUF009
        "match", "Color", "Face restore color",
        "match gives the restored face the colors of the original, none keeps the colors of the model.",
        per_face=True,
    )
    detail: float = _share(
        0.0, "Original detail", "Face restore detail",
        "How much of the original's fine detail is kept. Useful for large faces that are already sharp.",
        per_face=True,
    )
    grain: float | Auto = _option(  # noqa: RUF009
        "auto", "Grain", "Face restore grain",
        "How much of the picture's grain the face gets, so that it is not smoother than its surroundings: a number, or "
        "auto. auto gives it the grain of film, print and scans, which belongs to the picture, but not the fine noise "
        "of a camera or JPEG blocks, which restoring removes; clean pictures get none.",
        kind="number", choices=get_args(Auto), minimum=0.0, maximum=1.0, step=0.05, per_face=True,
    )
    upscale: float = _option(
        1.0, "Upscale", "Face restore upscale",
        "Enlargement of the result's width and height. 1 keeps the size.",
        minimum=1.0, maximum=8.0, step=0.5, scope=OUTSIDE_WEBUI,
    )
    upscaler: str = _option(
        "none", "Upscaler", "Face restore upscaler",
        "The model that enlarges the background if upscale is above 1. none resizes without a model.",
        scope=OUTSIDE_WEBUI,
    )
    # fmt: on

    def __post_init__(self) -> None:
        for spec in TABLE:
            object.__setattr__(self, spec.name, spec.check(getattr(self, spec.name)))
        if self.max_face and self.min_face > self.max_face:
            raise OptionError(
                f"min_face: {self.min_face} is above max_face {self.max_face}, so no face could be restored; "
                "lower min_face, or set max_face to 0 for no limit."
            )

    @property
    def face_numbers(self) -> tuple[int, ...]:
        """The numbers in `faces`, ascending; empty for a word."""
        return () if self.faces in get_args(FacesWord) else tuple(map(int, self.faces.split(",")))

    @property
    def keep_parts(self) -> tuple[Part, ...]:
        """The parts in `keep`, in table order; empty for "none"."""
        return () if self.keep == "none" else cast("tuple[Part, ...]", tuple(self.keep.split(",")))

    @classmethod
    def from_mapping(cls, values: Mapping[str, object]) -> Options:
        """Make Options of names and values from JSON, form fields or arguments, as `OptionSpec.parse` reads them.

        Missing options, and those that are None, get their defaults.

        Raises:
            OptionError: a name is unknown, or a value is not allowed.
        """
        if not isinstance(values, Mapping):
            raise OptionError(f'options: {shown(values)} is not a table such as {{"visibility": 0.5}}.')
        return cls(**{name: spec_for(name).parse(value) for name, value in values.items()})  # type: ignore[arg-type]

    def to_dict(self) -> dict[str, Value]:
        """All values by name, in table order."""
        return {spec.name: getattr(self, spec.name) for spec in TABLE}

    def replace(self, **changes: Value) -> Options:
        """A copy with changed values. Raises OptionError if a name is unknown or a value is not allowed."""
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]


def _rows() -> Iterator[OptionSpec]:
    """The rows of the fields, in order."""
    types = get_type_hints(Options)
    kinds: dict[object, Kind] = {float: "float", int: "int", str: "text"}
    for field in dataclasses.fields(Options):
        row = dict(field.metadata[_ROW])
        words = get_args(types[field.name])
        row["kind"] = row["kind"] or ("choice" if words else kinds[types[field.name]])
        row["choices"] = row["choices"] or words
        yield OptionSpec(name=field.name, **row)


TABLE: tuple[OptionSpec, ...] = tuple(_rows())

PER_FACE: tuple[str, ...] = tuple(spec.name for spec in TABLE if spec.per_face)
"""Names of the options that can be set for a single face; see the module `per_face`."""

SPECS: Mapping[str, OptionSpec] = MappingProxyType({spec.name: spec for spec in TABLE})


def spec_for(name: str) -> OptionSpec:
    """The option called `name`. Raises OptionError with the most similar name if there is none."""
    if isinstance(name, str) and name in SPECS:
        return SPECS[name]
    raise OptionError(
        f"There is no option {shown(name)}.{did_you_mean(str(name), SPECS)} The options are {', '.join(SPECS)}."
    )


def specs_in(scope: Scope) -> tuple[OptionSpec, ...]:
    """The options of one interface, in table order."""
    return tuple(spec for spec in TABLE if scope in spec.scope)
