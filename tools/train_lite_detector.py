"""Train the detector that the package ships: RetinaFace on MobileNet-0.25, from random weights, on one CPU thread.

    python tools/train_lite_detector.py --photos ../shared/photos --cache CACHE --checkpoints FOLDER --minutes 40
    python tools/train_lite_detector.py --checkpoints FOLDER --export lib_facerestore/weights/lite_detector.safetensors

Scenes are composed on the fly (`detector_data`). The loss adds the labels (focal loss, boxes, landmarks) to what a
teacher of the same shape says about the same picture (`--teacher`, default the one beside the photographs): its
soft scores, its boxes where there is no label, and its feature maps. Run again with the same folder to resume;
`--minutes` counts all runs together.
"""

import argparse
import logging
import math
import os
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from detector_data import PhotoCache, Scene, SceneMaker

from lib_facerestore.stages.detection.postprocess import VARIANCES, prior_boxes
from lib_facerestore.system import facexlib_import

logger = logging.getLogger("train_lite_detector")
MEAN = torch.tensor([104.0, 117.0, 123.0]).view(1, 3, 1, 1)
SHAPES = ((14, 256), (6, 384), (14, 256), (4, 512))  # (scenes in a batch, their side)
LEVEL_WEIGHTS = torch.tensor([0.4, 0.4, 0.4])  # of the strides 8, 16, 32


def build() -> torch.nn.Module:
    """The network with random weights, giving logits."""
    retinaface = facexlib_import.import_facexlib("facexlib.detection.retinaface")
    return retinaface.RetinaFace(network_name="mobile0.25", phase="train", device=torch.device("cpu"))


def load_teacher(path: Path) -> torch.nn.Module:
    """The teacher, strictly loaded, in evaluation mode."""
    with open(path, "rb") as file:
        state = torch.load(file, map_location="cpu", weights_only=True)
    network = build()
    network.load_state_dict({name.removeprefix("module."): value for name, value in state.items()}, strict=True)
    return network.eval().requires_grad_(False)


def features_and_outputs(network: torch.nn.Module, batch: torch.Tensor) -> tuple[list, tuple]:
    """Feature maps of the body and of the context modules, and (boxes, logits, landmarks) of every prior."""
    body = list(network.body(batch).values())
    pyramid = network.fpn(body)
    context = [network.ssh1(pyramid[0]), network.ssh2(pyramid[1]), network.ssh3(pyramid[2])]
    outputs = tuple(
        torch.cat([head[i](level) for i, level in enumerate(context)], 1)
        for head in (network.BboxHead, network.ClassHead, network.LandmarkHead)
    )
    return body + context, outputs


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


def losses(student: tuple, teacher: tuple, scenes: list[Scene], priors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """(class, box, landmark) loss of a batch, each per positive prior."""
    matched = [torch.stack(part) for part in zip(*(match(scene, priors) for scene in scenes), strict=True)]
    state, positive, box_targets, point_targets = matched
    boxes, logits, points = student
    margin, soft = logits[..., 1] - logits[..., 0], torch.softmax(teacher[1], -1)[..., 1]
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
        box_loss = box_loss + 0.2 * F.smooth_l1_loss(boxes[taught], teacher[0][taught], reduction="sum") / number
        point_loss = point_loss + 0.1 * F.smooth_l1_loss(points[taught], teacher[2][taught], reduction="sum") / number
    return classes, box_loss, point_loss


class Average:
    """Exponential moving average of a state dict."""

    def __init__(self, network: torch.nn.Module, decay: float = 0.998) -> None:
        self.decay, self.steps = decay, 0
        self.state = {name: value.detach().clone() for name, value in network.state_dict().items()}

    def update(self, network: torch.nn.Module) -> None:
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for name, value in network.state_dict().items():
            if value.dtype.is_floating_point:
                self.state[name].lerp_(value.detach(), 1 - decay)
            else:
                self.state[name].copy_(value)


def save(path: Path, content: dict) -> None:
    """Write and rename, so that a reader never sees half a file."""
    partial = path.with_suffix(".partial")
    torch.save(content, partial)
    os.replace(partial, path)


def to_batch(scenes: list[Scene]) -> torch.Tensor:
    pixels = torch.from_numpy(np.stack([scene.pixels for scene in scenes])).permute(0, 3, 1, 2)
    return (pixels.float() - MEAN).contiguous(memory_format=torch.channels_last)


def train(args: argparse.Namespace) -> None:
    """Train until `args.minutes` are used up, over all runs of this folder."""
    args.checkpoints.mkdir(parents=True, exist_ok=True)
    latest = args.checkpoints / "latest.pth"
    torch.manual_seed(args.seed)
    network = build().train().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=args.rate, weight_decay=5e-4)
    average, elapsed, step = Average(network), 0.0, 0
    if latest.exists():
        with open(latest, "rb") as file:
            saved = torch.load(file, map_location="cpu", weights_only=True)
        network.load_state_dict(saved["network"])
        optimizer.load_state_dict(saved["optimizer"])
        average.state, average.steps = saved["average"], saved["step"]
        elapsed, step = saved["elapsed"], saved["step"]
        logger.info("resumed at step %d, %.1f minutes", step, elapsed / 60)
    teacher = load_teacher(args.teacher or args.photos / "detector" / "retinaface_mobile0.25.pth")
    teacher = teacher.to(memory_format=torch.channels_last)
    cache = PhotoCache(args.photos, args.cache, "train")
    maker = SceneMaker(cache, seed=args.seed + step)
    budget, last, saved_at, sums = args.minutes * 60, time.monotonic(), elapsed, []
    while elapsed < budget:
        share = elapsed / budget
        rate = args.rate * min(1.0, (step + 1) / 100) * (0.02 + 0.98 * (0.5 + 0.5 * math.cos(math.pi * share)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        count, side = SHAPES[step % len(SHAPES)]
        scenes = [maker.scene(side) for _ in range(count)]
        batch, priors = to_batch(scenes), prior_boxes(side, side)
        with torch.no_grad():
            taught_maps, taught = features_and_outputs(teacher, batch)
        maps, outputs = features_and_outputs(network, batch)
        classes, boxes, points = losses(outputs, taught, scenes, priors)
        copy = sum(F.mse_loss(own, other) / other.square().mean() for own, other in zip(maps, taught_maps, strict=True))
        loss = 2 * classes + 1.0 * boxes + 0.6 * points + (1.5 * (1 - share) + 0.1) * copy
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 10.0)
        optimizer.step()
        average.update(network)
        step += 1
        sums.append([float(part.detach()) for part in (classes, boxes, points, copy)])
        now = time.monotonic()
        elapsed, last = elapsed + now - last, now
        if step % 20 == 0:
            logger.info(
                "step %d  %.1f min  rate %.5f  class %.4f  box %.4f  points %.4f  copy %.4f",
                step,
                elapsed / 60,
                rate,
                *np.mean(sums, 0),
            )
            sums.clear()
        if elapsed - saved_at > 120 or elapsed >= budget:
            save(
                latest,
                {
                    "network": network.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "average": average.state,
                    "elapsed": elapsed,
                    "step": step,
                },
            )
            saved_at = elapsed


def export(checkpoint: Path, target: Path) -> None:
    """Write the averaged weights as half-precision safetensors."""
    with open(checkpoint, "rb") as file:
        saved = torch.load(file, map_location="cpu", weights_only=True)
    state = {
        name: value.half().contiguous()
        for name, value in saved["average"].items()
        if not name.endswith("num_batches_tracked")
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".partial")
    save_file(
        state,
        partial,
        metadata={
            "format": "pt",
            "network": "retinaface mobile0.25",
            "training": f"tools/train_lite_detector.py, {saved['step']} steps",
        },
    )
    os.replace(partial, target)
    logger.info(
        "%s: %d bytes, %d steps, %.1f minutes", target, target.stat().st_size, saved["step"], saved["elapsed"] / 60
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, default=Path("../shared/photos"))
    parser.add_argument("--cache", type=Path, help="folder for the decoded photographs (about 1.2 GB)")
    parser.add_argument("--checkpoints", type=Path, required=True)
    parser.add_argument("--teacher", type=Path, help="teacher's file; default: the one in the photographs' folder")
    parser.add_argument("--minutes", type=float, default=40)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--log", type=Path)
    parser.add_argument("--export", type=Path, help="write the weights of the latest checkpoint here and stop")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", filename=args.log)
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(args.threads)
    if args.export:
        export(args.checkpoints / "latest.pth", args.export)
        return
    args.cache = args.cache or args.checkpoints / "cache"
    train(args)


if __name__ == "__main__":
    main()
