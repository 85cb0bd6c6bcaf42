"""The routes against their own description: requests that schemathesis makes of the OpenAPI page, right and wrong ones.

schemathesis is used as a library. Its plugin for pytest, which every other test would pay for, is off (pyproject.toml).
"""

from __future__ import annotations

import json
import os
from typing import Any

import hypothesis
import pytest

fastapi = pytest.importorskip("fastapi")
schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed: the OpenAPI page is untested")

from lib_facerestore.catalogue.download import OFFLINE  # noqa: E402
from lib_facerestore.webui import service  # noqa: E402
from lib_facerestore.webui.api import routes  # noqa: E402
from lib_facerestore.webui.api.schema import UPLOAD_FIELDS  # noqa: E402

from ..double import Host  # noqa: E402
from ..helpers import OPTIONS, Known, photo  # noqa: E402
from .helpers import ROUTES, V1, b64, png  # noqa: E402

CASES = 300 if os.environ.get("FACERESTORE_LONG_TESTS") else 4
"""Requests of each kind to each route."""
CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance",
    "response_headers_conformance",
)  # fmt: skip
"""Those of schemathesis: no 5xx, only statuses and content types of the page, answers that fit their schema."""


def test_every_answer_is_one_of_the_page(host: Host, known: Known, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(OFFLINE, "1")
    monkeypatch.setattr(service, "store", lambda: known.restorer.store)
    app = fastapi.FastAPI()
    routes.register(app)
    page = schemathesis.openapi.from_asgi("/openapi.json", app)
    schemathesis.checks.load_all_checks()
    checks = [schemathesis.checks.CHECKS.get_one(name) for name in CHECKS]
    operations = [found.ok() for found in page.include(path_regex=f"^{V1}/").get_all_operations()]
    answers: dict[str, set[int]] = {}
    for operation in operations:
        right, wrong = schemathesis.GenerationMode
        for mode in (right, wrong) if len(operation.body) else (right,):  # to others, no request is wrong
            answers.setdefault(f"{operation.method} {operation.path}", set()).update(asked(operation, mode, checks))
    assert len(operations) == len(ROUTES) == len(answers)
    for path in ("detect", "restore", "detect/upload", "restore/upload"):
        assert {200, 422} <= answers[f"post {V1}/{path}"]


def asked(operation: Any, mode: Any, checks: list[Any]) -> set[int]:
    """The statuses of requests of one kind to one route; in every second with a body, picture and options are real."""
    statuses: list[int] = []
    file = png(photo())

    @hypothesis.settings(
        max_examples=CASES if len(operation.body) else CASES // 2, deadline=None, database=None, derandomize=True,
        phases=[hypothesis.Phase.generate], suppress_health_check=list(hypothesis.HealthCheck),
    )  # fmt: skip
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        if len(statuses) % 2 and isinstance(case.body, dict) and "model" not in operation.path:
            case.body = made_real(case.body, file, case.media_type, operation.path.endswith("/detect/upload"))
        statuses.append(case.call_and_validate(checks=checks).status_code)

    ask()
    return set(statuses)


def made_real(body: dict[str, Any], file: bytes, media_type: str, short: bool) -> dict[str, Any]:
    """A body with this picture and options that exist; of a form (`short`: of that with two fields), known fields."""
    if media_type == "multipart/form-data":
        known = UPLOAD_FIELDS[: 2 if short else None]
        body = {name: value for name, value in body.items() if name in known and value is not None}
        body |= {"image": file if short else [file], "options": json.dumps(OPTIONS)}
    else:
        body = body | {"image": b64(file), "options": OPTIONS}
    return {name: value for name, value in body.items() if name not in ("images", "overrides")}
