"""RetinaFace (Deng et al., CVPR 2020) on ResNet-50 and MobileNet-0.25, for many pictures of any sizes at once.

Pieces of the same padded size share a batch; small faces get a second look (`pieces`). Scores are the network's own.
"""

from __future__ import annotations

import logging
import warnings
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ...errors import InputError, ModelFileError
from ...faces.face import Face
from ...networks.checkpoint_files import read_state
from ...networks.strict import fill, own_tensors
from ...system import facexlib_import
from .mobilenet import MobileRetinaFace
from .pieces import Piece, first_look, padded_size, second_look, uncut, wants_second_look
from .postprocess import Detections, decode, prior_boxes, suppress

logger = logging.getLogger(__name__)

RESNET50 = "resnet50"
MOBILENET = "mobile0.25"
MEAN_BGR = (104.0, 117.0, 123.0)
"""What is subtracted from the channels of the input, which are blue, green, red in 0 to 255."""
LONG_SIDE = 640
BATCH_PIXELS = 4 * 640 * 640
"""Padded pixels that go through the network at once; bounds the memory."""

_OWN_TENSOR = {RESNET50: "body.layer1.0.conv1.weight", MOBILENET: "body.stage1.0.0.weight"}


class RetinaFaceDetector:
    """A `Detector` around a RetinaFace network.

    Args:
        network: takes B×3×H×W float32 (BGR 0-255 minus `MEAN_BGR`) and gives raw boxes B×N×4, face probabilities
            B×N×2 and raw landmarks B×N×10 for the priors of `prior_boxes`.
        name: what it is called in reports.
        device: where the network is.
        long_side: long side of the first look in pixels, and side of a tile of the second.
    """

    def __init__(
        self, network: nn.Module, name: str, device: str | torch.device = "cpu", long_side: int = LONG_SIDE
    ) -> None:
        self.name = name
        self.device = torch.device(device)
        self.long_side = long_side
        self.network = network.eval().to(self.device)

    def detect(self, images: Sequence[NDArray[np.uint8]], confidence: float = 0.5) -> list[list[Face]]:
        """Faces of each picture, best score first, numbered 0, in pixels of the picture.

        Args:
            images: H×W×3 uint8 RGB, of any sizes.
            confidence: least score, 0 to 1.

        Raises:
            InputError: a picture is not H×W×3 uint8, or has no pixels.
        """
        for number, image in enumerate(images):
            _check(image, number)
        firsts = self.look([first_look(image, self.long_side) for image in images], confidence)
        firsts = [suppress(found) for found in firsts]
        again = [
            number for number, image in enumerate(images) if wants_second_look(image, firsts[number], self.long_side)
        ]
        pieces = [(number, piece) for number in again for piece in second_look(images[number], self.long_side)]
        parts: dict[int, list[Detections]] = {number: [found] for number, found in enumerate(firsts)}
        seconds = self.look([piece for _, piece in pieces], confidence, tiles=True)
        for (number, _), found in zip(pieces, seconds, strict=True):
            parts[number].append(found)
        return [suppress(Detections.join(parts[number])).faces() for number in range(len(images))]

    def look(self, pieces: Sequence[Piece], confidence: float, tiles: bool = False) -> list[Detections]:
        """Detections of each piece, in pixels of its picture, before suppression: a face may be there more than once.

        Args:
            pieces: of any sizes.
            confidence: least score, 0 to 1.
            tiles: whether the pieces are tiles of a second look, whose cut faces are left out.
        """
        by_size: dict[tuple[int, int], list[int]] = defaultdict(list)
        for number, piece in enumerate(pieces):
            by_size[padded_size(piece.pixels)].append(number)
        results = [Detections.nothing()] * len(pieces)
        for (height, width), numbers in by_size.items():
            priors = prior_boxes(height, width)
            count = max(1, BATCH_PIXELS // (height * width))
            for start in range(0, len(numbers), count):
                chosen = numbers[start : start + count]
                boxes, scores, landmarks = self._forward([pieces[n].pixels for n in chosen], height, width)
                for row, number in enumerate(chosen):
                    piece = pieces[number]
                    found = decode(boxes[row], scores[row, :, 1], landmarks[row], priors, confidence)
                    found = uncut(found, piece) if tiles else found
                    corner = (float(piece.corner[0]), float(piece.corner[1]))
                    results[number] = found.moved(piece.scale, corner)
        return results

    @torch.inference_mode()
    def _forward(self, pixels: Sequence[NDArray[np.uint8]], height: int, width: int) -> tuple[torch.Tensor, ...]:
        # Padding is the mean colour, so it is zero for the network.
        batch = torch.zeros((len(pixels), 3, height, width))
        mean = torch.tensor(MEAN_BGR)[:, None, None]
        for row, image in enumerate(pixels):
            bgr = torch.from_numpy(np.ascontiguousarray(image[:, :, ::-1].transpose(2, 0, 1)))
            batch[row, :, : image.shape[0], : image.shape[1]] = bgr.float() - mean
        boxes, scores, landmarks = self.network(batch.to(self.device))
        return boxes, scores, landmarks


def load_retinaface(
    path: Path, name: str, device: str | torch.device = "cpu", kind: str | None = None
) -> RetinaFaceDetector:
    """A detector from a RetinaFace file (.pth or .safetensors); which of the two networks is found from its tensors.

    Args:
        path: the file, with or without a wrapping key such as "params" and a prefix such as "module.".
        name: what the detector is called in reports.
        device: where it will run.
        kind: refuse a file of another network than this (`RESNET50` or `MOBILENET`).

    Raises:
        ModelFileError: the file is missing, damaged or not such a network; names the file and the remedy.
        FaceRestoreError: facexlib cannot be imported.
    """
    state = own_tensors(read_state(path), _OWN_TENSOR.values()) or {}
    found = next((which for which, key in _OWN_TENSOR.items() if key in state), None)
    if found is None or (kind is not None and found != kind):
        what = f"RetinaFace {kind or 'network'}"
        raise ModelFileError(
            f"{path}: is not a {what} (it is {'RetinaFace ' + found if found else 'something else'}); get the file "
            "named detection_Resnet50_Final.pth or detection_mobilenet0.25_Final.pth."
        )
    network = build_network(found)
    fill(network, state, "RetinaFace", str(path))
    return RetinaFaceDetector(network, name, device)


def build_network(kind: str) -> nn.Module:
    """RetinaFace with random weights; nothing is downloaded. `kind` is `RESNET50` (facexlib's) or `MOBILENET` (ours).

    Raises:
        FaceRestoreError: facexlib is needed and cannot be imported.
    """
    if kind == MOBILENET:
        return MobileRetinaFace().requires_grad_(False)
    retinaface = facexlib_import.import_facexlib("facexlib.detection.retinaface")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # facexlib still says pretrained=False, which torchvision renamed
        network: nn.Module = retinaface.RetinaFace(network_name=kind, device=torch.device("cpu"))
    return network.requires_grad_(False)


def _check(image: NDArray[np.uint8], number: int) -> None:
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        shape = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise InputError(f"picture {number + 1}: the detector takes H×W×3 uint8 RGB, got {shape}; convert it first.")
    if not image.size:
        raise InputError(f"picture {number + 1}: has no pixels ({image.shape}); leave it out.")
