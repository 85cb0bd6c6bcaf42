"""The gallery: its cases are composed as they say, and its command writes them before and after."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from tools import make_gallery
from tools.make_gallery import CASES, Sources, drawing, halftone

pytest.importorskip("skimage", reason="comes with the extra `test`")


@pytest.fixture(scope="module")
def sources() -> Sources:
    return Sources(None)


def test_a_halftone_has_the_tone_of_the_picture_and_only_ink_and_paper() -> None:
    ramp = np.repeat(np.linspace(0, 255, 360).astype(np.uint8)[None, :, None], 90, axis=0).repeat(3, axis=2)
    dots = halftone(ramp).astype(float).mean(axis=2)
    tones = dots.reshape(90, 6, 60).mean(axis=(0, 2))
    assert (np.diff(tones) > 0).all() and tones[0] < 60 and tones[-1] > 190
    middle = dots[:, 150:210]
    assert middle.std() > 50, "dots, not grey"
    power = np.abs(np.fft.rfft2(middle - middle.mean())) ** 2
    y, x = np.unravel_index(power.argmax(), power.shape)
    frequency = np.hypot(min(y, 90 - y) / 90, x / 60)
    assert frequency == pytest.approx(1 / 4.5, rel=0.1)


def test_a_drawing_has_few_tones() -> None:
    y, x = np.mgrid[0:80, 0:80]
    photo = np.stack([x * 3, y * 3, 120 + 0 * x], axis=2).astype(np.uint8)
    assert len(np.unique(drawing(photo)[..., 0])) < 0.4 * len(np.unique(photo[..., 0]))


def test_every_case_shows_its_faces_and_is_the_same_in_every_run(sources: Sources) -> None:
    for name, make in CASES.items():
        case = make(sources, np.random.default_rng(1))
        assert case.pixels.dtype == np.uint8 and case.faces, name
        height, width = case.pixels.shape[:2]
        for x0, y0, x1, y1 in case.faces:
            assert -1 <= x0 < x1 <= width + 1 and -1 <= y0 < y1 <= height + 1, name
        if not name.endswith("2000"):  # large pictures take seconds
            assert (case.pixels == make(sources, np.random.default_rng(1)).pixels).all(), name
    sides = {name: CASES[name](sources, np.random.default_rng(1)).faces[0] for name in ("tiny-20", "group-1927")}
    assert {name: round(box[3] - box[1]) for name, box in sides.items()} == {"tiny-20": 20, "group-1927": 64}


def test_the_command_writes_each_case_before_and_after(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_gallery.main(["--out", str(tmp_path), "--cases", "clean,tiny-20", "--sheet", str(tmp_path / "s.png")])
    outcomes = json.loads((tmp_path / "gallery.json").read_text("utf-8"))
    assert [(one["name"], one["faces"], one["found"], one["false"]) for one in outcomes] == [
        ("clean", 1, 1, 0), ("tiny-20", 18, 18, 0),
    ]  # fmt: skip
    assert "| clean | 1 | 1 | 0 | 1 |" in capsys.readouterr().out
    for name in ("clean", "tiny-20"):
        before, after, both = (
            np.asarray(Image.open(tmp_path / f"{name}{end}.png")) for end in ("-before", "-after", "")
        )
        assert before.shape == after.shape and (before != after).any()
        assert np.abs(before.astype(float) - after).mean() < 3, "a clean picture stays clean"
        half = (both.shape[1] - 6) // 2 if name == "clean" else before.shape[1]
        assert both.shape[1] >= 2 * half + 6
    tiny, sheet = (np.asarray(Image.open(tmp_path / name)) for name in ("tiny-20.png", "s.png"))
    assert (sheet[-6 - tiny.shape[0] : -6, : tiny.shape[1]] == tiny).all(), "the tallest strip comes last"
    before = np.asarray(Image.open(tmp_path / "tiny-20-before.png"))
    assert (tiny[: before.shape[0], : before.shape[1]] == before).all(), "at 100 %"
    enlarged = cv2.resize(before, None, fx=3, fy=3, interpolation=cv2.INTER_NEAREST)
    top = before.shape[0] + 6
    assert (tiny[top : top + enlarged.shape[0], : enlarged.shape[1]] == enlarged).all()


def test_an_unknown_case_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        make_gallery.main(["--out", str(tmp_path), "--cases", "clean,sepia"])
