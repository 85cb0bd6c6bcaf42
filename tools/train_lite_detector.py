"""Train the detector that the package ships: RetinaFace on MobileNet-0.25, from random weights, on one CPU thread.

    python tools/train_lite_detector.py --photos ../shared/photos --cache CACHE --checkpoints FOLDER --minutes 40
    python tools/train_lite_detector.py --checkpoints FOLDER --export lib_facerestore/weights/lite_detector.safetensors

Scenes are composed on the fly (`detector_data`). The loss adds the labels (focal loss, boxes, landmarks) to what a
teacher of the same shape says about the same picture (`--teacher`, default the one beside the photographs): its
soft scores, its boxes where there is no label, and its feature maps. Run again with the same folder to resume;
`--minutes` counts all runs together.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib_facerestore.stages.detection.postprocess import VARIANCES, prior_boxes
from lib_facerestore.system import facexlib_import
from tools import training
from tools.detector_data import PhotoCache, Scene, SceneMaker
from tools.photographs import TEACHER

CHECKPOINT = "latest.pth"
MEAN = torch.tensor([104.0, 117.0, 123.0]).view(1, 3, 1, 1)
SHAPES = ((14, 256), (6, 384), (14, 256), (4, 512))  # (scenes in a batch, their side)
LEVEL_WEIGHTS = torch.tensor([0.4, 0.4, 0.4])  # of the strides 8, 16, 32


class Outputs(NamedTuple):
    """What a network says of every prior, B×priors×(4, 2 or 10)."""

    boxes: torch.Tensor
    logits: torch.Tensor
    landmarks: torch.Tensor


def build() -> nn.Module:
    """The network with random weights, giving logits."""
    retinaface = facexlib_import.import_facexlib("facexlib.detection.retinaface")
    network: nn.Module = retinaface.RetinaFace(network_name="mobile0.25", phase="train", device=torch.device("cpu"))
    return network


def load_teacher(path: Path) -> nn.Module:
    """The teacher, strictly loaded, in evaluation mode."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    network = build()
    network.load_state_dict({name.removeprefix("module."): value for name, value in state.items()}, strict=True)
    return network.eval().requires_grad_(False)


def features_and_outputs(network: nn.Module, batch: torch.Tensor) -> tuple[list[torch.Tensor], Outputs]:
    """Feature maps of the body and of the context modules, and what the network says of every prior."""
    body = list(network.get_submodule("body")(batch).values())
    pyramid = network.get_submodule("fpn")(body)
    context = [network.get_submodule(f"ssh{i + 1}")(pyramid[i]) for i in range(3)]

    def said(head: str) -> torch.Tensor:
        return torch.cat([network.get_submodule(f"{head}.{i}")(level) for i, level in enumerate(context)], 1)

    return body + context, Outputs(said("BboxHead"), said("ClassHead"), said("LandmarkHead"))


def overlaps(boxes: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Intersection over union, N×M."""
    common = (
        (
            torch.minimum(boxes[:, None, 2:], others[None, :, 2:])
            - torch.maximum(boxes[:, None, :2], others[None, :, :2])
        )
        .clamp(min=0)
        .prod(2)
    )
    area, other = (boxes[:, 2:] - boxes[:, :2]).prod(1), (others[:, 2:] - others[:, :2]).prod(1)
    return common / (area[:, None] + other[None, :] - common)


def match(scene: Scene, priors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Per prior: 1 positive, 0 background, -1 only the teacher knows; and encoded box and landmark targets."""
    corners = torch.cat((priors[:, :2] - priors[:, 2:] / 2, priors[:, :2] + priors[:, 2:] / 2), 1)
    state = torch.zeros(len(priors))
    box_targets, point_targets = torch.zeros(len(priors), 4), torch.zeros(len(priors), 10)
    if scene.unsure:
        unsure = torch.tensor(np.stack(scene.unsure), dtype=torch.float32)
        state[overlaps(corners, unsure).amax(1) > 0.1] = -1
    if not scene.boxes:
        return state, (state > 0), box_targets, point_targets
    boxes = torch.tensor(np.stack(scene.boxes), dtype=torch.float32)
    points = torch.tensor(np.stack(scene.landmarks), dtype=torch.float32)
    iou = overlaps(corners, boxes)
    best, face = iou.max(1)
    state[(best > 0.15)] = -1
    own = iou.argmax(0)
    face[own] = torch.arange(len(boxes))
    positive = best > 0.38
    positive[own] = True
    state[positive] = 1
    side = priors[:, 2:3]
    box = boxes[face]
    box_targets[:, :2] = ((box[:, :2] + box[:, 2:]) / 2 - priors[:, :2]) / (VARIANCES[0] * side)
    box_targets[:, 2:] = torch.log((box[:, 2:] - box[:, :2]).clamp(min=1) / side) / VARIANCES[1]
    offsets = (points[face] - priors[:, None, :2]) / (VARIANCES[0] * side[:, :, None])
    point_targets[:] = offsets.reshape(-1, 10)
    return state, positive, box_targets, point_targets


def losses(
    student: Outputs, teacher: Outputs, scenes: Sequence[Scene], priors: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(class, box, landmark) loss of a batch, each per positive prior."""
    matched = [torch.stack(part) for part in zip(*(match(scene, priors) for scene in scenes), strict=True)]
    state, positive, box_targets, point_targets = matched
    boxes, logits, points = student
    margin, soft = logits[..., 1] - logits[..., 0], torch.softmax(teacher.logits, -1)[..., 1]
    target = torch.where(state > 0, soft.clamp(min=0.97), torch.where(state < 0, soft, soft * 0.4))
    score = margin.sigmoid().detach()
    weight = (target - score).abs() ** 1.5 + 0.02
    # Each stride counts for itself: else the many small faces drown the few large ones.
    level = (priors[:, 2] > 48).long() + (priors[:, 2] > 192).long()
    count = torch.stack([positive[:, level == stride].sum() for stride in range(3)]).clamp(min=4)
    share = (LEVEL_WEIGHTS / count)[level].expand_as(margin)
    classes = (F.binary_cross_entropy_with_logits(margin, target, reduction="none") * weight * share).sum()
    box_loss = F.smooth_l1_loss(boxes[positive], box_targets[positive], reduction="none", beta=0.5).sum(1)
    point_loss = F.smooth_l1_loss(points[positive], point_targets[positive], reduction="none", beta=0.3).sum(1)
    box_loss, point_loss = (box_loss * share[positive]).sum(), (point_loss * share[positive]).sum()
    taught = (soft > 0.4) & ~positive
    if taught.any():
        number = taught.sum()
        copied_boxes = F.smooth_l1_loss(boxes[taught], teacher.boxes[taught], reduction="sum")
        copied_points = F.smooth_l1_loss(points[taught], teacher.landmarks[taught], reduction="sum")
        box_loss = box_loss + 0.2 * copied_boxes / number
        point_loss = point_loss + 0.1 * copied_points / number
    return classes, box_loss, point_loss


def to_batch(scenes: Sequence[Scene]) -> torch.Tensor:
    """The scenes' pixels as the networks take them, B×3×side×side."""
    pixels = torch.from_numpy(np.stack([scene.pixels for scene in scenes])).permute(0, 3, 1, 2)
    return (pixels.float() - MEAN).contiguous(memory_format=torch.channels_last)


def train(arguments: argparse.Namespace) -> None:
    """Train until `--minutes` are used up, over all runs of this folder."""
    torch.manual_seed(arguments.seed)
    network = training.channels_last(build().train())
    optimizer = torch.optim.AdamW(network.parameters(), lr=arguments.rate, weight_decay=5e-4)
    average = training.Average(network)
    parts: dict[str, training.Stateful] = {"network": network, "optimizer": optimizer, "average": average}
    run = training.Run(arguments.checkpoints / CHECKPOINT, parts, arguments.minutes, every=2, clock=("elapsed", 1.0))
    teacher = training.channels_last(load_teacher(arguments.teacher or arguments.photos / TEACHER))
    cache = PhotoCache(arguments.photos, arguments.cache or arguments.checkpoints / "cache", "train")
    maker, means = SceneMaker(cache, seed=arguments.seed + run.step), training.Means()
    for step in run.steps():
        rate = training.scheduled_rate(arguments.rate, step, run.progress, warm_up=100, floor=0.02)
        for group in optimizer.param_groups:
            group["lr"] = rate
        count, side = SHAPES[(step - 1) % len(SHAPES)]
        scenes = [maker.scene(side) for _ in range(count)]
        batch, priors = to_batch(scenes), prior_boxes(side, side)
        with torch.no_grad():
            taught_maps, taught = features_and_outputs(teacher, batch)
        maps, outputs = features_and_outputs(network, batch)
        classes, boxes, points = losses(outputs, taught, scenes, priors)
        pairs = zip(maps, taught_maps, strict=True)
        copied = torch.stack([F.mse_loss(own, other) / other.square().mean() for own, other in pairs]).sum()
        loss = 2 * classes + 1.0 * boxes + 0.6 * points + (1.5 * (1 - run.progress) + 0.1) * copied
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 10.0)
        optimizer.step()
        average.update(network, step)
        means.add((classes, boxes, points, copied))
        if step % 20 == 0:
            shown = "step %d  %.1f min  rate %.5f  class %.4f  box %.4f  points %.4f  copy %.4f"
            training.logger.info(shown, step, run.minutes, rate, *means.take())


def options() -> argparse.ArgumentParser:
    """What can be set on the command line."""
    parser = training.parser(__doc__, minutes=40, rate=3e-3)
    parser.add_argument("--cache", type=Path, help="folder for the decoded photographs (about 1.2 GB)")
    parser.add_argument("--teacher", type=Path, help="teacher's file; default: the one in the photographs' folder")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log", type=Path)
    return parser


def main() -> None:
    """Train, or export."""
    arguments = options().parse_args()
    training.run(arguments, train, CHECKPOINT, (Path(__file__).name, "retinaface mobile0.25"), arguments.log)


if __name__ == "__main__":
    main()
