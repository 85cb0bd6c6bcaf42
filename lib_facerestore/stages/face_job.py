"""`FaceJob`, one face that is restored, and the functions that cut it out of its picture and paste it back."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..faces import alignment, warping
from ..faces.alignment import PixelBox
from ..faces.face import Face, FaceReport
from ..options.table import Options
from . import blending, color, masks
from .filters import FloatImage
from .loaded_models import ChosenRestorer
from .skin import with_missed_skin
from .surroundings import Surroundings, look_around, mask_box

TEMPLATES: dict[str, Callable[[int], NDArray[np.float64]]] = {
    "ffhq": alignment.ffhq_template,
    "gpen": alignment.gpen_template,
    "arcface": alignment.arcface_template,
}


@dataclass
class FaceJob:
    """One face that is restored.

    Attributes:
        picture: index of its picture.
        face: the face.
        restorer: the restorer.
        options: the options of this face.
        matrix: 2×3 affine matrix, picture → crop.
        crop: size×size×3 float32 RGB in [0, 1].
        timings: as in `FaceReport`.
        restored: the network's output, in the form of `crop`; None before it ran.
        mask: size×size float32, from `build_mask`; None before `prepare`.
        surroundings: what is measured around the face; None before `prepare`, and if the mask is outside the picture.
        reason: as in `FaceReport`.
        applied: as in `FaceReport`.
        failure: why the restorer failed on this face, or "".
        parser_fault: why the best parser was not used for its mask, or "".
    """

    picture: int
    face: Face
    restorer: ChosenRestorer
    options: Options
    matrix: NDArray[np.float64]
    crop: NDArray[np.float32]
    timings: dict[str, float] = field(default_factory=dict)
    restored: NDArray[np.float32] | None = None
    mask: FloatImage | None = None
    surroundings: Surroundings | None = None
    reason: str = ""
    applied: bool = False
    failure: str = ""
    parser_fault: str = ""

    @property
    def report(self) -> FaceReport:
        """What was done with the face."""
        return FaceReport.of(self.face, self.restorer.id, self.applied, self.reason, self.timings)

    @property
    def fidelity(self) -> float | None:
        """The network's fidelity; None if it has no such knob."""
        return self.options.fidelity if "fidelity" in self.restorer.knobs else None

    @property
    def wants_parsing(self) -> bool:
        """Whether the mask needs a parser's labels."""
        return self.options.mask == "parsing" or bool(self.options.keep_parts)

    def stop(self) -> None:
        """Leave the face alone, because the call was stopped."""
        self.restored, self.reason = None, f"face {self.face.number}: skipped, stopped"

    def fail(self, why: str) -> None:
        """Leave the face alone, because its restorer failed."""
        self.restored, self.failure = None, f"{self.restorer.id} failed ({why})"
        self.reason = f"face {self.face.number}: left alone, {self.failure}"


def cut(picture: int, face: Face, restorer: ChosenRestorer, options: Options, pixels: NDArray[Any]) -> FaceJob:
    """Cut out the face's aligned crop, and make a job of it.

    Args:
        picture: index of the picture.
        face: the face, in pixels of the picture.
        restorer: the restorer; decides the crop's template, and with the face's size that of the crop.
        options: the options of this face.
        pixels: H×W×3 or H×W×4, uint8 or uint16, RGB(A).

    Raises:
        InputError: the face cannot be cut out, e.g. because it is far too large.
    """
    started = time.perf_counter()
    size, template = restorer.size, TEMPLATES[restorer.template]
    matrix = alignment.face_transform(face, size, template(size))
    larger = restorer.size_for(size / alignment.scale_of(matrix))
    if larger != size:
        size, matrix = larger, alignment.face_transform(face, larger, template(larger))
    crop = warping.crop_face(pixels, matrix, size)
    return FaceJob(picture, face, restorer, options, matrix, crop, {"align": time.perf_counter() - started})


def prepare(
    job: FaceJob,
    labels: NDArray[np.uint8] | None,
    canvas: NDArray[Any],
    size_before: tuple[int, int],
    covers_known: bool = False,
) -> None:
    """Set the job's `mask`, and its `surroundings`, which must be measured before any face is pasted into the canvas.

    Args:
        job: a job whose `restored` is set.
        labels: parsing classes of the restored crop (size×size), or None.
        canvas: the enlarged picture, H×W×3 RGB, uint8 or uint16.
        size_before: width and height of the picture before it was enlarged, in which the face was found.
        covers_known: see `with_missed_skin`.
    """
    started = time.perf_counter()
    size = job.crop.shape[0]
    landmarks = alignment.apply_affine(job.matrix, job.face.landmarks)
    try:
        job.mask = _mask(job, landmarks, labels, covers_known)
    except InputError:  # the landmarks coincide, so the crop was computed from the box: use the template's landmarks
        job.mask = _mask(job, alignment.ffhq_template(size), labels, covers_known)
    found = look_around(canvas, job.mask, _to_crop(job, size_before, canvas))
    if found is not None:
        grain = found.film if job.options.grain == "auto" else job.options.grain
        job.surroundings = found.without_patches(grain > 0)
    job.timings["paste"] = time.perf_counter() - started


def _mask(
    job: FaceJob, landmarks: NDArray[np.float64], labels: NDArray[np.uint8] | None, covers_known: bool
) -> FloatImage:
    """See `build_mask` and `near_the_box`; what the parser missed of the face is added to it first."""
    options = job.options
    if labels is not None and job.restored is not None:
        labels = with_missed_skin(labels, job.restored, landmarks, covers_known)
    arguments = options.mask, options.mask_feather, options.keep_parts
    mask = masks.build_mask(job.crop.shape[0], landmarks, labels, *arguments)
    if options.mask == "box":  # the whole crop was asked for
        return mask
    return masks.near_the_box(mask, landmarks, job.matrix, job.face.box, options.mask_feather)


def touching(jobs: Sequence[FaceJob], canvas: NDArray[Any], size_before: tuple[int, int]) -> list[list[FaceJob]]:
    """Groups of jobs whose masks' boxes overlap, directly or through others; most have one job.

    Args:
        jobs: jobs of one picture, after `prepare`.
        canvas: as for `prepare`.
        size_before: as for `prepare`.
    """
    groups: list[tuple[list[FaceJob], list[PixelBox]]] = []
    for job in jobs:
        assert job.mask is not None
        box = mask_box(job.mask, _to_crop(job, size_before, canvas), canvas.shape) or (0, 0, 0, 0)
        own, boxes, others = [job], [box], []
        for group in groups:
            if any(_overlap(box, other) for other in group[1]):
                own, boxes = group[0] + own, group[1] + boxes
            else:
                others.append(group)
        groups = [*others, (own, boxes)]
    return [group for group, _ in groups]


def _overlap(one: PixelBox, other: PixelBox) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def paste(jobs: Sequence[FaceJob], canvas: NDArray[Any], size_before: tuple[int, int]) -> None:
    """Blend the restored faces into the canvas, in place, and set the jobs' `applied`, `reason` and `timings`.

    Args:
        jobs: a group of `touching`. Where faces overlap, each pixel is changed once (see `blending.apply`).
        canvas: as for `prepare`.
        size_before: as for `prepare`.
    """
    layers = [_layer(job, canvas, size_before) for job in jobs]
    started = time.perf_counter()
    changed = iter(blending.apply(canvas, [layer for layer in layers if layer is not None]))
    seconds = (time.perf_counter() - started) / len(jobs)
    for job, layer in zip(jobs, layers, strict=True):
        job.applied = layer is not None and next(changed)
        if not job.applied:
            outside = "none of its pixels are in the picture and outside of keep"
            why = outside if layer is None else "restoring it changes no pixel"
            job.reason = f"face {job.face.number}: left alone, {why}"
        job.timings["paste"] += seconds


def _layer(job: FaceJob, canvas: NDArray[Any], size_before: tuple[int, int]) -> blending.Layer | None:
    """What the restored face does to the canvas."""
    started = time.perf_counter()
    assert job.restored is not None
    assert job.mask is not None
    options, restored = job.options, job.restored
    if options.color == "match":
        restored = color.match_color(restored, job.crop, job.mask)
    matrix = _to_crop(job, size_before, canvas)
    shares = (options.visibility, options.detail, options.grain)
    layer = blending.layer(canvas, restored, job.crop, job.mask, matrix, *shares, job.surroundings)
    job.timings["paste"] += time.perf_counter() - started
    return layer


def _to_crop(job: FaceJob, size_before: tuple[int, int], canvas: NDArray[Any]) -> NDArray[np.float64]:
    """2×3 matrix, pixels of the enlarged picture → crop."""
    return alignment.compose(job.matrix, _shrink(size_before, canvas))


def _shrink(size_before: tuple[int, int], canvas: NDArray[Any]) -> NDArray[np.float64]:
    """2×3 matrix, pixels of the enlarged picture → pixels of the picture before.

    Width and height have factors of their own, because both sizes are rounded to whole pixels.
    """
    x, y = size_before[0] / canvas.shape[1], size_before[1] / canvas.shape[0]
    return np.array([[x, 0, x / 2 - 0.5], [0, y, y / 2 - 0.5]], np.float64)
