"""The one table of options, and `Options`: one complete, valid setting of all of them.

UI, API, command line, infotext and X/Y/Z axes are all made from `TABLE`: an option's name, range, default, label, help
and infotext key stand here and nowhere else. Whatever an `Options` holds is valid and canonical, so no later stage has
to check it again.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, get_args

from ..errors import OptionError
from ..wording import did_you_mean, shown
from .spec import OUTSIDE_WEBUI, OptionSpec, Scope, Value

DetectorName = Literal["auto", "retinaface-resnet50", "retinaface-mobilenet", "yunet", "lite"]
FacesWord = Literal["all", "largest"]
Order = Literal["left-right", "top-bottom", "large-small", "confidence"]
MaskKind = Literal["parsing", "ellipse", "box"]
Part = Literal["eyes", "mouth", "teeth", "glasses", "hair"]
ColorMode = Literal["match", "none"]


def _share(name: str, label: str, default: float, help: str, infotext: str, maximum: float = 1.0) -> OptionSpec:
    return OptionSpec(name, label, "float", default, help, infotext, minimum=0.0, maximum=maximum, step=0.01)


def _count(name: str, label: str, default: int, help: str, infotext: str) -> OptionSpec:
    return OptionSpec(name, label, "int", default, help, infotext, minimum=0, step=1)


def _choice(name: str, label: str, default: str, help: str, infotext: str, vocabulary: Any) -> OptionSpec:
    return OptionSpec(name, label, "choice", default, help, infotext, choices=get_args(vocabulary))


TABLE: tuple[OptionSpec, ...] = (
    OptionSpec(
        "model", "Model", "text", "auto",
        "The network that restores the faces: a model id or the name of a file in the model folder. "
        "auto takes the best one that is installed.",
        "Face restore model",
    ),
    _share(
        "fidelity", "Fidelity (CodeFormer weight)", 0.5,
        "0 gives the cleanest face, 1 stays closest to the input. Only some models have this knob: CodeFormer is one.",
        "Face restore fidelity",
    ),
    _share(
        "visibility", "Visibility", 1.0,
        "How much of the restored face shows over the original: 0 leaves the picture unchanged, 1 shows only the "
        "restored face.",
        "Face restore visibility",
    ),
    _choice(
        "detector", "Detector", "auto",
        "The network that finds the faces. auto takes the best one that is installed.",
        "Face restore detector", DetectorName,
    ),
    _share(
        "confidence", "Confidence", 0.5,
        "How sure the detector must be that something is a face: higher finds fewer, surer faces.",
        "Face restore confidence",
    ),
    OptionSpec(
        "faces", "Faces", "faces", "all",
        "Which faces to restore: all, largest, or their numbers, such as 1,3 or 2-4.",
        "Face restore faces",
        choices=get_args(FacesWord),
    ),
    _choice(
        "order", "Order", "left-right",
        "How the faces are numbered: by place, from the largest to the smallest, or the surest first.",
        "Face restore order", Order,
    ),
    _count(
        "max_faces", "Most faces", 0,
        "Restore at most this many faces, the largest first. 0 means no limit.",
        "Face restore max faces",
    ),
    _count(
        "min_face", "Smallest face", 0,
        "Leave faces alone whose longer side is below this many pixels. 0 means no limit.",
        "Face restore min face",
    ),
    _count(
        "max_face", "Largest face", 0,
        "Leave faces alone whose longer side is above this many pixels, as they are sharp enough already. "
        "0 means no limit.",
        "Face restore max face",
    ),
    _choice(
        "mask", "Mask", "parsing",
        "Which pixels are replaced: parsing follows the face's own outline, ellipse and box are simple shapes.",
        "Face restore mask", MaskKind,
    ),
    _share(
        "mask_feather", "Mask feather", 0.1,
        "How soft the edge between restored face and picture is, as a share of the face's side.",
        "Face restore mask feather", maximum=0.5,
    ),
    OptionSpec(
        "keep", "Keep", "flags", "none",
        "Parts of the face that are left as they were: none, or a list such as eyes,glasses.",
        "Face restore keep",
        choices=get_args(Part),
    ),
    _choice(
        "color", "Color", "match",
        "match gives the restored face the colors of the original, none keeps the colors that the model made.",
        "Face restore color", ColorMode,
    ),
    _share(
        "detail", "Original detail", 0.0,
        "How much of the original's fine detail is kept. Useful for large faces that are already sharp.",
        "Face restore detail",
    ),
    _share(
        "grain", "Grain", 0.0,
        "How much of the picture's own noise is put back, so that the face is not smoother than what surrounds it.",
        "Face restore grain",
    ),
    OptionSpec(
        "upscale", "Upscale", "float", 1.0,
        "How many times wider and higher the result is. 1 keeps the size.",
        "Face restore upscale",
        minimum=1.0, maximum=8.0, step=0.5, scope=OUTSIDE_WEBUI,
    ),
    OptionSpec(
        "upscaler", "Upscaler", "text", "none",
        "The model that enlarges all that is not a face, used when upscale is above 1. none resizes without a model.",
        "Face restore upscaler",
        scope=OUTSIDE_WEBUI,
    ),
)  # fmt: skip

PER_FACE: tuple[str, ...] = (
    "model", "fidelity", "visibility", "mask", "mask_feather", "keep", "color", "detail", "grain",
)  # fmt: skip
"""The options that one face may have a value of its own for; see `overrides`."""

SPECS: Mapping[str, OptionSpec] = MappingProxyType({spec.name: spec for spec in TABLE})


def spec_for(name: str) -> OptionSpec:
    """The row called `name`; OptionError with the nearest name when there is none."""
    if isinstance(name, str) and name in SPECS:
        return SPECS[name]
    raise OptionError(
        f"There is no option {shown(name)}.{did_you_mean(str(name), SPECS)} The options are {', '.join(SPECS)}."
    )


def specs_in(scope: Scope) -> tuple[OptionSpec, ...]:
    """The rows that are offered in `scope`, in table order."""
    return tuple(spec for spec in TABLE if scope in spec.scope)


def _default(name: str) -> Any:
    return SPECS[name].default


@dataclass(frozen=True)
class Options:
    """One valid setting of every option; the meaning and range of each stand in `TABLE`.

    Values are checked and made canonical on construction (`faces="3, 1-2"` becomes "1,2,3"), so equal settings compare
    and hash as equal. Raises OptionError, which names the option, the value and what is allowed.
    """

    model: str = _default("model")
    fidelity: float = _default("fidelity")
    visibility: float = _default("visibility")
    detector: str = _default("detector")
    confidence: float = _default("confidence")
    faces: str = _default("faces")
    order: str = _default("order")
    max_faces: int = _default("max_faces")
    min_face: int = _default("min_face")
    max_face: int = _default("max_face")
    mask: str = _default("mask")
    mask_feather: float = _default("mask_feather")
    keep: str = _default("keep")
    color: str = _default("color")
    detail: float = _default("detail")
    grain: float = _default("grain")
    upscale: float = _default("upscale")
    upscaler: str = _default("upscaler")

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
        """The numbers that `faces` asks for, ascending; empty for "all" and "largest"."""
        return () if self.faces in get_args(FacesWord) else tuple(map(int, self.faces.split(",")))

    @property
    def keep_parts(self) -> tuple[str, ...]:
        """The parts that `keep` names, in table order; empty for "none"."""
        return () if self.keep == "none" else tuple(self.keep.split(","))

    @classmethod
    def from_mapping(cls, values: Mapping[str, object]) -> Options:
        """Options from names and values of any sort (JSON, form fields, arguments), as `OptionSpec.parse` reads them.

        What is absent or None takes its default. Raises OptionError, also for an unknown name.
        """
        return cls(**{name: spec_for(name).parse(value) for name, value in values.items()})  # type: ignore[arg-type]

    @classmethod
    def from_strings(cls, values: Mapping[str, str]) -> Options:
        """The inverse of `to_strings`; absent names take their defaults."""
        return cls.from_mapping(values)

    @classmethod
    def from_json(cls, text: str) -> Options:
        """The inverse of `to_json`; OptionError if `text` is not a JSON object of options."""
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise OptionError(f"Options: {shown(text)} is not valid JSON ({error}).") from error
        if not isinstance(values, dict):
            raise OptionError(f'Options: {shown(text)} is not a JSON object such as {{"model": "auto"}}.')
        return cls.from_mapping(values)

    def to_dict(self) -> dict[str, Value]:
        """Every option by name, in table order."""
        return {spec.name: getattr(self, spec.name) for spec in TABLE}

    def to_strings(self) -> dict[str, str]:
        """Every option as text, for infotext and files; floats are written so that they read back to the same bits."""
        return {name: str(value) for name, value in self.to_dict().items()}

    def to_json(self) -> str:
        """Every option as one line of JSON."""
        return json.dumps(self.to_dict(), allow_nan=False)

    def replace(self, **changes: Value) -> Options:
        """A copy with `changes` made; OptionError for an unknown name (with the nearest known one) or a bad value."""
        for name in changes:
            spec_for(name)
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]
