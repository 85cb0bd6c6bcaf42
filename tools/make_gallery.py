"""Make the pictures of docs/gallery.md: hard cases, composed of photographs by code, before and after restoration.

    python tools/make_gallery.py --out DIR [--photos DIR] [--cases profile,glasses]

The options are those of a fresh install: no model file is looked for, so detector, restorer and mask are the built-in
ones. Without --photos, every case is made of scikit-image's photograph of an astronaut, which is free to use anywhere;
with it, of labelled photographs that no training saw. For each case, DIR gets NAME-before.png, NAME-after.png, and
NAME.png with parts of both side by side, at 100 % (small faces also enlarged). gallery.json and the printed table say
how many faces were found and restored.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib_facerestore import FaceRestorer
from lib_facerestore.bench import portraits, quality_detector
from lib_facerestore.bench.degradations import blur, coarse, grain, jpeg, noise, occlude, ordinary, to_pixels
from lib_facerestore.bench.metrics import Pixels, overlap
from lib_facerestore.bench.portraits import Portrait
from lib_facerestore.faces.face import Box, Face

WINDOW = 512
"""Most pixels of a side of the parts that are shown."""


@dataclass(frozen=True)
class Case:
    """A composed picture.

    Attributes:
        pixels: H×W×3 uint8 RGB.
        faces: boxes of the faces that it shows.
        windows: the parts to show, (x, y, width, height); none means one around each of the first faces.
        enlarge: factor of a second, enlarged view; 1 means none.
    """

    pixels: Pixels
    faces: Sequence[Box]
    windows: Sequence[tuple[int, int, int, int]] = ()
    enlarge: int = 1


@dataclass(frozen=True)
class Outcome:
    """What became of a case: faces in the picture, found in the right place, found elsewhere, restored; and remarks."""

    name: str
    faces: int
    found: int
    false: int
    restored: int
    remarks: list[str]


class Sources:
    """The portraits that cases are made of, by a part of their file's name; or always the same one."""

    def __init__(self, photos: Path | None) -> None:
        self._labelled = {one.name: one for one in portraits.labelled(photos, 10_000)} if photos else {}
        self._sample = portraits.sample(FaceRestorer(_nowhere(), "cpu"), 1)[0]

    def __getitem__(self, part: str) -> Portrait:
        if not self._labelled:
            return self._sample
        return next(one for name, one in self._labelled.items() if part in name)

    def many(self, folder: str, count: int) -> list[Portrait]:
        """Portraits from one folder of the photographs."""
        own = [one for name, one in self._labelled.items() if name.startswith(folder)] or [self._sample]
        return [own[index % len(own)] for index in range(count)]


def _nowhere() -> Path:
    """A model folder without models."""
    return Path(__file__).parent


def _one(portrait: Portrait, pixels: Pixels) -> Case:
    return Case(pixels, [portrait.box])


def _tiled(found: Sequence[Portrait], height: float, columns: int, cell: tuple[int, int], tone: int) -> Case:
    """Faces of a height in pixels in rows on a plain ground; odd rows are shifted by half a cell, as people stand."""
    wide, high = cell
    rows = -(-len(found) // columns)
    pixels = np.full((rows * high + high // 2, columns * wide + wide // 2, 3), tone, np.uint8)
    boxes: list[Box] = []
    for place, portrait in enumerate(found):
        small = portrait.scaled(portrait.side * height / (portrait.box[3] - portrait.box[1]))
        row, column = divmod(place, columns)
        left, top, right, bottom = small.box
        x = column * wide + (wide // 2) * (row % 2) + wide // 2 - round((left + right) / 2)
        y = row * high + high // 2 + high // 8 - round((top + bottom) / 2)
        x0, x1 = max(-x, round((left + right) / 2) - wide // 2, 0), round((left + right) / 2) + wide // 2
        y0, y1 = max(-y, round((top + bottom) / 2) - high // 2 - high // 8, 0), small.pixels.shape[0]
        part = small.pixels[y0:y1, x0:x1]
        part = part[: pixels.shape[0] - y - y0, : pixels.shape[1] - x - x0]
        pixels[y + y0 : y + y0 + part.shape[0], x + x0 : x + x0 + part.shape[1]] = part
        boxes.append((left + x, top + y, right + x, bottom + y))
    return Case(pixels, boxes)


def group_1927(sources: Sources, rng: np.random.Generator) -> Case:
    """24 people in three rows, faces of 64 px; grey, soft, faded, with film grain, scratches and JPEG."""
    case = _tiled(sources.many("congress", 24), 64, 8, (108, 128), 60)
    grey = cv2.cvtColor(blur(case.pixels, 1.1), cv2.COLOR_RGB2GRAY).astype(np.float32)
    faded = 52 + grey * 0.62
    y, x = np.mgrid[0 : grey.shape[0], 0 : grey.shape[1]].astype(np.float32)
    faded *= 1.06 - 0.3 * np.hypot(x / grey.shape[1] - 0.5, y / grey.shape[0] - 0.5)
    print_ = to_pixels(np.repeat(faded[..., None], 3, axis=2) * np.array([1.0, 0.97, 0.9]))
    grained = grain(print_, "film", rng).astype(np.float32)
    print_ = to_pixels(print_ + 0.6 * (grained - print_))
    for _ in range(14):
        at, end = rng.uniform(0, 1, (2, 2)) * grey.shape[::-1]
        end = at + 0.15 * (end - at)
        cv2.line(print_, (int(at[0]), int(at[1])), (int(end[0]), int(end[1])), (205, 200, 188), 1, cv2.LINE_AA)
    for _ in range(60):
        spot = rng.uniform(0, 1, 2) * grey.shape[::-1]
        cv2.circle(print_, (int(spot[0]), int(spot[1])), int(rng.integers(1, 3)), (70, 66, 60), -1, cv2.LINE_AA)
    width, height = print_.shape[1], print_.shape[0]
    return Case(jpeg(print_, 70), case.faces, [(0, 0, width // 2, height), (width // 2, 0, width // 2, height)])


def halftone(pixels: Pixels, pitch: float = 4.5, angle: float = 45.0) -> Pixels:
    """Printed with black dots on a screen, photographed again: a grey picture of dots of `pitch` pixels."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    fine = cv2.resize(grey, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
    y, x = np.mgrid[0 : fine.shape[0], 0 : fine.shape[1]].astype(np.float32) / 3
    turn = np.deg2rad(angle)
    across, along = x * np.cos(turn) + y * np.sin(turn), -x * np.sin(turn) + y * np.cos(turn)
    screen = 0.5 + 0.25 * (np.cos(2 * np.pi * across / pitch) + np.cos(2 * np.pi * along / pitch))
    ink = (fine < 0.08 + 0.86 * screen).astype(np.float32)
    dots = cv2.resize(1 - ink, pixels.shape[1::-1], interpolation=cv2.INTER_AREA)
    paper = cv2.GaussianBlur(dots, (0, 0), 0.6)[..., None] * np.array([226, 220, 204]) + np.array([20, 19, 18])
    return to_pixels(paper)


def drawing(pixels: Pixels) -> Pixels:
    """Drawn: flat areas of few tones, with dark outlines."""
    smooth = pixels
    for _ in range(4):
        smooth = np.asarray(cv2.bilateralFilter(smooth, 9, 45, 7), np.uint8)
    flat = (np.floor(smooth.astype(np.float32) / 36) + 0.5) * 36
    grey = cv2.cvtColor(smooth, cv2.COLOR_RGB2GRAY).astype(np.float32)
    lines = cv2.GaussianBlur(grey, (0, 0), 1.0) - 0.985 * cv2.GaussianBlur(grey, (0, 0), 2.2)
    return to_pixels(flat * (1 - 0.85 * np.clip(-lines / 4, 0, 1))[..., None])


def _rotated(portrait: Portrait, angle: float, rng: np.random.Generator) -> Case:
    scene = quality_detector.rotated(portrait, angle)
    return Case(ordinary(scene.pixels, rng), [scene.boxes[0][0]])


def _cut(portrait: Portrait, rng: np.random.Generator, left: float = 0.0, bottom: float = 0.0) -> Case:
    scene = quality_detector.cut_off(portrait, left, bottom)
    return Case(ordinary(scene.pixels, rng), [scene.boxes[0][1]])


def _hand(portrait: Portrait, rng: np.random.Generator) -> Case:
    return _one(portrait, ordinary(occlude(portrait.pixels, portrait.landmarks, "hand")[0], rng))


def _grey(portrait: Portrait, rng: np.random.Generator) -> Case:
    grey = cv2.cvtColor(ordinary(portrait.pixels, rng), cv2.COLOR_RGB2GRAY)
    return _one(portrait, np.repeat(grey[..., None], 3, axis=2))


def _large(portrait: Portrait, rng: np.random.Generator) -> Case:
    """A face of 2,000 px with the noise of a dark room and JPEG; parts with an eye and with the mouth are shown."""
    one = portrait.scaled(portrait.side * 2000 / (portrait.box[3] - portrait.box[1]))
    eye, mouth = one.landmarks[0], one.landmarks[3:].mean(axis=0)
    half = WINDOW // 2
    windows = [(round(x) - half, round(y) - half, WINDOW, WINDOW) for x, y in (eye, mouth)]
    return Case(jpeg(noise(one.pixels, 12, rng), 85), [one.box], windows)


def _tiny(found: Sequence[Portrait], rng: np.random.Generator) -> Case:
    case = _tiled(found, 20, 6, (48, 44), 96)
    return Case(jpeg(noise(case.pixels, 3, rng), 85), case.faces, [(0, 0, *case.pixels.shape[1::-1])], 3)


Make = Callable[[Sources, np.random.Generator], Case]
CASES: dict[str, Make] = {
    "clean": lambda found, _: _one(one := found["governors-councils/0146"], one.pixels),
    "ordinary": lambda found, rng: _one(one := found["governors-councils/0078"], ordinary(one.pixels, rng)),
    "group-1927": group_1927,
    "profile": lambda found, rng: _one(one := found["sfhq-t2i-tiles/0292"], ordinary(one.pixels, rng)),
    "glasses": lambda found, rng: _one(one := found["18f-team/0006"], ordinary(one.pixels, rng)),
    "hand": lambda found, rng: _hand(found["congress-portraits/0505"], rng),
    "grey": lambda found, rng: _grey(found["faker-sd3-portraits/0043"], rng),
    "halftone": lambda found, _: _one(one := found["faker-sd3-portraits/0147"], halftone(one.pixels)),
    "drawing": lambda found, _: _one(one := found["sfhq-t2i-tiles/0951"], drawing(one.pixels)),
    "tilted-35": lambda found, rng: _rotated(found["congress-portraits/0386"], 35, rng),
    "tilted-90": lambda found, rng: _rotated(found["congress-portraits/0386"], 90, rng),
    "tilted-180": lambda found, rng: _rotated(found["congress-portraits/0386"], 180, rng),
    "cut-left": lambda found, rng: _cut(found["congress-portraits/0653"], rng, left=0.3),
    "cut-below": lambda found, rng: _cut(found["congress-portraits/0653"], rng, bottom=0.45),
    "large-2000": lambda found, rng: _large(found["pif-fellows/0003"], rng),
    "soft-2000": lambda found, _: _soft(found["congress-portraits/0093"]),
    "tiny-20": lambda found, rng: _tiny(found.many("congress", 18), rng),
}
"""The cases by name, in the order of the page."""


def _soft(portrait: Portrait) -> Case:
    """A face of 2,000 px that was enlarged from a face of 150 px."""
    large = portrait.scaled(portrait.side * 2000 / (portrait.box[3] - portrait.box[1]))
    x, y = large.landmarks[0]
    window = (round(float(x)) - WINDOW // 2, round(float(y)) - WINDOW // 2, WINDOW, WINDOW)
    return Case(coarse(large.pixels, 13), [large.box], [window])


def _windows(case: Case) -> list[tuple[int, int, int, int]]:
    """The parts to show: those of the case, or one around each of the first three faces, all inside of the picture."""
    height, width = case.pixels.shape[:2]
    found = list(case.windows)
    for x0, y0, x1, y1 in [] if found else case.faces[:3]:
        side = min(round(1.7 * max(x1 - x0, y1 - y0)), WINDOW)
        found.append((round((x0 + x1) / 2) - side // 2, round((y0 + y1) / 2) - side // 2, side, side))
    inside = []
    for x, y, wide, high in found:
        left, top = max(min(x, width - wide), 0), max(min(y, height - high), 0)
        inside.append((left, top, min(wide, width - left), min(high, height - top)))
    return inside


def _side_by_side(case: Case, after: Pixels) -> Pixels:
    """The parts before and after, beside each other where they fit, else one above the other."""
    rows = []
    for x, y, wide, high in _windows(case):
        parts = [picture[y : y + high, x : x + wide] for picture in (case.pixels, after)]
        gap = np.full((high, 6, 3), 255, np.uint8)
        rows.append(np.hstack([parts[0], gap, parts[1]]))
    if case.enlarge > 1:
        size = rows[0].shape[1] * case.enlarge, rows[0].shape[0] * case.enlarge
        rows.append(np.asarray(cv2.resize(rows[0], size, interpolation=cv2.INTER_NEAREST), np.uint8))
    widest = max(row.shape[1] for row in rows)
    padded = [np.pad(row, ((0, 6), (0, widest - row.shape[1]), (0, 0)), constant_values=255) for row in rows]
    return np.vstack(padded)


def sheet_of(strips: Sequence[tuple[str, Pixels]], width: int = 1100) -> Pixels:
    """Strips with their names, packed into rows of at most `width` pixels (a wider strip has a row of its own)."""
    titled = []
    for name, strip in strips:
        head = np.full((18, max(strip.shape[1], 90), 3), 255, np.uint8)
        cv2.putText(head, name, (2, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
        body = np.pad(strip, ((0, 0), (0, head.shape[1] - strip.shape[1]), (0, 0)), constant_values=255)
        titled.append(np.vstack([head, body]))
    rows: list[list[Pixels]] = []
    for one in sorted(titled, key=lambda tile: tile.shape[0]):
        if rows and sum(tile.shape[1] + 10 for tile in rows[-1]) + one.shape[1] <= width:
            rows[-1].append(one)
        else:
            rows.append([one])
    wide = max(sum(tile.shape[1] + 10 for tile in row) for row in rows)
    sheet = np.full((sum(max(tile.shape[0] for tile in row) + 6 for row in rows), wide, 3), 255, np.uint8)
    top = 0
    for row in rows:
        left = 0
        for tile in row:
            sheet[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
            left += tile.shape[1] + 10
        top += max(tile.shape[0] for tile in row) + 6
    return sheet


def _outcome(name: str, case: Case, found: Sequence[Face], restored: int, remarks: list[str]) -> Outcome:
    hits = sum(any(overlap(face.box, box) > 0.3 for face in found) for box in case.faces)
    false = sum(all(overlap(face.box, box) < 0.2 for box in case.faces) for face in found)
    return Outcome(name, len(case.faces), hits, false, restored, remarks)


def make(name: str, sources: Sources, restorer: FaceRestorer, folder: Path) -> Outcome:
    """Compose a case, restore it, write its pictures, and say what became of it."""
    case = CASES[name](sources, np.random.default_rng(1927))
    result = restorer.restore(np.ascontiguousarray(case.pixels))
    pictures = {
        f"{name}-before": case.pixels,
        f"{name}-after": result.image,
        name: _side_by_side(case, result.image),
    }
    for title, pixels in pictures.items():
        Image.fromarray(pixels).save(folder / f"{title}.png")
    remarks = [report.reason for report in result.faces if report.reason]
    faces = [report.face for report in result.faces]
    applied = sum(report.applied for report in result.faces)
    return _outcome(name, case, faces, applied, [*remarks, *result.notes, *result.hints])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the pictures")
    parser.add_argument("--photos", type=Path, help="folder of labelled photographs; default: one free photograph")
    parser.add_argument("--cases", default=",".join(CASES), help="names of the cases, with commas")
    parser.add_argument("--sheet", type=Path, help="also write all parts side by side into one .png or .jpg")
    parser.add_argument("--threads", type=int, default=1)
    settings = parser.parse_args(arguments)
    names = settings.cases.split(",")
    if unknown := [name for name in names if name not in CASES]:
        parser.error(f"--cases: {unknown[0]} is not known; give some of {', '.join(CASES)}")
    torch.set_num_threads(settings.threads)
    settings.out.mkdir(parents=True, exist_ok=True)
    sources, restorer = Sources(settings.photos), FaceRestorer(_nowhere(), "cpu")
    print("| case | faces | found | found elsewhere | restored | remarks |\n| --- | ---: | ---: | ---: | ---: | --- |")
    outcomes = []
    for name in names:
        one = make(name, sources, restorer, settings.out)
        outcomes.append(asdict(one))
        remarks = "; ".join(dict.fromkeys(one.remarks))
        print(f"| {name} | {one.faces} | {one.found} | {one.false} | {one.restored} | {remarks} |", flush=True)
    if settings.sheet:
        strips = [(name, np.asarray(Image.open(settings.out / f"{name}.png"))) for name in names]
        Image.fromarray(sheet_of(strips)).save(settings.sheet, quality=85)
    (settings.out / "gallery.json").write_text(json.dumps(outcomes, indent=1, ensure_ascii=False), "utf-8")


if __name__ == "__main__":
    main()
