"""The routes that take files in a form (multipart/form-data): detect/upload and restore/upload.

Form fields are declared by a call in a default, since the WebUI's FastAPI does not know `Annotated`. There is no
`from __future__ import annotations`: FastAPI must see the types themselves.
"""
# ruff: noqa: B008

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal

from fastapi import Depends, File, Form, Request, UploadFile
from fastapi.responses import Response

from ...errors import InputError, OptionError
from ...faces.face import reasons_together
from . import pictures as api_pictures
from .docs import FILE_ANSWER, NOTES_HEADER, RESULT_HEADER
from .guard import unknown_field
from .schema import FORMAT, UPLOAD_FIELDS, AskedFormat, DetectAnswer, RestoreAnswer
from .work import Sent, Work, format_of

LONGEST_HEADER = 3000
"""Characters; servers and proxies take 4,000 to 8,000 for all headers of an answer together."""


def add_uploads(add: Callable[..., None], work: Work) -> None:
    """Add the routes with `add`, see `routes`. Raises RuntimeError where the package python-multipart is missing."""

    def detect_upload(
        image: UploadFile = File(description="A picture file."),
        options: str = Form("", description="JSON object of options, as in `detect`."),
        _: None = Depends(_only(UPLOAD_FIELDS[:2])),
    ) -> DetectAnswer:
        """`detect` for a form with a file in it (multipart/form-data)."""
        name = api_pictures.file_name(image.filename, 1)
        return work.detect(Sent([image.file.read()], [name], True, _json(options, "options", dict)))

    def restore_upload(
        image: list[UploadFile] = File(description="A picture file; several such fields for several pictures."),
        options: str = Form("", description="JSON object of options, as in `restore`."),
        overrides: str = Form("", description="JSON, as in `restore`."),
        send_images: bool = Form(True, description="false leaves the pictures out of the answer."),
        format: AskedFormat = Form("png", description=FORMAT),
        quality: int | None = Form(None, ge=1, le=100, description="For JPEG and WebP."),
        answer: Literal["json", "file"] = Form(
            "json", description="file: the answer is the picture file itself (one picture only)."
        ),
        _: None = Depends(_only(UPLOAD_FIELDS)),
    ) -> Any:
        """`restore` for a form with files in it (multipart/form-data)."""
        if answer == "file" and len(image) != 1:
            raise InputError("answer: file is for one picture; give json for several.")
        names = [api_pictures.file_name(one.filename, number) for number, one in enumerate(image, 1)]
        plans = _json(overrides, "overrides", (dict, list))
        sent = Sent([one.file.read() for one in image], names, len(image) == 1, _json(options, "options", dict), plans)
        result, files = work.restore(sent, format, quality, send_images or answer == "file")
        if answer == "json":
            return result
        summary = f"{result.restored} restored, {result.skipped} skipped"
        headers = {RESULT_HEADER: summary, NOTES_HEADER: _in_a_header(result)}
        return Response(files[0], media_type=f"image/{format_of(format)}", headers=headers)

    more: dict[str, Any] = {"may": (404, 409)}
    add("/detect/upload", detect_upload, "POST", response_model=DetectAnswer, summary="Find faces in a file", **more)
    more |= {"response_model": RestoreAnswer, "summary": "Restore faces in files", "responses": FILE_ANSWER}
    add("/restore/upload", restore_upload, "POST", **more)


def _in_a_header(answer: RestoreAnswer) -> str:
    """The notes of the answer's picture and the reasons of its faces, as a JSON list in ASCII."""
    (picture,) = answer.results
    sentences = [*picture.notes, *reasons_together(face.reason or "" for face in picture.faces)]
    shown: list[str] = []
    for sentence in sentences:
        if len(json.dumps([*shown, sentence])) > LONGEST_HEADER:
            return json.dumps([*shown, f"and {len(sentences) - len(shown)} more, which answer=json tells"])
        shown.append(sentence)
    return json.dumps(shown)


def _only(names: Sequence[str]) -> Callable[[Request], Awaitable[None]]:
    """A dependency that raises OptionError for form fields of other names, which FastAPI would ignore."""

    async def check(request: Request) -> None:
        unknown = [name for name in await request.form() if name not in names]
        if unknown:
            raise OptionError(f"{unknown_field(unknown[0])}.")

    return check


def _json(text: str, name: str, kind: type | tuple[type, ...]) -> Any:
    """A form field that holds JSON; empty means None. Raises OptionError."""
    if not text.strip():
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise OptionError(f"{name}: is not valid JSON ({error}).") from error
    if value is not None and not isinstance(value, kind):
        raise OptionError(f"{name}: must be a JSON object{' or a list of them' if name == 'overrides' else ''}.")
    return value
