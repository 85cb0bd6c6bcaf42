"""The requests and answers of the routes as pydantic models, from which the OpenAPI page is made.

They use only what pydantic 1.10 and 2 both have, but for the types below: class keywords for the configuration, and
`Field(description=…)`. There is no `from __future__ import annotations`, so that pydantic 1 sees the types themselves.
"""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import VERSION, BaseModel, Field, StrictStr

Format = Literal["png", "jpeg", "webp"]
AskedFormat = Literal["png", "jpeg", "jpg", "webp"]
"""What a request may say: jpg means jpeg."""

UPLOAD_FIELDS = ("image", "options", "overrides", "send_images", "format", "quality", "answer")
"""The form fields of restore/upload; detect/upload takes the first two."""

FORMAT = "File format of the pictures that come back; jpg means jpeg."

PICTURE = (
    "a PNG, JPEG, WebP, TIFF, BMP or GIF file as base64, with or without `data:image/…;base64,` in front. "
    "Addresses and paths are not followed."
)


def _whole(value: Any) -> Any:
    """The value, unless it is a switch, of which pydantic would make 1, or a fraction, which pydantic 1 would cut."""
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise ValueError("value is not a valid integer")
    return value


if TYPE_CHECKING or not VERSION.startswith("1."):
    from pydantic import BeforeValidator

    Table = dict[str, Any]
    TableOrNull = dict[str, Any]
    Quality = Annotated[int, Field(ge=1, le=100), BeforeValidator(_whole)]

    class Asked(BaseModel, extra="forbid"):
        """The body of a request."""

else:
    from pydantic import ConstrainedInt

    class Table(dict):
        """A JSON object. Of a dict, pydantic 1 would make one of a list of pairs, too."""

        @classmethod
        def __get_validators__(cls):
            yield cls._check

        @classmethod
        def _check(cls, value):
            if not isinstance(value, dict):
                raise TypeError("value is not a valid dict")
            return value

        @classmethod
        def __modify_schema__(cls, shown):
            shown.update(type="object")

    class TableOrNull(Table):
        """The same as an item of a list, where pydantic 1 takes null, but does not say so."""

        @classmethod
        def __modify_schema__(cls, shown):
            shown.update(type="object", nullable=True)

    class Quality(ConstrainedInt):
        """1 to 100."""

        ge, le = 1, 100

        @classmethod
        def __get_validators__(cls):
            yield _whole
            yield from super().__get_validators__()

    class Asked(BaseModel, extra="forbid"):
        """The body of a request. Of an empty list, or one of pairs, pydantic 1 would make an object, too."""

        @classmethod
        def validate(cls, value):
            if not isinstance(value, (dict, cls)):
                raise TypeError("value is not a valid dict")
            return super().validate(value)


class Error(BaseModel):
    """The body of every answer other than 2xx."""

    detail: str = Field(description="One sentence that names what is wrong and what would be right.")


class DetectRequest(Asked):
    """One picture in which faces are to be found."""

    image: StrictStr = Field(description=f"The picture: {PICTURE}")
    options: Table | None = Field(
        None, description="Options by name, as GET options lists them; what is absent or null takes its default."
    )


class RestoreRequest(Asked):
    """One picture (`image`) or several (`images`), which share batches."""

    image: StrictStr | None = Field(None, description=f"One picture: {PICTURE}")
    images: list[StrictStr] | None = Field(None, description="Several pictures, each as in `image`.")
    options: Table | None = Field(
        None, description="Options by name, as GET options lists them; what is absent or null takes its default."
    )
    overrides: list[TableOrNull | None] | Table | None = Field(
        None,
        description="Options of single faces: face number to options (those marked `per_face`, or `skip`: true). "
        "For `images` a list with one such object, or null, for each picture.",
    )
    send_images: bool | None = Field(True, description="false leaves the pictures out of the answer.")
    format: AskedFormat | None = Field("png", description=FORMAT)
    quality: Quality | None = Field(
        None, description="For JPEG and WebP. Without it 95, or what the picture was stored with."
    )


class DownloadRequest(Asked):
    """Asks for a model's file."""

    accept_licence: bool | None = Field(
        False, description="true says that you have read the model's licence and accept it."
    )
    file: StrictStr | None = Field(None, description="Another of the model's published files; null takes the first.")


class FaceFound(BaseModel):
    """A face, in pixels of the picture as it is viewed (a photograph's orientation is applied first)."""

    number: int = Field(description="What `faces` and `overrides` call it, from 1.")
    box: list[float] = Field(description="x0, y0, x1, y1.")
    landmarks: list[list[float]] = Field(
        description="Five points x, y: eyes, nose tip, mouth corners; of a pair, the one on the image's left first."
    )
    score: float = Field(description="How sure the detector is, 0 to 1.")


class DetectedFace(FaceFound):
    """A face, and whether the options would have it restored."""

    selected: bool = Field(description="Whether `restore` with the same options would restore it.")
    reason: str = Field(description="Why not; empty where it would.")


class DetectAnswer(BaseModel):
    """All faces of a picture, in the order of their numbers."""

    width: int = Field(description="Of the picture, in pixels.")
    height: int
    faces: list[DetectedFace]
    notes: list[str] = Field(
        description="Remarks on the whole picture, e.g. that there is no face, or that small ones may have been missed."
    )
    seconds: float = Field(description="How long it took.")


class RestoredFace(FaceFound):
    """A face, and what was done with it."""

    model: str = Field(description="The model that restored it, or would have.")
    applied: bool = Field(description="Whether the picture was changed.")
    reason: str = Field(description="Why it was left alone, or a remark on how it was restored.")
    timings: dict[str, float] = Field(description="Seconds by stage.")


class RestoredPicture(BaseModel):
    """One picture of the answer."""

    image: str | None = Field(description="The picture as base64; null with `send_images`: false.")
    format: Format = Field(description="Its file format.")
    width: int = Field(description="Of the picture, in pixels.")
    height: int
    changed: bool = Field(description="Whether any face was restored; if not, every pixel is as it came.")
    model: str = Field(description="The model that ran (what `auto` chose, for instance).")
    faces: list[RestoredFace] = Field(description="Every face that was found, in the order of their numbers.")
    notes: list[str] = Field(description="Remarks on the whole picture, e.g. that no face was found.")
    timings: dict[str, float] = Field(description="Seconds by stage.")


class RestoreAnswer(BaseModel):
    """The pictures in the order in which they came."""

    results: list[RestoredPicture]
    restored: int = Field(description="Faces that were restored, in all pictures.")
    skipped: int = Field(description="Faces that were found and left alone.")
    seconds: float = Field(description="How long all of it took, waiting for other jobs included.")


class DownloadState(BaseModel):
    """A download at one moment."""

    id: str = Field(description="The model.")
    file: str = Field(description="Name of the file.")
    state: Literal["none", "waiting", "running", "done", "failed", "cancelled"] = Field(
        description='"none" means that none was asked for since the start.'
    )
    done: int = Field(description="Bytes that have arrived.")
    total: int | None = Field(description="Bytes in all; null while unknown.")
    speed: float = Field(description="Bytes a second.")
    message: str = Field(description="Why it failed, or how the file was checked.")


class ModelInfo(BaseModel):
    """A model of the catalogue, or a restorer of your own in the model folder."""

    id: str = Field(description="What the option `model` takes.")
    kind: Literal["restorer", "detector", "parser", "upscaler"]
    family: str = Field(description="Its architecture.")
    size: int | None = Field(description="Side of its crop in pixels; null where any size will do.")
    installed: bool
    fault: str | None = Field(
        description="What is wrong with a file that has its name: damaged, unreadable or another file; else null."
    )
    file: str = Field(description="Name of its file.")
    wanted: list[str] = Field(description="Every name that its file may have, the usual one first.")
    bytes: int | None = Field(description="Size of the file; null where it is not published.")
    bytes_about: int | None = Field(description="Roughly its size, from its tensors, where it is not published.")
    knobs: list[str] = Field(description='Options that only some models have, e.g. "fidelity".')
    good_for: str
    licence: str
    licence_note: str
    commercial: Literal["yes", "no", "unclear"] = Field(description="Whether commercial use is allowed.")
    downloadable: bool = Field(description="Whether POST models/{id}/download can get it.")
    page: str | None = Field(description="Where to get it by hand.")
    needs: str | None = Field(description="A package without which it cannot run.")
    used: bool = Field(description="Whether anything here runs it.")
    download: DownloadState | None = Field(description="The last download since the start, if any.")


class ModelList(BaseModel):
    """Every model that is known here."""

    models: list[ModelInfo]
    closed: list[str] = Field(description="A sentence for each model folder that cannot be opened.")


class OptionInfo(BaseModel):
    """One row of the options table."""

    name: str
    label: str
    kind: Literal["choice", "text", "float", "int", "number", "flags", "faces"] = Field(
        description='"number": a number, or one of the choices. "flags": a list of the choices or "none". '
        '"faces": one of the choices, or numbers such as 1,3.'
    )
    default: float | str = Field(description="Text, but a number for float and int, and sometimes for number.")
    minimum: float | None
    maximum: float | None
    step: float | None
    choices: list[str]
    help: str
    per_face: bool = Field(description="Whether `overrides` may set it for a single face.")
    infotext: str = Field(description="Its key in a picture's parameters.")


class OptionList(BaseModel):
    """The options table, as a list for interfaces and as a JSON schema for programs."""

    options: list[OptionInfo]
    json_schema: dict[str, Any] = Field(description="JSON schema of the object `options`.")


class LimitsInfo(BaseModel):
    """What a request may be at most."""

    body_bytes: int
    pictures: int
    megapixels: float = Field(description="Of one picture.")
    total_megapixels: float = Field(description="Of all pictures of a request.")
    waiting: int = Field(description="Requests that may wait for their turn.")


class Health(BaseModel):
    """The extension's version, and what a request may be at most."""

    status: Literal["ok"]
    version: str = Field(description="Of this extension.")
    webui: str = Field(description='"a1111", "forge", "sdnext", or empty without a WebUI.')
    working: int = Field(description="Requests that are being worked on or wait for their turn.")
    limits: LimitsInfo


def _declare_nulls() -> None:
    """Have pydantic 1 say which fields may be null; pydantic 2 does it by itself."""
    own = [one for one in globals().values() if isinstance(one, type) and one.__module__ == __name__]
    for model in [one for one in own if issubclass(one, BaseModel)]:
        for field in model.__fields__.values():  # type: ignore[attr-defined]
            if field.allow_none:
                field.field_info.extra["nullable"] = True


if VERSION.startswith("1."):
    _declare_nulls()
