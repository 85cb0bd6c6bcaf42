"""The stages together: what changes, what must not, and what is reported."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from lib_facerestore import FaceRestorer, ModelFileError, OptionError, Options, Result
from lib_facerestore.catalogue import Inventory, fingerprints
from lib_facerestore.errors import FaceRestoreError, InputError
from lib_facerestore.faces import alignment
from lib_facerestore.faces.face import Face
from lib_facerestore.images.files import from_array
from lib_facerestore.networks.load import Network
from lib_facerestore.stages import face_job, loaded_models
from lib_facerestore.stages.background import Upscaler
from lib_facerestore.system import facexlib_import

from .catalogue.test_catalogue import empty_file, shapes_of
from .conftest import KnownFaces, narrow_dfdnet, small_lite

SMALL = Options(model="small", color="none")


def network_of(restorer: FaceRestorer, model: str) -> Network:
    """The network that the restorer runs for a model."""
    return restorer.loaded.network(restorer.loaded.restorer(model, restorer.store.scan()))


def changed_box(before: np.ndarray, after: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero((before != after).any(axis=2))
    return int(columns.min()), int(rows.min()), int(columns.max()), int(rows.max())


def test_faces_change_and_the_rest_is_bit_identical(restorer: FaceRestorer, photo: np.ndarray) -> None:
    original = photo.copy()
    result = restorer.restore(photo, SMALL)
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
    assert result.faces[0].reason == "face 1: skipped, not among faces 2"
    largest_first = restorer.restore(photo, SMALL.replace(faces="1", order="large-small"))
    assert np.array_equal(largest_first.image, result.image)


def test_a_number_that_does_not_exist_is_said(restorer: FaceRestorer, photo: np.ndarray) -> None:
    assert restorer.restore(photo, SMALL.replace(faces="1,7")).notes == ("there is no face 7",)


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
    result = restorer.restore(np.dstack([photo, photo[..., 0]]), SMALL.replace(upscale=2))
    assert result.image.shape == (400, 560, 4)
    plain = restorer.restore(photo, SMALL.replace(upscale=2, visibility=0)).image
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


def test_values_that_are_not_numbers_leave_the_face_alone(
    restorer: FaceRestorer, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo[:, :110] = 250  # tells the first face from the second, in whatever parts the batch comes
    network = network_of(restorer, "small")
    forward = network.module.forward

    def spoil(faces: torch.Tensor) -> torch.Tensor:
        out = forward(faces)
        out[faces.mean((1, 2, 3)) > 0.5] = float("nan")
        return out

    monkeypatch.setattr(network.module, "forward", spoil)
    result = restorer.restore(photo, SMALL)
    assert [report.applied for report in result.faces] == [False, True]
    assert "not numbers" in result.faces[0].reason


def test_timings_name_the_stages(restorer: FaceRestorer, photo: np.ndarray) -> None:
    result = restorer.restore(photo, SMALL)
    assert set(result.timings) == {"detect", "align", "restore", "parse", "paste"}
    assert all(seconds >= 0 for seconds in result.timings.values())


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


def test_auto_passes_over_a_damaged_file(models: Path, photo: np.ndarray) -> None:
    (models / "GFPGANv1.4.pth").write_bytes(b"not a checkpoint")
    restorer = FaceRestorer(models, "cpu")
    assert restorer.restore(photo).model == "lite"
    assert network_of(restorer, "auto").family == "lite"


def test_what_auto_passes_over_is_told_once(models: Path, photo: np.ndarray, caplog: pytest.LogCaptureFixture) -> None:
    torch.save(narrow_dfdnet().state_dict(), models / "latest_net_G.pth")  # without its dictionaries
    restorer = FaceRestorer(models, "cpu", detector=KnownFaces())
    restorer.check(Options())
    for _ in range(2):
        assert restorer.restore(photo).model == "lite"
    told = [record.getMessage() for record in caplog.records if "passes over" in record.getMessage()]
    assert (
        len(told) == 1
        and "16 of the 16 files that it needs are missing" in told[0]
        and told[0].count("_center.npy") == 3
    )


def test_a_parser_that_cannot_be_used_costs_the_outline_not_the_face(
    restorer: FaceRestorer, models: Path, photo: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    plain = restorer.restore(photo, SMALL)
    (models / "parsing_bisenet.pth").write_bytes(b"half a file")
    for _ in range(2):
        result = restorer.restore(photo, SMALL)
        assert np.array_equal(result.image, plain.image)  # with ellipses, as without a parser
        assert len(result.hints) == 1
        assert re.match(r"masks are ellipses, .*parsing_bisenet\.pth: .*get it again", result.hints[0])
    assert sum("masks are ellipses" in record.getMessage() for record in caplog.records) == 1
    assert restorer.restore(photo, SMALL.replace(mask="box")).hints == ()
    (models / "parsing_bisenet.pth").unlink()  # what is put right is seen
    assert restorer.restore(photo, SMALL).hints == ()


def test_one_face_may_have_options_of_its_own(restorer: FaceRestorer, models: Path, photo: np.ndarray) -> None:
    safetensors.torch.save_file(small_lite(seed=5).state_dict(), models / "other.safetensors")
    plain = restorer.restore(photo, SMALL)
    left, right = photo.copy(), photo.copy()
    left[:, :110], right[:, 110:] = plain.image[:, :110], plain.image[:, 110:]
    skipped = restorer.restore(photo, SMALL, overrides={1: {"skip": True}})
    assert np.array_equal(skipped.image, right)
    assert skipped.faces[0].reason == "face 1: skipped, as its override says"
    unseen = restorer.restore(photo, SMALL, overrides={"2": {"visibility": 0}})
    assert np.array_equal(unseen.image, left)
    assert unseen.faces[1].reason == "face 2: skipped, visibility is 0"
    other = restorer.restore(photo, SMALL, overrides={2: {"model": "other"}})
    assert np.array_equal(other.image[:, :110], plain.image[:, :110])
    assert (other.image[:, 110:] != plain.image[:, 110:]).any()
    assert [report.model for report in other.faces] == ["small", "other"]
    assert other.model == "small"
    assert np.array_equal(other.image[:, 110:], restorer.restore(photo, SMALL.replace(model="other")).image[:, 110:])


def test_an_override_of_a_face_that_is_not_there_is_noted(restorer: FaceRestorer, photo: np.ndarray) -> None:
    assert restorer.restore(photo, SMALL, overrides={7: {"skip": True}}).notes == ("there is no face 7",)


def test_the_caller_may_leave_faces_alone_for_reasons_of_its_own(restorer: FaceRestorer, photo: np.ndarray) -> None:
    asked: list[tuple[int, int]] = []

    def leave_alone(index: int, face: Face) -> str:
        asked.append((index, face.number))
        return "skipped, it is on the left" if index and face.box[0] < 100 else ""

    both = restorer.restore_many([photo, photo], SMALL, leave_alone=leave_alone)
    reasons = [[report.reason for report in result.faces] for result in both]
    assert reasons == [["", ""], ["face 1: skipped, it is on the left", ""]]
    assert sorted(asked) == [(0, 1), (0, 2), (1, 1), (1, 2)]


def test_a_face_to_be_left_alone_is_given_in_pixels_of_the_image(restorer: FaceRestorer, photo: np.ndarray) -> None:
    """A photograph that its camera stored upside down: the detector sees it upright."""
    image = Image.fromarray(np.ascontiguousarray(photo[::-1, ::-1]))
    image.getexif()[0x0112] = 3
    seen: list[Face] = []

    def leave_alone(index: int, face: Face) -> str:
        seen.append(face)
        return ""

    restorer.restore_many([image], SMALL, leave_alone=leave_alone)
    found = restorer.detect(image, SMALL)
    assert sorted(face.box for face in seen) == sorted(face.box for face in found) and len(found) == 2


def test_every_picture_needs_its_overrides(restorer: FaceRestorer, photo: np.ndarray) -> None:
    with pytest.raises(InputError, match="overrides: 1 for 2 pictures"):
        restorer.restore_many([photo, photo], SMALL, overrides=[{}])
    with pytest.raises(OptionError, match="face 1 cannot have 'order'"):
        restorer.restore(photo, SMALL, overrides={1: {"order": "confidence"}})
    with pytest.raises(ModelFileError, match="nosuch"):
        restorer.restore(photo, SMALL, overrides={1: {"model": "nosuch"}})


def test_stopping_keeps_what_is_done_and_says_so(models: Path, photo: np.ndarray) -> None:
    restorer = FaceRestorer(models, "cpu", batch_size=1, detector=KnownFaces((60, 70, 60), (190, 100, 120)))
    told: list[tuple[str, int, int]] = []
    result = restorer.restore(
        photo, SMALL, progress=lambda *step: told.append(step), stop=lambda: ("restore", 1, 2) in told
    )
    assert [report.applied for report in result.faces] == [True, False]
    assert result.faces[1].reason == "face 2: skipped, stopped"
    assert result.notes == ("stopped",)
    assert np.array_equal(result.image[:, 110:], photo[:, 110:])
    assert told == [
        ("detect", 0, 1), ("detect", 1, 1), ("restore", 0, 2), ("restore", 1, 2), ("restore", 1, 2), ("paste", 0, 1),
        ("paste", 1, 1),
    ]  # fmt: skip


def test_a_call_that_is_stopped_at_once_looks_at_nothing(restorer: FaceRestorer, photo: np.ndarray) -> None:
    result = restorer.restore(photo, SMALL, stop=lambda: True)
    assert np.array_equal(result.image, photo)
    assert (result.faces, result.notes) == ([], ("stopped",))


def test_unloading_changes_nothing_but_the_memory(restorer: FaceRestorer, photo: np.ndarray) -> None:
    before = restorer.restore(photo, SMALL).image
    restorer.unload()
    assert np.array_equal(restorer.restore(photo, SMALL).image, before)


def test_a_file_that_was_replaced_is_loaded_anew(restorer: FaceRestorer, models: Path, photo: np.ndarray) -> None:
    before = restorer.restore(photo, SMALL).image
    safetensors.torch.save_file(small_lite(seed=9, strength=0.5).state_dict(), models / "small.safetensors")
    os.utime(models / "small.safetensors", ns=(1, 1))  # file systems with coarse clocks would not see the change
    assert (restorer.restore(photo, SMALL).image != before).any()


def test_networks_loaded_in_inference_mode_can_be_moved_later(models: Path, photo: np.ndarray) -> None:
    restorer = FaceRestorer(models, "cpu", detector="lite")
    with torch.inference_mode():
        restorer.restore(photo, SMALL)
        restorer.detect(photo)
    network = network_of(restorer, "small")
    assert not any(parameter.is_inference() for parameter in network.module.parameters())
    network.to("cpu", torch.float64)


@pytest.mark.parametrize("precision", ["half", "float64", ""])
def test_an_unknown_precision_is_refused(precision: str) -> None:
    with pytest.raises(OptionError, match=f"precision: '{precision}'"):
        FaceRestorer(precision=precision)


def test_bfloat16_is_near_to_float32(models: Path, photo: np.ndarray) -> None:
    finder = KnownFaces((190, 100, 120))
    exact = FaceRestorer(models, "cpu", detector=finder).restore(photo, SMALL).image
    rough = FaceRestorer(models, "cpu", detector=finder, precision="bfloat16").restore(photo, SMALL).image
    difference = np.abs(exact.astype(int) - rough)
    assert 0 < difference.max() <= 6


def test_options_that_can_have_no_effect_are_told(restorer: FaceRestorer, photo: np.ndarray) -> None:
    assert restorer.restore(photo, SMALL).hints == ()
    hints = restorer.restore(photo, SMALL.replace(fidelity=0.7, keep="hair,eyes")).hints
    assert hints == (
        "fidelity 0.7 has no effect: small has no such knob",
        "keep hair has no effect without a parsing model (`facerestore models download bisenet`)",
    )


def test_a_call_walks_the_folders_once_and_reads_each_head_once(
    models: Path, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    (models / "sub").mkdir()
    (models / "small.safetensors").rename(models / "sub" / "small.safetensors")
    (models / "GFPGANv1.4.pth").write_bytes(b"not a checkpoint")
    walked: list[str] = []
    heads: list[str] = []
    scandir, sniff = os.scandir, fingerprints.sniff_file

    def walk(path: str) -> object:
        walked.append(os.path.relpath(path, models))
        return scandir(path)

    def look(path: Path) -> object:
        if path.parent.name != "weights":  # the built-in one, which an earlier test may have read
            heads.append(path.name)
        return sniff(path)

    monkeypatch.setattr(os, "scandir", walk)
    monkeypatch.setattr(fingerprints, "sniff_file", look)
    restorer = FaceRestorer(models, "cpu", detector=KnownFaces((60, 70, 60)))
    options = Options(mask="parsing", keep="hair")
    for call in range(2):
        walked.clear()
        restorer.restore_many([photo, photo], options, overrides=[{1: {"model": "small"}}, {}])
        assert walked == [".", "sub"], f"call {call}"
        assert sorted(heads) == ["GFPGANv1.4.pth", "small.safetensors"], f"call {call}"


def test_a_model_put_there_between_two_calls_is_seen(models: Path, photo: np.ndarray) -> None:
    restorer = FaceRestorer(models, "cpu", detector=KnownFaces((60, 70, 60)))
    with pytest.raises(ModelFileError, match="later is not known"):
        restorer.restore(photo, SMALL.replace(model="later"))
    safetensors.torch.save_file(small_lite(seed=5).state_dict(), models / "later.safetensors")
    assert restorer.restore(photo, SMALL.replace(model="later")).changed


def test_a_detector_put_there_between_two_calls_is_seen(
    models: Path, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[bool] = []

    def create(_name: str, there: Inventory, _device: torch.device) -> KnownFaces:
        made.append(bool(there.installed("detector")))
        return KnownFaces()

    monkeypatch.setattr(loaded_models, "create_detector", create)
    restorer = FaceRestorer(models, "cpu")
    for _ in range(2):
        restorer.detect(photo)
    assert made == [False]
    path = empty_file(models / "detector.pth", shapes_of("retinaface-resnet50"))
    for _ in range(2):
        restorer.detect(photo)
    assert made == [False, True]
    path.unlink()
    restorer.detect(photo)
    assert made == [False, True, False]


def test_detection_is_reported_and_stopped_between_groups_of_pictures(models: Path, photo: np.ndarray) -> None:
    finder = KnownFaces((60, 70, 60))
    restorer = FaceRestorer(models, "cpu", detector=finder)
    steps: list[tuple[str, int, int]] = []
    restorer.restore_many([photo] * 10, SMALL, progress=lambda *step: steps.append(step))
    assert steps[:4] == [("detect", 0, 10), ("detect", 4, 10), ("detect", 8, 10), ("detect", 10, 10)]
    finder.seen.clear()
    steps.clear()
    results = restorer.restore_many(
        [photo] * 10, SMALL, progress=lambda *step: steps.append(step), stop=lambda: ("detect", 4, 10) in steps
    )
    assert len(finder.seen) == 1
    assert [result.notes for result in results] == [("stopped",)] * 10
    assert [len(result.faces) for result in results] == [1] * 4 + [0] * 6
    assert results[0].faces[0].reason == "face 1: skipped, stopped"
    assert all(np.array_equal(result.image, photo) for result in results)


def test_a_huge_face_is_restored(models: Path, photo: np.ndarray) -> None:
    restorer = FaceRestorer(models, "cpu", detector=KnownFaces((60, 70, 60), (190, 100, 20_000)))
    assert [report.applied for report in restorer.restore(photo, SMALL).faces] == [True, True]


def test_a_face_that_cannot_be_cut_out_is_left_alone_for_that_reason(
    restorer: FaceRestorer, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut, calls = alignment.crop_face, []

    def crop(image: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
        calls.append(size)
        if len(calls) == 2:
            raise InputError("face: it cannot be reached; check the landmarks")
        return cut(image, matrix, size)

    monkeypatch.setattr(alignment, "crop_face", crop)
    first, second = restorer.restore_many([photo, photo[:, :150]], SMALL)
    assert [report.applied for report in first.faces] == [True, False] and second.changed
    assert first.faces[1].reason == "face 2: left alone, it cannot be reached; check the landmarks"


@pytest.fixture
def doubling(models: Path, monkeypatch: pytest.MonkeyPatch) -> Options:
    """Options for an upscaler that doubles every pixel, in tiles."""
    (models / "twice.pth").write_bytes(b"of no kind")

    def twice(pixels: torch.Tensor) -> torch.Tensor:
        return pixels.repeat_interleave(2, 2).repeat_interleave(2, 3)

    monkeypatch.setattr(loaded_models, "load_upscaler", lambda *_: Upscaler(twice, 2))
    return SMALL.replace(upscale=2, upscaler="twice")


def test_enlarging_is_reported_and_stopped(restorer: FaceRestorer, photo: np.ndarray, doubling: Options) -> None:
    large = np.tile(photo, (2, 2, 1))  # of several tiles
    steps: list[tuple[str, int, int]] = []
    first, second = restorer.restore_many([photo, large], doubling, progress=lambda *step: steps.append(step))
    assert first.image.shape == (400, 560, 3) and second.image.shape == (800, 1120, 3)
    enlarging = [step for step in steps if step[0] == "enlarge"]
    done, total = [step[1] for step in enlarging], enlarging[-1][2]
    assert done == sorted(done) and done[0] == 0 and done[-1] == total > 3
    half = next(step for step in enlarging if step[1] == total - 1)
    steps.clear()
    first, second = restorer.restore_many(
        [photo, large], doubling, progress=lambda *step: steps.append(step), stop=lambda: half in steps
    )
    assert first.finished and first.changed and first.image.shape == (400, 560, 3)
    assert not second.finished and second.notes == ("stopped",)
    assert np.array_equal(second.image, large)
    assert [report.reason for report in second.faces] == ["face 1: skipped, stopped", "face 2: skipped, stopped"]
    assert max(step[1] for step in steps if step[0] == "enlarge") < total


def test_a_call_that_was_stopped_enlarges_no_picture(
    restorer: FaceRestorer, photo: np.ndarray, doubling: Options
) -> None:
    steps: list[str] = []
    result = restorer.restore(
        photo, doubling, progress=lambda stage, *_: steps.append(stage), stop=lambda: "restore" in steps
    )
    assert np.array_equal(result.image, photo) and result.notes == ("stopped",)


def test_a_parser_without_facexlib_is_tried_once_and_said_in_the_hints(
    restorer: FaceRestorer,
    models: Path,
    photo: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(name: str) -> None:
        asked.append(name)
        raise FaceRestoreError("facexlib cannot be imported (no such thing); install it again.")

    asked: list[str] = []
    monkeypatch.setattr(facexlib_import, "import_facexlib", broken)
    empty_file(models / "parsing_bisenet.pth", shapes_of("bisenet"))
    for _ in range(3):
        hints = restorer.restore(photo, SMALL.replace(keep="hair")).hints
        assert len(hints) == 1 and hints[0].startswith("masks are ellipses, since")
        assert "facexlib cannot be imported" in hints[0] and "download bisenet" not in hints[0]
    assert len(asked) == 1
    assert sum("facexlib" in record.getMessage() for record in caplog.records) == 1


def test_hints_are_about_each_face_and_its_own_restorer(
    restorer: FaceRestorer, models: Path, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    safetensors.torch.save_file(small_lite(seed=5).state_dict(), models / "other.safetensors")
    network = network_of(restorer, "other")
    monkeypatch.setattr(network, "knobs", frozenset({"fidelity"}))
    forward = network.module.forward
    monkeypatch.setattr(network.module, "forward", lambda faces, fidelity: forward(faces))
    unheeded = "fidelity 0.7 has no effect: small has no such knob"
    options = SMALL.replace(fidelity=0.7)
    assert restorer.restore(photo, options).hints == (unheeded,)
    assert restorer.restore(photo, options, overrides={2: {"model": "other"}}).hints == (f"face 1: {unheeded}",)
    assert restorer.restore(photo, options.replace(model="other")).hints == ()
    heeded = {1: {"model": "other"}, 2: {"model": "other"}}
    assert restorer.restore(photo, options, overrides=heeded).hints == ()
    assert restorer.restore(photo, SMALL, overrides={2: {"fidelity": 0.7}}).hints == (f"face 2: {unheeded}",)


def test_a_face_is_pasted_where_it_is_when_the_sides_grow_unequally() -> None:
    """21×301 at 1.3 is 27×391: the one side grows by 1.286, the other by 1.299."""
    big = face_job._shrink((301, 21), np.zeros((27, 391, 3), np.uint8))
    for x, y in ((0, 0), (390, 26)):  # the outer corners of the pixels at the ends meet
        here = big @ (x + (0.5 if x else -0.5), y + (0.5 if y else -0.5), 1)
        assert here == pytest.approx((300.5 if x else -0.5, 20.5 if y else -0.5))


def test_a_result_keeps_the_type_of_the_picture(restorer: FaceRestorer, photo: np.ndarray) -> None:
    result: Result[Image.Image] = restorer.restore(Image.fromarray(photo), SMALL)
    assert result.image.mode == "RGB"
