"""The Extras tab: "Face Restore" as a step of the WebUI's postprocessing, for single pictures, uploads and folders.

The step's class derives from the WebUI's own, so this module can be imported only inside a WebUI. The step raises
nothing, since the WebUI would stop the whole job.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import PIL.Image
from modules import scripts_postprocessing

from ..errors import FaceRestoreError, OptionError
from ..wording import did_you_mean, shown
from . import host, infotext
from .page_words import LABELS
from .request import Request, is_wanted, request_from_values

if TYPE_CHECKING:
    from ..results import Result

logger = logging.getLogger(__name__)

NAME = "Face Restore"
AFTER, BEFORE = "After upscaling", "Before upscaling"
PLACE = "when"
BEFORE_TAG = "before"

_DONE = "facerestore_done"


class FaceRestoreExtras(scripts_postprocessing.ScriptPostprocessing):
    """The step, between upscaling and the WebUI's own face restoration; or before upscaling, since the WebUI calls
    `process_firstpass` of every step before `process` of any."""

    name = NAME
    order = 1500

    def ui(self) -> dict[str, Any]:
        """The controls, by the names of the arguments of `process`; {} if they cannot be made."""
        try:
            return _controls()
        except Exception:  # without a dict the whole page would not be made
            logger.exception("the controls of the Extras tab cannot be made")
            return {}

    def process_firstpass(self, pp: Any, **values: object) -> None:
        """Restores where "before upscaling" is chosen. values: see `process`."""
        shared = getattr(pp, "shared", None)
        if shared is not None and is_wanted([values.get("enabled")]) and _place(values) == BEFORE:
            setattr(shared, _DONE, True)  # shared with every picture that later steps make of this one
            _run(pp, values)

    def process(self, pp: Any, **values: object) -> None:
        """Restore the faces of `pp.image`, unless that was done in the first pass.

        values: by the names of `ui`. None means the default, which for "enabled" is off: the WebUI's API gives None for
            everything.
        """
        if is_wanted([values.get("enabled")]) and not getattr(getattr(pp, "shared", None), _DONE, False):
            _run(pp, values)


def _controls() -> dict[str, Any]:
    from .page import controls

    tab = _tab()
    own = tab == "extras"
    full = hasattr(scripts_postprocessing.ScriptPostprocessing, "process_firstpass")
    made = controls.build(
        tab,
        when=(lambda prefix: _place_box(prefix, own)) if full else (lambda prefix: {}),
        strip=own,
        save_before=("shown" if own else "hidden") if full else "none",  # the same names everywhere: see `_tab`
    )
    return dict(made.by_name)


def _tab() -> str:
    """For the elem ids: a setting of the WebUI puts steps into txt2img and img2img too, where ids must not repeat.

    There it also makes the controls once more, outside of those tabs, and pairs the names of these with the values of
    the first ones: so the names must not depend on the tab.
    """
    scripts = host.module("scripts")
    current = getattr(scripts, "scripts_current", None)
    if current is None or host.kind() == "sdnext":
        return "extras"
    return "extras_img2img" if current is getattr(scripts, "scripts_img2img", None) else "extras_txt2img"


def _place_box(prefix: str, visible: bool) -> Mapping[str, Any]:
    import gradio

    return {PLACE: gradio.Dropdown(
        choices=[AFTER, BEFORE], value=AFTER, label=LABELS["stage"], elem_id=f"{prefix}_{PLACE}", visible=visible,
        info="Before upscaling is faster; after upscaling, large faces gain more detail.",
    )}  # fmt: skip


def _place(values: Mapping[str, object]) -> str:
    """`BEFORE` or `AFTER`, also without "upscaling". Anything else counts as after, where `_request` refuses it."""
    return BEFORE if str(values.get(PLACE) or AFTER).strip().lower().startswith("before") else AFTER


def _request(values: Mapping[str, object]) -> Request:
    """The request. As in the Script of the other tabs, "enabled" may be a dict of all values. Raises OptionError."""
    if isinstance(values.get("enabled"), Mapping):
        values = {"enabled": True, **values["enabled"]}  # type: ignore[dict-item]
    place = values.get(PLACE)
    known = (AFTER.lower(), BEFORE.lower(), "after", "before")
    if place is not None and str(place).strip().lower() not in known:
        near = did_you_mean(str(place), known)
        raise OptionError(f"{PLACE}: {shown(place)} is not allowed; give {AFTER} or {BEFORE}.{near}")
    return request_from_values({name: value for name, value in values.items() if name != PLACE})


def _run(pp: Any, values: Mapping[str, object]) -> None:
    """Restore one picture. Never raises: an error is a line in `pp.info` and in the log, and the picture unchanged."""
    pp.info = {key: value for key, value in pp.info.items() if key not in infotext.ALL_KEYS}
    try:
        request = _request(values)
        if request.enabled:
            _restore(pp, request)
    except FaceRestoreError as error:
        _report(pp, str(error))
    except Exception as error:
        logger.exception("restoring the faces of a picture failed")
        _report(pp, f"{type(error).__name__}: {error}")


def _restore(pp: Any, request: Request) -> None:
    from . import service  # imported late: the WebUI measures its start

    before = pp.image
    plan = [request.overrides] if request.overrides else None
    result = service.restore([before], request.options, overrides=plan, origin="Extras")[0]
    if result.changed:
        if request.save_before:
            _add_original(pp, before)
        pp.image = result.image
    pp.info.update(infotext.write(request, [result], service.knobs_of_run([result])))
    pp.info.update(infotext.note_line(result.hints))
    if result.failures:
        _report(pp, "; ".join(result.failures))
    _remember(before, result)


def _add_original(pp: Any, before: PIL.Image.Image) -> None:
    """Have the picture before restoration saved beside the result; later steps leave it alone."""
    if hasattr(pp, "create_copy") and hasattr(pp, "extra_images"):
        copy = pp.create_copy(before, nametags=[BEFORE_TAG], disable_processing=True)
        copy.info[infotext.RESULT] = "the picture before restoration"  # the page shows the last picture's text alone
        pp.extra_images.append(copy)
    else:
        logger.warning("this WebUI cannot save a second picture in Extras; the one before restoration is not kept.")


def _report(pp: Any, message: str) -> None:
    text = " ".join(message.split())
    pp.info.update(infotext.error_line(text))
    host.notify(text)


def _remember(before: PIL.Image.Image, result: Result[PIL.Image.Image]) -> None:
    """Keep the pair for the face strip and the slider. Never raises."""
    try:
        from . import service

        picture = service.RunPicture(_shown(before), _shown(result.image), tuple(result.faces), notes=result.notes)
        service.remember("extras", [picture], job=host.job_start())
    except Exception:  # the picture is done: a strip that cannot be filled must not undo it
        logger.exception("the run cannot be kept for the face strip")


def _shown(image: PIL.Image.Image) -> PIL.Image.Image:
    """A copy for the page, RGB or RGBA."""
    if image.mode in ("RGB", "RGBA"):
        return image.copy()
    if image.mode.startswith("I"):
        import numpy as np

        from ..images.modes import to_eight_bit

        deep = np.asarray(image).clip(0, 65535).astype(np.uint16)
        return PIL.Image.fromarray(to_eight_bit(deep)).convert("RGB")
    return image.convert("RGB")


__all__ = ["AFTER", "BEFORE", "NAME", "FaceRestoreExtras"]
