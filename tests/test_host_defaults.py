"""Hosts that have set another default dtype or default device: the results are the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from lib_facerestore.options.table import Options
from lib_facerestore.pipeline import FaceRestorer
from lib_facerestore.stages.detection import postprocess
from lib_facerestore.stages.detection.lite import load_checks, load_lite
from lib_facerestore.stages.lite_parser import load_lite_parser

from .conftest import KnownFaces


@pytest.fixture(autouse=True)
def _defaults_put_back() -> Iterator[None]:
    before = torch.get_default_dtype()
    yield
    torch.set_default_dtype(before)
    torch.set_default_device(None)
    postprocess.prior_boxes.cache_clear()


def results(models: Path, photo: np.ndarray) -> list[np.ndarray]:
    """A restored picture, and what the built-in detector and parser say, all loaded anew."""
    postprocess.prior_boxes.cache_clear()
    places = KnownFaces((60, 70, 60), (190, 100, 120))
    restored = FaceRestorer(models, "cpu", detector=places).restore(photo, Options(model="small"))
    assert [report.applied for report in restored.faces] == [True, True]
    (found,) = load_lite("cpu").detect([photo], 0.5)
    refiner, _ = load_checks("cpu")
    square = photo[:96, :96].transpose(2, 0, 1)[None].astype(np.float32) / 127.5 - 1
    crop = np.asarray(photo[:128, :128] / 255, np.float32)
    picture: list[np.ndarray] = [np.asarray(restored.image), load_lite_parser("cpu").masks([crop], [crop])[0]]
    picture += [face.landmarks for face in found]
    return [*picture, refiner(torch.from_numpy(square)).detach().numpy()]


@pytest.mark.parametrize("default", [torch.float64, torch.float16, torch.bfloat16, "meta"], ids=str)
def test_the_hosts_defaults_change_nothing(models: Path, photo: np.ndarray, default: torch.dtype | str) -> None:
    expected = results(models, photo)
    if isinstance(default, str):
        torch.set_default_device(default)
    else:
        torch.set_default_dtype(default)
    for one, other in zip(expected, results(models, photo), strict=True):
        assert one.dtype == other.dtype and np.array_equal(one, other)
