"""facexlib_import: the suppression against brute force, and that facexlib becomes importable without harm."""

from __future__ import annotations

import importlib
import sys

import numpy as np
import pytest
import torch

from lib_facerestore.system import facexlib_import


def brute_force_nms(boxes: np.ndarray, scores: np.ndarray, iou: float) -> list[int]:
    def overlap(a: np.ndarray, b: np.ndarray) -> float:
        width = max(0.0, float(min(a[2], b[2]) - max(a[0], b[0])))
        height = max(0.0, float(min(a[3], b[3]) - max(a[1], b[1])))
        area = float((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]))
        return width * height / (area - width * height)

    kept: list[int] = []
    for number in sorted(range(len(scores)), key=lambda n: -scores[n]):
        if all(overlap(boxes[number], boxes[other]) <= iou for other in kept):
            kept.append(number)
    return kept


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("iou", [0.2, 0.4, 0.7])
def test_nms_agrees_with_brute_force(seed: int, iou: float) -> None:
    rng = np.random.default_rng(seed)
    corner, size = rng.uniform(0, 60, (70, 2)), rng.uniform(4, 40, (70, 2))
    boxes = np.concatenate((corner, corner + size), 1).astype(np.float32)
    scores = rng.permutation(70).astype(np.float32)
    kept = facexlib_import.nms(torch.from_numpy(boxes), torch.from_numpy(scores), iou)
    assert kept.dtype == torch.int64
    assert kept.tolist() == brute_force_nms(boxes, scores, iou)


def test_nms_edge_cases() -> None:
    assert facexlib_import.nms(torch.zeros(0, 4), torch.zeros(0), 0.5).shape == (0,)
    box = torch.tensor([[0.0, 0.0, 10.0, 10.0]]).repeat(3, 1)
    assert facexlib_import.nms(box, torch.tensor([0.5, 0.5, 0.5]), 0.5).tolist() == [0]
    assert facexlib_import.nms(box.half(), torch.tensor([0.1, 0.9, 0.5]).half(), 0.5).tolist() == [1]
    empty = torch.tensor([[5.0, 5.0, 5.0, 5.0], [5.0, 5.0, 5.0, 5.0]])  # no area: nothing to overlap, no division
    assert sorted(facexlib_import.nms(empty, torch.tensor([0.1, 0.2]), 0.5).tolist()) in ([0, 1], [1])
    with pytest.raises(ValueError, match="N×4"):
        facexlib_import.nms(torch.zeros(3, 5), torch.zeros(3), 0.5)


def test_prepare_is_idempotent_and_leaves_torchvision_working() -> None:
    facexlib_import.prepare()
    first = sys.modules["torchvision"]
    facexlib_import.prepare()
    assert sys.modules["torchvision"] is first
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [1.0, 1.0, 11.0, 11.0], [20.0, 20.0, 30.0, 30.0]])
    scores = torch.tensor([0.6, 0.9, 0.5])
    ops = importlib.import_module("torchvision.ops")
    assert ops.nms(boxes, scores, 0.5).tolist() == [1, 2]
    assert torch.ops.torchvision.nms(boxes, scores, 0.5).tolist() == [1, 2]
    legacy = importlib.import_module("torchvision.transforms.functional_tensor")
    grey = legacy.rgb_to_grayscale(torch.ones(3, 4, 4))
    assert grey.shape == (1, 4, 4)


def test_import_facexlib_names_what_is_missing() -> None:
    from lib_facerestore.errors import FaceRestoreError

    assert hasattr(facexlib_import.import_facexlib("facexlib.detection.retinaface"), "RetinaFace")
    with pytest.raises(FaceRestoreError, match="pip install facexlib"):
        facexlib_import.import_facexlib("facexlib.no_such_part")
