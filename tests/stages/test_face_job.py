"""One face from its crop to its paste: the crop's size, the matrix from an enlarged picture back, what is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import pytest
import torch

from lib_facerestore import FaceRestorer, Options
from lib_facerestore.faces import alignment
from lib_facerestore.faces.face import Face
from lib_facerestore.networks.load import Network
from lib_facerestore.stages import face_job
from lib_facerestore.stages.loaded_models import ChosenRestorer

from ..conftest import KnownFaces, face_at

LITE = ChosenRestorer("lite", Path(), 256, "ffhq", frozenset(), (512,))


@pytest.mark.parametrize(("square", "size"), [(40, 256), (256, 256), (380, 256), (390, 512), (512, 512), (2000, 512)])
def test_a_large_face_gets_the_larger_crop(square: int, size: int) -> None:
    face, pixels = face_at(400, 400, square), np.zeros((800, 800, 3), np.uint8)
    job = face_job.cut(0, face, LITE, Options(), pixels)
    assert job.crop.shape == (size, size, 3)
    landmarks = alignment.apply_affine(job.matrix, face.landmarks)
    assert np.allclose(landmarks, alignment.ffhq_template(size), atol=0.01 * size)


def test_a_restorer_without_larger_crops_cuts_all_faces_alike() -> None:
    one = ChosenRestorer("gfpgan", Path(), 512, "ffhq", frozenset())
    for square in (40, 2000):
        job = face_job.cut(0, face_at(400, 400, square), one, Options(), np.zeros((800, 800, 3), np.uint8))
        assert len(job.crop) == 512


def test_faces_with_crops_of_both_sizes_are_restored_in_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, ...]] = []
    ordinary = Network.__call__

    def spy(network: Network, faces: torch.Tensor, *, fidelity: float | None = None) -> torch.Tensor:
        seen.append(tuple(faces.shape))
        return ordinary(network, faces, fidelity=fidelity)

    monkeypatch.setattr(Network, "__call__", spy)
    pixels = np.random.default_rng(3).integers(0, 256, (700, 1200, 3)).astype(np.uint8)
    faces = KnownFaces((350, 350, 600), (800, 350, 120), (1000, 350, 100))
    result = FaceRestorer(device="cpu", detector=faces).restore(pixels, Options(model="lite"))
    assert [report.applied for report in result.faces] == [True] * 3
    assert sorted(seen) == [(1, 3, 512, 512), (2, 3, 256, 256)]


def test_a_face_is_pasted_where_it_is_when_the_sides_grow_unequally() -> None:
    """21×301 at 1.3 is 27×391: the one side grows by 1.286, the other by 1.299."""
    big = face_job._shrink((301, 21), np.zeros((27, 391, 3), np.uint8))
    for x, y in ((0, 0), (390, 26)):  # the outer corners of the pixels at the ends meet
        here = big @ (x + (0.5 if x else -0.5), y + (0.5 if y else -0.5), 1)
        assert here == pytest.approx((300.5 if x else -0.5, 20.5 if y else -0.5))


@pytest.mark.parametrize(("grain", "film", "kept"), [("auto", False, False), ("auto", True, True), (0.0, True, False)])
def test_faces_that_wait_for_their_paste_keep_patches_only_if_grain_is_made_of_them(
    grain: Literal["auto"] | float, film: bool, kept: bool
) -> None:
    """1.5 MB a face: a sheet of a thousand faces took 1.5 GB."""
    noise = np.random.default_rng(3).standard_normal((400, 400, 3)).astype(np.float32)
    if film:
        noise = cv2.GaussianBlur(noise, (0, 0), 1.2) * 3.5
    canvas = np.clip(128 + 12 * noise, 0, 255).astype(np.uint8)
    face = Face(1, (120.0, 120.0, 280.0, 280.0), (alignment.ffhq_template(256) * 0.8 + 98).astype(np.float32), 1.0)
    restorer = ChosenRestorer("lite", Path("lite"), 256, "ffhq", frozenset())
    job = face_job.cut(0, face, restorer, Options.from_mapping({"grain": grain}), canvas)
    job.restored = job.crop
    face_job.prepare(job, None, canvas, (400, 400))
    found = job.surroundings
    assert found is not None and found.noise.level > 0.01
    size = found.noise.patches.nbytes + found.around.patches.nbytes
    assert size > 50_000 if kept else size == 0
    assert not grain or (found.film > 0.5) == film
    face_job.paste([job], canvas, (400, 400))
    assert job.applied
