"""Train the third stage of the `lite` detector (detection/landmark_net.py). CPU, resumable.

python tools/landmark_targets.py --out DIR/targets.json
python tools/train_lite_landmarks.py --checkpoints DIR --minutes 90
python tools/train_lite_landmarks.py --checkpoints DIR --export lib_facerestore/weights/lite_landmarks.safetensors
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib_facerestore.stages.detection.landmark_net import SIDE, LandmarkNet, frames
from lib_facerestore.stages.detection.squares import square_matrix
from tools import training
from tools.detector_data import FLIP_ORDER
from tools.muon import Muon
from tools.photographs import landmarks_of, read_bgr, read_labels
from tools.train_lite_refiner import spoil

CHECKPOINT = "landmarks.pt"
STORED, ROOM = 232, 2.1
"""Side in pixels of the kept square round a face, and how many times what the network sees it shows."""
LATE = 0.6
"""Share of the time after which the targets move halfway back to the labels: what is measured in the end."""
GRID = np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE)), 2).astype(np.float64)


def squares(
    photos: Path, targets: Mapping[str, Sequence[Sequence[float]]]
) -> tuple[NDArray[np.uint8], NDArray[np.float64], NDArray[np.float64]]:
    """Upright squares round the faces (N×232×232×3 BGR), and in them (N×5×2) their landmarks and their labels."""
    pixels = np.zeros((len(targets), STORED, STORED, 3), np.uint8)
    landmarks, labelled = np.zeros((2, len(targets), 5, 2))
    labels = {label["file"]: landmarks_of(label) for label in read_labels(photos, "train")}
    for at, (name, row) in enumerate(targets.items()):
        image: np.ndarray = read_bgr(photos / "faces" / name)
        points = np.array(row)
        (centre,), (side,), (angle,) = frames(points[None])
        inverse = square_matrix(centre, side * ROOM, angle, False, STORED)
        step = side * ROOM / STORED
        if step > 1.25:
            image = cv2.GaussianBlur(image, (0, 0), 0.5 * math.sqrt(step**2 - 1))
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        pixels[at] = cv2.warpAffine(image, inverse, (STORED, STORED), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        matrix = cv2.invertAffineTransform(inverse)
        landmarks[at] = points @ matrix[:, :2].T + matrix[:, 2]
        labelled[at] = labels[name] @ matrix[:, :2].T + matrix[:, 2]
    return pixels, landmarks, labelled


def smooth_field(rng: np.random.Generator, size: float) -> np.ndarray:
    """Displacements (96×96×2, pixels) that change slowly over the square."""
    coarse = rng.normal(0, size, (4, 4, 2)).astype(np.float32)
    return cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC).astype(np.float64)


def lit(face: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Light from one side, coloured light, a shadow's edge: what generated portraits are fond of."""
    strength = rng.normal(0, 0.5, (3, 3, 1)) + rng.normal(0, 0.12, (3, 3, 3))
    gain = np.exp(cv2.resize(strength.astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC))
    if rng.random() < 0.4:
        across = np.array([math.cos(turn := rng.uniform(0, 2 * math.pi)), math.sin(turn)])
        edge = (GRID - SIDE / 2) @ across - rng.uniform(-25, 25)
        dark = 1 / (1 + np.exp(-np.clip(edge / rng.uniform(1, 12), -20, 20)))
        gain = gain * (1 - rng.uniform(0.2, 0.8) * dark[..., None])
    return np.clip(face * gain, 0, 255).astype(np.uint8)


def example(pixels: np.ndarray, points: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """What the network sees of a stored face (96×96×3), looked at as inexactly as the stages before it do, and its
    landmarks as shares of the square measured from its centre."""
    if rng.random() < 0.5:
        pixels, points = pixels[:, ::-1], points[FLIP_ORDER] * [-1, 1] + [STORED - 1, 0]
    # Another face of the same picture: wider, longer, sheared.
    stretch = np.array([[math.exp(rng.normal(0, 0.06)), rng.normal(0, 0.05)], [rng.normal(0, 0.03), 1.0]])
    middle = np.full(2, (STORED - 1) / 2)
    points = (points - middle) @ stretch.T + middle
    unit = np.linalg.norm(points[3:].mean(0) - points[:2].mean(0))
    guessed = points + rng.normal(0, 0.03 if rng.random() < 0.8 else 0.08, (5, 2)) * unit
    (centre,), (side,), (angle,) = frames(guessed[None])
    centre = centre + rng.normal(0, 0.025, 2) * unit
    inverse = square_matrix(centre, side * math.exp(rng.normal(0, 0.05)), angle + rng.normal(0, 0.05), False, SIDE)
    matrix = cv2.invertAffineTransform(inverse)
    seen = points @ matrix[:, :2].T + matrix[:, 2]
    where = GRID
    if rng.random() < 0.6:
        field = smooth_field(rng, rng.uniform(0, 1.6))
        where = GRID + field
        aim = seen
        for _ in range(4):  # the place whose displacement leads to the point
            at = np.clip(np.rint(seen), 0, SIDE - 1).astype(int)
            seen = aim - field[at[:, 1], at[:, 0]]
    where = where @ inverse[:, :2].T + inverse[:, 2]
    where = ((where - middle) @ np.linalg.inv(stretch).T + middle).astype(np.float32)
    face = cv2.remap(pixels, where[..., 0], where[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    face = lit(face, rng) if rng.random() < 0.35 else face
    return spoil(face, rng), (seen - (SIDE - 1) / 2) / SIDE


def train(arguments: argparse.Namespace) -> None:
    """Train until `--minutes` are used up, over all runs of this folder."""
    torch.manual_seed(0)
    targets = json.loads((arguments.checkpoints / "targets.json").read_text(encoding="utf-8"))
    pixels, landmarks, labelled = squares(arguments.photos, targets)
    apart = np.linalg.norm(landmarks[:, 0] - landmarks[:, 1], axis=1)
    shares = np.clip(0.95 * apart.max() / 1.2 / apart, 1, 5)  # there are few profiles
    shares /= shares.sum()
    training.logger.info("%d faces", len(pixels))
    network = training.channels_last(LandmarkNet())
    average = training.Average(network)
    optimiser = Muon(network.parameters(), arguments.rate)
    parts: dict[str, training.Stateful] = {"network": network, "average": average, "optimiser": optimiser}
    run = training.Run(arguments.checkpoints / CHECKPOINT, parts, arguments.minutes)
    rng, means = np.random.default_rng(run.step + 1), training.Means()
    for step in run.steps():
        optimiser.rate = training.scheduled_rate(arguments.rate, step, run.progress, warm_up=50, floor=0.01)
        chosen = rng.choice(len(pixels), arguments.batch, p=shares)
        late = 0.5 if run.progress > LATE else 0.0
        aims = landmarks[chosen] + late * (labelled[chosen] - landmarks[chosen])
        made = [example(pixels[at], aim, rng) for at, aim in zip(chosen, aims, strict=True)]
        faces = torch.from_numpy(np.stack([face for face, _ in made])[..., ::-1].copy())
        faces = (faces.permute(0, 3, 1, 2).float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)
        true = torch.from_numpy(np.stack([points for _, points in made])).float()
        eyes = (true[:, 0] - true[:, 1]).norm(dim=1).clamp_min(0.12)
        missed = (network(faces) - true).square().sum(2).add(1e-8).sqrt().mean(1)
        loss = (missed / eyes).mean()  # what is measured: a share of the distance of the eyes
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()
        average.update(network, step)
        means.add((loss,))
        if step % 100 == 0:
            training.logger.info("step %d minute %.1f points %.4f", step, run.minutes, *means.take())


def options() -> argparse.ArgumentParser:
    """What can be set on the command line."""
    parser = training.parser(__doc__, minutes=90, rate=0.01)
    parser.add_argument("--batch", type=int, default=48)
    return parser


def main() -> None:
    """Train, or export."""
    arguments = options().parse_args()
    training.run(arguments, train, CHECKPOINT, (Path(__file__).name, "LandmarkNet"))


if __name__ == "__main__":
    main()
