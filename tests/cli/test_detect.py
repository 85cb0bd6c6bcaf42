"""`detect`: JSON, interrupts, large pictures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from lib_facerestore.cli import main as cli
from lib_facerestore.images import files as image_files
from lib_facerestore.stages import loaded_models

from ..conftest import KnownFaces
from .conftest import Run


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


def test_a_large_picture_brings_no_warning_of_pillow(
    run: Run, album: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50_000)
    assert run("detect", album / "one.png") == cli.OK
    assert not [one for one in recwarn if issubclass(one.category, Image.DecompressionBombWarning)]


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


def test_where_no_face_is_found_what_to_try_is_told(
    run: Run, album: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(loaded_models, "create_detector", lambda *_: KnownFaces())
    assert run("detect", album / "one.png", "--confidence", 0.6) == cli.OK
    assert capsys.readouterr().err == "facerestore: a lower --confidence (it was 0.6) may find more\n"
    assert run("detect", album) == cli.FAILED
    assert "no face was found in 2 of 3 pictures; a lower --confidence" in capsys.readouterr().err
