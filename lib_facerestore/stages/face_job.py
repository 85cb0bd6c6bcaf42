"""One face on its way through the stages: cut out of its picture, restored, pasted back. No networks, no state."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..faces import alignment
from ..faces.face import Face, FaceReport
from ..options.table import Options
from . import blending

TEMPLATES: dict[str, Callable[[int], NDArray[np.float64]]] = {
    "ffhq": alignment.ffhq_template,
    "gpen": alignment.gpen_template,
    "arcface": alignment.arcface_template,
}


@dataclass
class Job:
    """One face that is to be restored, from its crop to its paste.

    Attributes:
        picture: index of its picture.
        face, model, options: what, with which restorer, and how.
        matrix: 2×3 affine matrix, picture → crop.
        crop: size×size×3 float32 RGB in [0, 1].
        restored: the network's answer, of the same form; None until there is one.
        reason, applied, timings: as in `FaceReport`.
    """

    picture: int
    face: Face
    model: str
    options: Options
    matrix: NDArray[np.float64]
    crop: NDArray[np.float32]
    timings: dict[str, float] = field(default_factory=dict)
    restored: NDArray[np.float32] | None = None
    reason: str = ""
    applied: bool = False

    @property
    def report(self) -> FaceReport:
        """What was done with the face."""
        return FaceReport.of(self.face, self.model, self.applied, self.reason, self.timings)


def cut(picture: int, face: Face, model: str, options: Options, pixels: NDArray[Any], size: int, template: str) -> Job:
    """A job with the face's aligned crop. pixels: H×W×3 or ×4, uint8 or uint16."""
    started = time.perf_counter()
    matrix = alignment.face_transform(face, size, TEMPLATES[template](size))
    crop = alignment.crop_face(pixels, matrix, size)
    return Job(picture, face, model, options, matrix, crop, {"align": time.perf_counter() - started})


def paste(job: Job, labels: NDArray[np.uint8] | None, canvas: NDArray[Any], upscale: float) -> None:
    """Blend the restored face into the canvas, in place, and say in the job how it went.

    Args:
        job: one with `restored`.
        labels: parsing classes of the restored crop (size×size), or None.
        canvas: the picture, already `upscale` times as large as the one that the face was found in.
        upscale: that factor.
    """
    started = time.perf_counter()
    assert job.restored is not None
    options, size = job.options, job.crop.shape[0]
    landmarks = alignment.apply_affine(job.matrix, job.face.landmarks)
    arguments = (labels, options.mask, options.mask_feather, options.keep_parts)
    try:
        mask = blending.build_mask(size, landmarks, *arguments)
    except InputError:  # landmarks that coincide: the crop followed the box, where the template is the best guess
        mask = blending.build_mask(size, alignment.ffhq_template(size), *arguments)
    restored = job.restored
    if options.color == "match":
        restored = blending.match_color(restored, job.crop, mask)
    matrix = alignment.compose(job.matrix, _shrink(upscale))
    shares = (options.visibility, options.detail, options.grain)
    box = blending.paste(canvas, restored, job.crop, mask, matrix, *shares)
    job.applied = box[2] > box[0]
    if not job.applied:
        job.reason = f"face {job.face.number}: left alone, no pixel of it lies in the picture or outside of keep"
    job.timings["paste"] = time.perf_counter() - started


def _shrink(factor: float) -> NDArray[np.float64]:
    """From the enlarged picture's pixels to the input's (pixel centres are whole numbers)."""
    return np.array([[1 / factor, 0, 0.5 / factor - 0.5], [0, 1 / factor, 0.5 / factor - 0.5]], np.float64)
