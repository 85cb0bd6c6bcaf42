"""What the OpenAPI page says besides the schemas: errors by status, and examples that can be sent unchanged."""

from __future__ import annotations

from typing import Any, get_args

from .schema import Error, Format

TAG = "Face Restore"

_MEANING = {
    400: "The body cannot be read: its text is not UTF-8, or its parts are broken off.",
    401: "A user name and a password are needed (--api-auth, --gradio-auth), or these are wrong.",
    403: "The licence has not been accepted; the sentence quotes it. Or the request comes from a foreign web page.",
    404: "There is no such model.",
    409: "Not possible here: the model is not installed or damaged, a package is missing, or downloads are off.",
    413: "More bytes, pictures or pixels than are accepted.",
    422: "An option, a picture or the body cannot be used; the sentence says which and what would be right.",
    500: "An unexpected error; the WebUI's log has more.",
    503: "Too many requests wait already; Retry-After says how many seconds to wait.",
}

_DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGNgYGAAAAAEAAH2FzhVAAAAAElFTkSuQmCC"  # 1×1 PNG

_DETECT = {"plain": {"summary": "Find the faces of one picture", "value": {"image": _DOT}}}
_RESTORE = {
    "one": {
        "summary": "One picture",
        "value": {"image": _DOT, "options": {"model": "auto", "visibility": 0.8, "keep": "glasses"}},
    },
    "per face": {
        "summary": "Face 2 more gently, face 3 not at all",
        "value": {"image": _DOT, "overrides": {"2": {"visibility": 0.5}, "3": {"skip": True}}},
    },
    "several": {
        "summary": "Several pictures in one go, without getting them back",
        "value": {"images": [_DOT, _DOT], "overrides": [None, {"1": {"fidelity": 0.9}}], "send_images": False},
    },
}
_DOWNLOAD = {"first file": {"summary": "Accept the licence and start", "value": {"accept_licence": True}}}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For a route's `responses`: these statuses and those that every route has."""
    return {status: {"model": Error, "description": _MEANING[status]} for status in sorted({*statuses, 422, 500})}


def _body(examples: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"content": {"application/json": {"examples": examples}}}}


RESULT_HEADER, NOTES_HEADER = "X-Facerestore-Result", "X-Facerestore-Notes"
"""Headers of an answer that is a file."""

FILE_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The answer as JSON; with `answer` file, the picture's file itself.",
        "content": {f"image/{name}": {"schema": {"type": "string", "format": "binary"}} for name in get_args(Format)},
        "headers": {
            RESULT_HEADER: {
                "description": "With a file: how many faces were restored and skipped, in words.",
                "schema": {"type": "string"},
            },
            NOTES_HEADER: {
                "description": "With a file: JSON list of the picture's `notes` and the faces' `reason`, in ASCII.",
                "schema": {"type": "string"},
            },
        },
    }
}
"""For the `responses` of the route that may answer with a file."""

DETECT_BODY, RESTORE_BODY, DOWNLOAD_BODY = _body(_DETECT), _body(_RESTORE), _body(_DOWNLOAD)
"""For a route's `openapi_extra`."""
