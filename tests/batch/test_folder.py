"""Many files: which are taken, where results go, what is said of each, and what a stop leaves."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from lib_facerestore.batch import folder as batch_folder
from lib_facerestore.batch import plan as batch_plan
from lib_facerestore.batch.search import find_pictures
from lib_facerestore.errors import InputError, ModelFileError, TooLittleMemoryError
from lib_facerestore.faces.face import Face
from lib_facerestore.options.table import Options
from lib_facerestore.pipeline import FaceRestorer

from ..conftest import KnownFaces

SMALL = Options(model="small", color="none")
PLACES = ((60, 70, 60), (190, 100, 120))


def made(folder: Path, *names: str) -> Path:
    """The folder, with a small picture under each name."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(folder / name)
    return folder


def planned(inputs: Sequence[Path], output: Path) -> dict[str, str]:
    """Each source's name, and its target or what is wrong with it."""
    tasks = batch_plan.plan(inputs, output).tasks
    return {task.source.name: task.problem or str(task.target.relative_to(output)) for task in tasks}


def restored(
    finder: KnownFaces, models: Path, inputs: Sequence[Path], output: Path, **more: Any
) -> list[batch_folder.Outcome]:
    restorer = FaceRestorer(models, "cpu", detector=finder, batch_size=2)
    return list(
        batch_folder.restore_files(restorer, batch_plan.plan(inputs, output).tasks, more.pop("options", SMALL), **more)
    )


# --- what is taken, and where it goes ---------------------------------------------------------------------------------


def test_a_gif_beside_a_png_of_its_name_has_a_name_of_its_own(tmp_path: Path) -> None:
    folder = made(tmp_path / "in", "x.png", "x.gif", "y.gif")
    assert planned([folder], tmp_path / "out") == {"x.png": "x.png", "x.gif": "x.gif.png", "y.gif": "y.png"}


def test_files_without_a_pictures_extension_have_names_of_their_own(tmp_path: Path) -> None:
    made(tmp_path, "scan.png").joinpath("scan.png").rename(tmp_path / "scan.001")
    for name in ("scan.002", "other", "photo.7"):
        (tmp_path / name).write_bytes((tmp_path / "scan.001").read_bytes())
    inputs = [tmp_path / name for name in ("scan.001", "scan.002", "scan.002", "other", "photo.7")]
    assert planned(inputs, tmp_path / "out") == {
        "scan.001": "scan.001.png", "scan.002": "scan.002.png", "other": "other.png", "photo.7": "photo.png",
    }  # fmt: skip


def test_two_pictures_of_one_name_are_the_second_ones_error(tmp_path: Path) -> None:
    first, second = made(tmp_path / "a", "1.jpg"), made(tmp_path / "b", "1.jpg", "2.jpg")
    tasks = batch_plan.plan([first, second, first / "1.jpg"], tmp_path / "out").tasks
    assert [task.source for task in tasks] == [first / "1.jpg", second / "1.jpg", second / "2.jpg"]
    assert [bool(task.problem) for task in tasks] == [False, True, False]
    assert "would both be written to" in tasks[1].problem and str(second / "1.jpg") in tasks[1].problem


def test_no_result_replaces_an_input(tmp_path: Path) -> None:
    first, second = made(tmp_path / "a", "1.jpg"), made(tmp_path / "b", "1.jpg", "2.jpg")
    tasks = batch_plan.plan([first, second], first).tasks
    assert ["would replace" in task.problem for task in tasks] == [True, True, False]
    with pytest.raises(InputError, match="would replace the input"):
        batch_plan.plan([second], second)


def test_results_in_the_input_folder_are_no_inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path, "x.png", "sub/y.png", "sub/out/z.png", "sub/out/deep/z.png", ".hidden/h.png")
    monkeypatch.chdir(tmp_path)
    assert planned([Path(".")], Path("sub/out")) == {"x.png": "x.png", "y.png": str(Path("sub/y.png"))}


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="permissions bind other users than root")
def test_permissions_are_said_by_name(tmp_path: Path) -> None:
    folder = made(tmp_path / "in", "x.png", "shut/y.png")
    (folder / "shut").chmod(0)
    try:
        check_closed(folder)
        with pytest.raises(InputError, match="cannot be written to"):
            batch_plan.plan([folder / "x.png"], folder / "shut" / "x.png")
    finally:
        (folder / "shut").chmod(0o700)


def test_a_folder_that_cannot_be_looked_into_is_an_error_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = made(tmp_path / "in", "x.png", "shut/y.png")
    real = os.scandir

    def closed(path: Any) -> Any:
        if Path(path).name == "shut":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", closed)
    check_closed(folder)
    with pytest.raises(InputError, match=r"shut: cannot be opened \(Permission denied\); check its permissions"):
        batch_plan.plan([folder / "shut"], tmp_path / "out")


def check_closed(folder: Path) -> None:
    good, shut = batch_plan.plan([folder], folder.parent / "out").tasks
    assert (good.source.name, good.problem) == ("x.png", "")
    assert shut.problem == f"{folder / 'shut'}: cannot be opened (Permission denied); check its permissions."


def test_a_file_in_a_folder_that_cannot_be_entered_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = made(tmp_path / "in", "x.png", "y.png")
    real = os.stat

    def locked(path: Any, *more: Any, **named: Any) -> os.stat_result:
        if str(path).endswith("y.png"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *more, **named)

    monkeypatch.setattr(os, "stat", locked)
    assert [one.source.name for one in find_pictures([folder]).pictures] == ["x.png", "y.png"]
    with pytest.raises(InputError, match=r"y\.png: cannot be opened"):
        find_pictures([folder / "y.png"])


def test_an_output_that_cannot_be_made_is_told_once_and_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = made(tmp_path, "a.jpg", "b.jpg")
    for output in (folder / "a.jpg" / "x.jpg", folder / "a.jpg" / "deep" / "x.jpg"):
        with pytest.raises(InputError, match=r"a\.jpg is a file, not a folder; name another output"):
            batch_plan.plan([folder / "b.jpg"], output)
    with pytest.raises(InputError, match=r"x\.gif: \.gif cannot be written; use one of .*\.png"):
        batch_plan.plan([folder / "b.jpg"], folder / "x.gif")
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda *_: False)
        with pytest.raises(InputError, match=f"{tmp_path} cannot be written to; check its permissions"):
            batch_plan.plan([folder], folder / "ro" / "sub")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jpg", "b.jpg"]


def test_a_file_where_a_sub_folder_should_be_is_that_pictures_error(models: Path, tmp_path: Path) -> None:
    folder, out = made(tmp_path / "in", "x.png", "sub/y.png"), tmp_path / "out"
    out.mkdir()
    (out / "sub").write_text("in the way")
    outcomes = {outcome.task.source.name: outcome for outcome in restored(KnownFaces(), models, [folder], out)}
    assert not outcomes["x.png"].error
    assert outcomes["y.png"].error.startswith(f"{out / 'sub'}: the folder cannot be created (")


# --- what is written --------------------------------------------------------------------------------------------------


def saved(path: Path, picture: Image.Image, **options: Any) -> Path:
    path.parent.mkdir(exist_ok=True)
    picture.save(path, **options)
    return path


@pytest.mark.parametrize("options", [SMALL, SMALL.replace(visibility=0.0), SMALL.replace(min_face=999)])
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.tif", "a.bmp"])
def test_what_did_not_change_is_copied(
    models: Path, tmp_path: Path, photo: np.ndarray, name: str, options: Options
) -> None:
    several: dict[str, Any] = {}
    if name in ("a.png", "a.tif", "a.webp"):
        several = {"save_all": True, "append_images": [Image.fromarray(photo[::-1])]}
    source = saved(tmp_path / "in" / name, Image.fromarray(photo), **several)
    finder = KnownFaces(*(PLACES if options != SMALL else ()))
    (outcome,) = restored(finder, models, [source], tmp_path / "out", options=options)
    assert outcome.copied and outcome.to_dict()["copied"] is True
    assert not any("only the first" in note for note in outcome.notes)
    assert (tmp_path / "out" / name).read_bytes() == source.read_bytes()


@pytest.mark.parametrize(("name", "places", "target"), [("a.png", PLACES, "a.png"), ("a.gif", (), "a.png")])
def test_frames_that_are_lost_are_noted_once(
    models: Path, tmp_path: Path, photo: np.ndarray, name: str, places: Any, target: str
) -> None:
    more = [Image.fromarray(photo[::-1])]
    source = saved(tmp_path / "in" / name, Image.fromarray(photo), save_all=True, append_images=more)
    (outcome,) = restored(KnownFaces(*places), models, [source], tmp_path / "out")
    assert outcome.task.target == tmp_path / "out" / target and not outcome.copied
    assert outcome.notes.count(f"{source}: only the first of its 2 frames is kept") == 1


def test_detection_notes_frames_and_nothing_that_only_matters_for_a_new_file(models: Path, tmp_path: Path) -> None:
    more: dict[str, Any] = {"save_all": True, "append_images": [Image.new("RGB", (8, 8), "red")]}
    source = saved(tmp_path / "in" / "a.gif", Image.new("RGB", (8, 8)), comment=b"by hand", **more)
    restorer = FaceRestorer(models, "cpu", detector=KnownFaces())
    ((_, _, notes, error),) = batch_folder.detect_files(restorer, find_pictures([source]).pictures, SMALL)
    assert (notes, error) == ((f"{source}: only the first of its 2 frames is kept",), "")


PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize("kind", ["LA.png", "P.png", "P.bmp", "CMYK.tif", "CMYK.jpg", "I;16.png", "I;16.tif"])
def test_every_mode_is_restored_end_to_end(models: Path, tmp_path: Path, photo: np.ndarray, kind: str) -> None:
    mode, _, extension = kind.partition(".")
    picture = Image.fromarray(photo)
    picture = (
        Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
        if mode == "I;16"
        else picture.convert(mode)
    )
    if mode == "LA":
        picture.putalpha(Image.fromarray(photo[:, :, 0]))
    more: dict[str, Any] = {} if extension == "bmp" else {"icc_profile": PROFILE, "exif": exif()}
    source = saved(tmp_path / "in" / f"a.{extension}", picture, **more)
    (outcome,) = restored(KnownFaces(*PLACES), models, [source], tmp_path / "out")
    assert not outcome.error and [report.applied for report in outcome.faces] == [True, True]
    with Image.open(source) as before, Image.open(outcome.task.target) as after:
        assert after.mode == ("RGB" if mode == "P" else before.mode)
        assert after.size == before.size
        same = np.asarray(before.convert(after.mode)), np.asarray(after)
        changed = (same[0] != same[1]).reshape(*photo.shape[:2], -1)
        assert changed[90:110, 180:200].any()
        if extension != "jpg":
            assert not changed[170:].any() and not changed[:, 255:].any()
        if mode == "LA":
            assert np.array_equal(same[0][..., 1], same[1][..., 1])
        if more:
            assert after.getexif()[0x010F] == "Maker"
            assert mode == "CMYK" or after.info["icc_profile"] == PROFILE


def exif() -> bytes:
    data = Image.Exif()
    data[0x010F] = "Maker"
    return data.tobytes()


@pytest.mark.parametrize("extension", ["png", "tif"])
def test_16_bit_colour_keeps_depth_profile_and_exif(
    models: Path, tmp_path: Path, photo: np.ndarray, extension: str
) -> None:
    from lib_facerestore.images.files import Picture, read_picture, write_picture

    source = tmp_path / f"deep.{extension}"
    deep = photo.astype(np.uint16) * 257 + 3
    write_picture(Picture(deep, mode="RGB;16", icc_profile=PROFILE, exif=exif()[6:]), source)
    (outcome,) = restored(KnownFaces(*PLACES), models, [source], tmp_path / "out")
    after = read_picture(outcome.task.target)
    assert (after.mode, after.icc_profile) == ("RGB;16", PROFILE)
    assert after.exif is not None and b"Maker" in after.exif
    assert np.array_equal(after.pixels[170:], deep[170:]) and (after.pixels != deep).any()


# --- the way, and a stop ----------------------------------------------------------------------------------------------


def test_progress_moves_with_the_faces_of_one_picture(models: Path, tmp_path: Path, photo: np.ndarray) -> None:
    told: list[tuple[float, int]] = []
    sources = [saved(tmp_path / name, Image.fromarray(photo)) for name in ("a.png", "b.png")]
    finder = KnownFaces(*PLACES, (100, 120, 60), (80, 60, 60), (120, 90, 60))
    for inputs, steps in ((sources[:1], 2), (sources, 4)):
        told.clear()
        out = tmp_path / f"out{steps}"
        restored(finder, models, inputs, out, progress=lambda way, done, what: told.append((way, done)))
        count = len(inputs)
        assert told == sorted(told), "it never goes back"
        assert told[-1] == (float(count), count)
        moved = {way for way, done in told if 0.2 * count < way < 0.5 * count and done == 0}
        assert len(moved) == steps, "five faces each, two at a time"


def test_a_stop_keeps_the_pictures_that_are_finished(models: Path, tmp_path: Path, photo: np.ndarray) -> None:
    for name in ("a.png", "b.png", "c.png"):
        saved(tmp_path / "in" / name, Image.fromarray(photo))
    told: list[str] = []
    outcomes = restored(
        KnownFaces(*PLACES),
        models,
        [tmp_path / "in"],
        tmp_path / "out",
        progress=lambda way, done, what: told.append(what),
        stop=lambda: "restore 2/6 faces" in told,
    )
    assert [outcome.task.source.name for outcome in outcomes] == ["a.png"]
    assert outcomes[0].notes == () and all(report.applied for report in outcomes[0].faces)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.png"]


@pytest.mark.parametrize(("upscale", "sizes"), [(1.0, [3]), (2.0, [1, 1, 1]), (1.3, [2, 1])])
def test_pictures_share_a_group_as_far_as_their_results_fit(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, upscale: float, sizes: list[int]
) -> None:
    groups: list[int] = []
    real = FaceRestorer.restore_many

    def counted(self: FaceRestorer, images: Any, *more: Any, **named: Any) -> Any:
        groups.append(len(images))
        return real(self, images, *more, **named)

    monkeypatch.setattr(FaceRestorer, "restore_many", counted)
    monkeypatch.setattr(batch_folder, "GROUP_PIXELS", 4 * 8 * 8)
    folder = made(tmp_path / "in", "a.png", "b.png", "c.png")
    restored(KnownFaces(), models, [folder], tmp_path / "out", options=SMALL.replace(upscale=upscale))
    assert groups == sizes


def test_a_fault_of_ours_is_named_and_its_traceback_logged(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise TypeError("unhashable type")

    folder = made(tmp_path / "in", "a.png")
    for name in ("read_picture", "write_picture"):
        caplog.clear()
        with monkeypatch.context() as patch, caplog.at_level("DEBUG", "lib_facerestore"):
            patch.setattr(batch_folder.image_files, name, broken)
            (outcome,) = restored(KnownFaces(), models, [folder], tmp_path / "out")
        assert outcome.error == f"{folder / 'a.png'}: unhashable type (TypeError; --verbose shows where)"
        assert any(record.exc_info and record.exc_info[0] is TypeError for record in caplog.records)


@pytest.mark.parametrize("name", ["read_picture", "write_picture"])
def test_too_little_memory_is_told_with_a_remedy(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise MemoryError

    folder = made(tmp_path / "in", "a.png")
    monkeypatch.setattr(batch_folder.image_files, name, full)
    (outcome,) = restored(KnownFaces(), models, [folder], tmp_path / "out")
    assert outcome.error == (
        f"{folder / 'a.png'}: there is too little memory for it; close other programs, or make it smaller first"
    )


def test_too_little_memory_between_the_files_ends_the_run_with_a_sentence(models: Path, tmp_path: Path) -> None:
    asked: list[None] = []

    def full() -> bool:
        asked.append(None)
        if len(asked) == 2:
            raise MemoryError
        return False

    folder = made(tmp_path / "in", "a.png", "b.png")
    with pytest.raises(TooLittleMemoryError, match=r"^there is too little memory to go on; .*--skip-existing"):
        restored(KnownFaces(), models, [folder], tmp_path / "out", stop=full)


@pytest.mark.parametrize("skip", [True, False])
def test_a_result_that_another_run_writes_meanwhile_is_skipped(models: Path, tmp_path: Path, skip: bool) -> None:
    folder, out = made(tmp_path / "in", "a.png", "b.png"), tmp_path / "out"

    class Other(KnownFaces):
        def detect(self, images: Sequence[np.ndarray], confidence: float) -> list[list[Face]]:
            out.mkdir(exist_ok=True)
            (out / "a.png").write_bytes(b"of the other run")
            return super().detect(images, confidence)

    first, second = restored(Other(), models, [folder], out, skip_existing=skip)
    assert first.skipped is skip and bool(first.error) is not skip
    assert skip or "a.png: already exists" in first.error
    assert (out / "a.png").read_bytes() == b"of the other run"
    assert not second.skipped and not second.error and (out / "b.png").is_file()


def test_any_error_is_that_files_alone(models: Path, tmp_path: Path, photo: np.ndarray) -> None:
    class Odd(KnownFaces):
        def detect(self, images: Sequence[np.ndarray], confidence: float) -> list[list[Face]]:
            if any(image.shape[1] == 100 for image in images):
                raise RuntimeError("Tensor on device meta is not on the expected device")
            return super().detect(images, confidence)

    for name, part in {"a.png": photo, "b.png": photo[:, :100], "c.png": photo}.items():
        saved(tmp_path / "in" / name, Image.fromarray(part))
    errors = {one.task.source.name: one.error for one in restored(Odd(), models, [tmp_path / "in"], tmp_path / "out")}
    told = "b.png: the detector known failed (RuntimeError: Tensor on device meta is not on the expected device)"
    assert told in errors["b.png"] and not errors["a.png"] and not errors["c.png"]
    restorer = FaceRestorer(models, "cpu", detector=Odd())
    rows = list(batch_folder.detect_files(restorer, find_pictures([tmp_path / "in"]).pictures, SMALL))
    assert ["device meta" in error for *_, error in rows] == [False, True, False]
    missing = FaceRestorer(models, "cpu", detector=tmp_path / "none.pth")
    with pytest.raises(ModelFileError):
        list(batch_folder.detect_files(missing, find_pictures([tmp_path / "in"]).pictures, SMALL))


def test_a_file_without_its_end_is_copied_or_restored_and_it_is_said(
    models: Path, tmp_path: Path, photo: np.ndarray
) -> None:
    source = saved(tmp_path / "in" / "a.jpg", Image.fromarray(photo))
    source.write_bytes(source.read_bytes()[:-2])
    said = f"{source}: the file ends before its end mark; no pixel of the JPEG is missing"
    for name, finder in (("same", KnownFaces()), ("other", KnownFaces(*PLACES))):
        (outcome,) = restored(finder, models, [source], tmp_path / name)
        assert said in outcome.notes and outcome.copied is (name == "same")
    rows = list(
        batch_folder.detect_files(
            FaceRestorer(models, "cpu", detector=KnownFaces()), find_pictures([source]).pictures, SMALL
        )
    )
    assert [notes for _, _, notes, _ in rows] == [(said,)]


# --- names that promise another format, and formats that hold no such result ------------------------------------------


FORMATS = {".png": "PNG", ".tif": "TIFF", ".webp": "WEBP", ".jpg": "JPEG"}


class Never(KnownFaces):
    """It is an error to look for faces."""

    def detect(self, images: Sequence[np.ndarray], confidence: float) -> list[list[Face]]:
        raise AssertionError("it was searched for faces")


def clear_bmp(path: Path, photo: np.ndarray) -> Path:
    """A BMP with transparency: with 32 bits, masks, and a header of the version 4."""
    height, width = photo.shape[:2]
    masks = struct.pack("<LLLL", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = struct.pack("<LllHHLLllLL", 108, width, height, 1, 32, 3, 4 * width * height, 0, 0, 0, 0) + masks
    pixels = np.dstack([photo[::-1, :, ::-1], photo[::-1, :, 0]]).tobytes()
    start = 14 + 108
    data = struct.pack("<2sLLL", b"BM", start + len(pixels), 0, start) + header.ljust(108, b"\0") + pixels
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return path


def misnamed(folder: Path, photo: np.ndarray) -> dict[str, Path]:
    """Files whose names have the extension of another format."""
    clear, grey = Image.fromarray(np.dstack([photo, photo[:, :, :1]])), Image.fromarray(photo[:, :, 0])
    return {
        "plain": saved(folder / "plain.jpg", Image.fromarray(photo), format="PNG"),
        "clear": saved(folder / "clear.jpg", clear, format="PNG"),
        "deep": saved(folder / "deep.jpeg", Image.fromarray(photo[:, :, 0].astype(np.uint16) * 257), format="PNG"),
        "tif": saved(folder / "tif.webp", Image.fromarray(photo), format="TIFF"),
        "webp": saved(folder / "webp.png", Image.fromarray(photo), format="WEBP", lossless=True),
        "jpeg": saved(folder / "jpeg.bmp", Image.fromarray(photo), format="JPEG"),
        "gif": saved(folder / "gif.jpg", Image.fromarray(photo), format="GIF", transparency=3),
        "frames": saved(folder / "frames.png", grey, format="GIF", save_all=True, append_images=[grey.rotate(9)]),
        "named gif": saved(folder / "photo.gif", Image.fromarray(photo), format="JPEG"),
        "clear bmp": clear_bmp(folder / "glass.bmp", photo),
    }


def test_a_file_under_another_formats_name_is_copied_if_nothing_changes(
    models: Path, tmp_path: Path, photo: np.ndarray
) -> None:
    sources = misnamed(tmp_path / "in", photo)
    for outcome in restored(KnownFaces(), models, [tmp_path / "in"], tmp_path / "out"):
        source, target = outcome.task.source, outcome.task.target
        assert not outcome.error and outcome.copied and target.name == source.name
        assert target.read_bytes() == source.read_bytes()
        misnamed_too = source != sources["clear bmp"]
        assert any("in spite of its name; it is copied as it is" in one for one in outcome.notes) is misnamed_too
        assert len(outcome.notes) == 1 + misnamed_too, "and that no face was found"
    assert len(list((tmp_path / "out").iterdir())) == len(sources)
    for name, place in (("plain", "alone.jpg"), ("frames", "alone.png"), ("named gif", "folder")):
        (alone,) = restored(KnownFaces(), models, [sources[name]], tmp_path / place)
        assert alone.copied and alone.task.target.read_bytes() == sources[name].read_bytes()


def test_a_result_that_would_replace_an_input_names_the_input_that_is_there(tmp_path: Path, photo: np.ndarray) -> None:
    sources = misnamed(tmp_path / "in", photo)
    for name in ("plain", "webp", "jpeg", "gif"):
        with pytest.raises(InputError) as refused:
            batch_plan.plan([sources[name]], tmp_path / "in")
        assert str(refused.value).startswith(f"{sources[name]}: the result would replace the input {sources[name]};")


def test_a_file_under_another_formats_name_that_is_encoded_anew_gets_its_own(
    models: Path, tmp_path: Path, photo: np.ndarray
) -> None:
    sources = misnamed(tmp_path / "in", photo)
    for name, expected in (("jpeg", "jpeg.jpg"), ("webp", "webp.webp"), ("plain", "plain.jpg")):
        folder = tmp_path / name
        folder.mkdir()
        sources[name].rename(folder / sources[name].name)
        (outcome,) = restored(KnownFaces(), models, [folder], tmp_path / "out", quality=80)
        assert (outcome.task.target.name, outcome.copied) == (expected, name == "plain"), "PNG has no quality"
        with Image.open(outcome.task.target) as after:
            assert after.format == {"jpeg": "JPEG", "webp": "WEBP", "plain": "PNG"}[name]


def test_a_changed_file_under_another_formats_name_gets_its_own(
    models: Path, tmp_path: Path, photo: np.ndarray
) -> None:
    sources = misnamed(tmp_path / "in", photo)
    outcomes = restored(KnownFaces(*PLACES), models, [tmp_path / "in"], tmp_path / "out")
    named = {outcome.task.source.name: outcome.task.target.name for outcome in outcomes if not outcome.error}
    assert named == {
        "plain.jpg": "plain.png", "clear.jpg": "clear.png", "deep.jpeg": "deep.png", "tif.webp": "tif.tif",
        "webp.png": "webp.webp", "jpeg.bmp": "jpeg.jpg", "gif.jpg": "gif.png", "frames.png": "frames.png",
        "photo.gif": "photo.jpg", "glass.bmp": "glass.png",
    }  # fmt: skip
    assert not any(outcome.error for outcome in outcomes)
    (told,) = [outcome for outcome in outcomes if outcome.task.source == sources["clear"]]
    assert f"{sources['clear']}: is a PNG in spite of its name; the result is named clear.png" in told.notes
    notes = {outcome.task.source.name: outcome.notes for outcome in outcomes}
    assert "BMP cannot be written with transparency; the result is" in notes["glass.bmp"][0]
    assert "only the first of its 2 frames is kept" in " ".join(notes["frames.png"])
    clear = {"clear.png": photo[:, :, 0], "glass.png": photo[:, :, 0]}
    for outcome in outcomes:
        with Image.open(outcome.task.target) as after:
            assert after.format == FORMATS[outcome.task.target.suffix]
            if outcome.task.target.name in clear:
                assert np.array_equal(np.asarray(after)[:, :, 3], clear[outcome.task.target.name])
    again = restored(KnownFaces(*PLACES), models, [tmp_path / "in"], tmp_path / "out", skip_existing=True)
    assert all(outcome.skipped and outcome.task.target.exists() for outcome in again)
    again = restored(KnownFaces(*PLACES), models, [tmp_path / "in"], tmp_path / "out")
    assert all("exists already" in outcome.error for outcome in again)


def test_what_a_single_files_name_cannot_hold_is_refused_before_the_work(
    models: Path, tmp_path: Path, photo: np.ndarray
) -> None:
    sources = misnamed(tmp_path / "in", photo)
    for source, target in (("clear bmp", "out.bmp"), ("clear bmp", "out.jpg"), ("gif", "out.jpg")):
        (outcome,) = restored(Never(), models, [sources[source]], tmp_path / target)
        assert "cannot hold the picture's transparency; write .png, or remove the alpha first" in outcome.error
        assert outcome.error.startswith(str(tmp_path / target)) and not (tmp_path / target).exists()


def test_two_results_never_share_a_name_that_one_has_by_its_content(tmp_path: Path) -> None:
    folder = made(tmp_path / "in", "x.png", "y.jpg")
    Image.new("RGB", (8, 8)).save(folder / "x.jpg", "PNG")
    Image.new("RGB", (8, 8)).save(folder / "y.bmp", "JPEG")
    assert planned([folder], tmp_path / "out") == {
        "x.png": "x.png", "x.jpg": "x.jpg.png", "y.jpg": "y.jpg", "y.bmp": "y.bmp.jpg",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "size", "upscale", "said"),
    [
        ("a.jpg", (40, 16000), 1.0, ""),
        (
            "a.jpg",
            (40, 33000),
            2.0,
            "the result has 80×66000 pixels, and a JPEG at most 65,500 a side; write .png or .tif, or make it smaller",
        ),
        ("a.webp", (8200, 30), 2.0, "the result has 16400×60 pixels, and a WEBP at most 16,383 a side; write .png"),
        ("a.webp", (17000, 30), 1.0, "the result has 17000×30 pixels, and a WEBP at most 16,383 a side; write .png"),
    ],
)
def test_a_result_that_its_format_cannot_hold_is_refused_before_the_work(
    models: Path, tmp_path: Path, name: str, size: tuple[int, int], upscale: float, said: str
) -> None:
    source = saved(tmp_path / "in.png", Image.new("L", size))
    finder = KnownFaces()
    options = SMALL.replace(upscale=upscale)
    (outcome,) = restored(finder, models, [source], tmp_path / name, options=options)
    assert outcome.error.startswith(f"{tmp_path / name}: {said}" if said else "")
    assert bool(outcome.error) is bool(said) and (tmp_path / name).exists() is not bool(said)


def test_transparency_that_the_named_format_cannot_hold_is_refused_before_the_work(
    models: Path, tmp_path: Path, photo: np.ndarray
) -> None:
    source = saved(tmp_path / "in.png", Image.fromarray(photo).convert("RGBA"))
    (outcome,) = restored(Never(), models, [source], tmp_path / "out.jpg")
    assert outcome.error.startswith(f"{tmp_path / 'out.jpg'}: JPEG cannot hold the picture's transparency; write .png")


def test_a_result_that_the_memory_cannot_hold_is_refused_before_the_work(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lib_facerestore.images.room.free_memory", lambda: 10 * 2**20)
    source = saved(tmp_path / "in.png", Image.new("L", (400, 300)))
    (outcome,) = restored(KnownFaces(), models, [source], tmp_path / "o.png", options=SMALL.replace(upscale=4.0))
    assert outcome.error.startswith(f"{source}: the result has 1600×1200 pixels, for which about")
