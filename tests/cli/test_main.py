"""The command line as a whole: usage errors, model folders, terminals, missing packages."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lib_facerestore.catalogue import fingerprints
from lib_facerestore.catalogue.download import Downloaded
from lib_facerestore.cli import main as cli
from lib_facerestore.pipeline import FaceRestorer
from lib_facerestore.stages import loaded_models
from lib_facerestore.wording import pip_install

from ..conftest import KnownFaces
from .conftest import Run


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


@pytest.mark.parametrize("missing", [["stderr"], ["stdout"], ["stdout", "stderr"]], ids="+".join)
def test_missing_streams_end_no_run(
    run: Run,
    album: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    missing: list[str],
) -> None:
    """Under pythonw, and in some hosts, they are None."""

    def arrives(*_: object, progress: Callable[[int, int], None], **__: object) -> Downloaded:
        progress(5, 10)
        return Downloaded(tmp_path / "codeformer.pth", "https://x", "sha256")

    monkeypatch.setattr("lib_facerestore.catalogue.download.download", arrives)
    with monkeypatch.context() as patch:
        for name in missing:
            patch.setattr(sys, name, None)
        given: list[object] = ["restore", album, "-o", tmp_path / "out", "--model", "small", "--json"]
        assert run(*given) == cli.FAILED  # for the one that is no picture
        assert (tmp_path / "out" / "one.png").exists()
        assert run("models", "download", "codeformer", "--yes", "--json") == cli.OK
        assert run("doctor") == cli.OK
        assert all(getattr(sys, name) is None for name in missing)
    printed = capsys.readouterr()
    if "stdout" not in missing:  # nothing that belongs to standard error is mixed into the JSON
        rows, end = json.JSONDecoder().raw_decode(printed.out)
        assert len(rows) == 3
        assert json.JSONDecoder().raw_decode(printed.out[end:].lstrip())[0][0]["id"] == "codeformer"
    if "stderr" not in missing:
        assert "bad.png" in printed.err


def test_help_can_be_printed_anywhere() -> None:
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    for command in (["restore"], ["models", "list"], ["bench"]):
        call = [sys.executable, "-m", "lib_facerestore", *command, "--help"]
        told = subprocess.run(call, env=environment, capture_output=True, text=True, check=False)
        assert told.returncode == 0, told.stderr


def test_a_wrong_model_folder_in_the_environment_is_told(
    album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FACERESTORE_MODELS", str(tmp_path / "modles"))
    monkeypatch.setattr(loaded_models, "create_detector", lambda *_: KnownFaces())
    assert cli.main(["detect", str(album / "one.png"), "--device", "cpu"]) == cli.OK
    assert f"FACERESTORE_MODELS names {tmp_path / 'modles'}, which is not a folder" in capsys.readouterr().err


@pytest.mark.parametrize("named", ["", "~/models"])
def test_a_user_without_a_home_is_asked_for_a_folder_where_one_is_needed(
    album: Path,
    models: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    named: str,
) -> None:
    """As for a user id without an account, in a container: `Path.expanduser` raises there, `os.path`'s does nothing."""

    def no_home(path: Path) -> Path:
        if str(path).startswith("~"):
            raise RuntimeError("Could not determine home directory.")
        return path

    monkeypatch.setenv("FACERESTORE_MODELS", named)
    for name in list(os.environ):
        if name.startswith("XDG_"):
            monkeypatch.delenv(name)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    monkeypatch.setattr(Path, "expanduser", no_home)
    monkeypatch.setattr("platformdirs.user_data_dir", lambda *_: "~/.local/share/facerestore")
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda *_: "~/.cache/facerestore")
    monkeypatch.setattr(loaded_models, "create_detector", lambda *_: KnownFaces())
    one = str(album / "one.png")
    out = str(tmp_path / "x.png")
    hint = "facerestore: a lower --confidence (it was 0.5) may find more\n"
    for command, code in (
        (["detect", one], cli.OK),
        (["restore", one, "-o", out], cli.OK),
        (["models", "list"], cli.USAGE),
        (["restore", one, "-o", out, "--model", "codeformer"], cli.USAGE),
    ):
        assert cli.main([*command, *(["--device", "cpu"] if command[0] != "models" else [])]) == code
        said = capsys.readouterr().err
        assert said.count("home folder") == 1 == said.replace(hint, "").count("\n") and "FACERESTORE_MODELS" in said
    assert os.path.isfile(out)
    assert cli.main(["doctor", "--device", "cpu"]) == cli.FAILED
    doctors = capsys.readouterr().out
    assert "home folder" in doctors and ("--models DIR" in doctors) and "pip install platformdirs" not in doctors
    assert fingerprints.cache_file() is None
    assert cli.main(["detect", one, "--device", "cpu", "--models", str(models)]) == cli.OK


def test_errors_show_what_was_given(capsys: pytest.CaptureFixture[str]) -> None:
    for given, said in (
        (("--max-faces", "-1"), "max_faces: -1 is not allowed"),
        (("--quality", "²"), "is not a whole number from 1 to 100"),
        (("--foo", "1"), "--foo is not known. See"),
    ):
        assert cli.main(["restore", "a.png", "-o", "b.png", *given]) == cli.USAGE
        assert said in capsys.readouterr().err


def test_models_list_shows_what_is_there(run: Run, models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("models", "list", "--json") == cli.OK
    content = json.loads(capsys.readouterr().out)
    states = {row["id"]: row["state"] for row in content["models"]}
    assert states["lite"] == "built in"
    assert states["codeformer"] == "not installed"
    assert content["other_files"] == [str(models / "small.safetensors")]
    assert run("models", "list") == cli.OK
    assert "needs codeformer.pth" in capsys.readouterr().out


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


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (["restore", "--input_path", "a", "--output_path", "b"], "Pictures and folders are named without an option."),
        (["restore", "-i", "a", "-o", "b"], "restore photo.jpg -o restored.jpg` restores one picture"),
        (["restore", "a", "--output_path", "b"], "Did you mean --output? See `facerestore restore --help`"),
        (["restore", "a", "-o", "b", "-w", "0.5"], "Did you mean --fidelity?"),
        (["restore", "a", "-o", "b", "--bg_upsampler", "realesrgan"], "Did you mean --upscaler?"),
        (["detect", "a", "--inptus"], "--inptus is not known. See `facerestore detect --help`"),
        (["models", "lst"], "Did you mean list?"),
        (["restor", "a"], "Did you mean restore?"),
        (["restor", "a", "-o", "b"], "restor is not a command. Did you mean restore? See `facerestore --help`"),
        (["models", "downlod", "gfpgan-1.4", "--yes"], "downlod is not a command. Did you mean download?"),
        (["frobnicate"], "frobnicate is not a command. The commands are restore, detect, models, bench, doctor. See"),
        (["", "-o", "b"], "an empty word is not a command."),
        (["photo.jpg", "-o", "b"], "`facerestore restore photo.jpg -o restored.jpg` restores one picture"),
        (["--json", "models", "list"], "--json belongs after the command."),
        (["models", "--yes", "download", "lite"], "--yes belongs after the command. See `facerestore models --help`"),
        (["photo.jpg"], "`facerestore restore photo.jpg -o restored.jpg` restores one picture"),
        (["restore", "a"], "`facerestore restore photos -o restored` a folder"),
    ],
)
def test_what_is_suggested_exists(given: list[str], meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(given) == cli.USAGE
    said = capsys.readouterr().err
    assert meant in said
    assert "--inputs" not in said.replace("--inptus", "") and "usage:" not in said
    words = [one.rstrip("?") for one in re.findall(r"Did you mean (--\S+)", said)]
    assert "-o is not known" not in said
    help_text = " ".join(cli.build_parser()._commands()["restore"].format_help().split())
    assert all(word in help_text for word in words)


def test_without_a_command_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == cli.USAGE
    said = " ".join(capsys.readouterr().err.split())
    assert "restore the faces in pictures or folders" in said and "restore photos -o restored" in said


@pytest.mark.parametrize("command", [["restore", "a.png", "-o", "b.png"], ["bench"], ["doctor"], ["models", "list"]])
def test_a_model_folder_that_is_not_there_is_named(
    tmp_path: Path, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*command, "--models", str(tmp_path / "modles")]) == 2
    said = capsys.readouterr().err
    assert "modles" in said and "is not a folder" in said


def test_a_model_can_be_brought_into_a_new_folder(models: Path, tmp_path: Path) -> None:
    file = next(models.glob("*.safetensors"))
    assert cli.main(["models", "import", str(file), "--models", str(tmp_path / "new" / "models")]) == 0
    assert (tmp_path / "new" / "models" / file.name).exists()


def test_doctor_ends_with_a_verdict(
    run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("doctor") == cli.OK
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith(
        "Faces can be restored here, by default with lite. Next: `facerestore models download gfpgan-1"
    )
    assert cli.main(["doctor", "--device", "warp"]) == cli.FAILED
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("Faces cannot be restored here (device: 'warp' ") and last.endswith("choose --device cpu.")
    monkeypatch.delenv("FACERESTORE_MODELS", raising=False)
    monkeypatch.setitem(sys.modules, "platformdirs", None)
    assert cli.main(["doctor", "--device", "cpu"]) == cli.FAILED
    assert f"platformdirs: {pip_install('platformdirs')}" in capsys.readouterr().out.splitlines()[-1]


@pytest.mark.parametrize("action", [["list"], ["download", "codeformer"], ["import", "x.pth"]], ids=lambda one: one[0])
def test_commands_that_run_no_network_take_no_device(action: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["models", *action, "--device", "cpu"]) == cli.USAGE
    assert "--device is not known" in capsys.readouterr().err


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


def test_a_package_that_is_missing_is_named_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "lib_facerestore.catalogue.download", raising=False)
    monkeypatch.delitem(sys.modules, "lib_facerestore.catalogue.connection", raising=False)
    monkeypatch.setitem(sys.modules, "httpx", None)
    assert cli.main(["models", "download", "codeformer", "--yes"]) == cli.FAILED
    said = capsys.readouterr().err
    assert "the package httpx is missing" in said and "pip install httpx" in said


def test_too_little_memory_is_one_sentence(
    run: Run, photo: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(FaceRestorer, "check", full)
    Image.fromarray(photo).save(tmp_path / "a.png")
    assert run("restore", tmp_path / "a.png", "-o", tmp_path / "b.png") == 1
    assert capsys.readouterr().err == "facerestore: there is too little memory; close other programs, and try again\n"
