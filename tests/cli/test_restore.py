"""`restore`: files and folders, exit codes, JSON, overwrite protection, interrupts."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lib_facerestore import pipeline
from lib_facerestore.batch import folder as batch_folder
from lib_facerestore.cli import main as cli
from lib_facerestore.options.table import TABLE
from lib_facerestore.stages import loaded_models

from ..catalogue.test_catalogue import empty_file, shapes_of
from ..conftest import KnownFaces
from .conftest import Run


def test_one_file(run: Run, album: Path, tmp_path: Path, photo: np.ndarray, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.png"
    assert run("restore", album / "one.png", "-o", out, "--model", "small") == cli.OK
    assert "1 of 1 faces restored (small)" in capsys.readouterr().out
    restored = np.asarray(Image.open(out))
    assert restored.shape == photo.shape
    assert not np.array_equal(restored, photo)
    assert np.array_equal(restored[150:], photo[150:])


def test_a_folder_keeps_its_structure_and_a_bad_file_does_not_stop_it(
    run: Run, album: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "results"
    assert run("restore", album, "-o", out, "--model", "small", "--json") == cli.FAILED
    captured = capsys.readouterr()
    rows = {Path(row["file"]).name: row for row in json.loads(captured.out)}
    assert set(rows) == {"one.png", "two.jpg", "bad.png"}
    assert "bad.png" in rows["bad.png"]["error"]
    assert "bad.png" in captured.err
    assert rows["one.png"]["faces"][0]["applied"] is True
    assert sorted(str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()) == [
        str(Path("inner") / "two.jpg"),
        "one.png",
    ]


def test_results_are_not_overwritten_unasked(
    run: Run, album: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.png"
    out.write_bytes(b"precious")
    assert run("restore", album / "one.png", "-o", out, "--model", "small") == cli.FAILED
    assert "exists already; add --overwrite or --skip-existing" in capsys.readouterr().err
    assert run("restore", album / "one.png", "-o", out, "--model", "small", "--skip-existing") == cli.OK
    assert out.read_bytes() == b"precious"
    assert run("restore", album / "one.png", "-o", out, "--model", "small", "--overwrite") == cli.OK
    assert out.read_bytes() != b"precious"


def test_a_face_that_no_picture_has_is_no_success(
    run: Run, album: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = album / "one.png", album / "inner" / "two.jpg"
    given: tuple[object, ...] = ("--model", "small", "--overwrite", "-o")
    assert run("restore", one, "--faces", "1,9", *given, tmp_path / "out.png") == cli.FAILED
    captured = capsys.readouterr()
    assert "--faces: there is no face 9 in the picture; `facerestore detect` shows the n" in captured.err
    assert "no face 9" not in captured.out
    assert run("restore", one, two, "--faces", "8-9", "--json", *given, tmp_path / "out") == cli.FAILED
    captured = capsys.readouterr()
    assert "--faces: there are no faces 8-9 in any of the pictures" in captured.err
    assert json.loads(captured.out)[0]["notes"] == ["there are no faces 8-9"]
    assert run("restore", one, two, "--faces", "1", *given, tmp_path / "out") == cli.OK
    # a picture that was not searched may have the face
    assert run("restore", one, album / "bad.png", "--faces", "9", *given, tmp_path / "out") == cli.FAILED
    assert "there is no face 9 in any" not in capsys.readouterr().err
    skipped = ("--model", "small", "--skip-existing", "-o", tmp_path / "out")
    assert run("restore", one, two, "--faces", "9", *skipped) == cli.OK


def test_a_network_that_fails_costs_its_faces_and_the_exit_code(
    run: Run, album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no kernel")

    monkeypatch.setattr(pipeline, "_restore", fail)
    one, out = album / "one.png", tmp_path / "out.png"
    assert run("restore", one, "-o", out, "--model", "small", "--json") == cli.FAILED
    captured = capsys.readouterr()
    (row,) = json.loads(captured.out)
    assert row["error"] is None and row["failures"] == ["face 1: small failed (RuntimeError: no kernel)"]
    assert f"facerestore: {one}: face 1: small failed (RuntimeError: no kernel)" in captured.err
    assert out.read_bytes() == one.read_bytes()


def test_options_without_effect_are_told(
    run: Run, album: Path, tmp_path: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def told(target: str, *more: object) -> str:
        out = tmp_path / target
        assert run("restore", album / "one.png", "-o", out, "--model", "small", "--overwrite", *more) == cli.OK
        captured = capsys.readouterr()
        return captured.out + captured.err

    without = "--upscale 2 enlarges without a model, so the background gets no sharper; add --upscaler NAME ("
    assert without + "`facerestore models download realesrgan-x2plus` gets one)" in told("a.png", "--upscale", 2)
    empty_file(models / "big.pth", shapes_of("realesrgan-x2plus"))
    assert without + "installed: realesrgan-x2plus)" in told("a.png", "--upscale", 2)
    assert "enlarges without" not in told("a.png", "--upscale", 2, "--upscaler", "none")
    assert "enlarges without" not in told("a.png")
    assert "--quality has no effect: it is for JPEG and WebP" in told("a.png", "--quality", 80)
    assert "--quality" not in told("a.jpg", "--quality", 80) + told("a.png")
    hint = "upscaler realesrgan-x2plus has no effect: upscale is 1"
    assert hint in told("a.png", "--upscaler", "realesrgan-x2plus") and hint not in told("a.png")


def test_usage_errors_name_the_thing_and_write_nothing(
    run: Run, album: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(message: str, *arguments: object) -> None:
        assert run("restore", *arguments) == cli.USAGE
        assert message in capsys.readouterr().err

    out = tmp_path / "out"
    fails("there is no such file or folder", tmp_path / "absent.png", "-o", out)
    fails("visibility: 2 is not allowed; give a number from 0 to 1", album, "-o", out, "--visibility", 2)
    fails("the result would replace the input", album / "one.png", "-o", album / "one.png")
    fails("is a file, not a folder", album / "one.png", "-o", album / "one.png" / "out.png")
    fails("a folder is needed for the results", album, "-o", tmp_path / "out.png")
    fails("x.pgn: .pgn is not an extension of pictures", album / "one.png", "-o", tmp_path / "x.pgn")
    fails("codeformer is not installed", album, "-o", out, "--model", "codeformer")
    (tmp_path / "empty").mkdir()
    fails("the folder contains no picture", tmp_path / "empty", "-o", out)
    assert not out.exists()
    assert cli.main(["restore", str(album), "-o", str(out), "--quality", "0"]) == cli.USAGE
    assert "'0' is not a whole number from 1 to 100" in capsys.readouterr().err


def test_an_input_that_is_missing_does_not_stop_the_others(
    run: Run, album: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    absent = tmp_path / "absent.png"
    assert run("restore", absent, album / "one.png", "-o", out, "--model", "small") == cli.FAILED
    captured = capsys.readouterr()
    assert "absent.png: there is no such file or folder" in captured.err and "1 of 2 pictures failed" in captured.err
    assert [path.name for path in out.iterdir()] == ["one.png"]
    assert run("detect", absent, album / "one.png", "--json") == cli.FAILED
    rows = json.loads(capsys.readouterr().out)
    assert "no such file" in rows[0]["error"] and len(rows[1]["faces"]) == 1


def test_of_two_pictures_for_one_result_the_first_is_restored(
    run: Run, album: Path, tmp_path: Path, photo: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "b").mkdir()
    Image.fromarray(photo).save(tmp_path / "b" / "one.png")
    inputs = (album / "one.png", tmp_path / "b" / "one.png", album / "one.png")
    assert run("restore", *inputs, "-o", tmp_path / "out", "--model", "small") == cli.FAILED
    captured = capsys.readouterr()
    assert "would both be written to" in captured.err and "1 of 2 pictures failed" in captured.err
    assert captured.out.count("1 of 1 faces restored") == 1


def test_nothing_is_said_to_be_copied_that_is_not(
    run: Run, album: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def told(target: str, *more: object) -> str:
        assert run("restore", album / "inner" / "two.jpg", "-o", tmp_path / target, "--model", "small", *more) == cli.OK
        return capsys.readouterr().out

    assert "0 of 1 faces restored, copied unchanged" in told("a.jpg", "--visibility", 0)
    assert (tmp_path / "a.jpg").read_bytes() == (album / "inner" / "two.jpg").read_bytes()
    assert "copied" not in told("a.png", "--visibility", 0)
    assert "copied" not in told("b.jpg", "--visibility", 0, "--quality", 40)
    assert "copied" not in told("c.jpg")
    said = told("d.jpg", "--visibility", 0.001)
    assert "0 of 1 faces restored, copied unchanged" in said
    assert "face 1: left alone, restoring it changes no pixel" in said


def test_where_no_face_is_found_what_to_try_is_told_once(
    run: Run, album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(loaded_models, "create_detector", lambda *_: KnownFaces())

    def told(code: int, *arguments: object) -> str:
        assert run("restore", *arguments, "-o", tmp_path / "out", "--model", "small", "--overwrite") == code
        return capsys.readouterr().err

    one, two = album / "one.png", album / "inner" / "two.jpg"
    lower = "a lower --confidence (it was 0.5) may find more\n"
    assert told(cli.OK, one) == f"facerestore: {lower}"
    assert told(cli.OK, one, two, "--json") == f"facerestore: no face was found in 2 of 2 pictures; {lower}"
    assert "another --detector may find more" in told(cli.OK, one, "--confidence", 0.1)
    absent = "--faces: there is no face 3 in the picture; `facerestore detect` shows the numbers\n"
    assert told(cli.FAILED, one, "--faces", 3) == f"facerestore: {lower}facerestore: {absent}"  # why it exits with 1
    monkeypatch.setattr(loaded_models, "create_detector", lambda *_: KnownFaces((100, 90, 90)))
    assert told(cli.OK, one, two) == ""


@pytest.mark.parametrize("presses", [1, 2])
def test_ctrl_c_keeps_what_is_finished(
    run: Run,
    tmp_path: Path,
    photo: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    presses: int,
) -> None:
    for index in range(10):  # more than one group; four faces are restored at a time
        Image.fromarray(photo).save(tmp_path / f"{index}.png")
    restore, calls = pipeline._restore, []

    def interrupted(*arguments: object) -> None:
        restore(*arguments)  # type: ignore[arg-type]
        calls.append(arguments)
        for _ in range(presses if len(calls) == 3 else 0):
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(pipeline, "_restore", interrupted)
    before = signal.getsignal(signal.SIGINT)
    assert run("restore", tmp_path, "-o", tmp_path / "out", "--model", "small", "--json") == cli.INTERRUPTED
    assert signal.getsignal(signal.SIGINT) is before
    captured = capsys.readouterr()
    rows = json.loads(captured.out)
    # The third call of the network holds the two pictures of the second group; the second press ends it at once.
    done = 10 if presses == 1 else 8
    assert len(rows) == done == len(list((tmp_path / "out").glob("*.png")))
    go_on = "" if done == 10 else "; the same command with --skip-existing goes on with the others"
    assert captured.err.endswith(f"interrupted; {done} of 10 pictures are finished{go_on}\n")


def test_an_interrupted_run_tells_how_it_goes_on_and_counts_old_results_apart(
    run: Run, tmp_path: Path, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"{index}.png" for index in range(4)]
    monkeypatch.setattr(batch_folder, "GROUP_PICTURES", 2)
    for name in names:
        Image.fromarray(photo).save(tmp_path / name)
    out = tmp_path / "out"
    assert run("restore", tmp_path / names[0], "-o", out / names[0], "--model", "small") == cli.OK
    restore = pipeline._restore

    def interrupted(*arguments: object) -> None:
        restore(*arguments)  # type: ignore[arg-type]
        signal.raise_signal(signal.SIGINT)

    def told(*more: object) -> str:
        capsys.readouterr()
        with monkeypatch.context() as patch:
            patch.setattr(pipeline, "_restore", interrupted)
            assert run("restore", tmp_path, "-o", out, "--model", "small", *more) == cli.INTERRUPTED
        (out / names[1]).unlink()
        return capsys.readouterr().err.splitlines()[-1]

    counted = "facerestore: interrupted; 1 of 4 pictures are finished, 1 result exists already"
    assert told() == f"{counted}; the same command with --skip-existing goes on with the others"
    assert told("--skip-existing") == f"{counted}; the same command goes on with the others"
    assert told("--overwrite") == "facerestore: interrupted; 2 of 4 pictures are finished"


def test_the_bar_moves_with_the_faces(
    run: Run, album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert run("restore", album / "one.png", "-o", tmp_path / "out.png", "--model", "small") == cli.OK
    said = capsys.readouterr().err
    assert " 80%|" in said and "0 of 1 pictures, restore 1/1 faces" in said and "100%|" in said


def test_what_is_no_regular_file_is_named(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("restore", os.devnull, "-o", tmp_path / "n.png", "--model", "small") == cli.FAILED
    assert f"{os.devnull}: is not a regular file" in capsys.readouterr().err


def test_what_cannot_be_written_again_becomes_a_png(run: Run, album: Path, tmp_path: Path) -> None:
    folder = tmp_path / "gifs"
    folder.mkdir()
    Image.open(album / "one.png").save(folder / "a.gif")
    assert run("restore", folder, "-o", tmp_path / "out", "--model", "small") == cli.OK
    assert [path.name for path in (tmp_path / "out").glob("[!.]*")] == ["a.png"]


def test_every_option_of_the_table_is_offered(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["restore", "--help"]) == cli.OK
    text = capsys.readouterr().out
    for spec in TABLE:
        assert "--" + spec.name.replace("_", "-") in text


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of POSIX")
def test_pictures_are_restored_though_nobody_reads_on(
    run: Run, tmp_path: Path, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(3):
        Image.fromarray(photo).save(tmp_path / f"{index}.png")
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w", buffering=1) as closed:
        monkeypatch.setattr(sys, "stdout", closed)
        assert run("restore", tmp_path, "-o", tmp_path / "out", "--model", "small") == cli.OK
    assert len(list((tmp_path / "out").glob("*.png"))) == 3


def test_what_a_folder_run_passes_over_is_told(
    run: Run, album: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (album / "bad.png").unlink()
    (album / "IMG.heic").write_bytes(b"")
    small = ("--model", "small")
    assert run("restore", album, "-o", f"{album / 'out.1'}/", *small) == cli.OK
    assert (album / "out.1" / "one.png").is_file()
    said = capsys.readouterr().err
    assert "1 HEIC file was left out" in said and "earlier runs" not in said
    assert run("restore", album / "*.png", "-o", album / "out2", *small) == cli.OK
    assert [path.name for path in (album / "out2").glob("*.png")] == ["one.png"]
    capsys.readouterr()
    assert run("detect", album) == cli.OK
    captured = capsys.readouterr()
    assert captured.out.count("1 face") == 2
    assert "3 results of earlier runs were left out, in " in captured.err and "1 HEIC file" in captured.err


def test_results_that_exist_are_told_once(
    run: Run, album: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (album / "bad.png").unlink()
    again = ("restore", album, "-o", tmp_path / "out", "--model", "small")
    assert run(*again) == cli.OK
    capsys.readouterr()
    assert run(*again) == cli.FAILED
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "2 results exist already, such as " in said
    assert "--skip-existing leaves such results as they are, --overwrite replaces them" in said
    (tmp_path / "out" / "one.png").unlink()
    assert run(*again) == cli.FAILED
    assert "1 result exists already" in capsys.readouterr().err


def test_skipped_results_are_counted_and_named_with_verbose(
    run: Run, album: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = ("restore", album, "-o", tmp_path / "out", "--model", "small", "--skip-existing")
    assert run(*again) == cli.FAILED  # because of bad.png
    capsys.readouterr()
    assert run(*again) == cli.FAILED
    captured = capsys.readouterr()
    assert captured.out == ""
    closing = "facerestore: 1 of 3 pictures failed\nfacerestore: 2 results exist already and were left as they are\n"
    assert captured.err.endswith(closing)
    assert run(*again, "--verbose") == cli.FAILED
    assert capsys.readouterr().out.count("skipped, ") == 2
    assert run(*again[:3], tmp_path / "out", "--model", "small", "--json") == cli.FAILED
    assert "1 of 3 pictures failed" in capsys.readouterr().err  # those that exist are counted apart
    one = ("restore", album / "one.png", "-o", tmp_path / "out" / "one.png", "--skip-existing")
    assert run(*one) == cli.OK
    assert "one.png: skipped, " in capsys.readouterr().out


def test_lite_alone_adds_no_detail_to_an_enlarged_face(
    run: Run, album: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("restore", album / "one.png", "-o", tmp_path / "x.png", "--overwrite", "--upscaler", "none")
    hint = "the built-in restorer lite adds no new detail to an enlarged face; `facerestore models download gfpgan-1.4`"
    assert run(*arguments, "--upscale", 1.5) == cli.OK
    assert hint in capsys.readouterr().err
    assert run(*arguments, "--upscale", 1.5, "--model", "small") == cli.OK
    assert hint not in capsys.readouterr().err
