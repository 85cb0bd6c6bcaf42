"""The built-in parser: its network, its labels, and what it sees in a real photograph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from lib_facerestore import FaceRestorer, ModelFileError
from lib_facerestore.catalogue import weights_path
from lib_facerestore.errors import FaceRestoreError, InputError
from lib_facerestore.faces import alignment, warping
from lib_facerestore.stages import lite_parser, parsing
from lib_facerestore.stages.detection import create_detector
from lib_facerestore.stages.lite_parser import NAMES, LiteParser, ParserNet, load_lite_parser, to_bisenet
from lib_facerestore.stages.masks import build_mask
from lib_facerestore.stages.skin import with_missed_skin

from ..conftest import KnownFaces
from ..pipeline_helpers import SMALL

SKIN, HAIR, OCCLUDER = (NAMES.index(name) for name in ("skin", "hair", "occluder"))
FACE_CLASSES = set(np.flatnonzero(parsing.face_mask(np.arange(19, dtype=np.uint8)[None])[0]).tolist())


class ByColour(nn.Module):
    """Stands in for the network: skin everywhere, hair where it is blue, an occluder where it is green."""

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        half = nn.functional.avg_pool2d(crops, 2)
        logits = torch.full((len(crops), len(NAMES), *half.shape[2:]), -9.0)
        logits[:, SKIN] = 0.0
        logits[:, HAIR] = 20 * half[:, 2]
        logits[:, OCCLUDER] = 20 * half[:, 1]
        return logits


def painted(size: int, *spots: tuple[slice, slice, int]) -> NDArray[np.float32]:
    crop = np.zeros((size, size, 3), np.float32)
    for rows, columns, channel in spots:
        crop[rows, columns, channel] = 1.0
    return crop


@pytest.fixture(scope="module")
def astronaut() -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float64]]:
    """The photograph, the aligned crop of its face (512 px), and the landmarks in the crop."""
    image: NDArray[np.uint8] = pytest.importorskip("skimage.data").astronaut()
    (face,) = create_detector("lite").detect([image], 0.5)[0]
    matrix = alignment.face_transform(face, 512)
    return image, warping.crop_face(image, matrix, 512), alignment.apply_affine(matrix, face.landmarks)


def test_a_fringe_of_the_skins_colour_is_left_out_of_the_mask(
    astronaut: tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float64]],
) -> None:
    _, crop, landmarks = astronaut
    labels = with_missed_skin(load_lite_parser().masks([crop], [crop])[0], crop, landmarks, True)
    mask = build_mask(512, landmarks, labels)
    assert mask[115:150, 200:340].mean() < 0.02
    assert mask[195:215, 200:320].mean() > 0.98, "the forehead below it"


def test_the_network_is_small_and_gives_logits_at_half_the_side() -> None:
    network = ParserNet()
    assert network(torch.zeros(2, 3, 256, 256)).shape == (2, len(NAMES), 128, 128)
    assert weights_path(lite_parser.WEIGHTS).stat().st_size < 6_000_000


def test_labels_have_the_public_parsers_numbers() -> None:
    labels = np.tile(np.arange(len(NAMES), dtype=np.uint8)[:, None], (1, 8))
    found = to_bisenet(labels)
    for row, name in enumerate(NAMES):
        here = [parsing.CLASSES[found[row, column]] for column in (0, 7)]
        if name in ("brow", "eye", "ear"):
            assert here == [f"left {name}", f"right {name}"]
        else:
            assert here == [{"occluder": "cloth", "other": "background"}.get(name, name)] * 2


def test_crops_of_all_sizes_get_labels_of_their_size() -> None:
    crops = [painted(size, (slice(0, size // 2), slice(0, size), 2)) for size in (128, 256, 512, 1024)]
    for size, labels in zip((128, 256, 512, 1024), LiteParser(ByColour()).masks(crops), strict=True):
        assert labels.shape == (size, size) and labels.dtype == np.uint8
        assert set(labels[: size // 2 - 8].ravel()) == {17} and set(labels[size // 2 + 8 :].ravel()) == {1}


def test_what_is_in_front_in_the_original_or_in_the_result_is_no_face() -> None:
    left, right = (slice(0, 256), slice(0, 64)), (slice(0, 256), slice(192, 256))
    restored, original = painted(256, (*left, 1)), painted(256, (*right, 1), (slice(0, 64), slice(64, 192), 2))
    parser = LiteParser(ByColour())
    (alone,) = parser.masks([restored])
    assert (alone[:, :60] == 16).all() and (alone[:, 70:] == 1).all()
    (both,) = parser.masks([restored], [original])
    assert (both[:, :60] == 16).all() and (both[:, 196:] == 16).all()
    assert (both[:, 70:186] == 1).all()  # other classes are read off the result alone


def test_values_that_are_not_numbers_are_no_labels() -> None:
    network = torch.nn.Conv2d(3, 12, 1)
    torch.nn.init.constant_(network.weight, float("nan"))
    with pytest.raises(FaceRestoreError, match="not numbers"):
        LiteParser(network).masks([painted(64)])


def test_crops_must_be_square_rgb_and_originals_of_their_size() -> None:
    parser = LiteParser(ByColour())
    with pytest.raises(InputError, match="square"):
        parser.masks([np.zeros((8, 9, 3), np.float32)])
    with pytest.raises(InputError, match="one original for each crop"):
        parser.masks([painted(64)], [painted(32)])
    with pytest.raises(InputError, match="one original for each crop"):
        parser.masks([painted(64)], [])


def test_missing_weights_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(lite_parser, "weights_path", lambda name: tmp_path / name)
    with pytest.raises(ModelFileError, match=r"lite_parser\.safetensors"):
        load_lite_parser()


def test_the_parts_of_a_real_face_are_where_its_landmarks_are(
    astronaut: tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float64]],
) -> None:
    _, crop, landmarks = astronaut
    (labels,) = load_lite_parser().masks([crop])
    wanted = ({4}, {5}, {10}, {11, 12, 13, 1}, {11, 12, 13, 1})
    for (x, y), classes in zip(landmarks, wanted, strict=True):
        around = labels[round(y) - 4 : round(y) + 5, round(x) - 4 : round(x) + 5]
        assert np.isin(around, list(classes)).mean() > 0.5, (x, y, np.unique(around))
    mouth = landmarks[3:].mean(0).round().astype(int)
    assert np.isin(labels[mouth[1] + 6 : mouth[1] + 16, mouth[0] - 3 : mouth[0] + 4], [11, 12, 13]).all()
    assert (labels[:20, :] != 1).all()  # above the head
    ellipse = parsing.ellipse_mask(landmarks, 512) > 0
    face = np.isin(labels, list(FACE_CLASSES))
    assert face[ellipse].mean() > 0.7  # her fringe covers the rest
    assert face[~ellipse].mean() < 0.1
    assert (labels == 17).mean() > 0.05  # she has hair


@pytest.mark.parametrize("colour", [(0.1, 0.5, 0.2), (0.85, 0.85, 0.9), (0.15, 0.15, 0.18)])
def test_a_thing_in_front_of_a_real_face_is_not_face(
    astronaut: tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float64]], colour: tuple[float, float, float]
) -> None:
    _, crop, landmarks = astronaut
    hidden = crop.copy()
    hidden[330:512, 250:512] = colour
    thing = np.zeros((512, 512), bool)
    thing[345:, 265:] = True
    parser = load_lite_parser()
    (before,), (after,) = parser.masks([crop]), parser.masks([crop], [hidden])  # the restorer removed it
    assert np.isin(before[thing], list(FACE_CLASSES)).mean() > 0.15
    assert np.isin(after[thing], list(FACE_CLASSES)).mean() < 0.02
    mask = build_mask(512, landmarks, after)
    assert mask[thing].mean() < 0.05 and mask[240:290, 200:300].min() > 0.9


def test_it_makes_the_mask_where_no_other_parser_is_installed(models: Path, photo: NDArray[np.uint8]) -> None:
    class Parser:
        name = "lite"
        knows_covers = False

        def masks(
            self, crops: list[NDArray[np.float32]], originals: list[NDArray[np.float32]] | None = None
        ) -> list[NDArray[np.uint8]]:
            assert originals is not None
            asked.append((crops[0], originals[0]))
            return [np.tile(np.array([[1] * 128 + [0] * 128], np.uint8), (256, 1)) for _ in crops]

    asked: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []
    restorer = FaceRestorer(models, "cpu", detector=KnownFaces((190, 100, 120)))
    restorer.restore(photo, SMALL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lite_parser, "load_lite_parser", lambda device: Parser())
        restorer.unload()
        result = restorer.restore(photo, SMALL.replace(mask_feather=0.0))
    assert result.faces[0].applied and len(asked) == 1
    changed = np.flatnonzero((result.image != photo).any((0, 2)))
    assert changed.min() < 185 and changed.max() <= 194  # the left half of the face alone
