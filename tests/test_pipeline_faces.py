"""One face by itself: options of its own, faces that are left alone, hints about each."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from lib_facerestore import FaceRestorer, ModelFileError, OptionError, pipeline
from lib_facerestore.errors import FaceRestoreError, InputError
from lib_facerestore.faces import warping
from lib_facerestore.faces.face import Face
from lib_facerestore.networks.load import Network
from lib_facerestore.stages import loaded_models
from lib_facerestore.stages.background import Upscaler
from lib_facerestore.stages.face_job import FaceJob

from .conftest import KnownFaces, small_lite
from .pipeline_helpers import SMALL, network_of


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
    assert len(result.failures) == 1 and "small failed" in result.failures[0]


def test_a_network_that_fails_on_a_face_costs_that_face_only(
    restorer: FaceRestorer, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    photo[:, :110] = 250
    plain = restorer.restore(photo, SMALL)
    network = network_of(restorer, "small")
    forward = network.module.forward

    def fail(faces: torch.Tensor) -> torch.Tensor:
        if (faces.mean((1, 2, 3)) > 0.5).any():
            raise RuntimeError("shapes differ\nmore lines")
        return forward(faces)

    monkeypatch.setattr(network.module, "forward", fail)
    first, second = restorer.restore_many([photo, photo[:, 110:].copy()], SMALL)
    assert [report.applied for report in first.faces] == [False, True]
    assert first.faces[0].reason == "face 1: left alone, small failed (RuntimeError: shapes differ)"
    assert first.failures == ("face 1: small failed (RuntimeError: shapes differ)",) and second.failures == ()
    assert np.array_equal(first.image[:, :110], photo[:, :110])
    assert np.abs(first.image[:, 110:].astype(int) - plain.image[:, 110:]).max() <= 1
    assert "small failed on 1 face(s): RuntimeError: shapes differ" in caplog.text


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), "out of memory"),
        (MemoryError(), "out of memory"), (torch.cuda.OutOfMemoryError("CUDA out of memory. Tried"), "out of memory"),
        (InputError("x.onnx: onnxruntime failed (no)."), "x.onnx: onnxruntime failed (no)"), (KeyError(), "KeyError"),
    ],
)  # fmt: skip
def test_the_reason_of_a_failure_is_short(
    restorer: FaceRestorer, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch, error: Exception, told: str
) -> None:
    def fail(faces: torch.Tensor) -> torch.Tensor:
        raise error

    monkeypatch.setattr(network_of(restorer, "small").module, "forward", fail)
    result = restorer.restore(photo, SMALL)
    assert result.failures == (f"faces 1, 2: small failed ({told})",) and not result.changed
    assert np.array_equal(result.image, photo)


def test_a_batch_that_needs_too_much_memory_is_restored_face_by_face(
    restorer: FaceRestorer, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, sizes = pipeline._restore, []

    def small_memory(network: Network, batch: list[FaceJob], fidelity: float | None) -> None:
        sizes.append(len(batch))
        if len(batch) > 1:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        run(network, batch, fidelity)

    monkeypatch.setattr(pipeline, "_restore", small_memory)
    result = restorer.restore(photo, SMALL)
    assert sizes == [2, 1, 1] and result.failures == ()
    assert [report.applied for report in result.faces] == [True, True]


@pytest.mark.parametrize("damage", ["deleted", "replaced"])
def test_a_file_that_goes_away_during_a_call_does_not_end_it(models: Path, photo: np.ndarray, damage: str) -> None:
    restorer = FaceRestorer(models, "cpu", detector=KnownFaces((60, 70, 60), (190, 100, 120)))
    file = models / "small.safetensors"

    def progress(stage: str, done: int, total: int) -> None:
        if stage == "restore" and not done:
            file.unlink()
            if damage == "replaced":
                file.write_bytes(b"no checkpoint")

    result = restorer.restore(photo, SMALL, progress=progress)
    if damage == "deleted":  # the network is in memory
        assert [report.applied for report in result.faces] == [True, True] and result.failures == ()
        with pytest.raises(ModelFileError, match="small is not known"):
            restorer.restore(photo, SMALL)
    else:
        assert np.array_equal(result.image, photo)
        assert result.failures[0].startswith(f"faces 1, 2: small failed ({file}: ")


def test_other_networks_that_fail_are_named(
    restorer: FaceRestorer, photo: np.ndarray, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> Any:
        raise RuntimeError("no kernel")

    with monkeypatch.context() as patch:
        patch.setattr(restorer.loaded.own_detector, "detect", fail)
        for call in (restorer.detect, restorer.restore):
            with pytest.raises(FaceRestoreError, match=r"the detector known failed \(RuntimeError: no kernel\)"):
                call(photo, SMALL)
    with monkeypatch.context() as patch:
        parser = SimpleNamespace(name="mine", masks=fail)
        patch.setattr(restorer.loaded, "parser", lambda there: (parser, ""))
        result = restorer.restore(photo, SMALL)
        assert result.hints == ("masks are ellipses, because the parser mine failed (RuntimeError: no kernel)",)
        assert [report.applied for report in result.faces] == [True, True]
        restorer.batch_size = 1
        labels = np.full((1, 256, 256), 1, np.uint8)
        answers = iter([labels])
        parse = lambda *_: labels if next(answers, None) is not None else fail()  # noqa: E731
        midway = SimpleNamespace(name="mine", knows_covers=False, masks=parse)
        patch.setattr(restorer.loaded, "parser", lambda there: (midway, ""))
        (hint,) = restorer.restore(photo, SMALL).hints
        assert hint == "face 2: masks are ellipses, because the parser mine failed (RuntimeError: no kernel)"
    (models / "big.pth").write_bytes(b"of no kind")
    monkeypatch.setattr(loaded_models, "load_upscaler", lambda *_: Upscaler(fail, 2))
    with pytest.raises(FaceRestoreError, match=r"the upscaler failed \(RuntimeError: no kernel\)"):
        restorer.restore(photo, SMALL.replace(upscale=2, upscaler="big"))


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
    with pytest.raises(OptionError, match="face 1: 'order' cannot be set for a single face"):
        restorer.restore(photo, SMALL, overrides={1: {"order": "confidence"}})
    with pytest.raises(ModelFileError, match="nosuch"):
        restorer.restore(photo, SMALL, overrides={1: {"model": "nosuch"}})


def test_a_face_that_cannot_be_cut_out_is_left_alone_for_that_reason(
    restorer: FaceRestorer, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut, calls = warping.crop_face, []

    def crop(image: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
        calls.append(size)
        if len(calls) == 2:
            raise InputError("face: it cannot be reached; check the landmarks")
        return cut(image, matrix, size)

    monkeypatch.setattr(warping, "crop_face", crop)
    first, second = restorer.restore_many([photo, photo[:, :150]], SMALL)
    assert [report.applied for report in first.faces] == [True, False] and second.changed
    assert first.faces[1].reason == "face 2: left alone, it cannot be reached; check the landmarks"


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
