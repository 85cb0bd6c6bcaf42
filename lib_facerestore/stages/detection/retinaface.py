"""RetinaFace (Deng et al., CVPR 2020) on ResNet-50 or MobileNet-0.25, for many pictures of any size at once.

Pieces of pictures with the same padded size share a batch. If the first look may have missed faces, the picture is
searched again, smaller and at twice the size (see `pieces`). Scores are the network's own.
"""

from __future__ import annotations

import logging
import warnings
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ...errors import FaceRestoreError, InputError, ModelFileError
from ...faces.face import Face
from ...networks.building import building
from ...networks.checkpoint_files import read_state
from ...networks.failures import NOT_NUMBERS, are_numbers
from ...networks.strict import fill, own_tensors
from ...system import facexlib_import
from .mobilenet import MobileRetinaFace
from .pieces import (
    Piece,
    careful_looks,
    finest_scale,
    first_look,
    further_scale,
    padded_size,
    second_scale,
    smaller_looks,
    tiles,
    turned_size,
    uncut,
    wants_second_look,
)
from .postprocess import Detections, decode, prior_boxes, suppress
from .reach import LEAST
from .stopping import Stop, Stopped, ask

logger = logging.getLogger(__name__)

RESNET50 = "resnet50"
MOBILENET = "mobile0.25"
MEAN_BGR = (104.0, 117.0, 123.0)
"""Means that are subtracted from the input's channels: blue, green and red, from 0 to 255."""
LONG_SIDE = 640
"""Longest side in pixels of most pictures in the first look; tiles of the second have twice this side."""
SURE = 0.5
"""Proposals with a lower score do not decide whether the picture is looked at again."""
MOST_POOR = 100
"""Most detections of one input whose score is below the confidence."""
BATCH_PIXELS = 4 * 640 * 640
"""Most padded pixels of a batch; it limits the memory."""

_OWN_TENSOR = {RESNET50: "body.layer1.0.conv1.weight", MOBILENET: "body.stage1.0.0.weight"}
"""A tensor by which each network is recognised."""


class RetinaFaceDetector:
    """A `Detector` around a RetinaFace network.

    Args:
        network: maps B×3×H×W float32 (BGR, 0 to 255, minus `MEAN_BGR`) to box offsets B×N×4, probabilities B×N×2
            (background, face) and landmark offsets B×N×10, for the N priors of `prior_boxes`.
        name: its name in reports.
        device: device to run on.
        long_side: as `LONG_SIDE`.
    """

    def __init__(
        self, network: nn.Module, name: str, device: str | torch.device = "cpu", long_side: int = LONG_SIDE
    ) -> None:
        self.name, self.least = name, LEAST
        self.device = torch.device(device)
        self.long_side = long_side
        self.network = network.eval().to(self.device)

    def detect(self, images: Sequence[NDArray[np.uint8]], confidence: float = 0.5) -> list[list[Face]]:
        """See `Detector.detect`.

        Raises:
            InputError: a picture is not H×W×3 uint8, or has no pixels.
        """
        return [found.faces() for found, _ in self.propose(images, confidence)]

    def detect_until(
        self, images: Sequence[NDArray[np.uint8]], confidence: float, stop: Stop
    ) -> list[list[Face]] | None:
        """See `StoppableDetector.detect_until`. Raises what `detect` raises."""
        try:
            return [found.faces() for found, _ in self.propose(images, confidence, stop=stop)]
        except Stopped:
            return None

    def finest(self, image: NDArray[Any], faces: Sequence[Face]) -> float:
        """See `ReducingDetector.finest`."""
        return finest_scale(image, Detections.of(faces), self.long_side)

    def propose(
        self,
        images: Sequence[NDArray[np.uint8]],
        confidence: float,
        careful: bool = False,
        stop: Stop | None = None,
        poorest: float = 1.0,
    ) -> list[tuple[Detections, bool]]:
        """Find faces.

        Args:
            images: as in `detect`.
            confidence: least score, 0 to 1.
            careful: whether the smaller looks are taken at every picture, and the careful ones where there is a second
                look (see `pieces`). Many more of the proposals are wrong then.
            stop: called before every batch.
            poorest: of what has a lower score than the confidence, but at least this one, the best `MOST_POOR` of each
                piece of a picture are among the detections too.

        Returns:
            For each picture its detections, best score first, and whether there was a second look.

        Raises:
            Stopped: `stop` returned true.
            InputError: a picture is not H×W×3 uint8, or has no pixels.
        """
        for number, image in enumerate(images):
            _check(image, number)
        numbers = list(range(len(images)))
        firsts = self._look_at([(n, first_look(images[n], self.long_side)) for n in numbers], confidence, stop, poorest)
        parts = {number: [suppress(found, inside=2.0 if careful else 0.8)] for number, found in firsts.items()}
        again = [n for n in numbers if wants_second_look(images[n], self._sure(parts[n], confidence), self.long_side)]
        whole = [
            (n, piece) for n in (numbers if careful else again) for piece in smaller_looks(images[n], self.long_side)
        ]
        whole += [(n, piece) for n in again for piece in (careful_looks(images[n], self.long_side) if careful else ())]
        for number, found in self._look_at(whole, confidence, stop, poorest).items():
            parts[number].append(found)
        scales: dict[int, float] = {number: second_scale(images[number], self.long_side) for number in again}
        while scales:
            cut = [(n, piece) for n, scale in scales.items() for piece in tiles(images[n], scale, self.long_side)]
            for number, found in self._look_at(cut, confidence, stop, poorest, in_tiles=True).items():
                parts[number].append(suppress(found, inside=2.0 if careful else 0.8))
            following = {
                n: further_scale(images[n], suppress(self._sure(parts[n], confidence)), scale, self.long_side)
                for n, scale in scales.items()
            }
            scales = {number: scale for number, scale in following.items() if scale is not None}
        # A second stage has yet to judge the faces. Until then, a large wrong box must not hide the faces inside it.
        inside = 2.0 if careful else 0.8
        return [(suppress(Detections.join(parts[n]), inside=inside), n in again) for n in numbers]

    def look_carefully(
        self,
        images: Sequence[NDArray[np.uint8]],
        confidence: float,
        stop: Stop | None = None,
        poorest: float = 1.0,
    ) -> list[Detections]:
        """What the careful looks see (see `pieces` and `propose`): for each picture its detections, best score first.

        Raises:
            Stopped: `stop`, which is called before every batch, returned true.
        """
        looks = [(n, piece) for n, image in enumerate(images) for piece in careful_looks(image, self.long_side)]
        found = self._look_at(looks, confidence, stop, poorest)
        return [suppress(found[number], inside=2.0) for number in range(len(images))]

    def _sure(self, parts: Sequence[Detections], confidence: float) -> Detections:
        found = Detections.join(parts)
        return found.pick(found.scores >= max(confidence, SURE))

    def _look_at(
        self,
        looks: Sequence[tuple[int, Piece]],
        confidence: float,
        stop: Stop | None,
        poorest: float,
        in_tiles: bool = False,
    ) -> dict[int, Detections]:
        """Run the network on pieces, given with their pictures' numbers, and join what it sees by picture."""
        parts: dict[int, list[Detections]] = defaultdict(list)
        results = self.look([piece for _, piece in looks], min(confidence, poorest), in_tiles, stop)
        for (number, _), found in zip(looks, results, strict=True):
            poor = np.flatnonzero(found.scores < confidence)
            dropped = poor[np.argsort(-found.scores[poor], kind="stable")[MOST_POOR:]]
            parts[number].append(
                found.pick(np.setdiff1d(np.arange(len(found.scores)), dropped)) if len(dropped) else found
            )
        return {number: Detections.join(found) for number, found in parts.items()}

    def look(
        self, pieces: Sequence[Piece], confidence: float, tiles: bool = False, stop: Stop | None = None
    ) -> list[Detections]:
        """Run the network on pieces of pictures.

        Args:
            pieces: pieces of any sizes.
            confidence: least score, 0 to 1.
            tiles: whether the pieces are tiles of a second look; faces that a tile cuts are dropped then.
            stop: called before every batch.

        Returns:
            Detections of each piece, in pixels of its picture, before suppression: a face may occur more than once.

        Raises:
            Stopped: `stop` returned true.
            FaceRestoreError: the network's output is not finite.
        """
        by_size: dict[tuple[int, int], list[int]] = defaultdict(list)
        for number, piece in enumerate(pieces):
            by_size[padded_size(piece.pixels)].append(number)
        results = [Detections.nothing()] * len(pieces)
        for (height, width), numbers in by_size.items():
            priors = prior_boxes(height, width)
            count = max(1, BATCH_PIXELS // (height * width))
            for start in range(0, len(numbers), count):
                ask(stop)
                chosen = numbers[start : start + count]
                boxes, scores, landmarks = self._forward([pieces[n].pixels for n in chosen], height, width)
                for row, number in enumerate(chosen):
                    piece = pieces[number]
                    found = decode(boxes[row], scores[row, :, 1], landmarks[row], priors, confidence)
                    found = uncut(found, piece) if tiles else found
                    found = found.moved((1.0, 1.0), (float(piece.corner[0]), float(piece.corner[1])))
                    if piece.eighths:
                        turned = turned_size(piece.resized, piece.eighths)
                        found = found.turned_back(piece.eighths, turned, piece.resized)
                    results[number] = found.moved(piece.scale, (0.0, 0.0))
        return results

    @torch.inference_mode()
    def _forward(self, pixels: Sequence[NDArray[np.uint8]], height: int, width: int) -> tuple[torch.Tensor, ...]:
        # Padding has the mean colour, which is zero in the input.
        batch = torch.zeros((len(pixels), 3, height, width), dtype=torch.float32, device="cpu")
        mean = batch.new_tensor(MEAN_BGR)[:, None, None]
        for row, image in enumerate(pixels):
            bgr = torch.from_numpy(np.ascontiguousarray(image[:, :, ::-1].transpose(2, 0, 1)))
            batch[row, :, : image.shape[0], : image.shape[1]] = bgr.float() - mean
        boxes, scores, landmarks = self.network(batch.to(self.device))
        if not are_numbers(boxes, scores, landmarks):
            raise FaceRestoreError(f"the detector {self.name} failed ({NOT_NUMBERS}); choose another.")
        return boxes, scores, landmarks


def load_retinaface(
    path: Path, name: str, device: str | torch.device = "cpu", kind: str | None = None
) -> RetinaFaceDetector:
    """Load a detector from a RetinaFace file (.pth or .safetensors). Its tensors decide which network it is.

    Args:
        path: the file; wrapping keys such as "params" and prefixes such as "module." are allowed.
        name: the detector's name in reports.
        device: device to run on.
        kind: the only network that is accepted (`RESNET50` or `MOBILENET`); None accepts both.

    Raises:
        ModelFileError: the file is missing, damaged or of another network; names the file and the remedy.
        FaceRestoreError: the network is `RESNET50`, and facexlib cannot be imported.
    """
    state = own_tensors(read_state(path), _OWN_TENSOR.values()) or {}
    found = next((which for which, key in _OWN_TENSOR.items() if key in state), None)
    if found is None or (kind is not None and found != kind):
        what = f"RetinaFace {kind or 'network'}"
        raise ModelFileError(
            f"{path}: is not a {what} (it is {'RetinaFace ' + found if found else 'something else'}); get the file "
            "named detection_Resnet50_Final.pth or detection_mobilenet0.25_Final.pth."
        )
    with building():
        network = build_network(found).float()
        fill(network, state, "RetinaFace", str(path))
    return RetinaFaceDetector(network, name, device)


def build_network(kind: str) -> nn.Module:
    """RetinaFace with random weights; nothing is downloaded.

    Args:
        kind: `RESNET50` (facexlib's network) or `MOBILENET` (`mobilenet`).

    Raises:
        FaceRestoreError: the network is `RESNET50`, and facexlib cannot be imported.
    """
    if kind == MOBILENET:
        return MobileRetinaFace().requires_grad_(False)
    retinaface = facexlib_import.import_facexlib("facexlib.detection.retinaface")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # facexlib uses torchvision's old argument `pretrained`
        network: nn.Module = retinaface.RetinaFace(network_name=kind, device=torch.device("cpu"))
    return network.requires_grad_(False)


def _check(image: NDArray[np.uint8], number: int) -> None:
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        shape = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise InputError(f"picture {number + 1}: the detector takes H×W×3 uint8 RGB, got {shape}; convert it first.")
    if not image.size:
        raise InputError(f"picture {number + 1}: has no pixels ({image.shape}); leave it out.")
