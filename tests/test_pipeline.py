"""The stages together: what changes, what must not, and what is reported."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lib_facerestore import FaceRestorer, ModelFileError, OptionError, Options, Result
from lib_facerestore.errors import InputError
from lib_facerestore.images.files import from_array

from .conftest import KnownFaces
from .pipeline_helpers import SMALL

ELLIPSE = SMALL.replace(mask="ellipse")
"""Without a parser, to which the picture that a random network makes is no face."""


def changed_box(before: np.ndarray, after: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero((before != after).any(axis=2))
    return int(columns.min()), int(rows.min()), int(columns.max()), int(rows.max())


def test_faces_change_and_the_rest_is_bit_identical(restorer: FaceRestorer, photo: np.ndarray) -> None:
    original = photo.copy()
    result = restorer.restore(photo, ELLIPSE)
    assert np.array_equal(photo, original), "the input must not be touched"
    assert result.image.shape == photo.shape
    assert result.image.dtype == np.uint8
    assert [report.number for report in result.faces] == [1, 2]
    assert all(report.applied and not report.reason for report in result.faces)
    inside = np.zeros(photo.shape[:2], bool)
    inside[40:100, 30:90] = True
    inside[40:160, 130:250] = True
    assert np.array_equal(result.image[~inside], photo[~inside])
    for y, x in ((70, 60), (100, 190)):
        assert (result.image[y - 5 : y + 5, x - 5 : x + 5] != photo[y - 5 : y + 5, x - 5 : x + 5]).mean() > 0.5


@pytest.mark.parametrize("options", [SMALL.replace(visibility=0.0), SMALL.replace(min_face=1000)])
def test_nothing_to_do_returns_the_input(restorer: FaceRestorer, photo: np.ndarray, options: Options) -> None:
    result = restorer.restore(photo, options)
    assert np.array_equal(result.image, photo)
    assert not result.changed
    assert all(report.reason.startswith(f"face {report.number}: skipped") for report in result.faces)


def test_no_face_returns_the_input_and_says_so(models: Path, photo: np.ndarray) -> None:
    result = FaceRestorer(models, "cpu", detector=KnownFaces()).restore(photo, SMALL)
    assert np.array_equal(result.image, photo)
    assert result.faces == []
    assert result.notes == ("no face was found",)
    third = FaceRestorer(models, "cpu", detector=KnownFaces()).restore(photo, SMALL.replace(faces="3"))
    assert third.notes == result.notes


def test_visibility_is_the_alpha_of_the_blend(restorer: FaceRestorer, photo: np.ndarray) -> None:
    full = restorer.restore(photo, SMALL).image.astype(float)
    half = restorer.restore(photo, SMALL.replace(visibility=0.5)).image.astype(float)
    clipped = (full <= 0) | (full >= 255)  # a clipped result does not tell how far it would have gone
    assert np.abs(half - (photo + full) / 2)[~clipped].max() <= 1.0


def test_selection_leaves_the_other_face_bit_identical(restorer: FaceRestorer, photo: np.ndarray) -> None:
    result = restorer.restore(photo, SMALL.replace(faces="2"))
    x0, *_ = changed_box(photo, result.image)
    assert x0 >= 130
    assert [report.applied for report in result.faces] == [False, True]
    assert result.faces[0].reason == "face 1: skipped, only face 2 was asked for"
    largest_first = restorer.restore(photo, SMALL.replace(faces="1", order="large-small"))
    assert np.array_equal(largest_first.image, result.image)


def test_a_number_that_does_not_exist_is_said(restorer: FaceRestorer, photo: np.ndarray) -> None:
    assert restorer.restore(photo, SMALL.replace(faces="1,7")).notes == ("there is no face 7",)
    assert restorer.restore(photo, SMALL.replace(faces="1-9")).notes == ("there are no faces 3-9",)


def test_a_face_whose_pixels_stay_is_not_called_restored(restorer: FaceRestorer, photo: np.ndarray) -> None:
    result = restorer.restore(photo, SMALL.replace(visibility=0.001))
    assert np.array_equal(result.image, photo) and not result.changed
    reasons = [report.reason for report in result.faces]
    assert reasons == [f"face {number}: left alone, restoring it changes no pixel" for number in (1, 2)]
    one = restorer.restore(photo, SMALL, overrides={2: {"visibility": 0.001}})
    assert [report.applied for report in one.faces] == [True, False]


def test_pictures_share_batches_and_do_not_mix(restorer: FaceRestorer, photo: np.ndarray) -> None:
    other = 255 - photo[:, :150]
    together = restorer.restore_many([photo, other, photo], SMALL)
    apart = [restorer.restore(image, SMALL) for image in (photo, other, photo)]
    for one, two in zip(together, apart, strict=True):
        assert len(one.faces) == len(two.faces)
        assert np.abs(one.image.astype(int) - two.image.astype(int)).max() <= 1  # summation order in a batch
    assert len(together[1].faces) == 1


def test_same_input_gives_the_same_output(restorer: FaceRestorer, photo: np.ndarray) -> None:
    options = SMALL.replace(grain=0.7)
    assert np.array_equal(restorer.restore(photo, options).image, restorer.restore(photo, options).image)


def test_types_and_depths_survive(restorer: FaceRestorer, photo: np.ndarray) -> None:
    eight = restorer.restore(photo, SMALL).image
    alpha = np.random.default_rng(1).integers(0, 256, photo.shape[:2], np.uint8)
    rgba = restorer.restore(np.dstack([photo, alpha]), SMALL).image
    assert np.array_equal(rgba[..., 3], alpha)
    assert np.array_equal(rgba[..., :3], eight)
    deep = restorer.restore(photo.astype(np.uint16) * 257, SMALL).image
    assert deep.dtype == np.uint16
    assert np.abs(deep / 257 - eight).max() <= 0.51
    pil = restorer.restore(Image.fromarray(photo), SMALL).image
    assert isinstance(pil, Image.Image)
    assert np.array_equal(np.asarray(pil), eight)
    grey = Image.fromarray(photo).convert("L")
    assert restorer.restore(grey, SMALL).image.mode == "L"
    picture = restorer.restore(from_array(photo), SMALL).image
    assert np.array_equal(picture.pixels, eight)


def test_upscale_enlarges_and_pastes_in_place(restorer: FaceRestorer, photo: np.ndarray) -> None:
    result = restorer.restore(np.dstack([photo, photo[..., 0]]), ELLIPSE.replace(upscale=2))
    assert result.image.shape == (400, 560, 4)
    plain = restorer.restore(photo, ELLIPSE.replace(upscale=2, visibility=0)).image
    x0, y0, x1, y1 = changed_box(plain, result.image[..., :3])
    assert x0 >= 60
    assert x1 < 500
    assert y0 >= 80
    assert y1 < 320
    assert (plain[195:205, 375:385] != result.image[195:205, 375:385, :3]).mean() > 0.5


def test_keep_and_color_have_an_effect(restorer: FaceRestorer, photo: np.ndarray) -> None:
    plain = restorer.restore(photo, SMALL).image
    kept = restorer.restore(photo, SMALL.replace(keep="eyes")).image
    assert not np.array_equal(plain, kept)
    matched = restorer.restore(photo, SMALL.replace(color="match")).image
    region = (slice(85, 115), slice(175, 205))
    shift = np.abs(plain[region].mean((0, 1)) - photo[region].mean((0, 1))).max()
    left = np.abs(matched[region].mean((0, 1)) - photo[region].mean((0, 1))).max()
    assert shift > 5, "the random network tints, or this test shows nothing"
    assert left < shift / 2


def test_timings_name_the_stages(restorer: FaceRestorer, photo: np.ndarray) -> None:
    started = time.perf_counter()
    result = restorer.restore(photo, SMALL)
    took = time.perf_counter() - started
    assert set(result.timings) == {"detect", "align", "restore", "parse", "paste"}
    assert min(result.timings["restore"], result.timings["paste"]) > 0
    assert sum(result.timings.values()) <= took
    for stage in ("align", "restore", "parse", "paste"):
        assert result.timings[stage] == pytest.approx(sum(report.timings[stage] for report in result.faces)), stage


def test_errors_name_the_thing_and_the_remedy(models: Path, restorer: FaceRestorer, photo: np.ndarray) -> None:
    with pytest.raises(ModelFileError, match=r"gfpgan-1\.4 is not installed: put its file GFPGANv1\.4\.pth into"):
        restorer.restore(photo, Options(model="gfpgan-1.4"))
    with pytest.raises(ModelFileError, match=r"codefrmer is not known\. Did you mean codeformer"):
        restorer.restore(photo, Options(model="codefrmer"))
    with pytest.raises(ModelFileError, match="model esrgan is not known"):
        restorer.restore(photo, SMALL.replace(upscaler="esrgan"))
    with pytest.raises(InputError, match="picture"):
        restorer.restore("photo.png", SMALL)  # type: ignore[type-var]
    with pytest.raises(OptionError, match="device: 'warp' cannot be used here"):
        FaceRestorer(models, "warp")
    with pytest.raises(OptionError, match="batch_size: 0"):
        FaceRestorer(models, "cpu", batch_size=0)
    with pytest.raises(OptionError, match="batch_size: '4' is not allowed; give a whole number from 1"):
        FaceRestorer(models, "cpu", batch_size="4")  # type: ignore[arg-type]
    for call in (restorer.restore, restorer.detect):
        with pytest.raises(OptionError, match=r"options: \{'visibility': 1\} is not allowed; give Options\("):
            call(photo, {"visibility": 1})  # type: ignore[arg-type]
    with pytest.raises(OptionError, match=r"face 1: 'visiblity' cannot be set .* Did you mean visibility\?"):
        restorer.restore(photo, SMALL, overrides={1: {"visiblity": 1}})


@pytest.mark.parametrize("precision", ["half", "float64", ""])
def test_an_unknown_precision_is_refused(precision: str) -> None:
    with pytest.raises(OptionError, match=f"precision: '{precision}'"):
        FaceRestorer(precision=precision)


def test_bfloat16_is_near_to_float32(models: Path, photo: np.ndarray) -> None:
    finder = KnownFaces((190, 100, 120))
    exact = FaceRestorer(models, "cpu", detector=finder).restore(photo, ELLIPSE).image
    rough = FaceRestorer(models, "cpu", detector=finder, precision="bfloat16").restore(photo, ELLIPSE).image
    difference = np.abs(exact.astype(int) - rough)
    assert 0 < difference.max() <= 6


def test_options_that_can_have_no_effect_are_told(restorer: FaceRestorer, photo: np.ndarray) -> None:
    assert restorer.restore(photo, SMALL).hints == ()
    hints = restorer.restore(photo, SMALL.replace(fidelity=0.7, keep="hair,eyes")).hints
    assert hints == ("fidelity 0.7 has no effect: small has no such knob",)


def test_a_huge_face_is_restored(models: Path, photo: np.ndarray) -> None:
    restorer = FaceRestorer(models, "cpu", detector=KnownFaces((60, 70, 60), (190, 100, 20_000)))
    assert [report.applied for report in restorer.restore(photo, SMALL).faces] == [True, True]


def test_a_result_keeps_the_type_of_the_picture(restorer: FaceRestorer, photo: np.ndarray) -> None:
    result: Result[Image.Image] = restorer.restore(Image.fromarray(photo), SMALL)
    assert result.image.mode == "RGB"
