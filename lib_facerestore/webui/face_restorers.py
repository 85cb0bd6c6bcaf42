"""The WebUI's own "Restore faces" (Settings → Face restoration, and the API's `restore_faces`) with our restorers.

Each usable model is one entry of `shared.face_restorers`. The WebUI fails the whole job for an exception in `restore`,
so none ever leaves it: a picture that cannot be restored comes back unchanged, with a message to the user.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..catalogue import known_model
from ..errors import FaceRestoreError
from ..options.table import Options
from . import host, infotext, service, settings

if TYPE_CHECKING:
    from ..pipeline import Result

logger = logging.getLogger(__name__)

SUFFIX = " (Face Restore)"
SETTING = "face_restoration_model"
"""The WebUI's setting that names the chosen entry."""
MODEL = "facerestore_model"
"""Attribute of our entries, by which they are found again after "Reload UI": the model's id."""

_last = threading.local()  # a restore and the hook that asks for it run in one thread, whichever that is


class ListedName(str):
    """The name of an entry, which also equals the name that the entry had before.

    The WebUI looks for the entry whose name equals that in its settings, a request or an infotext.

    Attributes:
        former: the other name.
    """

    former: str

    def __eq__(self, other: object) -> bool:
        return str.__eq__(self, other) is True or self.former == other

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = str.__hash__


def title_of(model: str) -> ListedName:
    """How the list names a model: by its id, as everywhere, as in "gfpgan-1.4 (Face Restore)".

    The suffix keeps it apart from the WebUI's own. The former names had titles: "GFPGAN 1.4 (Face Restore)".
    """
    entry = known_model(model)
    name = ListedName(model + SUFFIX)
    name.former = ("Auto" if model == service.AUTO else entry.title if entry is not None else model) + SUFFIX
    return name


def register() -> None:
    """Make `shared.face_restorers` hold one entry for each model that is usable now. Never raises.

    May be called again. Where the settings do not offer them, our entries are removed.
    """
    try:
        shared = host.module("shared")
        listed = getattr(shared, "face_restorers", None)
        if not isinstance(listed, list):
            return  # SD.Next has no such list
        choices = service.models() if settings.read().in_restorers else []
        ours = [_make(choice.id) for choice in choices if not choice.fault]
        listed[:] = [entry for entry in listed if not hasattr(entry, MODEL)] + ours
        _rename_setting(shared, [entry.name() for entry in ours])
    except FaceRestoreError as error:
        logger.warning("the restorers are not added to the WebUI's list: %s", error)
    except Exception:
        logger.exception("the restorers could not be added to the WebUI's list")


def _rename_setting(shared: Any, names: Sequence[ListedName]) -> None:
    """Where the WebUI's setting still has an entry's former name, put the present one: its page offers only these."""
    data = getattr(getattr(shared, "opts", None), "data", None)
    if isinstance(data, dict):
        for name in names:
            if data.get(SETTING) == name.former:
                data[SETTING] = str(name)


def unregister() -> None:
    """Remove our entries. Never raises."""
    listed = getattr(host.module("shared"), "face_restorers", None)
    if isinstance(listed, list):
        listed[:] = [entry for entry in listed if not hasattr(entry, MODEL)]


def take_summary() -> str:
    """What the last restore in this thread has done, e.g. "gfpgan-1.4, 2 restored"; a second call gives ""."""
    summary = getattr(_last, "summary", "")
    _last.summary = ""
    return summary


def _make(model: str) -> Any:
    """An entry for a model. Its class derives from the WebUI's, so it is made in here, where that can be imported."""
    base: type = getattr(host.module("face_restoration"), "FaceRestoration", object)
    name = title_of(model)

    def restore(self: Any, np_image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return restore_picture(np_image, model)

    entry = type("FaceRestoreEntry", (base,), {"name": lambda self: name, "restore": restore, MODEL: model})
    return entry()


def restore_picture(np_image: NDArray[np.uint8], model: str) -> NDArray[np.uint8]:
    """The picture (H×W×3 uint8 RGB) with its faces restored, or the picture itself where none is. Never raises."""
    _last.summary = ""
    try:
        if host.interrupted():
            return np_image
        result = service.restore([np_image], Options(model=model), origin="Restore faces")[0]
        _last.summary = _summary(result)
        for failure in result.failures:
            host.notify(failure)
        if result.changed:
            return np.ascontiguousarray(result.image)
    except Exception as error:
        logger.exception("Restore faces: the picture is left unchanged")
        _last.summary = f"nothing restored ({infotext.without_folders(str(error))})"
        host.notify(f"nothing was restored ({error})")
    return np_image


def _summary(result: Result[Any]) -> str:
    return f"{result.model}, {infotext.describe([replace(result, image=None)])}"


__all__ = ["MODEL", "SETTING", "ListedName", "register", "restore_picture", "take_summary", "title_of", "unregister"]
