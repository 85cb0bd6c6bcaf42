"""The extension's routes under /facerestore/v1/: health, options, models, downloads, detect, restore.

`add_routes` works on any FastAPI app, with or without a WebUI. Handlers are plain functions, so that FastAPI runs them
in worker threads. There is no middleware, since some WebUIs refuse it at this point, and no
`from __future__ import annotations`: FastAPI must see the types themselves.
"""

import functools
import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.responses import JSONResponse

from ... import __version__
from ...catalogue import Store
from ...errors import InputError
from ...options.spec import Scope
from .. import host
from ..downloads import DownloadManager
from . import models as api_models
from . import pictures as api_pictures
from .docs import DETECT_BODY, DOWNLOAD_BODY, RESTORE_BODY, TAG, errors
from .guard import Announced, Credentials, Limits, RefusedError, Turnstile, guarded_route
from .schema import (
    DetectAnswer,
    DetectRequest,
    DownloadRequest,
    DownloadState,
    Health,
    LimitsInfo,
    ModelList,
    OptionList,
    RestoreAnswer,
    RestoreRequest,
)
from .uploads import add_uploads
from .work import RestoreService, Sent, Work, webui_turn

logger = logging.getLogger(__name__)

PREFIX = "/facerestore/v1"
Add = Callable[..., None]


def register(app: FastAPI) -> None:
    """Add the routes to the WebUI's app; for `script_callbacks.on_app_started`. Never raises."""
    try:
        add_routes(app)
    except Exception:  # the WebUI must start without our routes
        logger.exception("the routes %s cannot be added", PREFIX)


def webui_credentials() -> dict[str, str] | None:
    """User names and passwords of --api-auth, else of --gradio-auth, so that a page with a login has no open API.

    Empty where neither is given; None, which refuses everybody, where they cannot be read.
    """
    if host.cmd_opt("api_auth", ""):
        return host.api_credentials() or None
    lines = [str(host.cmd_opt(name, "")) for name in ("gradio_auth", "auth")]  # SD.Next says --auth
    files = [host.cmd_opt(name, "") for name in ("gradio_auth_path", "auth_file")]
    if not any(lines) and not any(files):
        return {}
    try:
        lines += [line for file in files if file for line in Path(file).read_text("utf-8").splitlines()]
    except (OSError, ValueError) as error:
        logger.warning("the WebUI's file of passwords cannot be read: %s", error)
        return None
    pairs = (pair.strip().partition(":") for line in lines for pair in line.split(","))
    return {user: password for user, colon, password in pairs if colon} or None


def add_routes(
    app: FastAPI,
    restorer_service: RestoreService | None = None,
    *,
    downloads: DownloadManager | None = None,
    store: Callable[[], Store] | None = None,
    credentials: Credentials = webui_credentials,
    limits: Limits | None = None,
    turn: Callable[[str], AbstractContextManager[Any]] = webui_turn,
    scope: Scope = "webui",
) -> None:
    """Add the routes to an app; does nothing where it has them already.

    Args:
        app: any FastAPI app; nothing but routes is added.
        restorer_service: what restores; None means the WebUI's `service`.
        downloads: what downloads; None means the WebUI's `downloads.manager()`.
        store: gives the model folders; None means those of the WebUI's settings.
        credentials: gives user names and passwords; the default is those of the WebUI.
        limits: what a request may be at most.
        turn: a context manager, given a title, in which the networks run.
        scope: which options are offered.
    """
    if any(str(getattr(route, "path", "")).startswith(PREFIX + "/") for route in app.routes):
        return
    from .. import service

    limits = limits or Limits()
    turnstile = Turnstile(limits.waiting)
    work = Work(restorer_service or service, store or service.store, limits, turnstile, turn, scope)
    login = credentials() != {}
    add = functools.partial(_add, app, guarded_route(credentials, limits), login, ())
    add_heavy = functools.partial(_add, app, guarded_route(credentials, limits, turnstile), login, (413, 503))
    if downloads is None:
        from ..downloads import manager

        downloads = manager()
    _information(add, work, downloads)
    _downloads(add, downloads)
    _pictures(add_heavy, work)
    try:
        add_uploads(add_heavy, work)
    except (RuntimeError, ImportError) as error:  # FastAPI wants python-multipart for forms; gradio brings it
        logger.warning("the routes for uploads are left out: %s", error)
    app.openapi_schema = None  # FastAPI keeps the page that it made before


def _add(
    app: FastAPI,
    route_class: type,
    login: bool,
    statuses: tuple[int, ...],
    path: str,
    endpoint: Callable[..., Any],
    method: str = "GET",
    may: tuple[int, ...] = (),
    responses: Mapping[int | str, dict[str, Any]] = MappingProxyType({}),
    **more: Any,
) -> None:
    """Add one route.

    Args:
        app: the WebUI's.
        route_class: what its requests pass through; see `guarded_route`.
        login: whether a user name and a password are asked for, which the OpenAPI page then says.
        statuses: the errors that all such routes may answer with, for the OpenAPI page.
        path: its address below `PREFIX`.
        endpoint: what answers.
        method: of HTTP.
        may: the errors that this one may answer with besides.
        responses: what the OpenAPI page says of other answers.
        more: further arguments of FastAPI's `add_api_route`.
    """
    always = (403, *((401,) if login else ()), *((400, 413) if method == "POST" else ()))
    app.router.add_api_route(
        PREFIX + path,
        endpoint,
        methods=[method],
        tags=[TAG],
        dependencies=[Depends(Announced())] if login else [],
        responses={**responses, **errors(*always, *statuses, *may)},
        response_class=JSONResponse,
        route_class_override=route_class,
        **more,
    )


def _information(add: Add, work: Work, downloads: DownloadManager) -> None:
    def health() -> Health:
        """The extension's version, how busy it is, and what a request may be at most."""
        limits = LimitsInfo(**asdict(work.limits))
        working = work.turnstile.inside
        return Health(status="ok", version=__version__, webui=host.kind(), working=working, limits=limits)

    def options() -> OptionList:
        """Every option: range, default, label and help, and as a JSON schema."""
        return api_models.list_options(work.scope)

    def models() -> ModelList:
        """Every model: whether it is installed, its licence, what it is good for, how large its file is."""
        return api_models.list_models(work.store(), work.service.models(), downloads)

    add("/health", health, response_model=Health, summary="Is it there?")
    add("/options", options, response_model=OptionList, summary="The options table")
    add("/models", models, response_model=ModelList, summary="The models")


def _downloads(add: Add, downloads: DownloadManager) -> None:
    def start(model: str, request: DownloadRequest) -> DownloadState:
        """Start to download a model's file in the background. Its licence has to be accepted; without that the answer
        is 403 and shows it. A download that is under way, or a file that is there already, is no error."""
        return api_models.start_download(downloads, model, bool(request.accept_licence), request.file)

    def progress(model: str) -> DownloadState:
        """The last download of a model: its progress, or how it ended."""
        return api_models.download_state(downloads, model)

    def cancel(model: str) -> DownloadState:
        """End a download. What has arrived is kept, so that the next one goes on there."""
        downloads.cancel(model)
        return api_models.download_state(downloads, model)

    path = "/models/{model}/download"
    more: dict[str, Any] = {"response_model": DownloadState}
    add(
        path, start, "POST", (404, 409), status_code=202, summary="Download a model", openapi_extra=DOWNLOAD_BODY,
        **more,
    )  # fmt: skip
    add(path, progress, "GET", (404,), summary="Progress of a download", **more)
    add(path, cancel, "DELETE", (404,), summary="Cancel a download", **more)


def _pictures(add: Add, work: Work) -> None:
    def detect(request: DetectRequest) -> DetectAnswer:
        """Find the faces of a picture: their numbers, boxes and landmarks, and which of them `restore` would take."""
        return work.detect(Sent([api_pictures.from_base64(request.image, "image")], ["image"], True, request.options))

    def restore(request: RestoreRequest) -> RestoreAnswer:
        """Restore the faces of one picture (`image`) or of several (`images`). Pixels outside of the restored faces
        come back bit-identical, with alpha, depth, colour profile and metadata, in a format that holds them."""
        if (request.image is None) == (request.images is None):
            raise InputError("Give either image, or images.")
        texts = [request.image] if request.image is not None else request.images or []
        if not texts:
            raise InputError("images: is empty; give at least one picture.")
        if len(texts) > work.limits.pictures:
            raise RefusedError(
                413, f"{len(texts)} pictures are too many for one request; send at most {work.limits.pictures}."
            )
        names = ["image"] if request.image is not None else [f"images.{index}" for index in range(len(texts))]
        files = [api_pictures.from_base64(text, name) for text, name in zip(texts, names, strict=True)]
        sent = Sent(files, names, request.image is not None, request.options, request.overrides)
        send = request.send_images is not False
        return work.restore(sent, request.format or "png", request.quality, send)[0]

    more: dict[str, Any] = {"may": (404, 409)}
    add("/detect", detect, "POST", response_model=DetectAnswer, summary="Find faces", openapi_extra=DETECT_BODY, **more)
    add(
        "/restore", restore, "POST", response_model=RestoreAnswer, summary="Restore faces", openapi_extra=RESTORE_BODY,
        **more,
    )  # fmt: skip
