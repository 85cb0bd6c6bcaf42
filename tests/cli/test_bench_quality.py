"""`bench --quality` on the command line: its tables, JSON, the sheet, and errors before anything is measured."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lib_facerestore.bench import quality, quality_detector, quality_run
from lib_facerestore.bench.aims import AIMS
from lib_facerestore.bench.quality_table import Table
from lib_facerestore.cli.bench_quality import DEFAULT_MODEL
from lib_facerestore.stages import loaded_models

from ..conftest import KnownFaces
from .conftest import Run

pytest.importorskip("skimage", reason="comes with the extra `test`")


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small faces and few angles, so that the test takes seconds."""
    monkeypatch.setattr(quality, "CROP", 128)
    monkeypatch.setattr(quality_run, "QUICK", quality_run.Extent((100,), (100,), (90,)))
    original = quality_detector.group
    monkeypatch.setattr(quality_detector, "group", lambda found: original(found, 3, 900, 600))
    monkeypatch.setattr(quality_detector, "close_up", lambda portrait: quality_detector.rotated(portrait, 0))


@pytest.fixture(autouse=True)
def _known(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The detector knows the face of `picture`."""
    monkeypatch.setattr(loaded_models, "create_detector", lambda *_: KnownFaces((70, 70, 110)))


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A textured picture, which the portrait of its face fills."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[0:141, 0:141]
    base = np.stack([150 + 40 * np.sin(x / 23), 120 + 40 * np.cos(y / 31), 90 + 0.2 * x], axis=2)
    pixels = np.clip(base + rng.normal(0, 6, base.shape), 0, 255).astype(np.uint8)
    (tmp_path / "in").mkdir()
    Image.fromarray(pixels).save(tmp_path / "in" / "a.png")
    return tmp_path / "in" / "a.png"


def test_json_has_what_the_tables_show(run: Run, picture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sheet = picture.parent.parent / "sheet.jpg"
    arguments = ("bench", "--quality", "--quick", "--job", "small", "--count", "1")
    assert run(*arguments, picture.parent, "--json", "--sheet", sheet) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["faces"], answer["source"], answer["model"]) == (["a.png"], "1 given", "small")
    tables = {table["name"]: Table.from_dict(table) for table in answer["tables"]}
    assert tuple(tables) == quality_run.TABLES
    assert tables["paste"].columns == ("ours", "facexlib", "square")
    assert tables["restorer"].columns == ("small", "bilateral filter", "unsharp mask")
    cases = {(line.case, line.measure): line for line in tables["paste"].lines}
    assert all(
        set(line.values) == {"ours", "facexlib", "square"} for key, line in cases.items() if "grain 1" not in key[0]
    )
    clean = cases["clean picture, its own crop pasted", "changed outside 1.5× the box"]
    assert clean.values["ours"] == 0
    cast = cases["colour cast of the restored crop", "low-band colour shift"].values
    assert (cast["ours"] or 0) < 0.5 * (cast["square"] or 0), "ours matches colours, the square does not"
    detector = {line.case: line.values for line in tables["detector"].lines}
    assert detector["clean"]["recall"] == 1 and "false faces a picture" not in detector["clean"]
    assert Image.open(sheet).size[0] == 5 * 260
    measured = [(line.case, line.measure) for table in tables.values() for line in table.lines]
    for case, measure, _ in AIMS:
        fitting = [one for one in measured if re.fullmatch(case, one[0]) and re.fullmatch(measure, one[1])]
        assert fitting, f"nothing is measured that the aim of {case!r}, {measure!r} is for"

    assert run(*arguments, picture.parent, "--tables", "restorer") == 0
    printed = capsys.readouterr().out
    assert printed.startswith("1 face of 1 given, restorer small.\n")
    assert tables["restorer"].markdown() in printed, "the same figures in every run"


def test_one_table_alone(run: Run, picture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("bench", "--quality", "--quick", "--tables", "detector", picture, "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert [table["name"] for table in answer["tables"]] == ["detector"] and answer["model"] == DEFAULT_MODEL
    assert "the detector's own answers" in answer["tables"][0]["notes"][0]


def test_without_facexlib_the_others_are_measured(
    run: Run, picture: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "facexlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "facexlib", None)
    assert run("bench", "--quality", "--quick", "--tables", "paste", "--job", "small", picture) == 1
    printed = capsys.readouterr().out
    assert "| the paste | measured | unit | ours | square | aim | of |" in printed
    assert "- facexlib: facexlib.utils.face_restoration_helper cannot be imported" in printed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["absent.png"], "absent.png: there is no such file"),
        (["--photos", "absent"], "faces.jsonl cannot be read"),
        (["--photos", "absent", "a.png"], "give pictures or --photos, not both"),
        (["--tables", "paste,speed"], "'speed' is not known; give some of paste, restorer, detector"),
        (["--sheet", "sheet.png", "--tables", "detector"], "--sheet: it shows the pastes"),
        (["--sheet", "sheet.txt"], "is no PNG or JPEG file"),
        (["--count", "0"], "'0' is not a whole number from 1"),
        (["--job", "gfpgan-9"], "gfpgan-9"),
    ],
)
def test_a_wrong_argument_is_an_error_in_words(
    arguments: list[str], said: str, run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quality_run.quality, "PasteBench", None)
    assert run("bench", "--quality", *arguments) == 2
    assert said in capsys.readouterr().err
