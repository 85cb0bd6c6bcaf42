"""retinaface: batches, looks and loading on synthetic networks; the original's numbers from the oracle."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lib_facerestore.errors import FaceRestoreError, InputError, ModelFileError, OptionError
from lib_facerestore.faces.face import Face
from lib_facerestore.stages.detection import create_detector, pieces
from lib_facerestore.stages.detection.postprocess import Detections, decode_boxes, decode_landmarks, prior_boxes
from lib_facerestore.stages.detection.retinaface import (
    MEAN_BGR,
    MOBILENET,
    RESNET50,
    RetinaFaceDetector,
    build_network,
    load_retinaface,
)
from lib_facerestore.stages.detection.verified import VerifiedDetector
from lib_facerestore.system import facexlib_import

from ...oracle import check, synth


class RedBlobs(nn.Module):
    """Sees a face wherever at least 9×9 pixels are red; says so at every stride-8 cell that holds such a spot."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        self.shapes.append(tuple(batch.shape))
        mean = torch.tensor(MEAN_BGR)[None, :, None, None]
        pixels = batch + mean
        red = ((pixels[:, 2:3] > 200) & (pixels[:, 0:1] < 60)).float()
        spot = F.max_pool2d(F.avg_pool2d(red, 9, 1, 4), 8)
        count = len(prior_boxes(batch.shape[2], batch.shape[3]))
        scores = torch.zeros(len(batch), count)
        cells = spot.flatten(1)
        scores[:, 0 : 2 * cells.shape[1] : 2] = (cells > 0.99) * 0.9
        points = torch.tensor([[-3.0, -2], [3, -2], [0, 0], [-2, 3], [2, 3]]).flatten()
        return (
            torch.zeros(len(batch), count, 4),
            torch.stack((1 - scores, scores), -1),
            points.expand(len(batch), count, 10),
        )


def picture(height: int, width: int, *blobs: tuple[int, int, int]) -> np.ndarray:
    """Grey, with red squares (centre x, centre y, side)."""
    image = np.full((height, width, 3), 90, np.uint8)
    for x, y, side in blobs:
        image[y - side // 2 : y - side // 2 + side, x - side // 2 : x - side // 2 + side] = (255, 0, 0)
    return image


def centres(faces: Sequence[Face]) -> np.ndarray:
    return np.array([face.centre for face in faces]).reshape(-1, 2)


@pytest.fixture(scope="module")
def random_detector() -> RetinaFaceDetector:
    torch.manual_seed(0)
    return RetinaFaceDetector(build_network(MOBILENET), "random")


def test_finds_a_blob_where_it_is_in_rgb() -> None:
    detector = RetinaFaceDetector(RedBlobs(), "blobs")
    faces = detector.detect([picture(200, 300, (120, 80, 44))], 0.5)[0]
    assert faces and all(face.number == 0 for face in faces)
    assert np.abs(centres(faces) - [120, 80]).max() < 30
    blue = picture(200, 300, (120, 80, 44))[:, :, ::-1]
    assert detector.detect([np.ascontiguousarray(blue)], 0.5) == [[]]


def test_second_look_finds_a_small_face_in_a_large_picture() -> None:
    network = RedBlobs()
    detector = RetinaFaceDetector(network, "blobs")
    image = picture(900, 1280, (1000, 600, 14), (300, 200, 80))
    first = detector.look([pieces.first_look(image, 640)], 0.5)[0]
    assert len(first.scores) and np.abs(first.boxes[:, 0] - 1000).min() > 300, "the first look must miss it"
    spots = centres(detector.detect([image], 0.5)[0])
    assert np.abs(spots - [1000, 600]).max(1).min() < 12
    assert np.abs(spots - [300, 200]).max(1).min() < 50


def test_second_look_enlarges_a_small_picture_without_a_face() -> None:
    detector = RetinaFaceDetector(RedBlobs(), "blobs")
    image = picture(220, 260, (100, 90, 6))
    spots = centres(detector.detect([image], 0.5)[0])
    assert len(spots) and np.abs(spots - [100, 90]).max() < 12


def test_no_second_look_where_a_large_face_is_seen_at_full_size() -> None:
    face = Detections(
        np.array([[10, 10, 200, 220]], np.float32), np.array([0.9], np.float32), np.zeros((1, 5, 2), np.float32)
    )
    assert not pieces.wants_second_look(np.zeros((400, 500, 3), np.uint8), face, 640)
    assert pieces.wants_second_look(np.zeros((400, 500, 3), np.uint8), Detections.nothing(), 640)
    assert pieces.wants_second_look(np.zeros((1600, 900, 3), np.uint8), face, 640)


@pytest.mark.parametrize(("height", "width"), [(900, 1280), (2000, 700), (64, 3000), (500, 500)])
def test_tiles_cover_the_picture_and_overlap(height: int, width: int) -> None:
    image = np.zeros((height, width, 3), np.uint8)
    tiles = pieces.tiles(image, 2 * pieces.second_scale(image, 640), 640)
    wide, tall = tiles[0].resized
    seen = np.zeros((tall, wide), bool)
    for tile in tiles:
        assert max(tile.pixels.shape[:2]) <= 1280
        x, y = tile.corner
        seen[y : y + tile.pixels.shape[0], x : x + tile.pixels.shape[1]] = True
    assert seen.all()
    lefts = sorted({tile.corner[0] for tile in tiles})
    assert all(b - a <= 1280 - pieces.OVERLAP for a, b in pairwise(lefts))


def test_a_face_on_the_seam_of_tiles_is_found_once() -> None:
    tile = pieces.tiles(np.zeros((640, 2560, 3), np.uint8), 1.0, 640)[0]
    boxes = np.array([[1240, 100, 1279.5, 140], [100, 100, 140, 140], [0, 5, 40, 45], [10, 10, 300, 300]], np.float32)
    kept = pieces.uncut(Detections(boxes, np.ones(4, np.float32), np.zeros((4, 5, 2), np.float32)), tile)
    assert kept.boxes[:, 0].tolist() == [100, 0], "cut by the seam and too large go, the picture's own edge stays"


def test_pictures_of_one_size_share_a_batch_and_answers_do_not_mix() -> None:
    network = RedBlobs()
    detector = RetinaFaceDetector(network, "blobs")
    images = [
        picture(240, 320, (60, 60, 48)),
        picture(200, 130, (60, 100, 48)),
        picture(240, 320, (250, 180, 48)),
        picture(240, 320),
    ]
    together = detector.detect(images, 0.5)
    assert (3, 3, 256, 320) in network.shapes
    assert together == [detector.detect([image], 0.5)[0] for image in images]
    assert together[3] == [] and len(together[0]) and len(together[2])
    assert detector.detect([], 0.5) == []


def test_batching_does_not_change_a_real_networks_answer(random_detector: RetinaFaceDetector) -> None:
    rng = np.random.default_rng(1)
    images = [rng.integers(0, 256, (64, 96, 3), dtype=np.uint8) for _ in range(3)]
    wholes = [pieces.first_look(image, 640) for image in images]
    together = random_detector.look(wholes, 0.3)
    for piece, found in zip(wholes, together, strict=True):
        alone = random_detector.look([piece], 0.3)[0]
        np.testing.assert_allclose(alone.boxes, found.boxes, atol=1e-3)
        np.testing.assert_allclose(alone.scores, found.scores, atol=1e-5)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((8, 8, 3), np.float32),
        np.zeros((0, 8, 3), np.uint8),
    ],
)
def test_refuses_what_is_not_an_rgb_picture(image: np.ndarray) -> None:
    with pytest.raises(InputError, match="picture 1"):
        RetinaFaceDetector(RedBlobs(), "blobs").detect([image], 0.5)


def test_values_that_are_not_numbers_are_an_error_and_not_a_picture_without_faces(
    random_detector: RetinaFaceDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = random_detector.network

    def broken(batch: torch.Tensor) -> tuple[torch.Tensor, ...]:
        boxes, scores, landmarks = network(batch)
        return boxes, scores * float("nan"), landmarks

    monkeypatch.setattr(random_detector, "network", broken)
    with pytest.raises(FaceRestoreError, match=r"the detector .* failed \(its output has values that are not numbers"):
        random_detector.detect([picture(64, 64)], 0.5)


def test_tiny_and_thin_pictures_do_not_fail() -> None:
    detector = RetinaFaceDetector(RedBlobs(), "blobs")
    sizes = [(1, 1), (1, 900), (900, 1), (3, 5)]
    assert detector.detect([np.zeros((h, w, 3), np.uint8) for h, w in sizes], 0.5) == [[]] * 4


def test_reads_a_view_that_is_not_contiguous() -> None:
    image = picture(240, 320, (60, 60, 48))
    view = np.asfortranarray(image)[::-1][::-1]
    detector = RetinaFaceDetector(RedBlobs(), "blobs")
    assert detector.detect([view], 0.5) == detector.detect([image], 0.5)


@pytest.mark.parametrize("suffix", [".pth", ".ckpt"])
@pytest.mark.parametrize(("key", "prefix"), [("", "module."), ("params_ema", ""), ("state_dict", "model.module.")])
def test_loads_by_content_whatever_wraps_and_prefixes_the_tensors(
    tmp_path: Path, random_detector: RetinaFaceDetector, key: str, prefix: str, suffix: str
) -> None:
    state = {prefix + name: value for name, value in random_detector.network.state_dict().items()}
    path = tmp_path / f"any name{suffix}"
    torch.save({key: state, "step": 3} if key else state, path)
    checked = create_detector(str(path))
    assert isinstance(checked, VerifiedDetector)
    loaded = checked.base
    assert isinstance(loaded, RetinaFaceDetector)
    batch = torch.randn(1, 3, 64, 64)
    for ours, theirs in zip(loaded.network(batch), random_detector.network(batch), strict=True):
        assert torch.equal(ours, theirs)
    path.rename(tmp_path / "detection_mobilenet0.25_Final.pth")
    assert create_detector("auto", [tmp_path / "absent", tmp_path]).name == "retinaface-mobilenet"
    assert create_detector("retinaface-mobilenet", [tmp_path]).name == "retinaface-mobilenet"
    with pytest.raises(ModelFileError, match=r"any name\.(pth|ckpt)"):
        load_retinaface(path, "x")  # it was renamed away


def test_a_damaged_file_is_named(tmp_path: Path, random_detector: RetinaFaceDetector) -> None:
    state = dict(random_detector.network.state_dict())
    path = tmp_path / "detection_mobilenet0.25_Final.pth"
    lacking = {key: value for key, value in state.items() if key != "ClassHead.1.conv1x1.weight"}
    for broken in (lacking, state | {"body.fc.weight": torch.ones(3)}, state | {"fpn.merge1.0.weight": torch.ones(4)}):
        torch.save(broken, path)
        with pytest.raises(ModelFileError, match=r"detection_mobilenet0\.25_Final\.pth.*get it again"):
            create_detector("retinaface-mobilenet", [tmp_path])
    torch.save({"conv.weight": torch.zeros(1)}, path)
    with pytest.raises(ModelFileError, match="something else"):
        create_detector("retinaface-mobilenet", [tmp_path])
    path.write_bytes(b"not a model")
    with pytest.raises(ModelFileError, match=path.name):
        create_detector("retinaface-mobilenet", [tmp_path])


def test_a_file_of_the_other_network_is_refused(tmp_path: Path, random_detector: RetinaFaceDetector) -> None:
    torch.save(random_detector.network.state_dict(), tmp_path / "detection_Resnet50_Final.pth")
    with pytest.raises(ModelFileError, match=r"mobile0\.25"):
        create_detector("retinaface-resnet50", [tmp_path])


def test_names(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="retinaface-resnet50"):
        create_detector("retinanet")
    with pytest.raises(ModelFileError, match=r"detection_Resnet50_Final\.pth is not installed .*put it into"):
        create_detector("retinaface-resnet50", [tmp_path])
    with pytest.raises(ModelFileError, match="yunet"):
        create_detector("yunet", [tmp_path])


@pytest.mark.parametrize(
    ("file", "kind"), [("detection_Resnet50_Final", RESNET50), ("detection_mobilenet0.25_Final", MOBILENET)]
)
def test_equals_the_original(file: str, kind: str, tmp_path: Path) -> None:
    spec, meta, gold = check.load(file)
    state = synth.synth_state_dict(spec, meta.get("aliases"))
    torch.save({"module." + key: value for key, value in state.items()}, tmp_path / "weights.pth")
    detector = load_retinaface(tmp_path / "weights.pth", "gold", kind=kind)
    images = [np.ascontiguousarray(synth.pseudo_image_u8(seed, 480, 640)[:, :, ::-1]) for seed in range(3)]
    boxes, scores, landmarks = detector._forward(images, 480, 640)
    for key, value in (("loc", boxes), ("conf", scores), ("landms", landmarks)):
        reference, second = gold[key], gold[f"{key}_seed1"]
        assert np.abs(value[0].numpy() - reference).max() / reference.std() < 1e-4, key
        assert np.abs(value[1].numpy()[::20] - second).max() / reference.std() < 1e-4, key
    priors = prior_boxes(480, 640)
    size = np.array([640, 480], np.float32)
    every = slice(None, None, 50)
    np.testing.assert_allclose(priors[every, :2].numpy() / size, gold["priors_sub"][:, :2], atol=1e-6)
    np.testing.assert_allclose(priors[every, 2:].numpy() / size, gold["priors_sub"][:, 2:], atol=1e-6)
    ours = decode_boxes(boxes[0], priors)[every].numpy()
    np.testing.assert_allclose(ours, gold["boxes_sub"], atol=2e-2, rtol=1e-4)
    points = decode_landmarks(landmarks[0], priors)[every].numpy().reshape(-1, 10)
    np.testing.assert_allclose(points, gold["landm_sub"], atol=2e-2, rtol=1e-4)


def test_our_mobilenet_computes_what_facexlibs_does() -> None:
    torch.manual_seed(1)
    theirs = (
        facexlib_import.import_facexlib("facexlib.detection.retinaface").RetinaFace(network_name="mobile0.25").eval()
    )
    for name, value in theirs.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 1.5)
        elif name.endswith("running_mean"):
            value.uniform_(-0.5, 0.5)
    ours = build_network(MOBILENET).eval()
    ours.load_state_dict(theirs.state_dict())
    picture = torch.randn(2, 3, 100, 140) * 60  # no multiple of 32: the pyramid must cope
    with torch.no_grad():
        for mine, other in zip(ours(picture), theirs(picture), strict=True):
            assert torch.allclose(mine, other, atol=1e-5)
