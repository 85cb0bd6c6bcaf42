"""The command line and folders: structure, errors, exit codes, JSON, overwrite protection."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lib_facerestore import pipeline
from lib_facerestore.cli import main as cli
from lib_facerestore.images import files as image_files
from lib_facerestore.options.table import TABLE
from lib_facerestore.stages import loaded_models

from ..conftest import KnownFaces

Run = Callable[..., int]


@pytest.fixture
def run(models: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command line with a detector that knows one face, and a small restorer."""
    monkeypatch.setattr(loaded_models, "create_detector", lambda *_: KnownFaces((100, 90, 90)))

    def run(*arguments: object) -> int:
        return cli.main([str(argument) for argument in arguments] + ["--models", str(models), "--device", "cpu"])

    return run


@pytest.fixture
def album(tmp_path: Path, photo: np.ndarray) -> Path:
    """Two good pictures (one in a sub-folder), one that is no picture, and a text file."""
    folder = tmp_path / "álbum 写真"
    (folder / "inner").mkdir(parents=True)
    Image.fromarray(photo).save(folder / "one.png")
    Image.fromarray(photo).save(folder / "inner" / "two.jpg", quality=90)
    (folder / "bad.png").write_bytes(b"not a picture")
    (folder / "notes.txt").write_text("no picture")
    return folder


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
    fails("is a file, no folder", album / "one.png", "-o", album / "one.png" / "out.png")
    fails("a folder is needed for the results", album, "-o", tmp_path / "out.png")
    fails("x.pgn: .pgn is no extension of a picture", album / "one.png", "-o", tmp_path / "x.pgn")
    fails("codeformer is not installed", album, "-o", out, "--model", "codeformer")
    (tmp_path / "empty").mkdir()
    fails("the folder holds no picture", tmp_path / "empty", "-o", out)
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


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_names_that_the_terminal_cannot_show_end_no_run(
    run: Run, tmp_path: Path, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    folder = tmp_path / "álbum"
    folder.mkdir()
    names = ["写真1.png", "写真2.png", "👩é.png"] + (["\udcff.png"] if sys.platform == "linux" else [])
    for name in names:
        Image.fromarray(photo).save(folder / name, format="PNG")

    def printed(*arguments: object) -> str:
        raw = io.BytesIO()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding))
            patch.setattr(sys, "stderr", io.TextIOWrapper(io.BytesIO(), encoding))
            assert run(*arguments) == cli.OK
            sys.stdout.flush()
            return raw.getvalue().decode(encoding)

    text = printed("restore", folder, "-o", tmp_path / "out", "--model", "small")
    assert text.count("1 of 1 faces restored") == len(names)
    assert encoding == "utf-8" or "\\u5199\\u771f1.png" in text
    for command in (["detect", folder], ["restore", folder, "-o", tmp_path / "json", "--model", "small"]):
        rows = json.loads(printed(*command, "--json"))
        assert sorted(Path(row["file"]).name for row in rows) == sorted(names)


def test_help_can_be_printed_anywhere() -> None:
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    for command in (["restore"], ["models", "list"], ["bench"]):
        call = [sys.executable, "-m", "lib_facerestore", *command, "--help"]
        told = subprocess.run(call, env=environment, capture_output=True, text=True, check=False)
        assert told.returncode == 0, told.stderr


def test_nothing_is_said_to_be_copied_that_is_not(
    run: Run, album: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def told(target: str, *more: object) -> str:
        assert run("restore", album / "inner" / "two.jpg", "-o", tmp_path / target, "--model", "small", *more) == cli.OK
        return capsys.readouterr().out

    assert "0 of 1 faces restored, copied as it is" in told("a.jpg", "--visibility", 0)
    assert (tmp_path / "a.jpg").read_bytes() == (album / "inner" / "two.jpg").read_bytes()
    assert "copied" not in told("a.png", "--visibility", 0)
    assert "copied" not in told("b.jpg", "--visibility", 0, "--quality", 40)
    assert "copied" not in told("c.jpg")


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
    assert len(rows) == done == len(list((tmp_path / "out").iterdir()))
    assert f"interrupted; {done} of 10 pictures are finished" in captured.err


def test_ctrl_c_while_detecting_prints_what_was_found(
    run: Run, album: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    read = image_files.read_picture

    def interrupted(path: Path) -> image_files.Picture:
        if path.name == "two.jpg":
            raise KeyboardInterrupt
        return read(path)

    monkeypatch.setattr(image_files, "read_picture", interrupted)
    files = (album / "one.png", album / "inner" / "two.jpg")
    assert run("detect", *files, "--json") == cli.INTERRUPTED
    assert [Path(row["file"]).name for row in json.loads(capsys.readouterr().out)] == ["one.png"]


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


def test_a_large_picture_brings_no_warning_of_pillow(
    run: Run, album: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50_000)
    assert run("detect", album / "one.png") == cli.OK
    assert not [one for one in recwarn if issubclass(one.category, Image.DecompressionBombWarning)]


def test_a_wrong_model_folder_in_the_environment_is_told(
    album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FACERESTORE_MODELS", str(tmp_path / "modles"))
    monkeypatch.setattr(loaded_models, "create_detector", lambda *_: KnownFaces())
    assert cli.main(["detect", str(album / "one.png"), "--device", "cpu"]) == cli.OK
    assert f"FACERESTORE_MODELS names {tmp_path / 'modles'}, which is no folder" in capsys.readouterr().err


def test_errors_show_what_was_given(capsys: pytest.CaptureFixture[str]) -> None:
    for given, said in (
        (("--max-faces", "-1"), "max_faces: -1 is not allowed"),
        (("--quality", "²"), "is not a whole number from 1 to 100"),
        (("--foo", "1"), "--foo is not known. See"),
    ):
        assert cli.main(["restore", "a.png", "-o", "b.png", *given]) == cli.USAGE
        assert said in capsys.readouterr().err


def test_what_cannot_be_written_again_becomes_a_png(run: Run, album: Path, tmp_path: Path) -> None:
    folder = tmp_path / "gifs"
    folder.mkdir()
    Image.open(album / "one.png").save(folder / "a.gif")
    assert run("restore", folder, "-o", tmp_path / "out", "--model", "small") == cli.OK
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.png"]


def test_detect_prints_json(run: Run, album: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("detect", album / "one.png", "--json") == cli.OK
    rows = json.loads(capsys.readouterr().out)
    assert rows[0]["file"] == str(album / "one.png")
    (face,) = rows[0]["faces"]
    assert set(face) == {"number", "box", "landmarks", "score"}
    assert len(face["landmarks"]) == 5
    assert run("detect", album) == cli.FAILED
    captured = capsys.readouterr()
    assert "1: " in captured.out
    assert "bad.png" in captured.err


def test_every_option_of_the_table_is_offered(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["restore", "--help"]) == cli.OK
    text = capsys.readouterr().out
    for spec in TABLE:
        assert "--" + spec.name.replace("_", "-") in text


def test_models_list_shows_what_is_there(run: Run, models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("models", "list", "--json") == cli.OK
    content = json.loads(capsys.readouterr().out)
    states = {row["id"]: row["state"] for row in content["models"]}
    assert states["lite"] == "built in"
    assert states["codeformer"] == "not installed"
    assert content["other_files"] == [str(models / "small.safetensors")]
    assert run("models", "list") == cli.OK
    assert "wants codeformer.pth" in capsys.readouterr().out


def test_doctor_reports_required_packages(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("doctor", "--json") == cli.OK
    findings = {row["subject"]: row for row in json.loads(capsys.readouterr().out)}
    for name in ("torch", "numpy", "opencv-python", "Pillow", "facexlib", "device"):
        assert findings[name]["status"] == "ok"
    assert findings["parser bisenet"]["remedy"].startswith("put parsing_bisenet.pth into")


def test_a_misspelt_option_is_named_with_the_one_that_was_meant(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["restore", "a.png", "-o", "b.png", "--visibilty", "0.5"]) == cli.USAGE
    said = capsys.readouterr().err
    assert "--visibilty is not known. Did you mean --visibility? See `facerestore restore --help`" in said


@pytest.mark.parametrize("command", [["restore", "a.png", "-o", "b.png"], ["bench"], ["doctor"], ["models", "list"]])
def test_a_model_folder_that_is_not_there_is_named(
    tmp_path: Path, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*command, "--models", str(tmp_path / "modles")]) == 2
    said = capsys.readouterr().err
    assert "modles" in said and "is no folder" in said


def test_a_model_can_be_brought_into_a_new_folder(models: Path, tmp_path: Path) -> None:
    file = next(models.glob("*.safetensors"))
    assert cli.main(["models", "import", str(file), "--models", str(tmp_path / "new" / "models")]) == 0
    assert (tmp_path / "new" / "models" / file.name).exists()


def test_doctor_takes_no_detector_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--detector-file", "x.pth"]) == cli.USAGE
    assert "--detector-file is not known" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of POSIX")
@pytest.mark.parametrize("arguments", [["--help"], ["models", "list", "--all"], ["models", "list", "--json"]])
def test_a_reader_that_has_seen_enough_ends_the_run_quietly(arguments: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)  # nobody reads
    try:
        call = [sys.executable, "-m", "lib_facerestore", *arguments]
        buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        told = subprocess.run(call, env=buffered, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    finally:
        os.close(write)
    assert (told.returncode, told.stderr) == (cli.OK, "")


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
    assert len(list((tmp_path / "out").iterdir())) == 3


def test_a_package_that_is_missing_is_named_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "lib_facerestore.catalogue.download", raising=False)
    monkeypatch.delitem(sys.modules, "lib_facerestore.catalogue.connection", raising=False)
    monkeypatch.setitem(sys.modules, "httpx", None)
    assert cli.main(["models", "download", "codeformer", "--yes"]) == cli.FAILED
    said = capsys.readouterr().err
    assert "the package httpx is missing" in said and "pip install httpx" in said
