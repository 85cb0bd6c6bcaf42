"""Which pictures are found in folders and behind links and patterns, and what is said of those that are passed over."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lib_facerestore.batch import earlier
from lib_facerestore.batch.plan import plan
from lib_facerestore.batch.search import Found, find_pictures
from lib_facerestore.errors import InputError

from .test_folder import made


def names(found: Found, folder: Path) -> list[str]:
    return [str(one.source.relative_to(folder)) for one in found.pictures]


def test_pictures_of_kinds_that_cannot_be_read_are_counted_and_said(tmp_path: Path) -> None:
    folder = made(tmp_path / "in", "x.png", "sub/y.png")
    for name in ("IMG_1.HEIC", "sub/b.heif", "c.avif", "d.NEF", "e.dng", "f.jxl", "notes.txt", ".hidden.heic"):
        (folder / name).write_bytes(b"")
    found = find_pictures([folder])
    assert names(found, folder) == [str(Path("sub/y.png")), "x.png"]
    (said,) = found.remarks
    assert said.startswith("6 files were left out (2 HEIC, 1 AVIF, 2 camera raw, 1 JPEG XL), such as ")
    assert "IMG_1.HEIC" in said and said.endswith("convert them to JPEG, PNG or TIFF first.")


def test_a_folder_of_them_alone_is_an_error_that_says_why(tmp_path: Path) -> None:
    (tmp_path / "a.heic").write_bytes(b"")
    with pytest.raises(InputError, match=r"can be restored; 1 HEIC file was left out, .* convert it to"):
        find_pictures([tmp_path])


def test_videos_are_counted_and_said(tmp_path: Path) -> None:
    folder = made(tmp_path / "in", "x.png")
    for name in ("a.MOV", "b.mp4", "c.heic", ".hidden.mkv"):
        (folder / name).write_bytes(b"")
    (folder / "e.avi").mkdir()
    found = find_pictures([folder])
    assert names(found, folder) == ["x.png"]
    assert [said.partition(",")[0] for said in found.remarks] == ["1 HEIC file was left out", "2 videos were left out"]
    assert found.remarks[1].endswith(
        f"such as {folder / 'a.MOV'}: videos cannot be restored; save the frames as pictures first."
    )
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "film.webm").write_bytes(b"")
    with pytest.raises(InputError, match=r"can be restored; 1 video was left out, \S+film\.webm: videos cannot"):
        find_pictures([tmp_path / "only"])


def test_linked_folders_are_followed_once(tmp_path: Path) -> None:
    folder = made(tmp_path / "in", "x.png", "sub/y.png")
    other = made(tmp_path / "other", "z.png")
    for name, target in (
        ("a", other), ("b", other), ("circle", folder), ("above", tmp_path), ("again", folder / "sub"),
        ("sub/circle", folder), ("lost", tmp_path / "absent"),
    ):  # fmt: skip
        (folder / name).symlink_to(target, target_is_directory=True)
    (other / "back").symlink_to(folder, target_is_directory=True)
    assert names(find_pictures([folder]), folder) == [str(Path("a/z.png")), str(Path("sub/y.png")), "x.png"]
    assert plan([folder], tmp_path / "out").tasks[0].target == tmp_path / "out" / "a" / "z.png"


def test_the_output_is_no_input_behind_a_link_either(tmp_path: Path) -> None:
    folder, out = made(tmp_path / "in", "x.png"), made(tmp_path / "out", "x.png")
    (folder / "results").symlink_to(out, target_is_directory=True)
    assert names(find_pictures([folder], out), folder) == ["x.png"]


def test_results_of_an_earlier_run_are_left_out_and_said(tmp_path: Path) -> None:
    folder = made(tmp_path / "in", "x.png", "sub/y.png")
    first = folder / "restored"
    for record in (earlier.Record(first), earlier.Record(first)):  # of one run, and of another that writes them again
        for task in plan([folder], first).tasks:
            assert task.record == first
            made(task.target.parent, task.target.name)
            record.add(task.target)
            record.add(task.target)
    made(first, "mine.png")
    assert len((first / earlier.RECORD).read_text().splitlines()) == 4
    found = find_pictures([folder], folder / "restored2")
    assert names(found, folder) == [str(Path("restored/mine.png")), str(Path("sub/y.png")), "x.png"]
    (said,) = found.remarks
    assert said.startswith(f"2 results of earlier runs were left out, in {first}; to restore results again, name")
    assert len(find_pictures([first]).pictures) == 3  # the folder is named, so it is wanted


def test_a_list_of_results_that_was_cut_off_keeps_its_whole_lines(tmp_path: Path) -> None:
    out = tmp_path / "in" / "out"
    made(out, "a.png", "b.png", "c.png")
    earlier.Record(out).add(out / "a.png")
    whole = (out / earlier.RECORD).read_bytes()
    for left in (b"b.p", b"\0\0\0", b"b.png"):
        (out / earlier.RECORD).write_bytes(whole + left)
        assert earlier.recorded(out) == {out / "a.png"}
        earlier.Record(out).add(out / "c.png")
        assert (out / earlier.RECORD).read_bytes() == whole + b"c.png\n"


@pytest.mark.skipif(os.name == "nt", reason="names that Windows does not have")
def test_results_with_odd_names_are_listed_too(tmp_path: Path) -> None:
    out = tmp_path / "out"
    targets = [out / name for name in ("#1.png", '"a".png', "two\nlines.png", "a\u2028b.png", "é\udcff.png", "r\r.png")]
    out.mkdir()
    for _ in range(2):
        for target in targets:
            earlier.Record(out).add(target)
    assert earlier.recorded(out) == set(targets)
    assert len((out / earlier.RECORD).read_bytes().splitlines()) >= 2 + len(targets)


def test_a_result_that_cannot_be_listed_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    out.mkdir()
    record = earlier.Record(out)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(
            InputError, match=r"list of results cannot be written \(No space left on device\); check its"
        ):
            record.add(out / "a.png")
    record.add(out / "b.png")
    assert out / "b.png" in earlier.recorded(out)


@pytest.mark.parametrize(("inputs", "listed"), [("in", True), ("in/x.png", True), ("in/sub", False)])
def test_only_results_below_an_input_are_listed(tmp_path: Path, inputs: str, listed: bool) -> None:
    made(tmp_path / "in", "x.png", "sub/y.png")
    (task, *_) = plan([tmp_path / inputs], tmp_path / "in" / "out").tasks
    assert (task.record is not None) is listed
    (task, *_) = plan([tmp_path / inputs], tmp_path / "out").tasks
    assert task.record is None


def test_a_pattern_that_no_shell_has_replaced(tmp_path: Path) -> None:
    folder = made(tmp_path / "in", "b.jpg", "a.jpg", "c.png", "[x].png")
    assert names(find_pictures([folder / "*.jpg"]), folder) == ["a.jpg", "b.jpg"]
    assert names(find_pictures([folder / "[x].png"]), folder) == ["[x].png"]  # a file's own name
    (task,) = plan([folder / "c*.png"], tmp_path / "out.png").tasks
    assert (task.source, task.target) == (folder / "c.png", tmp_path / "out.png")
    with pytest.raises(InputError, match=r"\*\.gif: no file matches this pattern; check the folder and the extension"):
        find_pictures([folder / "*.gif"])


def test_an_output_that_ends_like_a_folder_is_one(tmp_path: Path) -> None:
    folder = made(tmp_path / "in", "a.jpg", "b.jpg")
    for output in ("new.folder", "new.png"):
        (task,) = plan([folder / "a.jpg"], tmp_path / output, folder=True).tasks
        assert task.target == tmp_path / output / "a.jpg"
    assert len(plan([folder], tmp_path / "new.png", folder=True).tasks) == 2
    with pytest.raises(InputError, match="or end it with / for a folder of that name"):
        plan([folder / "a.jpg"], tmp_path / "new.folder")
    with pytest.raises(InputError, match="or end it with / if that is its name"):
        plan([folder], tmp_path / "new.png")
