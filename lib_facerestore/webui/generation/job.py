"""What the Script knows of one generation: its request, what has been restored so far, and the lines of each picture.

Everything hangs on the generation's own `p`, so that nothing outlives it or leaks into another.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ...errors import FaceRestoreError, OptionError
from .. import host, infotext
from ..request import ARGUMENTS, Request, request_from_values
from .pixels import blend, explain_outside, plan_inside

if TYPE_CHECKING:
    from ...pipeline import Result

logger = logging.getLogger(__name__)

ATTRIBUTE = "_facerestore_job"
XYZ = "_facerestore_xyz"  # as in xyz.py, which is not loaded for a generation without it


class Line(str):
    """A value in `p.extra_generation_params` that is ours, so that it can be taken out again without a list of names.

    Where the WebUI calls what it can call, the grid gets `grid` (None: nothing) in place of the last picture's value.
    """

    grid: str | None
    group: str

    def __new__(cls, text: object = "", grid: object = None, group: str = "run") -> Line:
        line = super().__new__(cls, text)
        line.grid = None if grid is None else str(grid)
        line.group = group
        return line

    def __call__(self, use_main_prompt: bool = False, **_: object) -> str | None:
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
    """Write the lines of the picture that is being finished in place of those of the one before."""
    clear_lines(p, group)
    for key, value in lines.items():
        p.extra_generation_params[key] = Line(value, (grid or {}).get(key), group)


@dataclass
class Done:
    """One picture that has been through: as it was, as it is, and the `Result` without its pixels (None: it failed)."""

    before: Any
    after: Any
    result: Result[Any] | None


@dataclass
class Job:
    """One generation with its request.

    Attributes:
        owner: id of the `p` that it belongs to; a copy of `p` needs its own.
        args, cell: what the request was read from: the Script's arguments and the values of the X/Y/Z axes.
        request: None where the arguments are not allowed.
        problem: what the user was told last, "" if nothing.
        decoded: what was done after decoding, by the place in the batch.
        decoded_in: the batch in which that was, -1 for none yet.
        mask, crop: the inpaint mask of the picture in hand, and where that lies in it if it is only a part.
        results: of all pictures so far.
    """

    owner: int
    args: tuple[object, ...]
    cell: dict[str, object]
    request: Request | None = None
    problem: str = ""
    decoded: dict[int, Done] = field(default_factory=dict)
    decoded_in: int = -1
    mask: Any = None
    crop: Any = None
    results: list[Result[Any]] = field(default_factory=list)
    remembered: int = 0


def wanted(args: Sequence[object], cell: Mapping[str, object]) -> bool:
    """Whether anything is asked for; cheap, as it decides for every generation of the WebUI."""
    if "enabled" in cell:
        return bool(cell["enabled"])
    first = args[0] if args else False
    if isinstance(first, Mapping):
        first = first.get("enabled", True)
    if isinstance(first, str):  # the API checks no types
        return first.strip().lower() not in ("", "false", "0", "no", "off")
    return bool(first)


def job_of(p: Any, args: Sequence[object]) -> Job | None:
    """The job of `p`, made when it is first asked for; None if nothing is asked for."""
    cell = dict(getattr(p, XYZ, None) or {})
    if not wanted(args, cell):
        return None
    job = getattr(p, ATTRIBUTE, None)
    if not isinstance(job, Job) or job.owner != id(p) or job.args != tuple(args) or job.cell != cell:
        job = Job(id(p), tuple(args), cell)
        setattr(p, ATTRIBUTE, job)
        _read(p, job)
    return job if job.request is None or job.request.enabled else None


def _read(p: Any, job: Job) -> None:
    first = job.args[0] if job.args else None
    if isinstance(first, Mapping):
        values: dict[str, object] = {"enabled": True} | {str(name): value for name, value in first.items()}
    else:
        values = dict(zip(ARGUMENTS, job.args, strict=False))
    try:
        job.request = request_from_values(values | job.cell)
    except OptionError as error:
        tell(p, job, str(error))


def tell(p: Any, job: Job, message: str) -> None:
    """Tell the user, once for each generation: in the console, beside the bar, and under the picture."""
    if message == job.problem:
        return
    job.problem = message
    host.notify(message)
    comment = getattr(p, "comment", None)
    if callable(comment):
        comment(f"Face Restore: {message}")


def run(p: Any, job: Job, images: Sequence[Any], masks: Sequence[Any], apply_mask: bool, tab: str) -> list[Done] | None:
    """Restore pictures (arrays or PIL images) together; a `Done` each. None: the user has asked to stop.

    masks: for each picture H×W, 0 is outside, or None. Faces outside are left alone; with `apply_mask`, so is every
    pixel outside. Never raises: what goes wrong is told, and the pictures stay as they were.
    """
    if host.interrupted():
        return None
    assert job.request is not None
    options = job.request.options
    try:
        from .. import service

        plans, outside = [], []
        for image, mask in zip(images, masks, strict=True):
            plan, numbers = {number: dict(changes) for number, changes in job.request.overrides.items()}, set[int]()
            if mask is not None:
                plan, numbers = plan_inside(mask, service.detect(image, options), plan)
            plans.append(plan)
            outside.append(numbers)
        results = service.restore(images, options, plans, origin=tab)
        made = []
        for image, mask, result, numbers in zip(images, masks, results, outside, strict=True):
            after = result.image if result.changed else image
            if result.changed and apply_mask and mask is not None:
                after = blend(image, after, mask)
            made.append(Done(image, after, replace(result, image=None, faces=explain_outside(result.faces, numbers))))
        return made
    except FaceRestoreError as error:
        tell(p, job, str(error))
    except Exception as error:  # a face that cannot be restored must not cost the user the picture
        logger.exception("%s: nothing was restored", tab)
        tell(p, job, f"nothing was restored ({type(error).__name__}: {error}).")
    return [Done(image, image, None) for image in images]


def finish(p: Any, job: Job, done: Done | None, index: int, tab: str) -> None:
    """After a picture: its copy from before if that is wanted, its lines, and what the face strip shows of it."""
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
    together = lines | {infotext.RESULT: infotext.describe(job.results)} if lines else {}
    put_lines(p, lines, together)
    if not getattr(p, "is_api", False):  # a program's pictures are not in the page's gallery
        remember(job, done, tab)


def save_before(p: Any, before: Any, index: int, stage: str) -> None:
    """Save the picture as it was, beside the result, where the WebUI saves pictures at all. Never raises.

    stage: what is still to come at that stage, the composite with the original, is done for the copy too.
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
    """The infotext of a picture of the batch as it stands now; None where the host makes it otherwise."""
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


__all__ = ["Done", "Job", "Line", "clear_lines", "finish", "job_of", "put_lines", "run", "tell", "wanted"]
