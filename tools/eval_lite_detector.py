"""Measure a face detector on the photographs that were kept out of training (split val).

    python tools/eval_lite_detector.py --photos ../shared/photos --cache CACHE [--detector lite|FILE|auto]

Reports, at `--confidence`: recall and precision on the photographs (IoU 0.5 with the labelled box; further detections
count against precision unless the photograph is known to show more faces), the landmark error as a share of the
distance of the eyes (mean and median over the faces, and pooled: the mean error over the mean distance), the same for
faces of 24 to 64 pixels pasted into scenes, and the faces counted in the sample pictures of `scenes/` beside what the
photographs' README counts there.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from detector_data import PhotoCache, Scene, SceneMaker, read_labels

from lib_facerestore.faces.face import Face
from lib_facerestore.stages.detection import Detector, create_detector

COUNTED = {"00.jpg": 4, "01.jpg": 4, "02.png": 4, "04.jpg": 1, "05.jpg": 1, "Blake_Lively.jpg": 2, "two-faces.jpg": 2}


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    common = np.maximum(0, np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])).prod()
    return float(common / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - common))


class Tally:
    """Counts of one part of the evaluation."""

    def __init__(self) -> None:
        self.faces = self.hits = self.false = 0
        self.errors: list[float] = []
        self.eyes: list[float] = []
        self.overlaps: list[float] = []
        self.seconds = 0.0

    def add(self, found: list[Face], boxes: list, landmarks: list, ignored: list, strict: bool) -> None:
        free = list(found)
        for box, points in zip(boxes, landmarks, strict=True):
            self.faces += 1
            near = [(overlap(np.array(face.box), np.array(box)), face) for face in free]
            best = max(near, key=lambda pair: pair[0], default=(0.0, None))
            if best[1] is None or best[0] < 0.5:
                continue
            self.hits += 1
            self.overlaps.append(best[0])
            free = [face for face in free if face is not best[1]]
            points = np.array(points).reshape(5, 2)
            eyes = max(1.0, float(np.linalg.norm(points[0] - points[1])))
            self.errors.append(float(np.linalg.norm(best[1].landmarks - points, axis=1).mean()) / eyes)
            self.eyes.append(eyes)
        if strict:
            self.false += sum(all(overlap(np.array(face.box), np.array(box)) < 0.2 for box in ignored) for face in free)

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


def timed(detector: Detector, tally: Tally, bgr: np.ndarray, confidence: float) -> list[Face]:
    start = time.perf_counter()
    found = detector.detect([np.ascontiguousarray(bgr[:, :, ::-1])], confidence)[0]
    tally.seconds += time.perf_counter() - start
    return found


def photographs(detector: Detector, photos: Path, confidence: float) -> Tally:
    tally = Tally()
    for row in read_labels(photos, "val"):
        image = cv2.imread(str(photos / "faces" / row["file"]), cv2.IMREAD_COLOR)
        found = timed(detector, tally, image, confidence)
        tally.add(found, [row["box"]], [row["lm5"]], [], strict=row["faces"] == 1)
    return tally


def three_cornered(detector: Detector, other: Detector, photos: Path, confidence: float) -> str:
    """The noise of the labels, of the detector and of another one, from how far apart each two of them are.

    Three independent errors have pairwise variances that add up (the three-cornered hat; Gray and Allan, 1974). Medians
    stand for the variances, profiles (eyes nearer than a quarter of the box) are left out, and constant offsets, which
    are habits and no noise, are taken off first. Shares of the distance of the eyes, as mean distances.
    """
    pairs = []
    for row in read_labels(photos, "val"):
        image = np.ascontiguousarray(cv2.imread(str(photos / "faces" / row["file"]), cv2.IMREAD_COLOR)[:, :, ::-1])
        label = np.array(row["lm5"]).reshape(5, 2)
        eyes, box = float(np.linalg.norm(label[0] - label[1])), np.array(row["box"])
        found = [
            max(one.detect([image], confidence)[0], key=lambda face: overlap(np.array(face.box), box), default=None)
            for one in (detector, other)
        ]
        if eyes < 0.25 * (box[2] - box[0]) or found[0] is None or found[1] is None:
            continue
        own, others = found[0].landmarks, found[1].landmarks
        pairs.append(np.stack([own - label, others - label, own - others]) / eyes)
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
        found = timed(detector, tally, scene.pixels, confidence)
        tally.add(found, scene.boxes, scene.landmarks, scene.unsure, strict=True)
    return tally


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, default=Path("../shared/photos"))
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
        detector.long_side = args.long_side
    with tempfile.TemporaryDirectory() as folder:
        cache = PhotoCache(args.photos, args.cache or Path(folder), "val")
        for confidence in args.confidence:
            line = photographs(detector, args.photos, confidence).line("photos")
            sys.stdout.write(f"confidence {confidence}\n{line}\n")
            sys.stdout.write(f"{pasted(detector, cache, confidence).line('24-64 px')}\n")
            counts, total = [], 0
            for name, wanted in COUNTED.items():
                image = cv2.imread(str(args.photos / "scenes" / name), cv2.IMREAD_COLOR)
                number = len(detector.detect([np.ascontiguousarray(image[:, :, ::-1])], confidence)[0])
                counts.append(f"{name} {number}/{wanted}")
                total += min(number, wanted)
            sys.stdout.write(f"scenes: {total}/{sum(COUNTED.values())}  ({', '.join(counts)})\n")
            sys.stdout.flush()
        if args.other:
            line = three_cornered(detector, create_detector(args.other), args.photos, args.confidence[0])
            sys.stdout.write(line + "\n")


if __name__ == "__main__":
    main()
