"""Train the `lite` restorer on aligned crops. Resumable; the schedule follows minutes of training, not steps.

    python tools/train_lite_restorer.py --checkpoints DIR --minutes 120 [--threads 2]
    python tools/train_lite_restorer.py --checkpoints DIR --export lib_facerestore/weights/lite_restorer.safetensors

Loss: Charbonnier on pixels, on their gradients and on the spectrum, plus perceptual features of a face detector, and
for the last part of the schedule a hinge adversarial loss (a small patch discriminator). The weights that are exported
are an exponential moving average.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib_facerestore.networks.archs.lite import LiteRestorer
from lib_facerestore.networks.load import read_state
from tools import training
from tools.degradations import degrade, spoil
from tools.muon import Muon
from tools.perceptual import DetectorFeatures
from tools.photographs import TEACHER
from tools.restorer_data import load_crops

CHECKPOINT = "restorer.pt"
SIZE, MARGIN = 256, 8
LARGE = 512
"""Side of the larger crops. Half of the steps are on them, with as many pixels."""


class PatchDiscriminator(nn.Module):
    """Judges overlapping patches of a crop; spectral norm keeps it from overpowering the small generator."""

    def __init__(self) -> None:
        super().__init__()
        norm = nn.utils.parametrizations.spectral_norm
        self.layers = nn.ModuleList(
            [
                norm(nn.Conv2d(3, 32, 4, 2, 1)),
                norm(nn.Conv2d(32, 64, 4, 2, 1)),
                norm(nn.Conv2d(64, 128, 4, 2, 1)),
                norm(nn.Conv2d(128, 128, 3, 1, 1)),
                nn.Conv2d(128, 1, 3, 1, 1),
            ]
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers[:-1]:
            x = functional.leaky_relu(layer(x), 0.2)
        return self.layers[-1](x)


def charbonnier(difference: torch.Tensor) -> torch.Tensor:
    return torch.sqrt(difference.square() + 1e-6).mean()


def decibels(difference: torch.Tensor) -> torch.Tensor:
    """Logarithm of the mean squared error of each picture (with a floor of half a grey level), mean over the batch.

    What is measured, and what makes lightly damaged faces count as much as wrecked ones, whose error is many times as
    large and hardly to be mended (the loss of Chen et al., HINet, CVPR workshops 2021, equation 4).
    """
    return torch.log(difference.square().mean((1, 2, 3)) + (0.5 / 127.5) ** 2).mean()


def gradients(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return x[..., 1:] - x[..., :-1], x[..., 1:, :] - x[..., :-1, :]


def batch(crops: np.ndarray, rng: np.random.Generator, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Degraded inputs and their targets, count×3×S×S RGB in [-1, 1], where S is the side of `crops` without margins."""
    inputs, targets = [], []
    side = crops.shape[1] - 2 * MARGIN
    for index in rng.integers(0, len(crops), count):
        top, left = rng.integers(0, 2 * MARGIN + 1, 2)
        target = crops[index][top : top + side, left : left + side]
        if rng.random() < 0.5:
            target = target[:, ::-1]
        target = np.ascontiguousarray(target)
        if rng.random() < 0.3:  # exposure and white balance, so that unusual colours are left as they are
            gain = rng.uniform(0.75, 1.15) * rng.uniform(0.93, 1.07, 3)
            target = np.clip(np.rint(target * gain), 0, 255).astype(np.uint8)
        if rng.random() < 0.08:
            target = np.repeat(target.mean(2, keepdims=True).round().astype(np.uint8), 3, axis=2)
        inputs.append(spoil(target, rng))
        targets.append(target)

    def tensor(pictures: list[np.ndarray]) -> torch.Tensor:
        stacked = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
        return stacked.contiguous(memory_format=torch.channels_last)

    return tensor(inputs), tensor(targets)


def validate(network: nn.Module, crops: np.ndarray, features: DetectorFeatures, count: int) -> str:
    rng = np.random.default_rng(7)
    before: list[float] = []
    after: list[float] = []
    far: list[float] = []
    near: list[float] = []
    with torch.no_grad():
        for crop in crops[:count]:
            crop = np.ascontiguousarray(crop)
            pair = [torch.from_numpy(p).permute(2, 0, 1)[None].float() / 127.5 - 1 for p in (degrade(crop, rng), crop)]
            out = network(pair[0]).clamp(-1, 1)
            before.append(-10 * math.log10(float((pair[0] - pair[1]).square().mean()) / 4))
            after.append(-10 * math.log10(float((out - pair[1]).square().mean()) / 4))
            far.append(float(features.distance(pair[0], pair[1])))
            near.append(float(features.distance(out, pair[1])))
    return (
        f"PSNR {np.mean(before):.2f} -> {np.mean(after):.2f} dB ({np.mean(np.subtract(after, before)):+.2f}), "
        f"features {np.mean(far):.4f} -> {np.mean(near):.4f}"
    )


def train(arguments: argparse.Namespace) -> None:
    """Train until `--minutes` are used up, over all runs of this folder."""
    torch.manual_seed(0)
    crops = load_crops(arguments.photos, "train", SIZE, MARGIN, arguments.checkpoints)
    large_crops = load_crops(arguments.photos, "train", LARGE, MARGIN, arguments.checkpoints, detailed=True)
    crops_val = load_crops(arguments.photos, "val", SIZE, 0, arguments.checkpoints)
    features = DetectorFeatures(arguments.photos / TEACHER)
    network = training.channels_last(LiteRestorer())
    judge = training.channels_last(PatchDiscriminator())
    average = training.Average(network, delay=20)
    optimiser = Muon(network.parameters(), arguments.rate)
    optimiser_judge = torch.optim.Adam(judge.parameters(), 2e-4, betas=(0.5, 0.99))
    parts: dict[str, training.Stateful] = {"network": network, "average": average, "judge": judge}
    parts |= {"optimiser": optimiser, "optimiser_judge": optimiser_judge}
    run = training.Run(arguments.checkpoints / CHECKPOINT, parts, arguments.minutes, every=2)
    if arguments.start_from and not run.resumed:
        network.load_state_dict(read_state(arguments.start_from), strict=False)  # they may be older than the gate
        average.load_state_dict(network.state_dict())
    rng, validated, means = np.random.default_rng(run.step + 1), run.minutes, training.Means()
    for step in run.steps():
        progress = run.progress
        rate = training.scheduled_rate(arguments.rate, step, progress, warm_up=100, floor=0.02)
        optimiser.rate = rate
        large = len(large_crops) > 0 and rng.random() < 0.5
        source, side, count = (large_crops, LARGE, arguments.batch // 4) if large else (crops, SIZE, arguments.batch)
        corner = (0, 0)
        if progress < arguments.windows_until:
            window = side // 2
            corner = (16 * int(rng.integers(window // 16 + 1)), 16 * int(rng.integers(window // 16 + 1)))
            inputs, targets = (
                faces[..., corner[0] : corner[0] + window, corner[1] : corner[1] + window]
                for faces in batch(source, rng, 2 * count)
            )
        else:
            inputs, targets = batch(source, rng, count)
        outputs = network(inputs, corner, side)
        pixel = decibels(outputs - targets)
        pairs = zip(gradients(outputs), gradients(targets), strict=True)
        edge = torch.stack([charbonnier(a - b) for a, b in pairs]).sum()
        difference = torch.view_as_real(torch.fft.rfft2(outputs, norm="ortho") - torch.fft.rfft2(targets, norm="ortho"))
        spectrum = difference.abs().mean()
        loss = pixel + arguments.edges * (edge + spectrum / 8)
        # The features' gradient is spiky and many times the pixels': from the start, it would drown them.
        feature = torch.zeros(())
        if progress > arguments.features_from:
            feature = features.distance(outputs, targets).mean()
            loss = loss + arguments.features * feature
        adversarial = torch.zeros(())
        strength = min(1.0, max(0.0, (progress - arguments.adversarial_from) / 0.08))
        if progress > arguments.adversarial_from - 0.03:
            train_judge(judge, optimiser_judge, targets, outputs.detach())
            if strength > 0:
                adversarial = -judge(outputs).mean()
                loss = loss + arguments.adversarial * strength * adversarial
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        average.update(network, step)
        means.add((pixel, edge, spectrum, feature, adversarial))
        if step % 50 == 0:
            shown = "step %d minute %.1f rate %.1e losses %s"
            training.logger.info(shown, step, run.minutes, rate, np.round(means.take(), 4))
        if run.minutes - validated > 8:
            with run.untimed():
                training.logger.info("val: %s", validate(average.network, crops_val, features, 40))
            validated = run.minutes
    training.logger.info("finished; val: %s", validate(average.network, crops_val, features, len(crops_val)))


def mix(checkpoint: Path, start: Path, target: Path, share: float) -> None:
    """Write a weighted mean of the weights that a training started from and those that it ended with.

    It keeps what the first knew and the second forgot, and nearly all that the second learnt (Wortsman et al., "Robust
    Fine-Tuning of Zero-Shot Models", CVPR 2022).

    Args:
        checkpoint: of the training.
        start: the exported weights of `--start-from`; a gate that they lack is as it was at the start, open.
        target: the file to write, as by `training.export`.
        share: weight of those that it ended with, 0 to 1.
    """
    network = LiteRestorer()
    network.load_state_dict(read_state(start), strict=False)
    state = training.read_checkpoint(checkpoint)
    for name, value in network.state_dict().items():
        state["average"][name] = share * state["average"][name] + (1 - share) * value
    with tempfile.TemporaryDirectory() as folder:
        mixed = Path(folder) / CHECKPOINT
        torch.save(state, mixed)
        training.export(mixed, target, f"{Path(__file__).name} --mix", "LiteRestorer")


def train_judge(
    judge: PatchDiscriminator, optimiser: torch.optim.Optimizer, real: torch.Tensor, fake: torch.Tensor
) -> None:
    """One step of the discriminator on the hinge loss; its weights take no gradients before and after."""
    judge.requires_grad_(True)
    judged = functional.relu(1 - judge(real)).mean() + functional.relu(1 + judge(fake)).mean()
    optimiser.zero_grad(set_to_none=True)
    judged.backward()
    optimiser.step()
    judge.requires_grad_(False)


def options() -> argparse.ArgumentParser:
    """What can be set on the command line."""
    parser = training.parser(__doc__, minutes=120, rate=5e-3, threads=2)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--adversarial-from", type=float, default=0.6, help="share of the schedule")
    parser.add_argument("--windows-until", type=float, default=0.6, help="share of the schedule on quarters of crops")
    parser.add_argument("--features-from", type=float, default=0.7, help="share of the schedule")
    parser.add_argument("--features", type=float, default=1.0, help="weight of the perceptual term")
    parser.add_argument("--edges", type=float, default=1.0, help="weight of gradients and spectrum")
    parser.add_argument("--adversarial", type=float, default=0.1, help="weight of the adversarial term")
    parser.add_argument("--mix", type=Path, help="write a mean of --start-from and the trained weights here, and stop")
    parser.add_argument("--share", type=float, default=0.5, help="weight of the trained weights in that mean")
    parser.add_argument("--start-from", type=Path, help="exported weights to start from when there is no checkpoint")
    return parser


def main() -> None:
    """Train, or export."""
    arguments = options().parse_args()
    if arguments.mix:
        training.prepare(arguments.threads)
        mix(arguments.checkpoints / CHECKPOINT, arguments.start_from, arguments.mix, arguments.share)
        return
    training.run(
        arguments, train, CHECKPOINT, (Path(__file__).name, "LiteRestorer"), arguments.checkpoints / "restorer.log"
    )


if __name__ == "__main__":
    main()
