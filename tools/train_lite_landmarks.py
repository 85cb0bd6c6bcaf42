"""Train the third stage of the `lite` detector (detection/landmark_net.py). CPU, resumable.

python tools/landmark_targets.py --out DIR/targets.json
python tools/train_lite_landmarks.py --checkpoints DIR --minutes 90
python tools/train_lite_landmarks.py --checkpoints DIR --export lib_facerestore/weights/lite_landmarks.safetensors
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import safetensors.torch
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

from detector_data import FLIP_ORDER, read_labels  # noqa: E402
from muon import Muon  # noqa: E402
from train_lite_refiner import spoil  # noqa: E402

from lib_facerestore.stages.detection.landmark_net import SIDE, LandmarkNet, frames  # noqa: E402
from lib_facerestore.stages.detection.refine import square_matrix  # noqa: E402

logger = logging.getLogger("train_lite_landmarks")
STORED, ROOM = 232, 2.1
"""Side in pixels of the kept square round a face, and how many times what the network sees it shows."""
LATE = 0.6
"""Share of the time after which the targets move halfway back to the labels: what is measured in the end."""
GRID = np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE)), 2).astype(np.float64)


def squares(photos: Path, targets: dict[str, list]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Upright squares round the faces (N×232×232×3 BGR), and in them (N×5×2) their landmarks and their labels."""
    pixels = np.zeros((len(targets), STORED, STORED, 3), np.uint8)
    landmarks, labelled = np.zeros((2, len(targets), 5, 2))
    labels = {label["file"]: np.array(label["lm5"]).reshape(5, 2) for label in read_labels(photos, "train")}
    for at, (name, row) in enumerate(targets.items()):
        image = cv2.imdecode(np.fromfile(photos / "faces" / name, np.uint8), cv2.IMREAD_COLOR)
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
    face = cv2.remap(pixels, where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    face = lit(face, rng) if rng.random() < 0.35 else face
    return spoil(face, rng), (seen - (SIDE - 1) / 2) / SIDE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, default=ROOT.parent / "shared" / "photos")
    parser.add_argument("--checkpoints", type=Path, required=True, help="holds targets.json")
    parser.add_argument("--minutes", type=float, default=90)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--rate", type=float, default=0.01)
    parser.add_argument("--export", type=Path, help="write the averaged weights here and stop")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(arguments.threads)
    cv2.setNumThreads(1)
    torch.manual_seed(0)
    path = arguments.checkpoints / "landmarks.pt"
    if arguments.export:
        state = torch.load(path, weights_only=True)
        weights = {k: v.half().contiguous() for k, v in state["average"].items() if v.is_floating_point()}
        safetensors.torch.save_file(weights, arguments.export)
        logger.info("%s: step %d, minute %.1f", arguments.export.name, state["step"], state["minutes"])
        return
    targets = json.loads((arguments.checkpoints / "targets.json").read_text(encoding="utf-8"))
    pixels, landmarks, labelled = squares(arguments.photos, targets)
    apart = np.linalg.norm(landmarks[:, 0] - landmarks[:, 1], axis=1)
    shares = np.clip(0.95 * apart.max() / 1.2 / apart, 1, 5)  # there are few profiles
    shares /= shares.sum()
    logger.info("%d faces", len(pixels))
    network = LandmarkNet().to(memory_format=torch.channels_last)
    average = LandmarkNet().eval().requires_grad_(False)
    optimiser = Muon(network.parameters(), arguments.rate)
    step, minutes = 0, 0.0
    if path.exists():
        state = torch.load(path, weights_only=True)
        network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        step, minutes = state["step"], state["minutes"]
    rng, clock, saved, sums = np.random.default_rng(step + 1), time.monotonic(), minutes, []
    while minutes < arguments.minutes:
        cosine = 0.5 * (1.01 + 0.99 * math.cos(math.pi * minutes / arguments.minutes))
        optimiser.rate = arguments.rate * min(1, (step + 1) / 50) * cosine
        chosen = rng.choice(len(pixels), arguments.batch, p=shares)
        late = 0.5 if minutes > LATE * arguments.minutes else 0.0
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
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()
        step += 1
        decay = min(0.998, (step + 1) / (step + 10))
        with torch.no_grad():
            for slow, fast in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
                slow.lerp_(fast, 1 - decay) if slow.is_floating_point() else slow.copy_(fast)
        sums.append(loss.item())
        now = time.monotonic()
        minutes, clock = minutes + (now - clock) / 60, now
        if step % 100 == 0:
            logger.info("step %d minute %.1f points %.4f", step, minutes, np.mean(sums))
            sums.clear()
        if minutes - saved > 1 or minutes >= arguments.minutes:
            state = {"network": network.state_dict(), "average": average.state_dict()}
            state |= {"optimiser": optimiser.state_dict(), "step": step, "minutes": minutes}
            torch.save(state, path.with_suffix(".part"))
            path.with_suffix(".part").replace(path)
            saved = minutes


if __name__ == "__main__":
    main()
