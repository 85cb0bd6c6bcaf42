"""Train the second stage of the `lite` detector (stages/detection/refine.py) on labelled photographs. CPU, resumable.

python tools/train_lite_refiner.py --checkpoints DIR --minutes 15
python tools/train_lite_refiner.py --checkpoints DIR --export lib_facerestore/weights/lite_refiner.safetensors
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib_facerestore.catalogue import weights_path
from lib_facerestore.faces import warping
from lib_facerestore.faces.face import Face
from lib_facerestore.networks.checkpoint_files import read_state
from lib_facerestore.networks.strict import fill
from lib_facerestore.stages.detection.refine import CLOSE, CONTEXT, SIDE, RefinerNet, upright
from lib_facerestore.stages.detection.retinaface import MOBILENET, load_retinaface
from lib_facerestore.stages.detection.squares import square_matrix
from tools import training
from tools.detector_data import Photo, PhotoCache, flip
from tools.photographs import TEACHER, read_labels, read_rgb, through_jpeg

CHECKPOINT = "refiner.pt"
MINED = 144
"""Side of a mined square; the middle 96 px are what the refiner would see."""
LEAN = math.radians(55)
"""The first run copes with faces that lean by up to this, in radians."""
LYING = math.radians(75)
"""Faces that lean by more than this are no faces for the refiner: they are, once the square is turned."""
VIEWS = ((1.0, 0), (0.5, 0), (0.25, 0), (0.125, 0), (1.0, 1), (0.5, 2), (0.5, 3), (0.25, 2))
"""How the photographs are looked at when the proposers' mistakes are mined: scale, and quarter turns."""
EACH = 6
"""Most squares that are mined from one view of a photograph with one proposer, best score first."""


def square(pixels: np.ndarray, centre: np.ndarray, side: float, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """The turned square as 96×96×3, and the 2×3 matrix picture → square."""
    inverse = square_matrix(centre, side, angle, False, SIDE)
    step = side / SIDE
    if step > 1.25:
        pixels = cv2.GaussianBlur(pixels, (0, 0), 0.5 * math.sqrt(step**2 - 1))
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    cut = cv2.warpAffine(pixels, inverse, (SIDE, SIDE), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return cut, cv2.invertAffineTransform(inverse)


def spoil(face: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Fewer pixels, other light, blur, noise, JPEG; a third stays as it is, as most faces are sound."""
    if rng.random() < 0.33:
        return face
    if rng.random() < 0.5:
        small = int(np.exp(rng.uniform(np.log(14), np.log(SIDE))))
        face = cv2.resize(face, (small, small), interpolation=cv2.INTER_AREA)
        face = cv2.resize(face, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    out: np.ndarray = face.astype(np.float32)
    out = (out - 128) * rng.uniform(0.6, 1.3) + 128 + rng.uniform(-35, 35) + rng.uniform(-12, 12, 3)
    if rng.random() < 0.15:
        out = np.repeat(out.mean(2, keepdims=True), 3, 2)
    if rng.random() < 0.3:
        out = cv2.GaussianBlur(out, (0, 0), float(rng.uniform(0.4, 3)))
    if rng.random() < 0.4:
        cells = SIDE // int(rng.choice([1, 1, 2, 3]))  # coarse noise: it was enlarged with the picture
        noise = rng.normal(0, math.exp(rng.uniform(0, math.log(30))), (cells, cells, 3)).astype(np.float32)
        out = out + cv2.resize(noise, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    out = np.clip(out, 0, 255).astype(np.uint8)
    if rng.random() < 0.3:
        out = through_jpeg(out, int(rng.uniform(25, 90)))
    if rng.random() < 0.15:  # something in front of it
        x, y, w, h = rng.integers(0, SIDE, 2).tolist() + rng.integers(8, 40, 2).tolist()
        out[y : y + h, x : x + w] = rng.integers(0, 256, 3)
    return out


def cut_by_the_rim(photo: Photo, rng: np.random.Generator) -> Photo:
    """The photograph without a part of the face: up to 40 % of it on one side, its lower half, or a bit all around."""
    height, width = photo.pixels.shape[:2]
    low, high = np.clip(photo.box[:2], 0, None), np.minimum(photo.box[2:], (width, height))
    x0, y0, x1, y1 = 0, 0, width, height
    share = rng.uniform(0.05, 0.4)
    kind = rng.random()
    if kind < 0.2:
        margin = rng.uniform(-0.02, 0.1, 4) * np.tile(high - low, 2)
        x0, y0 = np.clip(np.rint(low + margin[:2]), 0, None).astype(int).tolist()
        x1, y1 = np.minimum(np.rint(high - margin[2:]), (width, height)).astype(int).tolist()
    elif kind < 0.4:
        x0 = round(low[0] + share * (high[0] - low[0]))
    elif kind < 0.6:
        x1 = round(high[0] - share * (high[0] - low[0]))
    elif kind < 0.7:
        y0 = round(low[1] + 0.6 * share * (high[1] - low[1]))
    else:
        y1 = round(high[1] - rng.uniform(0.1, 0.5) * (high[1] - low[1]))
    if x1 - x0 < 8 or y1 - y0 < 8:
        return photo
    corner = np.array([x0, y0], np.float64)
    return Photo(photo.pixels[y0:y1, x0:x1], photo.box - np.tile(corner, 2), photo.landmarks - corner)


def positive(photo: Photo, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A square round the face and its 14 targets: badly placed as a proposal is, or upright as the last looks are."""
    if cut := rng.random() < 0.2:
        photo = cut_by_the_rim(photo, rng)
    roll = float(upright(photo.landmarks[None])[0])
    middle, angle = (photo.box[:2] + photo.box[2:]) / 2, 0.0
    if rng.random() < 0.5:
        reach = 0.28 if cut else 0.2  # a proposal shows what there is of a cut face
        centre = middle + rng.uniform(-reach, reach, 2) * photo.side
        side = photo.side * CONTEXT * math.exp(rng.normal(-0.1 if cut else 0, 0.18))
        angle = rng.normal(0, 0.25) if rng.random() < 0.5 else roll + rng.uniform(-LEAN, LEAN)
    else:
        centre = middle + rng.normal(0, 0.05, 2) * photo.side
        side = photo.side * CLOSE * math.exp(rng.normal(0, 0.08))
        angle = roll + rng.normal(0, 0.1)
    pixels, matrix = square(photo.pixels, centre, side, angle)
    points = photo.landmarks @ matrix[:, :2].T + matrix[:, 2]
    middle = middle @ matrix[:, :2].T + matrix[:, 2]
    half = (photo.box[2:] - photo.box[:2]) / 2 * (SIDE / side)
    target = np.concatenate([middle - half, middle + half, points.ravel()])
    return pixels, (target - (SIDE - 1) / 2) / SIDE


def lying(photo: Photo, rng: np.random.Generator) -> np.ndarray:
    """A square in which the face lies on its side or stands on its head: no face, until it is turned."""
    centre = (photo.box[:2] + photo.box[2:]) / 2 + rng.normal(0, 0.1, 2) * photo.side
    side = photo.side * rng.uniform(CLOSE, CONTEXT) * math.exp(rng.normal(0, 0.12))
    angle = float(upright(photo.landmarks[None])[0]) + rng.uniform(LYING, 2 * math.pi - LYING)
    return square(photo.pixels, centre, side, angle)[0]


def shaken(hard: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A mined square, shifted, turned, scaled and perhaps mirrored. Two in three are turned by quarters."""
    pixels = hard[int(rng.integers(len(hard)))]
    pixels = np.ascontiguousarray(pixels[:, ::-1]) if rng.random() < 0.5 else pixels
    centre = np.full(2, (MINED - 1) / 2) + rng.uniform(-8, 8, 2)
    turn = math.pi / 2 * float(rng.integers(4)) if rng.random() < 0.67 else 0.0
    return square(pixels, centre, SIDE * math.exp(rng.normal(-0.1, 0.15)), turn + rng.normal(0, 0.2))[0]


def negative(photo: Photo, rng: np.random.Generator) -> np.ndarray | None:
    """A square that is no face but may be proposed: a part of one, far too much, something else, a face that lies."""
    if rng.random() < 0.4:
        return lying(photo, rng)
    height, width = photo.pixels.shape[:2]
    kind = rng.random()
    if kind < 0.12:  # noise, coarse and fine
        cells = int(rng.choice([2, 4, 8, 16, 48, SIDE]))
        noise = rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
        return cv2.resize(noise, (SIDE, SIDE), interpolation=int(rng.choice([cv2.INTER_NEAREST, cv2.INTER_CUBIC])))
    if kind < 0.45:
        side = photo.side * rng.uniform(0.15, 0.5)
        centre = photo.box[:2] + rng.uniform(0, 1, 2) * (photo.box[2:] - photo.box[:2])
    elif kind < 0.6:
        side, centre = photo.side * rng.uniform(2.2, 3.5), rng.uniform(0.2, 0.8, 2) * (width, height)
    else:
        side, centre = photo.side * math.exp(rng.uniform(-1.6, 0.7)), rng.uniform(0, 1, 2) * (width, height)
    low, high = centre - side / 2, centre + side / 2
    common = np.maximum(np.minimum(high, photo.box[2:]) - np.maximum(low, photo.box[:2]), 0).prod()
    if common / (side**2 + (photo.box[2:] - photo.box[:2]).prod() - common) > 0.25:
        return None
    turn = rng.uniform(-math.pi, math.pi) if rng.random() < 0.5 else rng.normal(0, 0.2)
    return square(photo.pixels, centre, side * rng.uniform(CLOSE, CONTEXT), turn)[0]


class Proposer(Protocol):
    """What finds faces, and other things, in pictures."""

    def detect(self, images: list[NDArray[np.uint8]], confidence: float, /) -> list[list[Face]]: ...


def mine(photos: Path, proposers: Sequence[Proposer], most: int, confidence: float = 0.2) -> np.ndarray:
    """Squares (N×144×144×3 BGR) round what first stages wrongly take for faces in the training photographs.

    They are 1.5 times what the refiner sees, which leaves room to shift and turn them. Each photograph is looked at in
    two of the `VIEWS`, in turn, and gives at most `EACH` squares for a view and proposer.
    """
    found = []
    labels = [label for label in read_labels(photos, "train")[:most] if label["faces"] == 1]
    for number, label in enumerate(labels):
        whole = read_rgb(photos / "faces" / label["file"])
        for scale, quarters in (VIEWS[number % len(VIEWS)], VIEWS[(number + 3) % len(VIEWS)]):
            size = (max(1, round(whole.shape[1] * scale)), max(1, round(whole.shape[0] * scale)))
            small = cv2.resize(whole, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
            image = np.ascontiguousarray(np.rot90(small, quarters))
            face = turned_box(np.array(label["box"]) * scale, size, quarters)
            for proposer in proposers:
                guesses = proposer.detect([image], confidence)[0]
                wrong = [guess for guess in guesses if not nearly(np.array(guess.box), face)]
                found += [mined_square(image, guess) for guess in wrong[:EACH]]
    return np.stack(found) if found else np.zeros((0, MINED, MINED, 3), np.uint8)


def turned_box(box: np.ndarray, size: tuple[int, int], quarters: int) -> np.ndarray:
    """The box after `np.rot90` of a picture of this width and height, that many times."""
    width, height = size
    for _ in range(quarters):
        box = np.array([box[1], width - box[2], box[3], width - box[0]])
        width, height = height, width
    return box


def nearly(box: np.ndarray, face: np.ndarray) -> bool:
    """Whether a box overlaps the face by more than 0.12 (intersection over union)."""
    common = np.maximum(np.minimum(box[2:], face[2:]) - np.maximum(box[:2], face[:2]), 0).prod()
    return bool(common / ((box[2:] - box[:2]).prod() + (face[2:] - face[:2]).prod() - common) > 0.12)


def mined_square(image: np.ndarray, guess: Face) -> np.ndarray:
    """The square (144×144×3 BGR) round a proposal in a picture (RGB)."""
    step = guess.side * CONTEXT / SIDE
    x, y = guess.centre
    matrix = [[step, 0, x - step * (MINED - 1) / 2], [0, step, y - step * (MINED - 1) / 2]]
    cut = warping.warp(image, matrix, MINED, MINED, "edge")
    return np.clip(np.rint(cut[..., ::-1] * 255), 0, 255).astype(np.uint8)


def openness(photo: Photo) -> float:
    """Distance of the eyes over the width of the box: about 0.45 from the front, nothing in a profile."""
    return float(np.linalg.norm(photo.landmarks[0] - photo.landmarks[1]) / (photo.box[2] - photo.box[0]))


def batch(
    photos: list[Photo], shares: np.ndarray, hard: np.ndarray, rng: np.random.Generator, count: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Squares (count×3×96×96 RGB in [-1, 1]), whether each is a face, and the targets of those that are."""
    pixels: list[np.ndarray] = []
    faces: list[float] = []
    targets: list[np.ndarray] = []
    while len(pixels) < count:
        photo = photos[int(rng.choice(len(photos), p=shares))]
        photo = flip(photo) if rng.random() < 0.5 else photo
        if len(pixels) < 0.6 * count:
            picture, target = positive(photo, rng)
            faces.append(1.0)
        else:
            found = shaken(hard, rng) if len(hard) and rng.random() < 0.6 else negative(photo, rng)
            if found is None:
                continue
            picture, target = found, np.zeros(14)
            faces.append(0.0)
        pixels.append(spoil(picture, rng))
        targets.append(target)
    stacked = torch.from_numpy(np.stack(pixels)[..., ::-1].copy()).permute(0, 3, 1, 2).float() / 127.5 - 1
    return stacked, torch.tensor(faces), torch.from_numpy(np.stack(targets)).float()


def train(arguments: argparse.Namespace) -> None:
    """Train until `--minutes` are used up, over all runs of this folder."""
    torch.manual_seed(0)
    cache = PhotoCache(arguments.photos, arguments.checkpoints, "train", face_side=90, long_side=220)
    photos = [Photo(cache[i].pixels.copy(), cache[i].box, cache[i].landmarks) for i in range(len(cache))]
    shares = np.clip(0.45 / np.array([openness(photo) for photo in photos]), 1, 5) ** 1.5  # there are few profiles
    shares /= shares.sum()
    mined = arguments.checkpoints / "hard.npy"
    if arguments.mine:
        files = (weights_path("lite_detector.safetensors"), arguments.photos / TEACHER)
        proposers = [load_retinaface(file, file.name, kind=MOBILENET) for file in files]
        np.save(mined, mine(arguments.photos, proposers, arguments.mine))
    hard = np.load(mined) if mined.exists() else np.zeros((0, MINED, MINED, 3), np.uint8)
    training.logger.info("%d photographs, %d mined squares", len(photos), len(hard))
    network = training.channels_last(RefinerNet())
    average = training.Average(network)
    optimiser = torch.optim.AdamW(network.parameters(), arguments.rate, weight_decay=1e-3)
    parts: dict[str, training.Stateful] = {"network": network, "average": average, "optimiser": optimiser}
    run = training.Run(arguments.checkpoints / CHECKPOINT, parts, arguments.minutes)
    if arguments.start_from and not run.resumed:
        fill(network, read_state(arguments.start_from), "RefinerNet", str(arguments.start_from))
        average.load_state_dict(network.state_dict())
    rng, means = np.random.default_rng(run.step + 1), training.Means()
    for step in run.steps():
        for group in optimiser.param_groups:
            group["lr"] = training.scheduled_rate(arguments.rate, step, run.progress, warm_up=100, floor=0.01)
        pixels, faces, targets = batch(photos, shares, hard, rng, arguments.batch)
        output = network(pixels.contiguous(memory_format=torch.channels_last))
        judged = functional.binary_cross_entropy_with_logits(output[:, 0], faces)
        real = faces > 0
        boxes = (output[real, 1:5] - targets[real, :4]).abs().mean()
        true = targets[real, 4:].unflatten(1, (5, 2))
        apart = (true[:, 0] - true[:, 1]).norm(dim=1).clamp_min(0.1)
        missed = (output[real, 5:].unflatten(1, (5, 2)) - true).square().sum(2).add(1e-8).sqrt().mean(1)
        points = (missed / apart).mean()  # what is measured: a share of the distance of the eyes
        loss = 0.3 * judged + 2 * boxes + 2.5 * points
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()
        average.update(network, step)
        means.add((judged, boxes, points))
        if step % 100 == 0:
            shown = "step %d minute %.1f face %.4f box %.4f points %.4f"
            training.logger.info(shown, step, run.minutes, *means.take())


def options() -> argparse.ArgumentParser:
    """What can be set on the command line."""
    parser = training.parser(__doc__, minutes=15, rate=2e-3)
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--mine", type=int, default=0, help="first mine the first stage's mistakes on N photographs")
    parser.add_argument("--start-from", type=Path, help="exported weights to start from when there is no checkpoint")
    return parser


def main() -> None:
    """Train, or export."""
    arguments = options().parse_args()
    training.run(arguments, train, CHECKPOINT, (Path(__file__).name, "RefinerNet"))


if __name__ == "__main__":
    main()
