"""Face parsing: which pixels of an aligned crop are skin, eyes, mouth and so on; and shapes used without a parser.

Label maps are size×size uint8 arrays. Their values are always the class numbers of BiSeNet (`CLASSES`).
The networks are facexlib's BiSeNet (Yu et al., ECCV 2018) and ParseNet (from PSFR-GAN, Chen et al., CVPR 2021), and
`lite`, which is part of the package (`lite_parser`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..catalogue import Inventory, inventory_of
from ..errors import FaceRestoreError, InputError, ModelFileError
from ..options.table import Part
from .filters import square_of

if TYPE_CHECKING:
    import torch
    from torch import nn

CLASSES = (
    "background", "skin", "left brow", "right brow", "left eye", "right eye", "glasses", "left ear", "right ear",
    "earring", "nose", "mouth interior", "upper lip", "lower lip", "neck", "necklace", "cloth", "hair", "hat",
)  # fmt: skip
# BiSeNet's class number for each of ParseNet's (CelebAMask order: 2 nose, 3 glasses, ..., 13 hair, ..., 18 cloth).
PARSENET_TO_BISENET = np.array([0, 1, 10, 6, 4, 5, 2, 3, 7, 8, 11, 12, 13, 17, 18, 9, 15, 14, 16], np.uint8)

# Classes that are pasted: the face with its ears and glasses, without earrings, neck, hair, hat and clothes.
_FACE = (1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13)
# Classes that may lie over the face; background, neck and jewellery are behind or beside it.
_COVERS = (16, 17, 18)
# Classes of the parts that the option `keep` can name, in the order of the option table.
PARTS: dict[Part, tuple[int, ...]] = {
    "eyes": (4, 5),
    "mouth": (11, 12, 13),
    "teeth": (11,),
    "glasses": (6,),
    "hair": (17,),
}
_BATCH = 8


class Parser(Protocol):
    """A face parsing network.

    Attributes:
        name: "bisenet", "parsenet" or "lite".
        knows_covers: whether it labels hands and other things in front of the face as cloth.
    """

    name: str
    knows_covers: bool

    def masks(
        self, crops: Sequence[NDArray[np.float32]], originals: Sequence[NDArray[np.float32]] | None = None
    ) -> list[NDArray[np.uint8]]:
        """Label maps of aligned crops.

        Args:
            crops: size×size×3 float32, RGB in [0, 1]; they may differ in size.
            originals: the crops before restoration. A parser that knows things in front of the face labels what it
                finds there as cloth, which is never pasted over; the others do not use them.

        Returns:
            For each crop, size×size uint8 with values from `CLASSES`.
        """
        ...


class _NetworkParser:
    """A `Parser` around facexlib's networks; `side` is the side of their input in pixels."""

    knows_covers = False

    def __init__(self, name: str, network: nn.Module, side: int, device: str | torch.device) -> None:
        self.name = name
        self.side = side
        self.device = device
        self._network: Any = network  # facexlib has no types

    def masks(
        self, crops: Sequence[NDArray[np.float32]], originals: Sequence[NDArray[np.float32]] | None = None
    ) -> list[NDArray[np.uint8]]:
        """See `Parser.masks`; crops of different sizes share batches, and the originals are not used.

        Raises:
            InputError: a crop is not square RGB.
            FaceRestoreError: the network's output is not finite.
        """
        import torch

        from ..networks.failures import NOT_NUMBERS, are_numbers

        result: list[NDArray[np.uint8]] = []
        for start in range(0, len(crops), _BATCH):
            part = crops[start : start + _BATCH]
            batch = np.stack([square_of(crop, self.side) for crop in part]).transpose(0, 3, 1, 2)
            with torch.inference_mode():
                logits = self._logits(torch.from_numpy(np.ascontiguousarray(batch)).to(self.device))
                if not are_numbers(logits):
                    raise FaceRestoreError(NOT_NUMBERS)
                for crop, one in zip(part, logits, strict=True):
                    result.append(self._labels(one[None], crop.shape[0]))
        return result

    def _labels(self, logits: torch.Tensor, size: int) -> NDArray[np.uint8]:
        """Label map from 1×19×h×w logits, which are interpolated up to 512 px; larger crops repeat the labels."""
        fine = min(size, 512)
        labels = self._interpolated(logits, fine).argmax(dim=1)[0].to("cpu").numpy().astype(np.uint8)
        if self.name == "parsenet":
            labels = PARSENET_TO_BISENET[labels]
        if fine != size:
            labels = np.asarray(cv2.resize(labels, (size, size), interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)
        return labels

    def _interpolated(self, logits: torch.Tensor, side: int) -> torch.Tensor:
        import torch.nn.functional as F

        if logits.shape[-1] == side:
            return logits
        corners = self.name == "bisenet"  # as in BiSeNet's own resizing
        return F.interpolate(logits, (side, side), mode="bilinear", align_corners=corners)

    def _logits(self, batch: torch.Tensor) -> torch.Tensor:
        """Logits (B×19×h×w, at the network's own resolution) of crops (B×3×side×side, RGB in [0, 1])."""

        if self.name == "parsenet":
            logits: torch.Tensor = self._network(batch * 2 - 1)[0]
            return logits
        mean = batch.new_tensor([0.485, 0.456, 0.406])[:, None, None]
        std = batch.new_tensor([0.229, 0.224, 0.225])[:, None, None]
        # Run only the main head; the two auxiliary heads are for training.
        feature, context, _ = self._network.cp((batch - mean) / std)
        head: torch.Tensor = self._network.conv_out(self._network.ffm(feature, context))[0]
        return head


def load_parser(path: Path, device: str | torch.device = "cpu") -> Parser:
    """Load a parser; its tensors decide whether it is BiSeNet (input of 512 px) or ParseNet (256 px).

    Args:
        path: the model file.
        device: device to run on.

    Raises:
        ModelFileError: the file cannot be read (see `read_state`), or is neither of the two.
        FaceRestoreError: facexlib cannot be imported.
    """
    from ..catalogue.peek import views
    from ..networks.building import building
    from ..networks.load import fill, read_state
    from ..system import facexlib_import

    bisenet, parsenet = (
        facexlib_import.import_facexlib(f"facexlib.parsing.{name}") for name in ("bisenet", "parsenet")
    )
    state = read_state(Path(path))
    network: torch.nn.Module
    with building():
        for view in views(state):
            if "cp.resnet.conv1.weight" in view:
                name, side, network = "bisenet", 512, bisenet.BiSeNet(num_class=19)
                break
            if "encoder.0.conv2d.weight" in view:
                # The file is for 512 px, but the layers take any size; at 256 px they need a quarter of the time.
                name, side = "parsenet", 256
                network = parsenet.ParseNet(in_size=512, out_size=512, parsing_ch=19)
                break
        else:
            raise ModelFileError(
                f"{path}: is neither BiSeNet nor ParseNet; delete it and download it again "
                "(`facerestore models download`)."
            )
        fill(network.float(), {short: state[full] for short, full in view.items()}, name, str(path))
    return _NetworkParser(name, network.eval().requires_grad_(False).to(device), side, device)


def network_parser(name: str, network: nn.Module, device: str | torch.device = "cpu") -> Parser:
    """A parser around one of facexlib's networks; `name` is "bisenet" or "parsenet"."""
    return _NetworkParser(name, network, 512 if name == "bisenet" else 256, device)


def create_parser(models: Inventory | Sequence[Path], device: str | torch.device = "cpu") -> Parser:
    """Load the best installed parser: BiSeNet, else ParseNet, else `lite`, which is part of the package.

    Files are recognised by their tensors, not their names. If there is no parser, a file that has a parser's name is
    loaded, so that the error says what is wrong with it.

    Args:
        models: an inventory, or folders that are searched in this order, with their sub-folders.
        device: device to run on.

    Raises:
        ModelFileError: the file is damaged, or not a parser.
        FaceRestoreError: facexlib, which contains the networks, cannot be imported.
    """
    path = find_file(models)
    if path is not None:
        return load_parser(path, device)
    from .lite_parser import load_lite_parser

    return load_lite_parser(device)


def find_file(models: Inventory | Sequence[Path]) -> Path | None:
    """The file that `create_parser` loads; None if there is none, so that it loads `lite`."""
    there = inventory_of(models)
    misfits = (file.path for file in there.misfits("parser").values())
    return next(iter([*there.installed("parser").values(), *misfits]), None)


def face_mask(labels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Mask of the face (skin, brows, eyes, glasses, ears, nose, mouth, lips): size×size float32, 1 there, else 0."""
    return _choose(labels, _FACE)


def covers(labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where something may lie over the face: hair, hat and clothes; size×size."""
    return _choose(labels, _COVERS) > 0


def _choose(labels: NDArray[np.uint8], classes: Iterable[int]) -> NDArray[np.float32]:
    table = np.zeros(256, np.float32)
    table[list(classes)] = 1.0
    return table[labels]


def part_mask(
    labels: NDArray[np.uint8] | None,
    parts: Sequence[Part],
    landmarks: ArrayLike | None = None,
    size: int | None = None,
) -> NDArray[np.float32]:
    """Mask of parts of the face.

    It is read off the label map. Without one, and for eyes or a mouth that the map lacks, shapes are drawn from the
    landmarks: ellipses for eyes, mouth and teeth, a band for glasses. Hair has no such shape; a mask that is an ellipse
    excludes most of it.

    Args:
        labels: size×size label map, or None.
        parts: names of the parts, e.g. `Options.keep_parts`.
        landmarks: 5×2, in pixels of the crop; without them no shapes are drawn.
        size: side of the crop in pixels; not needed with `labels`.

    Returns:
        size×size float32, 1 on the parts, 0 elsewhere.

    Raises:
        InputError: there is neither a label map nor a size, or all landmarks coincide.
    """
    if labels is not None:
        side = labels.shape[0]
    elif size is not None:
        side = size
    else:
        raise InputError("part mask: give a label map, or landmarks and the size of the crop")
    mask = np.zeros((side, side), np.float32)
    for name in parts:
        found = np.zeros_like(mask) if labels is None else _choose(labels, PARTS[name])
        visible = labels is not None and (found.any() or name not in ("eyes", "mouth"))
        if not visible and landmarks is not None:
            found = _part_shape(name, np.asarray(landmarks, np.float64), side)
        np.maximum(mask, found, out=mask)
    return mask


def _frame(landmarks: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Axes of the face from 5×2 landmarks: unit vector to its right in the image, unit vector to the chin, and distance
    from the middle of the eyes to the middle of the mouth in pixels."""
    down = (landmarks[3] + landmarks[4] - landmarks[0] - landmarks[1]) / 2
    length = float(np.hypot(*down))
    if length < 1e-6:
        across = landmarks[1] - landmarks[0]
        length = float(np.hypot(*across))
        if length < 1e-6:
            raise InputError("landmarks: all points coincide, so no shape fits them; detect the face again")
        down = np.array([-across[1], across[0]])
    down = down / np.hypot(*down)
    return np.array([down[1], -down[0]]), down, length


def _ellipse(
    size: int, centre: NDArray[np.float64], right: NDArray[np.float64], down: NDArray[np.float64], a: float, b: float
) -> NDArray[np.float32]:
    """Mask (size×size float32) of an ellipse with half axes `a` along `right` and `b` along `down`.

    It is 1 inside, with an edge that is one pixel wide.
    """
    y, x = np.mgrid[0:size, 0:size].astype(np.float32)
    dx, dy = x - np.float32(centre[0]), y - np.float32(centre[1])
    u = (dx * np.float32(right[0]) + dy * np.float32(right[1])) / np.float32(max(a, 0.5))
    v = (dx * np.float32(down[0]) + dy * np.float32(down[1])) / np.float32(max(b, 0.5))
    edge = (1.0 - np.sqrt(u * u + v * v)) * np.float32(min(max(a, 0.5), max(b, 0.5)))
    return np.asarray(np.clip(edge + 0.5, 0.0, 1.0), np.float32)


# How far a face reaches from the middle of its eyes, in distances between eyes and mouth: to the cheek that the nose
# turns away from, to the other cheek, to the top of the forehead and to the chin. Each row is a, b, c, d of a + b·turn
# + c·width + d, fitted to the face ovals that MediaPipe's mesh finds on 374 of the sample photographs, of all yaws. d
# is one standard deviation of what is left; at the forehead more, because the mesh ends below the hairline.
_EXTENT = np.array(
    [[0.33, 1.55, 0.73, 0.08], [0.34, -1.20, 0.72, 0.08], [0.35, 0.03, 0.42, 0.33], [0.72, 0.47, 0.99, 0.12]]
)
# |x|^n + |y|^n = 1; a face is a little fuller than an ellipse (n = 2).
_FULLNESS = 2.5
# Least distance from a landmark to the outline that the nose points to, in distances between eyes and mouth.
_BEYOND_THE_NOSE = 0.25
# Where the face is widest, as a fraction of the way from its middle to its upper end: at the cheekbones.
_WIDEST = 0.15


def ellipse_mask(landmarks: ArrayLike, size: int, grow: float = 1.0) -> NDArray[np.float32]:
    """Mask of an ellipse over the whole face, from forehead to chin and from jaw to jaw, with its beard.

    The ellipse rotates with the face. If the face is turned, it is narrower and shifted towards the visible cheek. Its
    four half axes differ. 1.6 % of the mesh's oval is outside it on average (see `_EXTENT`).

    Args:
        landmarks: 5×2, in pixels of the crop.
        size: side of the crop in pixels.
        grow: factor of the ellipse's axes.

    Returns:
        size×size float32 in [0, 1].

    Raises:
        InputError: all landmarks coincide.
    """
    points = np.asarray(landmarks, np.float64)
    right, down, length = _frame(points)
    eyes, mouth = (points[0] + points[1]) / 2, (points[3] + points[4]) / 2
    across = (abs(float((points[1] - points[0]) @ right)), abs(float((points[4] - points[3]) @ right)))
    width = float(np.clip(max(across) / length, 0.3, 1.15))  # 0.95 from the front
    turn = float((points[2] - (eyes + mouth) / 2) @ right) / length  # nose towards image right: positive
    if turn < 0:
        right = -right
    near, far, up, low = _EXTENT @ (1.0, min(abs(turn), 0.7), width, 1.0) * length
    # The nose of a turned face is outside of the mesh's oval.
    far = max(far, float(((points - eyes) @ right).max()) + _BEYOND_THE_NOSE * length)
    middle = (low - up) / 2 - _WIDEST * (low + up) / 2
    centre = eyes + right * ((far - near) / 2) + down * middle
    y, x = np.mgrid[0:size, 0:size].astype(np.float32)
    dx, dy = x - np.float32(centre[0]), y - np.float32(centre[1])
    u = (dx * np.float32(right[0]) + dy * np.float32(right[1])) * np.float32(2 / (grow * (near + far)))
    v = dx * np.float32(down[0]) + dy * np.float32(down[1])
    v *= np.where(v < 0, np.float32(1 / (grow * (up + middle))), np.float32(1 / (grow * (low - middle))))
    radius = (np.abs(u) ** _FULLNESS + np.abs(v) ** _FULLNESS) ** (1 / _FULLNESS)
    return np.asarray(np.clip((1.0 - radius) * (grow * (near + far) / 2) + 0.5, 0.0, 1.0), np.float32)


def _part_shape(name: str, points: NDArray[np.float64], size: int) -> NDArray[np.float32]:
    """Mask (size×size float32) of a part's shape from 5×2 landmarks; all 0 for hair."""
    right, down, length = _frame(points)
    if name == "eyes":
        shapes = [_ellipse(size, eye, right, down, 0.34 * length, 0.19 * length) for eye in points[:2]]
        return np.maximum(shapes[0], shapes[1])
    if name in ("mouth", "teeth"):
        centre = (points[3] + points[4]) / 2
        half = max(float(np.hypot(*(points[4] - points[3]))) / 2, 0.15 * length)
        across = points[4] - points[3]
        if np.hypot(*across) > 0.2 * length:
            right = across / np.hypot(*across)
            down = np.array([-right[1], right[0]])
        if name == "mouth":
            return _ellipse(size, centre + down * (0.02 * length), right, down, half + 0.12 * length, 0.27 * length)
        return _ellipse(size, centre, right, down, 0.85 * half, 0.13 * length)
    if name == "glasses":
        centre = (points[0] + points[1]) / 2 + down * (0.06 * length)
        half = float(np.hypot(*(points[1] - points[0]))) / 2 + 0.5 * length
        y, x = np.mgrid[0:size, 0:size].astype(np.float32)
        u = (x - centre[0]) * right[0] + (y - centre[1]) * right[1]
        v = (x - centre[0]) * down[0] + (y - centre[1]) * down[1]
        return np.asarray((np.abs(u) <= half) & (np.abs(v) <= 0.36 * length), np.float32)
    return np.zeros((size, size), np.float32)
