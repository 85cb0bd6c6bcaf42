"""Measure a face detector on the photographs that were kept out of training (split val).

    python tools/eval_lite_detector.py --photos ../shared/photos --cache CACHE [--detector lite|FILE|auto]

Reports, at `--confidence`: recall and precision on the photographs (IoU 0.5 with the labelled box; further detections
count against precision unless the photograph is known to show more faces), the landmark error as a share of the
distance of the eyes (mean and median over the faces, and pooled: the mean error over the mean distance), the same for
faces of 24 to 64 pixels pasted into scenes, and the faces counted in the sample pictures of `scenes/` beside what the
photographs' README counts there.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib_facerestore.faces.face import Face
from lib_facerestore.stages.detection import Detector, create_detector
from lib_facerestore.stages.detection.lite import LiteDetector
from lib_facerestore.stages.detection.retinaface import RetinaFaceDetector
from lib_facerestore.stages.detection.verified import VerifiedDetector
from tools.detector_data import PhotoCache, Scene, SceneMaker
from tools.photographs import PHOTOS, landmarks_of, read_labels, read_rgb

COUNTED = {"00.jpg": 4, "01.jpg": 4, "02.png": 4, "04.jpg": 1, "05.jpg": 1, "Blake_Lively.jpg": 2, "two-faces.jpg": 2}


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes."""
    common = np.maximum(0, np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])).prod()
    return float(common / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - common))


def nearest(faces: Sequence[Face], box: np.ndarray) -> Face | None:
    """The face whose box overlaps `box` most; None if there is no face."""
    return max(faces, key=lambda face: overlap(np.array(face.box), box), default=None)


class Tally:
    """Counts of one part of the evaluation."""

    def __init__(self) -> None:
        self.faces = self.hits = self.false = 0
        self.errors: list[float] = []
        self.eyes: list[float] = []
        self.overlaps: list[float] = []
        self.seconds = 0.0

    def add(
        self,
        found: Sequence[Face],
        boxes: Sequence[np.ndarray],
        landmarks: Sequence[np.ndarray],
        ignored: Sequence[np.ndarray],
        strict: bool,
    ) -> None:
        """The faces that were found in one picture, beside its labelled boxes (4) and landmarks (5×2).

        With `strict`, what is found elsewhere than there and in the boxes `ignored` is false.
        """
        free = list(found)
        for box, points in zip(boxes, landmarks, strict=True):
            self.faces += 1
            face = nearest(free, box)
            if face is None or overlap(np.array(face.box), box) < 0.5:
                continue
            self.hits += 1
            self.overlaps.append(overlap(np.array(face.box), box))
            free = [other for other in free if other is not face]
            eyes = max(1.0, float(np.linalg.norm(points[0] - points[1])))
            self.errors.append(float(np.linalg.norm(face.landmarks - points, axis=1).mean()) / eyes)
            self.eyes.append(eyes)
        if strict:
            self.false += sum(all(overlap(np.array(face.box), box) < 0.2 for box in ignored) for face in free)

    def line(self, name: str) -> str:
        error = 100 * float(np.mean(self.errors)) if self.errors else float("nan")
        pooled = 100 * float(np.average(self.errors, weights=self.eyes)) if self.errors else float("nan")
        return (
            f"{name}: recall {self.hits / max(1, self.faces):.4f} ({self.hits}/{self.faces})  "
            f"precision {self.hits / max(1, self.hits + self.false):.4f} ({self.false} false)  "
            f"landmarks {error:.2f} % (median {100 * float(np.median(self.errors or [0])):.2f}, "
            f"pooled {pooled:.2f})  "
            f"IoU {np.mean(self.overlaps or [0]):.3f}  {self.seconds:.1f} s"
        )


def timed(detector: Detector, tally: Tally, image: NDArray[np.uint8], confidence: float) -> list[Face]:
    """The faces of an RGB picture; the time that it takes is added to the tally."""
    start = time.perf_counter()
    found = detector.detect([image], confidence)[0]
    tally.seconds += time.perf_counter() - start
    return found


def photographs(detector: Detector, photos: Path, confidence: float) -> Tally:
    tally = Tally()
    for row in read_labels(photos, "val"):
        found = timed(detector, tally, read_rgb(photos / "faces" / row["file"]), confidence)
        tally.add(found, [np.array(row["box"])], [landmarks_of(row)], [], strict=row["faces"] == 1)
    return tally


def three_cornered(detector: Detector, other: Detector, photos: Path, confidence: float) -> str:
    """The noise of the labels, of the detector and of another one, from how far apart each two of them are.

    Three independent errors have pairwise variances that add up (the three-cornered hat; Gray and Allan, 1974). Medians
    stand for the variances, profiles (eyes nearer than a quarter of the box) are left out, and constant offsets, which
    are habits and no noise, are taken off first. Shares of the distance of the eyes, as mean distances.
    """
    pairs = []
    for row in read_labels(photos, "val"):
        image = read_rgb(photos / "faces" / row["file"])
        label, box = landmarks_of(row), np.array(row["box"])
        eyes = float(np.linalg.norm(label[0] - label[1]))
        one, two = (nearest(which.detect([image], confidence)[0], box) for which in (detector, other))
        if eyes < 0.25 * (box[2] - box[0]) or one is None or two is None:
            continue
        deviations = [one.landmarks - label, two.landmarks - label, one.landmarks - two.landmarks]
        pairs.append(np.stack(deviations) / eyes)
    apart = np.stack(pairs)
    apart -= np.median(apart, axis=0)
    own, others, between = (float(np.median(apart[:, k] ** 2)) / 0.4549 for k in range(3))  # median of χ² of one degree
    variances = ((own + others - between) / 2, (own + between - others) / 2, (others + between - own) / 2)
    spread = [100 * np.sqrt(max(variance, 0) * np.pi / 2) for variance in variances]
    return "noise by the three-cornered hat: labels {:.1f} %, the detector {:.1f} %, the other {:.1f} %".format(*spread)


def pasted(detector: Detector, cache: PhotoCache, confidence: float, count: int = 40, side: int = 640) -> Tally:
    tally, maker = Tally(), SceneMaker(cache, seed=7)
    for _ in range(count):
        scene = Scene(np.ascontiguousarray(maker.background(side)))
        maker.scatter(scene, 12, 24, 64)
        scene.pixels = maker.degrade(scene.pixels)
        found = timed(detector, tally, np.ascontiguousarray(scene.pixels[:, :, ::-1]), confidence)
        tally.add(found, scene.boxes, scene.landmarks, scene.unsure, strict=True)
    return tally


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, default=PHOTOS)
    parser.add_argument("--cache", type=Path, help="folder for the decoded photographs; default: a temporary one")
    parser.add_argument("--detector", default="lite")
    parser.add_argument("--confidence", type=float, nargs="+", default=[0.5])
    parser.add_argument("--other", help="a second detector's file: tells how noisy the labels themselves are")
    parser.add_argument("--long-side", type=int, help="long side of the first look, to try others")
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    detector = create_detector(args.detector)
    if args.long_side:
        first: object = detector.proposer if isinstance(detector, LiteDetector) else detector
        first = first.base if isinstance(first, VerifiedDetector) else first
        if not isinstance(first, RetinaFaceDetector):
            parser.error(f"--long-side: {detector.name} has no such first look")
        first.long_side = args.long_side
    with tempfile.TemporaryDirectory() as folder:
        cache = PhotoCache(args.photos, args.cache or Path(folder), "val")
        for confidence in args.confidence:
            line = photographs(detector, args.photos, confidence).line("photos")
            sys.stdout.write(f"confidence {confidence}\n{line}\n")
            sys.stdout.write(f"{pasted(detector, cache, confidence).line('24-64 px')}\n")
            counts, total = [], 0
            for name, wanted in COUNTED.items():
                number = len(detector.detect([read_rgb(args.photos / "scenes" / name)], confidence)[0])
                counts.append(f"{name} {number}/{wanted}")
                total += min(number, wanted)
            sys.stdout.write(f"scenes: {total}/{sum(COUNTED.values())}  ({', '.join(counts)})\n")
            sys.stdout.flush()
        if args.other:
            line = three_cornered(detector, create_detector(args.other), args.photos, args.confidence[0])
            sys.stdout.write(line + "\n")


if __name__ == "__main__":
    main()
