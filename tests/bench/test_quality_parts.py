"""The parts of `bench --quality`: portraits, damage, pastes, pictures of the detector's cases, tables, the sheet."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from lib_facerestore.bench import degradations, pastes, portraits, quality_detector, quality_restorer
from lib_facerestore.bench.aims import with_aims
from lib_facerestore.bench.portraits import Portrait
from lib_facerestore.bench.quality_table import Aim, Collected, Line, Table
from lib_facerestore.bench.sheet import TILE, Sheet
from lib_facerestore.catalogue import Store
from lib_facerestore.errors import InputError
from lib_facerestore.faces import alignment
from lib_facerestore.faces.face import Face
from lib_facerestore.pipeline import FaceRestorer

from ..conftest import KnownFaces, face_at


def portrait_of(width: int = 220, height: int = 260, side: float = 150) -> Portrait:
    """A textured picture with the place of a face in its middle."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[0:height, 0:width]
    base = np.stack([120 + 50 * np.sin(x / 17), 110 + 40 * np.cos(y / 23), 90 + 0.3 * x], axis=2)
    pixels = np.clip(base + cv2.GaussianBlur(rng.normal(0, 25, base.shape), (0, 0), 1.5), 0, 255).astype(np.uint8)
    face = face_at((width - 1) / 2, (height - 1) / 2, side)
    return Portrait("drawn", pixels, face.box, face.landmarks.astype(np.float64), True)


def test_a_restorer_is_measured_on_faces_that_are_not_enlarged() -> None:
    faces = [portrait_of(side=side) for side in (150, 210, 240)]
    lines = quality_restorer.measure(faces, lambda pixels, face: pixels, "none", (150, 256, 512))
    counts = {line.measure: line.count for line in lines if line.case == "JPEG 90"}
    assert counts == {"gain, face of side 150": 3, "gain, face of side 256": 2, "gain, face of side 512": 3}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three labelled photographs: two of `val`, one of these with two faces; one of `train`."""
    (tmp_path / "faces").mkdir()
    one = portrait_of()
    rows = []
    for name, split, faces in (("a.png", "val", 1), ("b.png", "val", 2), ("c.png", "train", 1)):
        Image.fromarray(one.pixels).save(tmp_path / "faces" / name)
        landmarks = [float(value) for value in one.landmarks.ravel()]
        rows.append({"file": name, "box": list(one.box), "lm5": landmarks, "faces": faces, "split": split})
    (tmp_path / "faces" / "faces.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    return tmp_path


def test_labelled_portraits_are_those_of_one_face_and_the_split(folder: Path) -> None:
    found = portraits.labelled(folder, 5)
    assert [one.name for one in found] == ["a.png"] and found[0].alone
    assert [one.name for one in portraits.labelled(folder, 5, "train")] == ["c.png"]
    assert found[0].side == pytest.approx(150, rel=1e-3) and (found[0].pixels == portrait_of().pixels).all()


def test_a_folder_without_labels_is_an_error_in_words(folder: Path) -> None:
    with pytest.raises(InputError, match=r"faces\.jsonl cannot be read; name a folder"):
        portraits.labelled(folder / "faces", 5)
    with pytest.raises(InputError, match="no photograph of one face in the split 'test'"):
        portraits.labelled(folder, 5, "test")
    with open(folder / "faces" / "faces.jsonl", "a", encoding="utf-8") as file:
        file.write('\n{"split": "val", "faces": 1}\n')
    with pytest.raises(InputError, match="line 4, is not a labelled face"):
        portraits.labelled(folder, 5)


def test_portraits_of_pictures_are_cut_around_the_faces_that_are_found(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (900, 1600, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "two.png")
    restorer = FaceRestorer(tmp_path, "cpu", detector=KnownFaces((300, 400, 200), (1000, 450, 640), (1500, 100, 40)))
    found = portraits.from_pictures([tmp_path / "two.png"], restorer, 5)
    assert [one.name for one in found] == ["two.png, face 1", "two.png, face 2"], "the largest first, none of 40 px"
    assert not any(one.alone for one in found)
    assert found[0].side == pytest.approx(512, rel=0.01) and found[1].side == pytest.approx(200, rel=0.01)
    x, y = (round(float(value)) for value in found[1].landmarks[2] - found[1].landmarks[2])
    assert (x, y) == (0, 0)
    left, top = np.round(face_at(300, 400, 200).landmarks[2] - found[1].landmarks[2]).astype(int)
    assert (
        found[1].pixels == pixels[top : top + found[1].pixels.shape[0], left : left + found[1].pixels.shape[1]]
    ).all()
    with pytest.raises(InputError, match="no face of 96 pixels or more was found in two"):
        portraits.from_pictures([tmp_path / "two.png"], FaceRestorer(tmp_path, "cpu", detector=KnownFaces()), 5)


def test_a_scaled_portrait_keeps_its_face_in_place() -> None:
    one = portrait_of()
    twice = one.scaled(300)
    assert twice.pixels.shape == (520, 440, 3) and twice.side == pytest.approx(300, rel=1e-3)
    crops = [pastes.cut(portrait.pixels, portrait.face, 96) for portrait in (one, twice)]
    assert np.abs(crops[0] - crops[1]).mean() < 0.01


def test_the_oval_is_in_the_face_and_turned_faces_are_told() -> None:
    one = portrait_of()
    oval = one.oval()
    y, x = np.nonzero(oval)
    eyes, mouth = one.landmarks[:2].mean(axis=0), one.landmarks[3:].mean(axis=0)
    length = float(np.hypot(*(mouth - eyes)))
    assert y.max() - y.min() == pytest.approx(2 * 1.47 * length, abs=2)
    assert oval.sum() == pytest.approx(np.pi * (y.max() - y.min()) * (x.max() - x.min()) / 4, rel=0.03)
    assert one.oval(1.3).sum() == pytest.approx(1.69 * oval.sum(), rel=0.02)
    assert not one.turned
    profile = one.landmarks.copy()
    profile[2] = profile[0] - (4, 0)  # the nose beyond the left eye
    assert Portrait("profile", one.pixels, one.box, profile, True).turned


def test_damage_is_what_it_is_called() -> None:
    grey = np.full((200, 200, 3), 128, np.uint8)
    rng = np.random.default_rng(1)
    assert degradations.noise(grey, 14, rng).astype(float).std() == pytest.approx(14, rel=0.02)
    film, white = (degradations.grain(grey, kind, rng).astype(np.float32) - 128 for kind in ("film", "white"))
    assert film.std() == pytest.approx(9, rel=0.05) and white.std() == pytest.approx(9, rel=0.05)
    beside = [np.corrcoef(one[:, 1:].ravel(), one[:, :-1].ravel())[0, 1] for one in (film, white)]
    assert beside[0] > 0.6 and abs(beside[1]) < 0.03
    one = portrait_of().pixels
    for name, damage in degradations.DAMAGES.items():
        damaged = damage(one, np.random.default_rng(2))
        assert damaged.shape == one.shape and damaged.dtype == np.uint8
        assert (damaged == one).all() == (name == "clean"), name
        assert (damaged == damage(one, np.random.default_rng(2))).all(), "the same in every run"


@pytest.mark.parametrize("kind", ["hand", "sunglasses", "stain", "fringe"])
def test_an_occluder_covers_its_place_and_nothing_else(kind: degradations.Occluder) -> None:
    one = portrait_of()
    drawn, cover = degradations.occlude(one.pixels, one.landmarks, kind)
    assert ((drawn != one.pixels).any(axis=2) <= (cover > 0)).all(), "nothing changes where nothing covers"
    eyes, nose, mouth = one.landmarks[:2], one.landmarks[2], one.landmarks[3:].mean(axis=0)
    forehead = eyes.mean(axis=0) * 1.6 - mouth * 0.6
    places = {"hand": [mouth], "sunglasses": list(eyes), "stain": [nose + np.array([8, 0])], "fringe": [forehead]}[kind]
    for x, y in places:
        assert cover[round(y), round(x)] > 0.5
    assert 0.01 < (cover > 0.5).mean() < 0.25


def test_the_pastes_put_a_crop_where_it_belongs(models: Path) -> None:
    one = portrait_of(side=128)
    crop = np.full((256, 256, 3), 0.5, np.float32)
    crop[..., 0] = 0.9
    ours = pastes.OurPaste([models], torch.device("cpu"), "small")
    theirs = pastes.FacexlibPaste(Store([models]), torch.device("cpu"))
    for paste in (theirs, pastes.paste_square, pastes.whole):
        result = paste(one.pixels, one.face, crop)
        assert np.abs(result[130, 110].astype(int) - (230, 128, 128)).max() <= 1, paste
        assert (result[:40] == one.pixels[:40]).all() and (result[:, :20] == one.pixels[:, :20]).all()
    result = ours(one.pixels, one.face, crop, pastes.PLAIN)
    assert np.abs(result[130, 110].astype(int) - (230, 128, 128)).max() <= 1
    assert (ours(one.pixels, one.face, crop) != result).any(), "by default, colours are matched"


def half_of(image: np.ndarray, face: Face, crop: np.ndarray) -> np.ndarray:
    return np.asarray(cv2.addWeighted(image, 0.5, pastes.whole(image, face, crop), 0.5, 0), np.uint8)


def test_the_opacity_of_a_paste_is_measured(models: Path) -> None:
    one = portrait_of(side=128)
    crop = pastes.cut(one.pixels, one.face, 256)
    given: dict[str, pastes.Paste] = {
        pastes.OURS: pastes.OurPaste([models], torch.device("cpu"), "small"),
        pastes.SQUARE: pastes.paste_square,
        "half": half_of,
    }
    half = pastes.opacity("half", given, one.pixels, one.face, crop)
    assert half[130, 110] == pytest.approx(0.5, abs=0.02) and half[10, 10] == 0
    for name, about in ((pastes.OURS, 0.06), (pastes.SQUARE, 0.02)):  # a drawn texture is no clear face to our parser
        alpha = pastes.opacity(name, given, one.pixels, one.face, crop)
        assert alpha[130, 110] == pytest.approx(1, abs=about) and alpha[10, 10] == 0
        assert alpha[66:190, 50:170].mean() > 0.1


def test_rotated_cut_and_enlarged_pictures_keep_their_labels() -> None:
    one = portrait_of()

    def patch(pixels: np.ndarray, point: np.ndarray) -> np.ndarray:
        return cv2.getRectSubPix(pixels, (1, 1), (float(point[0]), float(point[1])))[0, 0].astype(float)

    expected = [patch(one.pixels, point) for point in one.landmarks]
    half = quality_detector.rotated(one, 180)
    assert half.pixels.shape == one.pixels.shape and (half.pixels == one.pixels[::-1, ::-1]).all()
    quarter = quality_detector.rotated(one, 90)
    assert quarter.pixels.shape == (220, 260, 3) and (quarter.pixels == np.rot90(one.pixels)).all()
    for scene in (half, quarter):
        found = [patch(scene.pixels, point) for point in scene.landmarks[0]]
        assert np.abs(np.array(found) - expected).max() < 6
    x0, y0, x1, y1 = quarter.boxes[0][0]
    assert (x1 - x0, y1 - y0) == pytest.approx((one.box[3] - one.box[1], one.box[2] - one.box[0]))
    cut = quality_detector.cut_off(one, left=0.5)
    assert np.isnan(cut.landmarks[0][0]).all() and np.isfinite(cut.landmarks[0][1]).all()
    assert patch(cut.pixels, cut.landmarks[0][1]) == pytest.approx(expected[1], abs=1)
    assert cut.boxes[0][1][0] == 0 and cut.boxes[0][0][0] < 0
    lower = quality_detector.cut_off(one, bottom=0.45)
    assert lower.pixels.shape[0] == round(one.box[3] - 0.45 * (one.box[3] - one.box[1]))
    close = quality_detector.close_up(one, 300, 0.5)
    assert max(close.pixels.shape) <= 300 and close.boxes[0][0][2] - close.boxes[0][0][0] == pytest.approx(
        150, rel=0.02
    )
    many = quality_detector.group([one], 6, 1500, 600)
    assert many.pixels.shape == (600, 1500, 3) and len(many.boxes) == 6
    for boxes, points in zip(many.boxes, many.landmarks, strict=True):
        assert boxes[0][3] - boxes[0][1] == pytest.approx(150, rel=0.02)
        assert np.abs(np.array([patch(many.pixels, point) for point in points]) - expected).mean() < 12


def test_the_detectors_table_counts_hits_landmarks_and_false_faces() -> None:
    one = portrait_of()

    def find(pixels: np.ndarray) -> list[Face]:
        """Knows the clean picture only; there it also finds a second face, and nothing that is upside down."""
        if pixels.shape == one.pixels.shape and (pixels == one.pixels).all():
            return [one.face, face_at(20, 20, 30)]
        if pixels.shape == one.pixels.shape and (pixels == one.pixels[::-1, ::-1]).all():
            scene = quality_detector.rotated(one, 180)
            upright = scene.landmarks[0][[4, 3, 2, 1, 0]].astype(np.float32)  # the mouth is taken for the eyes
            return [Face(1, scene.boxes[0][0], upright, 0.9)]
        return []

    lines = {line.case: line for line in quality_detector.measure([one], find, (180,))}
    assert lines["clean"].values == {"recall": 1.0, "landmarks right": 1.0, "false faces a picture": 1.0}
    assert lines["rotated by 180°"].values == {"recall": 1.0, "landmarks right": 0.0, "false faces a picture": 0.0}
    assert lines["blur σ8"].values == {"recall": 0.0, "false faces a picture": 0.0}
    assert lines["faces of 150 px in 8000×1200"].count == 30


def test_a_part_without_the_face_is_shown_where_there_is_one() -> None:
    one = portrait_of(width=420, side=150)
    (scene,) = quality_detector.faceless(one)
    assert not scene.boxes and scene.alone
    start = round(one.box[2] + 0.1 * (one.box[3] - one.box[1]))  # the picture's right part is one pixel wider
    assert (scene.pixels == one.pixels[:, start:]).all()
    found = [face_at(30, 30, 30)]
    lines = {line.case: line for line in quality_detector.measure([one], lambda pixels: found, ())}
    line = lines["no face: what is beside it"]
    assert line.values == {"false faces a picture": 1.0} and line.count == 1


def test_tables_are_markdown_and_the_same_as_json() -> None:
    found = Collected()
    found.add("a", "face", "dB", "higher", {"ours": 40.04, "square": None})
    found.add("a", "face", "dB", "higher", {"ours": 50.0, "square": None})
    found.add("a", "noise", "×", "near 1", {"ours": 0.9, "square": 2})
    found.add("a", "noise", "×", "near 1", {"ours": 0.9, "square": 0.5})
    found.add("b", "face", "dB", "higher", {"ours": 41.0, "square": 41.04})
    found.add("c", "face", "dB", "higher", {"ours": None})
    found.add("c", "face", "dB", "higher", {"ours": 50.0})
    lines = found.lines()
    lines[1] = dataclasses.replace(lines[1], aim=Aim(0.8, 1.2))
    lines[2] = dataclasses.replace(lines[2], aim=Aim(41.3, None))
    lines[3] = dataclasses.replace(lines[3], aim=Aim(None, 80))
    table = Table("paste", "the paste", ("ours", "square"), lines, ("a note",))
    text = table.markdown().splitlines()
    assert text[2] == "| a | face | dB | 45.0 | **∞** |  | 2 |"
    assert text[3] == "| a | noise | × | 0.90 | **1.00** | 0.8 to 1.2 | 2 |"
    assert text[4] == "| b | face | dB | **41.0** | **41.0** | ≥ 41.3, missed | 1 |", (
        "what is printed alike is equally good"
    )
    assert text[5] == "| c | face | dB | 75.0 | – | ≤ 80 | 2 |", "identical pictures count as 100 dB in a mean"
    assert text[-1] == "- a note" and len({line.count("|") for line in text[:6]}) == 1
    again = Table.from_dict(json.loads(json.dumps(table.to_dict(), allow_nan=False)))
    assert again.markdown() == table.markdown() and again.to_dict() == table.to_dict()
    assert Line("x", "", "", "", {"a": 1.0, "b": 0.0}, 1).best() == frozenset()


def test_the_first_fitting_aim_is_that_of_a_line() -> None:
    cases = [
        ("restored, clean, side 512", "face, to itself"),
        ("clean", ""),
        ("lower 45 % cut off", ""),
        ("other", "face"),
    ]
    lines = with_aims(Line(case, measure, "", "", {"a": 1.0}, 1) for case, measure in cases)
    assert [line.aim for line in lines] == [Aim(48, None), Aim(0.95, None), Aim(0.9, None), None]
    assert Aim(48, None).met(None, "dB") and Aim(48, None).met(47.96, "dB") and not Aim(48, None).met(47.94, "dB")
    assert not Aim(None, 0).met(1.0, "px")


def test_the_sheet_shows_the_face_of_every_picture(tmp_path: Path) -> None:
    one = portrait_of()
    sheet = Sheet(tmp_path / "sheet.png")
    sheet.add("case", one.face, {"before": one.pixels, "after": np.zeros_like(one.pixels)})
    sheet.write()
    seen = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert seen.shape[1] == 2 * (TILE + 4)
    tile = seen[-TILE - 1 : -1, :TILE]
    matrix = alignment.compose(
        [[TILE / 165, 0, (TILE / 165 - 1) / 2], [0, TILE / 165, (TILE / 165 - 1) / 2]], np.eye(3)[:2]
    )
    corner = np.round(np.array([109.5, 129.5]) - 82.5).astype(int)
    expected = cv2.warpAffine(one.pixels[corner[1] :, corner[0] :], matrix, (TILE, TILE), flags=cv2.INTER_CUBIC)
    assert np.abs(tile.astype(int) - expected).mean() < 4
    assert (seen[-TILE - 1 : -1, TILE + 4 : 2 * TILE + 4] == 0).all()
    Sheet(None).write()
    with pytest.raises(InputError, match="no picture for the sheet"):
        Sheet(tmp_path / "empty.png").write()
