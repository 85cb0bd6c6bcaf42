"""The server's side of the face strip and of the before/after slider.

The scripts in javascript/ write JSON into a hidden text box and press a hidden button; the answer is JSON in an
attribute of a hidden piece of HTML. These are plain gradio events, so they work with every gradio and every login.
What the page sends is not trusted: its size is limited, and every error becomes a message.
"""

from __future__ import annotations

import html
import io
import json
import logging
import re
import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import PIL.Image

from ...errors import FaceRestoreError, InputError
from ...faces.face import Face, FaceReport, select_faces
from ...images.opening import strict
from ...options.table import Options
from .. import data_url, service
from ..page_words import in_page_words
from . import gradio_compat

logger = logging.getLogger(__name__)

LONGEST_TEXT = 24_000_000
"""Characters that are taken from the page."""

MOST_PIXELS = 50_000_000
"""Pixels of a picture that is taken from the page."""

SHOWN_SIDE = 1024
"""Pixels of the longer side of a picture that is sent to the page."""

THUMBNAIL = 96
"""Pixels of the side of a face that is sent to the page."""

MOST_FACES = 64
"""Faces of one picture that are sent to the page."""

DETECTION_OPTIONS = ("detector", "confidence", "order", "max_faces", "min_face", "max_face")
"""The controls that decide which faces are found, how they are numbered, and which are skipped by size or count."""

_FORMATS = ("PNG", "JPEG", "WEBP")
_MEDIA_TYPES = tuple(f"image/{name.lower()}" for name in _FORMATS)
_OPENING = re.compile(r"^face \d+: (?:skipped, )?")


def wire(tab: str, controls: Any) -> None:
    """Attach the events of one tab; call it inside of the page's Blocks, once for each time the controls are made.

    controls: what `controls.build` gives: `by_name`, the option controls, and `strip`, the hidden `html`, `image`,
        `detect` and `last`.
    """
    strip = controls.strip
    inputs = [controls.by_name[name] for name in DETECTION_OPTIONS if name in controls.by_name]
    names = [name for name in DETECTION_OPTIONS if name in controls.by_name]

    def detect(message: str, *values: object) -> str:
        return detect_answer(message, dict(zip(names, values, strict=False)))

    def last(message: str) -> str:
        return last_answer(tab, message)

    gradio_compat.listen(strip.detect.click, detect, [strip.image, *inputs], [strip.html])
    gradio_compat.listen(strip.last.click, last, [strip.image], [strip.html])


def detect_answer(message: str, values: Mapping[str, object]) -> str:
    """HTML with the faces of a picture. Never raises.

    message: JSON {"image": data URL, "width", "height"}, or a data URL. Where the picture was reduced for sending, the
        sizes are those of the full one, whose pixels the faces' sizes are given in.
    values: the controls' values by option name (see `DETECTION_OPTIONS`).
    """
    try:
        picture, factor = read_message(message)
        options = Options.from_mapping({**values, "faces": "all"})
        searched = service.detect(picture, options, factor)
        found = searched.faces
        full = [_enlarged(face, factor) for face in found]
        faces = []
        for face, (_, reason) in list(zip(found, select_faces(full, options), strict=True))[:MOST_FACES]:
            row = _row(face, face.side * factor, reason, picture.size, 1.0)
            row["before"] = _thumbnail(picture, face, 1.0)
            faces.append(row)
        note = _left_out(len(found)) if found else "No face was found. A lower Confidence may find more."
        return _answer("detect", faces=faces, message=f"{note} {_sentence(searched.missed)}".strip())
    except FaceRestoreError as error:
        return _answer("detect", faces=[], message=in_page_words(str(error)))
    except Exception as error:  # an event that raises shows the user an empty "Error"
        logger.exception("finding the faces failed")
        return _answer("detect", faces=[], message=f"Finding the faces failed: {error}")


def last_answer(tab: str, message: str = "") -> str:
    """HTML with the pictures and faces of the last run of a tab. Never raises.

    message: JSON {"known": the `run` of an earlier answer}, so that a run that the page has is not sent again; or
        {"peek": true}, which asks for `run` alone.
    """
    try:
        name = service.last_run_name(tab)  # before the pictures, which may then only be newer
        run = service.last_run(tab)
        asked = _fields(message)
        if asked.get("peek"):
            return _answer("last", run=name, peek=True)
        if run and asked.get("known") == name:
            return _answer("last", run=name, same=True)
        return _answer("last", run=name, pictures=[_picture(picture, _side(len(run))) for picture in run])
    except Exception:
        logger.exception("the last run cannot be shown")
        return _answer("last", run="", pictures=[])


def read_message(message: object) -> tuple[PIL.Image.Image, float]:
    """The picture in a message of the page (RGB), and how many times larger the full picture is. Raises InputError."""
    if not isinstance(message, str) or not message.strip():
        raise InputError("picture: there is none; put one into the tab first.")
    if len(message) > LONGEST_TEXT:
        raise InputError(f"picture: {len(message)} characters are too many; at most {LONGEST_TEXT} are taken.")
    text, width = message.strip(), 0
    if text.startswith("{"):
        try:
            fields = json.loads(text)
            text, width = fields["image"], int(fields.get("width") or 0)
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            raise InputError("picture: the page sent something that is not a picture; reload the page.") from error
    picture = decode_picture(text)
    return picture, width / picture.width if picture.width < width <= 1_000_000 else 1.0


def decode_picture(text: object) -> PIL.Image.Image:
    """The RGB picture in a data URL (PNG, JPEG or WebP in base64). Raises InputError."""
    if not isinstance(text, str) or data_url.media_type(text) not in _MEDIA_TYPES:
        raise InputError("picture: not a data URL of a PNG, JPEG or WebP picture; reload the page.")
    data = data_url.decode(text, "picture")
    try:
        with strict("picture"), PIL.Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            if image.width * image.height > MOST_PIXELS:
                raise InputError(f"picture: {image.width}×{image.height} pixels are more than {MOST_PIXELS}.")
            return image.convert("RGB")
    except (PIL.Image.DecompressionBombError, OSError, SyntaxError, ValueError, EOFError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError("picture: the data cannot be read as a picture; it may have been cut off.") from error


def encode_picture(image: PIL.Image.Image, side: int, quality: int = 90) -> str:
    """The picture as a JPEG data URL, reduced where its longer side is above `side` pixels."""
    copy = image if image.mode == "RGB" else image.convert("RGB")
    if max(copy.size) > side:
        copy = copy.copy()
        copy.thumbnail((side, side), PIL.Image.Resampling.LANCZOS)
    file = io.BytesIO()
    copy.save(file, "JPEG", quality=quality)
    return data_url.encode(file.getvalue(), "image/jpeg")


def _picture(picture: service.RunPicture, side: int) -> dict[str, object]:
    faces = []
    for report in picture.faces[:MOST_FACES]:
        row = _row(report.face, report.face.side, report.reason, picture.after.size, picture.scale)
        row["applied"] = report.applied
        row["before"] = _thumbnail(picture.before, report, picture.scale)
        if report.applied:
            row["after"] = _thumbnail(picture.after, report, picture.scale)
        faces.append(row)
    width, height = picture.after.size
    return {
        "before": encode_picture(picture.before, side), "after": encode_picture(picture.after, side), "faces": faces,
        "width": round(width / picture.scale), "height": round(height / picture.scale),
        "message": in_page_words("; ".join(picture.notes)),
    }  # fmt: skip


def _row(face: Face, side: float, reason: str, size: tuple[int, int], scale: float) -> dict[str, object]:
    """A face for the page, with its box as shares of the picture.

    side: its longer side in pixels of the full picture. size: of the picture that is shown, whose pixels are those of
        the face times `scale`.
    """
    spans = (size[0], size[1], size[0], size[1])
    shares = [min(max(value * scale / span, 0.0), 1.0) for value, span in zip(face.box, spans, strict=True)]
    return {
        "number": face.number, "side": round(side), "area": round(face.area, 1),
        "box": [round(share, 4) for share in shares], "reason": in_page_words(_OPENING.sub("", reason)),
    }  # fmt: skip


def _thumbnail(image: PIL.Image.Image, face: Face | FaceReport, scale: float) -> str:
    """The face with a little of what is around it; square, unless the picture ends there."""
    x0, y0, x1, y1 = (value * scale for value in face.box)
    half = 0.65 * max(x1 - x0, y1 - y0)
    x, y = min(max((x0 + x1) / 2, 0), image.width), min(max((y0 + y1) / 2, 0), image.height)
    left, top = max(0, min(round(x - half), image.width - 1)), max(0, min(round(y - half), image.height - 1))
    right, bottom = max(left + 1, min(round(x + half), image.width)), max(top + 1, min(round(y + half), image.height))
    cut = image.convert("RGB") if image.mode == "P" else image
    return encode_picture(cut.crop((left, top, right, bottom)), THUMBNAIL, 85)


def _enlarged(face: Face, factor: float) -> Face:
    x0, y0, x1, y1 = (value * factor for value in face.box)
    return replace(face, box=(x0, y0, x1, y1), landmarks=face.landmarks * factor)


def _left_out(count: int) -> str:
    return f"{count} faces were found; the first {MOST_FACES} are shown." if count > MOST_FACES else ""


def _sentence(remark: str) -> str:
    return f"{remark[:1].upper()}{remark[1:]}." if remark else ""


def _side(pictures: int) -> int:
    """Longer side at which so many pictures are sent, so that an answer has at most a few megabytes."""
    return SHOWN_SIDE if pictures <= 4 else SHOWN_SIDE * 3 // 4


def _fields(message: object) -> dict[str, object]:
    try:
        fields = json.loads(message) if isinstance(message, str) and len(message) < 1000 else {}
    except (ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


def _answer(kind: str, **fields: object) -> str:
    """The answer as HTML; by its stamp the page knows a new answer from one that is only drawn again."""
    text = json.dumps({"kind": kind, "stamp": secrets.token_hex(8), **fields}, ensure_ascii=False)
    return f'<div data-facerestore="{html.escape(text, quote=True)}"></div>'
