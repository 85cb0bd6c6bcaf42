"""Train the `lite` parser on the label maps of `parser_targets`. Resumable; the schedule follows minutes of training.

    python tools/parser_targets.py    --out DIR
    python tools/train_lite_parser.py --checkpoints DIR --minutes 60
    python tools/train_lite_parser.py --checkpoints DIR --export lib_facerestore/weights/lite_parser.safetensors
    python tools/train_lite_parser.py --checkpoints DIR --report [--weights FILE]

Loss: cross-entropy, in which rare classes count more, and the soft Jaccard index of face and occluders (Rahman and
Wang, "Optimizing Intersection-Over-Union in Deep Neural Networks for Image Segmentation", 2016, equation 3). The
targets do not know real glasses. So the loss ignores the surroundings of the eyes where glasses may be worn, until at
half of the time the network, which has learnt from drawn glasses, labels the real ones itself.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib_facerestore.catalogue import weights_path
from lib_facerestore.networks.load import read_state
from lib_facerestore.networks.strict import fill
from lib_facerestore.stages.lite_parser import NAMES, SIDE, WEIGHTS, ParserNet
from tools import training
from tools.muon import Muon
from tools.parser_data import FRONTS, IGNORED, Faces, SampleMaker, read_faces, spectacles
from tools.parser_targets import BROWS, CHIN, CODE, MARGIN, axes

CHECKPOINT = "parser.pt"
FACE = [CODE[name] for name in NAMES if name not in ("other", "hair", "occluder")]
WEIGHT = torch.tensor([{"other": 0.7, "skin": 0.8, "hair": 0.7, "occluder": 1.2}.get(name, 2.0) for name in NAMES])


def batch(maker: SampleMaker, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Crops (count×3×256×256, RGB in [-1, 1]) and labels (count×256×256)."""
    crops, labels = zip(
        *(maker.sample(int(maker.rng.integers(len(maker.faces.crops)))) for _ in range(count)), strict=True
    )
    return tensor(np.stack(crops)), torch.from_numpy(np.stack(labels)).long()


def tensor(crops: np.ndarray) -> torch.Tensor:
    """N×S×S×3 uint8 RGB → N×3×S×S float32 in [-1, 1]."""
    return (torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 127.5 - 1).contiguous(
        memory_format=torch.channels_last
    )


def jaccard_loss(chances: torch.Tensor, truth: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """1 − the soft intersection over union of one region, over the whole batch (all B×H×W)."""
    chances, truth = chances * known, truth * known
    common = (chances * truth).sum()
    return 1 - (common + 1) / (chances.sum() + truth.sum() - common + 1)


def loss_of(logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross-entropy, and the mean Jaccard loss of face and occluders."""
    labels = labels[:, 1::2, 1::2]
    known = labels != IGNORED
    entropy = functional.cross_entropy(logits, labels, WEIGHT, ignore_index=IGNORED)
    chances = logits.softmax(1)
    face = torch.isin(labels, torch.tensor(FACE)).float()
    occluder = (labels == CODE["occluder"]).float()
    parts = (
        jaccard_loss(chances[:, FACE].sum(1), face, known),
        jaccard_loss(chances[:, CODE["occluder"]], occluder, known),
    )
    return entropy, torch.stack(parts).mean()


@torch.inference_mode()
def predict(network: nn.Module, crops: np.ndarray) -> np.ndarray:
    """Label maps N×256×256 uint8 of crops N×256×256×3 uint8 RGB."""
    found = []
    for start in range(0, len(crops), 16):
        logits = network(tensor(crops[start : start + 16]))
        fine = functional.interpolate(logits, (SIDE, SIDE), mode="bilinear", align_corners=False)
        found.append(fine.argmax(1).to(torch.uint8).numpy())
    return np.concatenate(found)


def label_real_glasses(network: nn.Module, faces: Faces) -> int:
    """Write what the network takes for glasses into the labels, in place; says how many faces wear some."""
    worn = 0
    inner = slice(MARGIN, MARGIN + SIDE)
    for index in np.flatnonzero(~faces.bare):
        seen = predict(network, faces.crops[index : index + 1, inner, inner])[0] == CODE["glasses"]
        zone = spectacles(faces.meshes[index])[inner, inner]
        if (seen & zone).sum() > 0.25 * zone.sum():
            faces.labels[index, inner, inner][seen & zone] = CODE["glasses"]
            worn += 1
    faces.bare[:] = True
    return worn


def report(network: nn.Module, faces: Faces, count: int | None = None) -> str:
    """Intersection over union on `faces`, each class over all pictures, as lines of a Markdown table."""
    lines = ["| | face | eyes | brows | nose | mouth | ears | hair | occluder |", "| --- |" + " ---: |" * 8]
    groups = (
        FACE,
        ["eye"],
        ["brow"],
        ["nose"],
        ["mouth interior", "upper lip", "lower lip"],
        ["ear"],
        ["hair"],
        ["occluder"],
    )
    for title, front, damage in (
        ("as they are", "", 0.0), ("damaged", "", 1.0), *((f"{name} in front", name, 0.0) for name in FRONTS),
        ("all of these in front, damaged", None, 1.0),
    ):  # fmt: skip
        maker = SampleMaker(faces, np.random.default_rng(7), damage)
        names = list(FRONTS)
        indices = (
            range(len(faces.crops)) if count is None else range(0, len(faces.crops), max(1, len(faces.crops) // count))
        )
        samples = [maker.sample(i, names[i % len(names)] if front is None else front) for i in indices]
        truth = np.stack([labels for _, labels in samples])
        found = predict(network, np.stack([crop for crop, _ in samples]))
        known = truth != IGNORED
        cells = []
        for group in groups:
            codes = [CODE[name] if isinstance(name, str) else name for name in group]
            one, two = np.isin(found, codes) & known, np.isin(truth, codes) & known
            either = (one | two).sum()
            cells.append(f"{(one & two).sum() / either:.3f}" if two.any() else "–")
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def agreement(network: nn.Module, faces: Faces) -> str:
    """Intersection over union of the face with the targets on the crops as they are, as a sentence.

    From the brows down, the targets follow the mesh; above, GrabCut divides forehead and hair, and is often wrong.
    """
    inner = slice(MARGIN, MARGIN + SIDE)
    found = np.isin(predict(network, faces.crops[:, inner, inner]), FACE)
    truth = np.isin(faces.labels[:, inner, inner], FACE)
    either = found | truth
    each = (found & truth).sum((1, 2)) / either.sum((1, 2))
    below = np.stack([from_the_brows_down(mesh)[inner, inner] for mesh in faces.meshes])
    lower = (found & truth & below).sum() / (either & below).sum()
    return f"face: median {np.median(each):.3f}, mean {each.mean():.3f}; from the brows down, without ears, {lower:.3f}"


def from_the_brows_down(mesh: np.ndarray) -> np.ndarray:
    """Pixels (WHOLE×WHOLE bool) below the upper ends of the brows and not farther out than the oval is wide."""
    across, down, wide, _ = axes(mesh)
    brows = mesh[[number for brow in BROWS for number in brow]]
    middle, axis = mesh[[33, 133, 362, 263]].mean(0), mesh[CHIN] - mesh[[33, 133, 362, 263]].mean(0)
    top = ((brows - middle) @ (axis / np.hypot(*axis))).min()
    return np.asarray((down > top) & (np.abs(across) < wide))


def train(arguments: argparse.Namespace) -> None:
    """Train until `--minutes` are used up, over all runs of this folder."""
    torch.manual_seed(0)
    faces, kept_out = read_faces(arguments.checkpoints, "train"), read_faces(arguments.checkpoints, "val")
    network = training.channels_last(ParserNet())
    average = training.Average(network, decay=0.995)
    optimiser = Muon(network.parameters(), arguments.rate)
    run = training.Run(
        arguments.checkpoints / CHECKPOINT,
        {"network": network, "average": average, "optimiser": optimiser},
        arguments.minutes,
    )
    maker, means = SampleMaker(faces, np.random.default_rng(run.step + 1)), training.Means()
    labelled = False
    for step in run.steps():
        if run.progress > 0.5 and not labelled:
            with run.untimed():
                training.logger.info("%d faces wear glasses", label_real_glasses(average.network, faces))
            labelled = True
        optimiser.rate = training.scheduled_rate(arguments.rate, step, run.progress, warm_up=50, floor=0.02)
        crops, labels = batch(maker, arguments.batch)
        entropy, jaccard = loss_of(network(crops), labels)
        optimiser.zero_grad()
        (entropy + jaccard).backward()
        optimiser.step()
        average.update(network, step)
        means.add((entropy, jaccard))
        if step % 50 == 0:
            training.logger.info("step %d minute %.1f losses %s", step, run.minutes, np.round(means.take(), 4))
        if step % 400 == 0:
            with run.untimed():
                training.logger.info("val:\n%s", report(average.network, kept_out, 30))
    training.logger.info("finished; val:\n%s", report(average.network, kept_out))


def options() -> argparse.ArgumentParser:
    """What can be set on the command line."""
    parser = training.parser(__doc__, minutes=60, rate=8e-3)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--report", action="store_true", help="print intersection over union on `val`, and stop")
    parser.add_argument("--weights", type=Path, default=None, help="for --report; default: the shipped ones")
    return parser


def main() -> None:
    """Train, export or report."""
    arguments = options().parse_args()
    if arguments.report:
        training.prepare(arguments.threads)
        network = ParserNet().eval()
        path = arguments.weights or weights_path(WEIGHTS)
        fill(network, read_state(path), "ParserNet", str(path))
        kept_out = read_faces(arguments.checkpoints, "val")
        sys.stdout.write(f"{report(network, kept_out)}\n{agreement(network, kept_out)}\n")
        return
    about = (Path(__file__).name, "ParserNet")
    training.run(arguments, train, CHECKPOINT, about, arguments.checkpoints / "parser.log")


if __name__ == "__main__":
    main()
