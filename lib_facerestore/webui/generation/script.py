"""The Script "Face Restore" of txt2img and img2img: its controls and its hooks.

It can only be imported inside a WebUI. The three stages are three hooks; where a WebUI lacks one, the next that it
has does the work. Nothing is raised: the WebUI would go on, but half of the hooks would have run.
"""

from __future__ import annotations

import functools
import html
import logging
import sys
from collections.abc import Callable
from typing import Any

try:
    from modules import scripts
except ImportError:  # SD.Next renames its modules now and then
    from modules import scripts_manager as scripts

from .. import host
from .job import Done, Job, clear_lines, finish, forget, job_of, put_lines, run
from .pixels import is_decoded, mask_for, pixels_of, write_back

logger = logging.getLogger(__name__)

TITLE = "Face Restore"
RESTORER_KEY = "Face restoration result"
"""Infotext key beside the WebUI's own "Face restoration", which is written even where nothing was restored."""


def _careful(hook: Callable[..., None]) -> Callable[..., None]:
    """A hook that logs what goes wrong and leaves the picture unchanged."""

    @functools.wraps(hook)
    def careful(self: FaceRestoreScript, p: Any, *args: Any, **kwargs: Any) -> None:
        try:
            hook(self, p, *args, **kwargs)
        except Exception:
            logger.exception("%s: the picture is left unchanged", hook.__name__)

    return careful


class FaceRestoreScript(scripts.Script):
    """Always visible; does nothing, and loads nothing, unless it is enabled.

    One instance serves a tab until "Reload UI", and several generations may use it at once: what belongs to a
    generation is kept on its `p`.
    """

    def title(self) -> str:
        """The name under which the API finds the Script."""
        return TITLE

    def show(self, is_img2img: bool) -> object:
        """Always shown."""
        return scripts.AlwaysVisible

    def ui(self, is_img2img: bool) -> list[Any]:
        """The accordion. Called three times; only the components returned by each call belong together.

        Without controls, the accordion says why: with --api, a WebUI ends if this raises.
        """
        try:
            from .. import infotext
            from ..page import controls

            made = controls.build("img2img" if is_img2img else "txt2img")
            self.infotext_fields = infotext.paste_fields(made)
            self.paste_field_names = list(infotext.PASTE_FIELD_NAMES)
        except Exception as error:
            logger.exception("the controls of %s cannot be made", TITLE)
            self.infotext_fields, self.paste_field_names = [], []
            _say_why(error)
            return []
        return made.inputs

    @_careful
    def before_process(self, p: Any, *args: Any) -> None:
        """A generation begins: what an earlier one with the same `p`, or its original, has left there is removed."""
        clear_lines(p)
        forget(p)
        job_of(p, args)  # so that an option that is not allowed is named now, not after minutes of sampling

    @_careful
    def postprocess_batch_list(self, p: Any, pp: Any, *args: Any, **kwargs: Any) -> None:
        """Stage "decode": all pictures of the batch, whose faces share the network's batches."""
        job = job_of(p, args)
        if job is None or job.request is None or job.request.stage != "decode":
            return
        if not pp.images or not all(is_decoded(image) for image in pp.images):
            return  # some WebUIs give pictures of another kind here: they are restored one by one, in the next hook
        job.decoded, job.decoded_in = {}, getattr(p, "iteration", 0)
        pixels = [pixels_of(image) for image in pp.images]
        masks, apply_mask = self._masks(p, [(one.shape[1], one.shape[0]) for one in pixels])
        for index, done in enumerate(run(p, job, pixels, masks, apply_mask, self._tab) or ()):
            job.decoded[index] = done
            pp.images[index] = write_back(pp.images[index], done.before, done.after)

    @_careful
    def postprocess_image(self, p: Any, pp: Any, *args: Any) -> None:
        """Stage "composite", and the lines of a picture that was restored after decoding."""
        clear_lines(p, "run")
        put_lines(p, _restorer_lines(p), group="restorer")
        job = job_of(p, args)
        if job is None:
            return
        job.mask, job.crop = getattr(p, "mask_for_overlay", None), None
        if job.request is None:
            self._show_problem(p, job)
            return
        index = _index(p, pp)
        if job.request.stage == "decode" and job.decoded_in == getattr(p, "iteration", 0):
            finish(p, job, job.decoded.pop(index, None), index, self._tab)
        elif job.request.stage != "last" or not hasattr(scripts.Script, "postprocess_image_after_composite"):
            masks, apply_mask = self._masks(p, [pp.image.size])
            self._one(p, pp, job, index, masks, apply_mask)

    @_careful
    def postprocess_maskoverlay(self, p: Any, ppmo: Any, *args: Any) -> None:
        """Soft inpainting has a mask for each picture: that one counts. Without an overlay, a crop stays a crop."""
        job = job_of(p, args)
        if job is not None:
            job.mask = ppmo.mask_for_overlay
            job.crop = getattr(p, "paste_to", None) if ppmo.overlay_image is None else None

    @_careful
    def postprocess_image_after_composite(self, p: Any, pp: Any, *args: Any) -> None:
        """Stage "last": the whole picture as it will be saved. Outside of an inpaint mask, no pixel changes."""
        job = job_of(p, args)
        if job is None or job.request is None or job.request.stage != "last":
            return
        mask = mask_for(job.mask, pp.image.size, job.crop)
        self._one(p, pp, job, _index(p, pp), [mask], True)

    @property
    def _tab(self) -> str:
        return "img2img" if self.is_img2img else "txt2img"

    def _one(self, p: Any, pp: Any, job: Job, index: int, masks: list[Any], apply_mask: bool) -> None:
        for done in run(p, job, [pp.image], masks, apply_mask, self._tab) or ():
            finish(p, job, done, index, self._tab)
            if _changed(done):
                pp.image = done.after

    @staticmethod
    def _masks(p: Any, sizes: list[tuple[int, int]]) -> tuple[list[Any], bool]:
        """Masks before the composite, which will hide what is outside, unless the user has switched it off."""
        mask, paste_to = getattr(p, "mask_for_overlay", None), getattr(p, "paste_to", None)
        return [mask_for(mask, size, paste_to) for size in sizes], not host.option("overlay_inpaint", True)

    @staticmethod
    def _show_problem(p: Any, job: Job) -> None:
        from .. import infotext

        put_lines(p, infotext.error_line(job.problem), infotext.error_line(job.problem))


def _say_why(error: Exception) -> None:
    """An accordion with one line, in place of the controls."""
    try:
        import gradio

        from .. import packages

        explained = packages.explain(error) if isinstance(error, ImportError) else None
        why = str(explained or f"{str(error) or type(error).__name__}; the console says more.")
        with gradio.Accordion(TITLE, open=False):
            gradio.HTML(value=html.escape(f"{TITLE} cannot be used: {why}"))
    except Exception:
        logger.exception("the page cannot say so")


def _changed(done: Done) -> bool:
    return done.result is not None and done.result.changed


def _index(p: Any, pp: Any) -> int:
    """The place of the picture in its batch."""
    return int(getattr(p, "batch_index", getattr(pp, "index", 0)))


def _restorer_lines(p: Any) -> dict[str, str]:
    """What the WebUI's own "Restore faces" has done with the picture in hand, if it was one of our restorers."""
    restorers = sys.modules.get(f"{__package__.rpartition('.')[0]}.face_restorers")  # None where it was never loaded
    text = restorers.take_summary() if restorers is not None else ""
    return {RESTORER_KEY: text} if text and getattr(p, "restore_faces", False) else {}
