"""Fit the score of `lite` (stages/detection/verdict.py) to what its first two stages say of the training photographs.

    python tools/fit_lite_score.py --photos ../shared/photos --cache CACHE [--split val --check]

Pictures of many kinds are made: scenes of small faces, portraits that are damaged, tilted, cut or as they are, and
pictures without a face (what is beside the faces, patterns, pages of text). All proposals that `lite` looks at in them
are collected, once, in the cache; delete its files `seen-*` if the networks change. Of a face, the best proposal is a
positive sample, and proposals elsewhere are negative ones. The weights that the logistic regression gives are printed;
they are put into verdict.py by hand. With `--check` nothing is fitted: what the weights of verdict.py do is printed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib_facerestore.stages.detection import verdict
from lib_facerestore.stages.detection.lite import LiteDetector, load_lite
from lib_facerestore.stages.detection.verdict import Seen
from tools import eval_lite_robustness as robustness
from tools.detector_data import PhotoCache, Scene, SceneMaker
from tools.photographs import PHOTOS, Label, read_labels, read_rgb

CONFIDENCE = 0.5
NOTHING, IGNORED = -1, -2
"""What a proposal shows, where it is not the number of a face: no face, or nothing that one could be judged on."""
RIDGE = 1e-2
"""Strength of the regression's ridge, for each sample: the logits of faces that were learnt would count too much."""
WORST = -0.2
"""The bias is lowered until no mistake has a higher logit than this: a false face is worse than a missed one."""
Draw = Callable[[np.random.Generator], robustness.Change]
PORTRAITS: dict[str, tuple[int, Draw]] = {
    "plain": (8, lambda _: lambda face, _: face),
    "blur": (10, lambda _: lambda face, rng: robustness.blurred(face, float(rng.uniform(6, 14)))),
    "noise": (8, lambda _: lambda face, rng: robustness.noisy(face, rng, float(rng.uniform(40, 100)))),
    "coarse": (10, lambda _: lambda face, rng: robustness.coarse(face, float(rng.uniform(10, 20)))),
    "ordinary": (8, lambda _: robustness.ordinary),
    "tilted": (16, lambda rng: robustness.turned(float(rng.uniform(15, 345)))),
    "cut left": (8, lambda rng: robustness.cut(left=float(rng.uniform(0.25, 0.45)))),
    "cut right": (8, lambda rng: robustness.cut(right=float(rng.uniform(0.25, 0.45)))),
    "cut low": (20, lambda rng: robustness.cut(low=float(rng.uniform(0.4, 0.6)))),
    "reduced": (8, lambda _: robustness.reduced),
}
"""Kinds of portraits: how many, and what draws a change. They are worse than what `lite` is measured on, because the
second stage has learnt these faces: it is surer of them than of others."""
OTHERS = {"scene": 16, "beside": 30, "pattern": 12, "text": 3}
"""Kinds of other pictures, and how many: of small faces, and of none."""


@dataclass(frozen=True, eq=False)
class Sample:
    """A picture.

    Attributes:
        kind: its kind.
        pixels: H×W×3 uint8 RGB.
        boxes: F×4, boxes of its faces.
        points: F×5×2, landmarks.
        ignored: boxes of what one should not be judged on.
        placed: whether landmarks must be in their places.
    """

    kind: str
    pixels: NDArray[np.uint8]
    boxes: NDArray[np.float64]
    points: NDArray[np.float64]
    ignored: NDArray[np.float64]
    placed: bool


def samples(photos: Path, cache: Path, split: str, kind: str) -> Iterator[Sample]:
    """The pictures of a kind. Equal arguments give equal pictures."""
    seed = [*PORTRAITS, *OTHERS].index(kind)
    rng = np.random.default_rng(seed)
    labels = [label for label in read_labels(photos, split) if label["faces"] == 1]
    none = np.zeros((0, 4))
    if kind in PORTRAITS:
        count, draw = PORTRAITS[kind]
        for number in rng.choice(len(labels), count, replace=False).tolist():
            room = 1.25 if kind in ("tilted", "reduced") else 1.0
            face = draw(rng)(robustness.portrait(photos, labels[number], room), rng)
            yield Sample(kind, face.pixels, face.seen()[None], face.points[None], none, kind != "reduced")
        return
    maker = SceneMaker(PhotoCache(photos, cache, split), seed)
    for number in rng.choice(len(labels), OTHERS[kind], replace=False).tolist():
        if kind == "scene":
            scene = Scene(np.ascontiguousarray(maker.background(640)))
            maker.scatter(scene, 12, 20, 64)
            pixels = np.ascontiguousarray(maker.degrade(scene.pixels)[..., ::-1])
            boxes, points = np.array(scene.boxes).reshape(-1, 4), np.array(scene.landmarks).reshape(-1, 5, 2)
            yield Sample(kind, pixels, boxes, points, np.array(scene.unsure).reshape(-1, 4), False)
            continue
        if kind == "beside":
            pixels = beside(photos, labels[number], maker, rng)
        elif kind == "pattern":
            pixels = np.ascontiguousarray(maker.degrade(maker.background(int(rng.integers(200, 700)))))
        else:
            pixels = page(rng)
        if min(pixels.shape[:2]) >= 32:
            yield Sample(kind, pixels, none, np.zeros((0, 5, 2)), none, False)


def beside(photos: Path, label: Label, maker: SceneMaker, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The largest part of a photograph beside its face, of 200 to 900 pixels at most; some are damaged or turned."""
    image, box = read_rgb(photos / "faces" / label["file"]), np.array(label["box"])
    height, width = image.shape[:2]
    margin = 0.1 * (box[3] - box[1])
    x0, y0 = np.clip(np.rint(box[:2] - margin), 0, (width, height)).astype(int)
    x1, y1 = np.clip(np.rint(box[2:] + margin), 0, (width, height)).astype(int)
    parts = [image[:, :x0], image[:, x1:], image[:y0], image[y1:]]
    part = max(parts, key=lambda each: each.shape[0] * each.shape[1])
    if min(part.shape[:2]) < 8:
        return np.zeros((0, 0, 3), np.uint8)
    factor = min(1.0, float(np.exp(rng.uniform(np.log(200), np.log(900)))) / max(part.shape[:2]))
    size = (round(part.shape[1] * factor), round(part.shape[0] * factor))
    small = np.asarray(cv2.resize(part, (max(8, size[0]), max(8, size[1])), interpolation=cv2.INTER_AREA), np.uint8)
    if rng.random() < 0.4:
        small = np.ascontiguousarray(maker.degrade(small))
    return np.ascontiguousarray(np.rot90(small, int(rng.integers(4)))) if rng.random() < 0.3 else small


def page(rng: np.random.Generator) -> NDArray[np.uint8]:
    """A page of random letters, H×W×3."""
    width, height, size = int(rng.integers(400, 900)), int(rng.integers(500, 1100)), float(rng.uniform(0.35, 0.9))
    pixels = np.full((height, width, 3), int(rng.integers(200, 256)), np.uint8)
    letters = np.array(list("aaabcdeeefghiijklmnnoopqrrsstttuuvwxyz      ,.ABCDOST0358"))
    for line in range(round(36 * size), height - 20, round(32 * size)):
        text = "".join(rng.choice(letters, int((width - 60) / (19 * size))).tolist())
        cv2.putText(pixels, text, (24, line), cv2.FONT_HERSHEY_SIMPLEX, size, (25, 25, 30), 1, cv2.LINE_AA)
    return pixels


def shown(sample: Sample, seen: Seen) -> NDArray[np.int64]:
    """What each of K proposals shows: the number of a face, `NOTHING` or `IGNORED`."""
    height, width = sample.pixels.shape[:2]
    boxes = np.clip(np.nan_to_num(seen.boxes), 0, [width, height, width, height])
    result = np.full(len(boxes), NOTHING)
    known = np.concatenate([sample.boxes, sample.ignored])
    if not len(known):
        return result
    low = np.maximum(boxes[:, None, :2], known[None, :, :2])
    common = np.maximum(np.minimum(boxes[:, None, 2:], known[None, :, 2:]) - low, 0).prod(2)
    one, other = (np.maximum(each[:, 2:] - each[:, :2], 0).prod(1) for each in (boxes, known))
    overlap = common / np.maximum(one[:, None] + other - common, 1e-6)
    inside = common / np.maximum(np.minimum(one[:, None], other), 1e-6)
    best = overlap.argmax(1)
    hit = (overlap.max(1) >= 0.5) & (best < len(sample.boxes))
    # What lies inside a face is dropped once the face is found; a face whose landmarks are wrong is no mistake for one.
    result[~hit & ((overlap.max(1) >= 0.2) | (inside.max(1) > 0.7))] = IGNORED
    result[hit] = best[hit]
    if sample.placed:
        sides = (sample.boxes[:, 2:] - sample.boxes[:, :2]).max(1)
        true = sample.points[np.minimum(best, len(sample.boxes) - 1)]
        wrong = np.linalg.norm(seen.points - true, axis=2).mean(1) > robustness.PLACED * sides.max()
        result[hit & wrong] = IGNORED
    return result


@dataclass(frozen=True, eq=False)
class Table:
    """All proposals: their evidence (K×5), what each shows, the number of its picture, and the kind of each picture.

    `faces` has a line for each face: picture and number; also of faces without a proposal.
    """

    evidence: NDArray[np.float64]
    shows: NDArray[np.int64]
    picture: NDArray[np.int64]
    kinds: NDArray[np.str_]
    faces: NDArray[np.int64]

    @staticmethod
    def of(parts: Sequence[dict[str, NDArray[Any]]]) -> Table:
        """From what `collect` gives for each picture."""
        rows = [verdict.evidence(Seen(*(part[field] for field in FIELDS))) for part in parts]
        faces = [(number, face) for number, part in enumerate(parts) for face in range(int(part["faces"]))]
        return Table(
            np.concatenate(rows),
            np.concatenate([part["shows"] for part in parts]),
            np.repeat(np.arange(len(parts)), [len(part["shows"]) for part in parts]),
            np.array([str(part["kind"]) for part in parts]),
            np.array(faces),
        )


FIELDS = tuple(field.name for field in fields(Seen))


def collect(detector: LiteDetector, pictures: Iterable[Sample]) -> Iterator[dict[str, NDArray[Any]]]:
    """Let the first two stages look at pictures: for each the fields of `Seen`, what they show, kind and faces."""
    for sample in pictures:
        seen = detector.examined(sample.pixels, CONFIDENCE)
        about = {"shows": shown(sample, seen), "kind": np.array(sample.kind), "faces": np.array(len(sample.boxes))}
        yield {field: getattr(seen, field) for field in FIELDS} | about


def collected(photos: Path, cache: Path, split: str) -> Iterator[dict[str, NDArray[Any]]]:
    """What `collect` gives for the pictures of all kinds, each kind kept in a file of the cache."""
    detector = load_lite()
    for kind in [*OTHERS, *PORTRAITS]:
        path = cache / f"seen-{split}-{kind.replace(' ', '-')}.npz"
        if not path.exists():
            parts = list(collect(detector, samples(photos, cache, split, kind)))
            flat: dict[str, Any] = {f"{n} {key}": value for n, part in enumerate(parts) for key, value in part.items()}
            np.savez(path, **flat)
        with np.load(path) as stored:
            for number in range(len({name.split()[0] for name in stored.files})):
                yield {key: stored[f"{number} {key}"] for key in (*FIELDS, "shows", "kind", "faces")}


def best_of_each(table: Table, scores: NDArray[np.float64]) -> dict[tuple[int, int], int]:
    """The row of the best proposal of each face, by picture and number of the face."""
    best: dict[tuple[int, int], int] = {}
    for row in np.flatnonzero(table.shows >= 0).tolist():
        key = (int(table.picture[row]), int(table.shows[row]))
        if key not in best or scores[row] > scores[best[key]]:
            best[key] = row
    return best


def regress(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights, and last the bias, of a logistic regression (Newton's method) of y (0 or 1) on columns of x."""
    mean, spread = x.mean(0), x.std(0) + 1e-9
    z = np.column_stack([(x - mean) / spread, np.ones(len(x))])
    weights, ridge = np.zeros(z.shape[1]), RIDGE * len(y) * np.append(np.ones(x.shape[1]), 0)
    for _ in range(50):
        share = 1 / (1 + np.exp(-np.clip(z @ weights, -30, 30)))
        slope = z.T @ (share - y) + ridge * weights
        curvature = (z * (share * (1 - share))[:, None]).T @ z + np.diag(ridge + 1e-9)
        weights = weights - np.linalg.solve(curvature, slope)
    plain = weights[:-1] / spread
    return np.append(plain, weights[-1] - plain @ mean)


def fit(table: Table) -> NDArray[np.float64]:
    """Weights and bias. They decide which proposal of a face is the best, so they are fitted four times."""
    weights = np.append(verdict.WEIGHTS, verdict.BIAS)
    none = np.flatnonzero(table.shows == NOTHING)
    for _ in range(4):
        best = np.array(list(best_of_each(table, table.evidence @ weights[:-1]).values()))
        rows = np.concatenate([best, none])
        weights = regress(table.evidence[rows], np.append(np.ones(len(best)), np.zeros(len(none))))
    surest = float((table.evidence[none] @ weights[:-1] + weights[-1]).max(initial=WORST))
    return np.append(weights[:-1], weights[-1] - (surest - WORST))


def report(table: Table, weights: NDArray[np.float64]) -> Iterator[str]:
    """For each kind of picture: faces found and false ones, at the score of a half and for other biases."""
    logits = table.evidence @ weights[:-1] + weights[-1]
    best = best_of_each(table, logits)
    for kind in [*dict.fromkeys(table.kinds.tolist()), "all"]:
        chosen = np.flatnonzero((table.kinds == kind) | (kind == "all"))
        faces = [tuple(face) for face in table.faces.tolist() if face[0] in set(chosen.tolist())]
        hits = np.array([logits[best[face]] if face in best else -99.0 for face in faces])
        wrong = logits[(table.shows == NOTHING) & np.isin(table.picture, chosen)]
        bounds = (-1.0, -0.5, 0.0, 0.5, 1.0)
        counts = "  ".join(f"{(hits >= bound).sum()}/{(wrong >= bound).sum()}" for bound in bounds)
        yield f"{kind:10} {len(chosen)} pictures, {len(faces)} faces; found/false at logit {bounds}: {counts}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, default=PHOTOS)
    parser.add_argument("--cache", type=Path, required=True, help="folder for the decoded photographs and proposals")
    parser.add_argument("--split", default="train", choices=("train", "val"))
    parser.add_argument("--check", action="store_true", help="fit nothing")
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    args.cache.mkdir(parents=True, exist_ok=True)
    table = Table.of(list(collected(args.photos, args.cache, args.split)))
    weights = np.append(verdict.WEIGHTS, verdict.BIAS) if args.check else fit(table)
    for name, weight in zip((*verdict.FEATURES, "bias"), weights.tolist(), strict=True):
        sys.stdout.write(f"{name}: {weight:.3f}\n")
    sys.stdout.writelines(line + "\n" for line in report(table, weights))


if __name__ == "__main__":
    main()
