"""Measure what a detector finds of faces that are damaged, tilted, cut by the border, very large or very small.

    python tools/eval_lite_robustness.py --photos ../shared/photos [--detector lite|FILE|auto] [--rows cut angle]

Every row is made from the `val` photographs with one face, as portraits of 512 px (the FFHQ-aligned square, upright).
Printed are the recall, the false faces (IoU below 0.2 with the face), the median landmark error as a share of the
box's longer side, and the seconds. A face counts as found if its box and the label's (the part of it that is in the
picture) overlap by 0.5 or more (intersection over union); of tilted and cut faces the landmarks must be in their places
too, each under its own name: a face that is found upside down is missed. Then the number of faces in two pictures that
defeated the detector once, and the processor time of upright portraits.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib_facerestore.faces import alignment
from lib_facerestore.stages.detection import Detector, create_detector
from tools.degradations import degrade
from tools.eval_lite_detector import nearest, overlap
from tools.photographs import PHOTOS, Label, landmarks_of, read_labels, read_rgb, through_jpeg

SIDE = 512
PLACED = 0.12
"""Largest mean distance of the landmarks from their labels, as a share of the box's longer side."""
ANGLES = (0, 15, 30, 40, 50, 65, 90, 135, 180, 225, 270, 315)


@dataclass(frozen=True)
class Portrait:
    """A picture (H×W×3 uint8 RGB) of one face: its box (4) and landmarks (5×2), in pixels."""

    pixels: NDArray[np.uint8]
    box: NDArray[np.float64]
    points: NDArray[np.float64]

    def warped(self, matrix: NDArray[np.float64], width: int, height: int) -> Portrait:
        """Moved by a similarity (2×3, this picture → the new one); the box becomes that of the moved ellipse in it."""
        flags = cv2.INTER_AREA if alignment.scale_of(matrix) < 1 else cv2.INTER_CUBIC
        pixels = cv2.warpAffine(self.pixels, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        middle = matrix[:, :2] @ ((self.box[:2] + self.box[2:]) / 2) + matrix[:, 2]
        half = np.linalg.norm(matrix[:, :2] * ((self.box[2:] - self.box[:2]) / 2), axis=1)
        points = self.points @ matrix[:, :2].T + matrix[:, 2]
        return Portrait(pixels.astype(np.uint8, copy=False), np.concatenate((middle - half, middle + half)), points)

    def resized(self, factor: float) -> Portrait:
        """Reduced (by means) or enlarged."""
        size = (round(self.pixels.shape[1] * factor), round(self.pixels.shape[0] * factor))
        kind = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
        pixels = cv2.resize(self.pixels, size, interpolation=kind)
        return Portrait(pixels.astype(np.uint8, copy=False), self.box * factor, self.points * factor)

    def part(self, x0: float, y0: float, x1: float, y1: float) -> Portrait:
        """What is inside of a box in whole pixels."""
        left, top, right, bottom = round(x0), round(y0), round(x1), round(y1)
        corner = np.array([left, top], np.float64)
        pixels = np.ascontiguousarray(self.pixels[top:bottom, left:right])
        return Portrait(pixels, self.box - np.tile(corner, 2), self.points - corner)

    def seen(self) -> NDArray[np.float64]:
        """The part of the box that is in the picture."""
        height, width = self.pixels.shape[:2]
        return np.clip(self.box, 0, [width, height, width, height])


Change = Callable[[Portrait, np.random.Generator], Portrait]


def portrait(photos: Path, label: Label, room: float = 1.0) -> Portrait:
    """The photograph's face in a square of `room` times the FFHQ-aligned one, not turned; that square has 512 px."""
    whole = Portrait(read_rgb(photos / "faces" / label["file"]), np.array(label["box"]), landmarks_of(label))
    points = whole.points
    eyes, mouth = points[:2].mean(0), points[3:].mean(0)
    across = points[1] - points[0]
    side = 2 * max(2.0 * float(np.linalg.norm(across)), 1.8 * float(np.linalg.norm(mouth - eyes)))
    centre = eyes + 0.1 * (mouth - eyes)
    scale = SIDE / side
    length = round(SIDE * room)
    matrix = np.column_stack([np.eye(2) * scale, length / 2 - scale * centre])
    smooth = whole
    if scale < 0.8:
        smooth = Portrait(cv2.GaussianBlur(whole.pixels, (0, 0), 0.4 / scale).astype(np.uint8), whole.box, points)
    return smooth.warped(matrix, length, length)


def blurred(face: Portrait, sigma: float) -> Portrait:
    return Portrait(cv2.GaussianBlur(face.pixels, (0, 0), sigma).astype(np.uint8), face.box, face.points)


def noisy(face: Portrait, rng: np.random.Generator, sigma: float) -> Portrait:
    pixels = np.clip(np.rint(face.pixels + rng.normal(0, sigma, face.pixels.shape)), 0, 255).astype(np.uint8)
    return Portrait(pixels, face.box, face.points)


def coarse(face: Portrait, factor: float) -> Portrait:
    height, width = face.pixels.shape[:2]
    small = cv2.resize(face.pixels, (round(width / factor), round(height / factor)), interpolation=cv2.INTER_AREA)
    pixels = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    return Portrait(pixels.astype(np.uint8), face.box, face.points)


def ordinary(face: Portrait, rng: np.random.Generator) -> Portrait:
    return Portrait(degrade(face.pixels, rng), face.box, face.points)


def blocky(face: Portrait, _: np.random.Generator) -> Portrait:
    return Portrait(through_jpeg(face.pixels, 8), face.box, face.points)


def turned(degrees: float) -> Change:
    """Turned clockwise about the picture's middle; the picture grows so that nothing is lost."""

    def change(face: Portrait, _: np.random.Generator) -> Portrait:
        turn = np.deg2rad(degrees)
        rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        size = np.array(face.pixels.shape[1::-1])
        width, height = (round(value) for value in np.abs(rotation) @ size)
        shift = (np.array([width, height]) - 1) / 2 - rotation @ ((size - 1) / 2)
        return face.warped(np.column_stack([rotation, shift]), width, height)

    return change


def cut(left: float = 0, right: float = 0, low: float = 0) -> Change:
    """The border cuts away these shares of the face's box."""

    def change(face: Portrait, _: np.random.Generator) -> Portrait:
        height, width = face.pixels.shape[:2]
        x0, _, x1, y1 = face.box
        wide, tall = x1 - x0, y1 - face.box[1]
        return face.part(
            x0 + left * wide if left else 0,
            0,
            x1 - right * wide if right else width,
            y1 - low * tall if low else height,
        )

    return change


def close_up(face: Portrait, _: np.random.Generator) -> Portrait:
    """The face fills a picture of 2,000 px: 4 % of its box is cut away on each side."""
    margin = 0.04 * np.tile(face.box[2:] - face.box[:2], 2) * (1, 1, -1, -1)
    near = face.part(*np.clip(face.box + margin, 0, [SIDE] * 4).tolist())
    return near.resized(2000 / max(near.pixels.shape[:2]))


def reduced(face: Portrait, _: np.random.Generator) -> Portrait:
    return face.resized(1 / 8)


def rows_of_the_table() -> Iterator[tuple[str, Change, float, bool]]:
    """Name, change, room round the portrait, and whether the landmarks must be in their places."""
    yield "plain", lambda face, _: face, 1.0, False
    yield "blur 8", lambda face, _: blurred(face, 8), 1.0, False
    yield "noise 50", lambda face, rng: noisy(face, rng, 50), 1.0, False
    yield "reduced 12", lambda face, _: coarse(face, 12), 1.0, False
    yield "ordinary", ordinary, 1.0, False
    yield "JPEG 8", blocky, 1.0, False
    for degrees in ANGLES:
        yield f"angle {degrees}", turned(degrees), 1.25, True
    yield "cut left 30 %", cut(left=0.3), 1.0, True
    yield "cut right 30 %", cut(right=0.3), 1.0, True
    yield "cut low 45 %", cut(low=0.45), 1.0, True
    yield "close-up 2000", close_up, 1.0, True
    yield "photograph / 8", reduced, 1.25, False


def measure(detector: Detector, faces: list[Portrait], confidence: float, placed: bool) -> tuple[int, int, float]:
    """How many of the portraits' faces are found, how many other faces, and the median landmark error."""
    hits = false = 0
    errors = [1.0]
    for face in faces:
        found = detector.detect([face.pixels], confidence)[0]
        hit = nearest(found, face.seen())
        if hit is not None and overlap(clipped(hit.box, face), face.seen()) >= 0.5:
            error = float(np.linalg.norm(hit.landmarks - face.points, axis=1).mean() / max(face.box[2:] - face.box[:2]))
            errors.append(error)
            hits += not placed or error < PLACED
        false += sum(overlap(clipped(other.box, face), face.seen()) < 0.2 for other in found)
    return hits, false, statistics.median(errors[1:] or errors)


def clipped(box: tuple[float, float, float, float], face: Portrait) -> NDArray[np.float64]:
    """The part of a box that is in the picture."""
    return Portrait(face.pixels, np.array(box, np.float64), face.points).seen()


def seconds(detector: Detector, face: Portrait, length: int, confidence: float, times: int = 20) -> float:
    """Median processor time of an upright picture of one face, in one thread: other work counts little."""
    picture = face.resized(length / max(face.pixels.shape[:2])).pixels
    spent = []
    for _ in range(times):
        started = time.process_time()
        detector.detect([picture], confidence)
        spent.append(time.process_time() - started)
    return statistics.median(spent)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, default=PHOTOS)
    parser.add_argument("--detector", default="lite")
    parser.add_argument("--confidence", type=float, default=0.5)
    parser.add_argument("--count", type=int, default=0, help="take only so many photographs, evenly spread")
    parser.add_argument("--rows", nargs="+", default=[""], help="print only rows whose name starts so")
    parser.add_argument("--cases", type=Path, help="folder of cases; default: beside the photographs")
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    detector = create_detector(args.detector)
    labels = [label for label in read_labels(args.photos, "val") if label["faces"] == 1]
    if args.count:
        labels = [labels[at * len(labels) // args.count] for at in range(args.count)]
    for name, change, room, placed in rows_of_the_table():
        if not name.startswith(tuple(args.rows)):
            continue
        rng = np.random.default_rng(13)
        faces = [change(portrait(args.photos, label, room), rng) for label in labels]
        started = time.perf_counter()
        hits, false, error = measure(detector, faces, args.confidence, placed)
        spent = (time.perf_counter() - started) / len(faces)
        sys.stdout.write(
            f"{name:16} recall {hits / len(faces):.3f} ({hits}/{len(faces)})  false {false}  "
            f"landmarks {100 * error:.1f} %  {spent:.2f} s each\n"
        )
        sys.stdout.flush()
    for name in ("group8000_150px.jpg", "closeup_missed_by_lite.jpg"):
        path = (args.cases or args.photos.parent / "cases") / name
        if name.startswith(tuple(args.rows)) and path.exists():
            found = detector.detect([read_rgb(path)], args.confidence)[0]
            sys.stdout.write(f"{name}: {len(found)} faces\n")
    if "time".startswith(tuple(args.rows)):
        face = portrait(args.photos, labels[0], 1.25)
        for length in (512, 1024):
            spent = seconds(detector, face, length, args.confidence)
            sys.stdout.write(f"time: {1000 * spent:.0f} ms for {length} px, one face\n")


if __name__ == "__main__":
    main()
