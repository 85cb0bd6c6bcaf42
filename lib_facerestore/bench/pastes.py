"""Three ways to put the same restored crop back into a picture: ours, facexlib's, and a plain square."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from ..catalogue import Inventory, Store
from ..checks.replaced import replaced
from ..faces import alignment, warping
from ..faces.face import Face
from ..networks.archs.family import Restorer
from ..networks.load import Network, read_state
from ..options.table import Options
from ..pipeline import FaceRestorer
from ..results import ImageT
from ..stages.loaded_models import ChosenRestorer, LoadedModels
from ..system import facexlib_import
from .metrics import FloatImage, Pixels

Paste = Callable[[Pixels, Face, FloatImage], Pixels]
"""Puts a restored crop (size×size×3 float32 RGB in [0, 1]) of a face into a picture; returns a new picture."""
OURS, FACEXLIB, SQUARE = "ours", "facexlib", "square"
PLAIN = Options.from_mapping({"color": "none", "detail": 0, "grain": 0})
"""Options with which our paste is a plain blend: what is seen then is the mask."""
_RIM = 0.06
"""Width of the square's soft rim, as a fraction of the crop's side."""


def matrix_of(face: Face, size: int) -> NDArray[np.float64]:
    """The 2×3 matrix, picture → crop, that all pastes use."""
    return alignment.face_transform(face, size, alignment.ffhq_template(size))


def cut(image: Pixels, face: Face, size: int) -> FloatImage:
    """The face's aligned crop, size×size×3 float32 in [0, 1]."""
    return warping.crop_face(image, matrix_of(face, size), size)


class KnownFaces:
    """A `Detector` that finds the faces it was told of."""

    name = "known"

    def __init__(self, faces: Sequence[Face]) -> None:
        self.faces = list(faces)

    def detect(self, images: Sequence[NDArray[np.uint8]], confidence: float) -> list[list[Face]]:
        """See `Detector.detect`; the arguments are ignored."""
        return [list(self.faces) for _ in images]


class _Given(Restorer):
    """A network that answers with one given crop (size×size×3 in [0, 1]), whatever it is shown."""

    family = "lite"

    def __init__(self, crop: FloatImage) -> None:
        super().__init__()
        self.size = crop.shape[0]
        self.register_buffer("crop", torch.from_numpy(np.ascontiguousarray(crop)).permute(2, 0, 1)[None] * 2 - 1)

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        """The given crop, once for each face."""
        return self.get_buffer("crop").expand(len(faces), -1, -1, -1)


class _GivenModels(LoadedModels):
    """Loads everything but the detector and the restorer, whose answers are given with `give`.

    Args:
        device: device of the parser.
        model: the restorer that the crops stand for.
    """

    def __init__(self, device: torch.device, model: str) -> None:
        super().__init__(device, "float32")
        self._model = model
        self._network: Network | None = None

    def give(self, face: Face, crop: FloatImage) -> None:
        """Set the face that is found, and its restored crop."""
        self.own_detector = KnownFaces([face])
        self._network = Network(_Given(crop), self.device, torch.float32)

    def restorer(self, model: str, there: Inventory) -> ChosenRestorer:
        """A restorer for the given crop; `model` is ignored."""
        like = super().restorer(self._model, there)
        return dataclasses.replace(like, size=self._given.size, larger=(), template="ffhq", knobs=frozenset())

    def network(self, restorer: ChosenRestorer) -> Network:
        """The network that answers with the given crop."""
        return self._given

    @property
    def _given(self) -> Network:
        assert self._network is not None, "give() comes first"
        return self._network


class OurPaste:
    """This package's paste, through the whole pipeline, with given faces and restored crops.

    Args:
        folders: model folders; a parser in them makes the mask.
        device: device of the parser.
        model: the restorer that the crops stand for.
    """

    def __init__(self, folders: Sequence[Path], device: torch.device, model: str) -> None:
        self._restorer = FaceRestorer(list(folders) or None, str(device))
        self._models = _GivenModels(device, model)
        self._restorer.loaded = self._models

    def __call__(self, image: ImageT, face: Face, crop: FloatImage, options: Options | None = None) -> ImageT:
        """Paste a crop, by default with the options of a fresh install: H×W×3 uint8 or uint16 → the same."""
        self._models.give(face, crop)
        return self._restorer.restore(image, options).image


class FacexlibPaste:
    """facexlib's `FaceRestoreHelper.paste_faces_to_input_image`.

    The mask is ParseNet's if its file is installed, as in the WebUI; else facexlib's soft square.

    Args:
        store: the model folders.
        device: device of ParseNet.

    Raises:
        FaceRestoreError: facexlib is not installed, or fails at import.
    """

    def __init__(self, store: Store, device: torch.device) -> None:
        self._module = facexlib_import.import_facexlib("facexlib.utils.face_restoration_helper")
        self._parser: Any = None
        self._device = device
        self._helpers: dict[int, Any] = {}
        path = store.scan().installed("parser").get("parsenet")
        if path is not None:
            parsenet = facexlib_import.import_facexlib("facexlib.parsing.parsenet")
            self._parser = parsenet.ParseNet(in_size=512, out_size=512, parsing_ch=19)
            self._parser.load_state_dict(read_state(path))
            self._parser.eval().to(device)

    def __call__(self, image: Pixels, face: Face, crop: FloatImage) -> Pixels:
        """Paste a crop; see `Paste`."""
        helper = self._helper(crop.shape[0])
        helper.clean_all()
        helper.read_image(np.ascontiguousarray(image[..., ::-1]))
        helper.affine_matrices.append(matrix_of(face, crop.shape[0]))
        helper.add_restored_face(np.ascontiguousarray(_eight_bit(crop)[..., ::-1]))
        helper.get_inverse_affine(None)
        return np.ascontiguousarray(np.asarray(helper.paste_faces_to_input_image())[..., ::-1]).astype(np.uint8)

    def _helper(self, size: int) -> Any:
        if size not in self._helpers:
            with (  # in place of its own networks, which it would download
                replaced(self._module, "init_detection_model", lambda *_, **__: None),
                replaced(self._module, "init_parsing_model", lambda *_, **__: self._parser),
            ):
                self._helpers[size] = self._module.FaceRestoreHelper(
                    1, size, use_parse=self._parser is not None, device=self._device
                )
        return self._helpers[size]


def paste_square(image: Pixels, face: Face, crop: FloatImage) -> Pixels:
    """A plain paste: the whole crop with a soft rim, warped with bilinear interpolation."""
    size, width = crop.shape[0], max(round(_RIM * crop.shape[0]), 2)
    mask = np.zeros((size, size), np.float32)
    mask[width:-width, width:-width] = 1
    mask = np.asarray(cv2.GaussianBlur(mask, (0, 0), width / 2), np.float32)
    rim = np.minimum(np.arange(size), np.arange(size)[::-1])
    mask *= np.minimum(np.minimum(rim[:, None], rim[None, :]) / 2, 1).astype(np.float32)
    to_picture = alignment.invert_affine(matrix_of(face, size))
    to = image.shape[1], image.shape[0]
    alpha = np.asarray(cv2.warpAffine(mask, to_picture, to), np.float32)[..., None]
    warped = np.asarray(cv2.warpAffine(crop, to_picture, to, borderMode=cv2.BORDER_REPLICATE), np.float32)
    return _eight_bit(image / np.float32(255) * (1 - alpha) + alpha * warped)


def whole(image: Pixels, face: Face, crop: FloatImage) -> Pixels:
    """The crop over the whole of its square, without a mask: the picture that a mask blends in."""
    size = crop.shape[0]
    to_picture = alignment.invert_affine(matrix_of(face, size))
    to = image.shape[1], image.shape[0]
    warped = np.asarray(cv2.warpAffine(crop, to_picture, to, flags=cv2.INTER_CUBIC), np.float32)
    inside = cv2.warpAffine(np.ones((size, size), np.float32), to_picture, to) > 0.999
    result = image.copy()
    result[inside] = _eight_bit(warped)[inside]
    return result


def opacity(name: str, pastes: Mapping[str, Paste], image: Pixels, face: Face, crop: FloatImage) -> FloatImage:
    """How much of the crop a paste shows in each pixel (H×W, about 0 to 1).

    It is measured: the crop is pasted a little darker and then brighter, and the results are compared. So it is true
    for any paste that blends, and for masks that follow from the crop's content.

    Args:
        name: name of the paste.
        pastes: the pastes.
        image: the picture.
        face: the face.
        crop: the restored crop.
    """
    paste = pastes[name]
    step = 0.04 if isinstance(paste, OurPaste) else 0.2  # the others round to 8 bits
    dark, bright = crop * np.float32(1 - step), crop * np.float32(1 - step) + np.float32(step)
    if isinstance(paste, OurPaste):
        fine = image.astype(np.uint16) * np.uint16(257)
        one, two = (paste(fine, face, which, PLAIN).astype(np.float32) / 65535 for which in (dark, bright))
    else:
        one, two = (paste(image, face, which).astype(np.float32) / 255 for which in (dark, bright))
    return np.clip((two - one).mean(axis=2) / np.float32(step), 0, 1)


def _eight_bit(values: FloatImage) -> Pixels:
    return np.clip(np.rint(values * 255), 0, 255).astype(np.uint8)
