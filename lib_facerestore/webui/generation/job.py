"""The state of one generation: its request, the pictures that were restored so far, and their infotext lines.

All of it is kept on the generation's own `p`, so it ends with it and never mixes with that of another generation.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ...errors import FaceRestoreError, OptionError
from .. import host, infotext
from ..page_words import in_page_words
from ..request import Request, is_wanted, request_from_args
from .pixels import OUTSIDE, blend, touches

if TYPE_CHECKING:
    from ...faces.face import Face
    from ...pipeline import Result

logger = logging.getLogger(__name__)

JOB = "_facerestore_job"
"""Attribute of `p`: its `Job`."""

CELL = "_facerestore_xyz"
"""Attribute of `p`: what the axes of the X/Y/Z plot set, a dict of argument names and values."""


class Line(infotext.CallableText):
    """A value that we have put into `p.extra_generation_params`; by its class we find it when it is to be removed.

    It holds no function, so that `p` can be pickled and copied.

    Attributes:
        grid: its text for the grid of all pictures; None leaves the line out there.
        group: "run" (what the Script has done) or "restorer" (what the WebUI's own "Restore faces" has done).
    """

    grid: str | None
    group: str

    @classmethod
    def written(cls, text: str, grid: str | None, group: str) -> Line:
        """A line.

        Args:
            text: for the picture in hand.
            grid: see `Line`.
            group: see `Line`.
        """
        line = cls(text)
        line.grid, line.group = grid, group
        return line

    def __call__(self, use_main_prompt: bool = False, **_: object) -> str | None:  # type: ignore[override]
        """What the WebUI writes: the line of the picture, or with `use_main_prompt` that of the grid."""
        return self.grid if use_main_prompt else str(self)


def clear_lines(p: Any, *groups: str) -> None:
    """Take our lines out of the infotext that `p` is about to write: those of `groups`, or all."""
    params = getattr(p, "extra_generation_params", None) or {}
    for key in [key for key, value in params.items() if isinstance(value, Line)]:
        if not groups or params[key].group in groups:
            del params[key]


def put_lines(
    p: Any, lines: Mapping[str, object], grid: Mapping[str, object] | None = None, group: str = "run"
) -> None:
    """Write the lines of the picture that is being finished in place of those of the one before.

    Args:
        p: the generation.
        lines: infotext keys and values of the picture.
        grid: the same for the grid of all pictures so far; it gets none of the others.
        group: see `Line`.
    """
    clear_lines(p, group)
    for key, value in lines.items():
        shared = (grid or {}).get(key)
        p.extra_generation_params[key] = Line.written(str(value), None if shared is None else str(shared), group)


@dataclass
class Done:
    """One picture that was worked on: an array or a PIL image before and after, and its `Result` without pixels.

    The result is None where restoring failed.
    """

    before: Any
    after: Any
    result: Result[Any] | None


@dataclass
class Job:
    """One generation with its request.

    Other extensions copy and pickle `p`. What they copy gets a job of its own when it is used, so that there a job
    becomes None: its pictures need not be copied.

    Attributes:
        owner: the `p` that it belongs to; a copy of `p`, which has the same attributes, needs a job of its own.
        args, cell: what the request was read from: the Script's arguments and the values of the X/Y/Z axes.
        request: None where the arguments are not allowed.
        problem: the last message to the user, "" if there was none.
        told: what was said below the picture.
        decoded: what was done after decoding, by the place in the batch.
        decoded_in: the batch in which that was, -1 for none yet.
        mask, crop: the inpaint mask of the picture in hand, and where the picture lies in it if it is only a part.
        results: of all pictures so far.
        remembered: pictures that are kept for the face strip.
    """

    owner: weakref.ref[Any]
    args: tuple[object, ...]
    cell: dict[str, object]
    request: Request | None = None
    problem: str = ""
    told: set[str] = field(default_factory=set)
    decoded: dict[int, Done] = field(default_factory=dict)
    decoded_in: int = -1
    mask: Any = None
    crop: Any = None
    results: list[Result[Any]] = field(default_factory=list)
    remembered: int = 0

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        return type(None), ()


def job_of(p: Any, args: Sequence[object]) -> Job | None:
    """The job of `p`, made when it is first asked for; None if nothing is asked for."""
    cell = dict(getattr(p, CELL, None) or {})
    if not is_wanted(args, cell):
        return None
    job = getattr(p, JOB, None)
    if not isinstance(job, Job) or job.owner() is not p or job.args != tuple(args) or job.cell != cell:
        job = Job(weakref.ref(p), tuple(args), cell)
        setattr(p, JOB, job)
        try:
            job.request = request_from_args(args, cell)
        except OptionError as error:
            report(p, job, str(error))
    return job if job.request is None or job.request.enabled else None


def forget(p: Any) -> None:
    """Drop the job of `p`, which may have been used for an earlier generation."""
    if getattr(p, JOB, None) is not None:
        setattr(p, JOB, None)


def report(p: Any, job: Job, message: str) -> None:
    """Show a message to the user, once for each generation: in the console, beside the progress bar, and below the
    picture."""
    if message == job.problem:
        return
    job.problem = message
    host.notify(message)
    tell(p, job, message)


def tell(p: Any, job: Job, message: str) -> None:
    """Show a message below the picture, once for each generation."""
    if message in job.told:
        return
    job.told.add(message)
    comment = getattr(p, "comment", None)
    if callable(comment):
        comment(f"Face Restore: {message if getattr(p, 'is_api', False) else in_page_words(message)}")


def run(p: Any, job: Job, images: Sequence[Any], masks: Sequence[Any], apply_mask: bool, tab: str) -> list[Done] | None:
    """Restore pictures together. Never raises: an error is shown to the user, and the pictures stay unchanged.

    Args:
        p: the generation.
        job: its job, with a request.
        images: arrays or PIL images.
        masks: the inpaint mask of each, H×W where 0 is outside, or None. Faces outside are left alone.
        apply_mask: whether every pixel outside is left alone too.
        tab: where it runs, for the log.

    Returns:
        A `Done` for each picture; None where the user has asked to stop.
    """
    if host.interrupted():
        return None
    assert job.request is not None

    def outside(index: int, face: Face) -> str:
        return "" if masks[index] is None or touches(masks[index], face) else OUTSIDE

    try:
        from .. import service

        plans = [job.request.overrides for _ in images]
        results = service.restore(images, job.request.options, plans, origin=tab, leave_alone=outside)
        made = []
        for image, mask, result in zip(images, masks, results, strict=True):
            after = result.image if result.changed else image
            if result.changed and apply_mask and mask is not None:
                after = blend(image, after, mask)
            made.append(Done(image, after, replace(result, image=None)))
        for hint in dict.fromkeys(hint for result in results for hint in result.hints):
            tell(p, job, hint)
        for failure in dict.fromkeys(failure for result in results for failure in result.failures):
            report(p, job, failure)
        return made
    except FaceRestoreError as error:
        report(p, job, str(error))
    except Exception as error:  # a face that cannot be restored must not cost the user the picture
        logger.exception("%s: nothing was restored", tab)
        report(p, job, f"nothing was restored ({type(error).__name__}: {error}).")
    return [Done(image, image, None) for image in images]


def finish(p: Any, job: Job, done: Done | None, index: int, tab: str) -> None:
    """After a picture: its copy from before if that is wanted, its lines, and its entry in the face strip."""
    if done is None:
        return
    if done.result is None:
        put_lines(p, infotext.error_line(job.problem), infotext.error_line(job.problem))
        return
    assert job.request is not None
    if job.request.save_before and done.result.changed:
        save_before(p, done.before, index, job.request.stage)
    job.results.append(done.result)
    from .. import service

    lines = infotext.write(job.request, [done.result], service.knobs_of_run([done.result]))
    if done.result.failures:
        lines |= infotext.error_line("; ".join(done.result.failures))
    together = lines | {infotext.RESULT: infotext.describe(job.results)} if lines else {}
    put_lines(p, lines, together)
    if not getattr(p, "is_api", False):  # a program's pictures are not in the page's gallery
        remember(job, done, tab)


def save_before(p: Any, before: Any, index: int, stage: str) -> None:
    """Save the picture before restoration next to the result, unless saving is off in the WebUI. Never raises.

    Args:
        p: the generation.
        before: an array or a PIL image.
        index: its place in the batch.
        stage: before the stage "last" the copy still needs the composite with the original, which is done here.
    """
    try:
        import numpy as np
        import PIL.Image

        keep = getattr(p, "save_samples", None)
        if not (keep() if callable(keep) else host.option("samples_save", True) and not p.do_not_save_samples):
            return
        image = PIL.Image.fromarray(before) if isinstance(before, np.ndarray) else before
        if stage != "last":
            image = _composed(p, image, index)
        arguments = {"info": _text(p, index), "p": p, "suffix": "-before-face-restore"}
        form = host.option("samples_format", "png")
        images: Any = host.module("images")
        images.save_image(image, p.outpath_samples, "", p.seeds[index], p.prompts[index], form, **arguments)
    except Exception:
        logger.exception("the picture before restoration could not be saved")


def _composed(p: Any, image: Any, index: int) -> Any:
    """The picture in its place in the original, as the WebUI will put the result."""
    overlays = getattr(p, "overlay_images", None) or ()
    compose = getattr(host.module("processing"), "apply_overlay", None)
    if compose is None or index >= len(overlays) or not host.option("overlay_inpaint", True):
        return image
    return compose(image, p.paste_to, overlays[index])[0]


def _text(p: Any, index: int) -> str | None:
    """The infotext of a picture of the batch with the lines so far; None where this WebUI makes it in another way."""
    make = getattr(host.module("processing"), "create_infotext", None)
    if make is None:
        return None
    return make(p, p.prompts, p.seeds, p.subseeds, index=index, all_negative_prompts=p.negative_prompts)


def remember(job: Job, done: Done, tab: str) -> None:
    """Keep the picture for the face strip and the slider. Never raises."""
    try:
        import numpy as np
        import PIL.Image

        from .. import service

        before, after = (
            PIL.Image.fromarray(one) if isinstance(one, np.ndarray) else one for one in (done.before, done.after)
        )
        assert done.result is not None
        picture = service.RunPicture(before, after, tuple(done.result.faces), notes=tuple(done.result.notes))
        service.remember(tab, [picture], add=job.remembered > 0, job=host.job_start())
        job.remembered += 1
    except Exception:
        logger.exception("the run is not shown in the face strip")


__all__ = [
    "CELL",
    "JOB",
    "Done",
    "Job",
    "Line",
    "clear_lines",
    "finish",
    "forget",
    "job_of",
    "put_lines",
    "report",
    "run",
    "tell",
]
