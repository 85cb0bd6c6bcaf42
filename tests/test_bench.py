"""The bench: what it compares is the same work on the same weights; its table; its command. Never how fast it is."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lib_facerestore import bench, bench_reference, compat, reference
from lib_facerestore.archs.dfdnet_parts import PUBLIC_ENTRIES, random_dictionaries
from lib_facerestore.bench import Row, bench_network, network_pair, table
from lib_facerestore.catalogue import Store
from lib_facerestore.checkpoints import Network, load_network
from lib_facerestore.cli import main
from lib_facerestore.errors import ModelFileError, OptionError
from lib_facerestore.faces import Face
from lib_facerestore.reference import Original
from tests.conftest import face_at, narrow_dfdnet

Tensors = Mapping[str, torch.Tensor]

compat.prepare()
CPU = torch.device("cpu")


def face(x: float, y: float, unit: float) -> Face:
    points = np.array([[-1, -1], [1, -1], [0, 0], [-0.8, 1], [0.8, 1]], np.float32) * unit + (x, y)
    return Face(0, (x - 2 * unit, y - 2.5 * unit, x + 2 * unit, y + 2 * unit), points.astype(np.float32), 0.99)


class Parser(nn.Module):
    """Says that everything is skin."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        logits = torch.zeros(len(x), 19, *x.shape[2:])
        logits[:, 1] = 1
        return (logits,)


class Detector:
    def __init__(self) -> None:
        self.sizes: list[tuple[int, int]] = []

    def detect_faces(self, image: np.ndarray, threshold: float) -> np.ndarray:
        self.sizes.append(image.shape[:2])
        return np.zeros((0, 15))


class Darker(nn.Module):
    """Takes 0.2 of the range from every pixel, and counts its calls."""

    calls = 0

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        assert faces.shape == (1, 3, 512, 512)
        self.calls += 1
        return faces - 0.4


def test_the_reference_job_restores_each_known_face_in_its_place() -> None:
    image = np.full((320, 640, 3), 180, np.uint8)
    detector, network = Detector(), Darker()
    faces = [face(150, 150, 30), face(480, 160, 24)]
    result = bench_reference.ReferenceJob(detector, Parser(), network, faces, CPU)(image)
    assert detector.sizes == [(640, 1280)], "it looks at 640 px short side"
    assert network.calls == 2, "one face at a time"
    assert result.shape == image.shape
    for one in faces:
        x, y = (int(value) for value in one.centre)
        assert abs(int(result[y, x, 0]) - (180 - 51)) <= 2, (x, y)
    assert (result[:, 310:330] == 180).all()


def test_ours_and_the_original_get_the_same_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    built = Path(bench.__file__).parent / "weights" / "lite_restorer.safetensors"

    def find(network: Network, state: Tensors, companions: Tensors) -> Original:
        assert not companions
        same = load_network(state)
        return Original("here", same, same.module)

    monkeypatch.setattr(reference, "find_original", find)
    ours, original, weights = network_pair("lite", Store([tmp_path]), CPU)
    assert original is not None and weights == built.name
    picture = torch.rand(1, 3, 256, 256) * 2 - 1
    assert torch.equal(ours(picture), original.run(picture))
    row = bench_network("lite", Store([tmp_path]), CPU, repeats=0)
    assert min(row.ours, row.ours_batch or 0, row.reference or 0, row.reference_batch or 0) > 0
    assert row.ratio == pytest.approx((row.reference or 0) / row.ours)


@pytest.mark.usefixtures("narrow_original")
def test_dfdnet_is_measured_beside_basicsrs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(bench.OWN, "dfdnet", narrow_dfdnet)
    monkeypatch.setattr(bench, "random_dictionaries", functools.partial(random_dictionaries, entries=7))
    ours, original, weights = network_pair("dfdnet", Store([tmp_path]), CPU)
    assert original is not None and original.source.startswith("basicsr") and weights == "random"
    pictures = torch.cat([reference.synthetic_crop(number, 512) for number in range(2)])
    expected = original.run(pictures)
    assert expected.std() > 0.1 and (expected[0] - expected[1]).abs().max() > 0.1
    torch.testing.assert_close(ours(pictures), expected, atol=1e-5, rtol=0)
    elsewhere = ours.module(pictures, boxes=[(40, 40, 90, 90)] * 4)
    assert (elsewhere - expected).abs().max() > 1e-3, "the dictionaries and the boxes are seen in the result"


def test_an_installed_dfdnet_is_measured_with_the_dictionaries_beside_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given: list[Tensors] = []

    def find(network: Network, state: Tensors, companions: Tensors) -> Original:
        given.append(companions)
        return Original("here", network)

    monkeypatch.setattr(reference, "find_original", find)
    torch.save(narrow_dfdnet().state_dict(), tmp_path / "latest_net_G.pth")
    with pytest.raises(ModelFileError, match="16 of 16 dictionaries are missing"):
        network_pair("dfdnet", Store([tmp_path]), CPU)
    beside = random_dictionaries((8, 16, 32, 32), 3)
    for name, entries in beside.items():
        np.save(tmp_path / name, entries.numpy())
    ours, _, weights = network_pair("dfdnet", Store([tmp_path]), CPU)
    assert weights == "latest_net_G.pth" and len(ours.module.get_buffer("dictionary_nose_64")) == 3
    assert given[0].keys() == beside.keys() and all(torch.equal(given[0][name], beside[name]) for name in beside)


def test_random_dictionaries_have_the_public_sizes() -> None:
    made = random_dictionaries((1, 1, 1, 1))
    assert {len(entries) for entries in made.values()} == {PUBLIC_ENTRIES}
    assert made["mouth_256_center.npy"].shape[1:] == (1, 55, 55) and made["nose_32_center.npy"].shape[1:] == (1, 3, 3)


def test_the_table_has_a_line_a_row_and_dashes_for_what_is_not_there() -> None:
    first = Row("a", "random", 0.5, 0.25, 1.0, 1.0, 2**20 * 7, None)
    rows = [first, Row("b", "b.pth", 12.34, None, None, None, None, None)]
    lines = table(rows, "network", "a face").splitlines()
    assert len(lines) == 4 and len({line.count("|") for line in lines}) == 1
    assert "| a | random | 0.500 | 0.250 | 1.000 | 1.000 | 2.00× | 4.00× | 7 | – |" in lines[2]
    assert "| b | b.pth | 12.3 | – | – | – | – | – | – | – |" in lines[3]


def test_the_command_measures_and_prints_json(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    command = ["bench", "--networks", "lite", "--job", "none", "--repeats", "0", "--json", "--models", str(tmp_path)]
    assert main(command) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [row["what"] for row in answer["networks"]] == ["lite"]
    assert answer["networks"][0]["ours"] > 0 and answer["jobs"] == []


def test_what_cannot_be_measured_is_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["bench", "--networks", "gfpgan-9", "--job", "none"]) == 2
    assert "'gfpgan-9' is not known; give all, none, or of gfpgan-1.4" in capsys.readouterr().err
    with pytest.raises(OptionError, match="'x' is not known"):
        network_pair("x", Store([tmp_path]), CPU)


def test_memory_of_a_block_is_seen() -> None:
    with bench.Peak(CPU) as peak:
        block = np.ones(2**25)
        assert block.sum() == 2**25
        block = np.ones(2**25)
    if peak.bytes is None:
        pytest.skip("nobody tells the memory of a process here")
    assert peak.bytes > 2**27


def test_the_blind_detector_finds_nothing() -> None:
    from lib_facerestore.detection.retinaface import MOBILENET, RetinaFaceDetector, build_network

    finder = RetinaFaceDetector(bench._blind(build_network(MOBILENET)), "bench")
    picture = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
    assert finder.detect([picture], 0.001) == [[]]


@pytest.mark.parametrize(("side", "looks_again"), [(120.0, False), (30.0, True)])
def test_the_detector_of_the_job_looks_again_where_its_faces_are_small(side: float, looks_again: bool) -> None:
    from lib_facerestore.detection.retinaface import MOBILENET, build_network

    runs = []
    network = bench._blind(build_network(MOBILENET)).eval()
    network.register_forward_hook(lambda *arguments: runs.append(1))
    faces = [face_at(100, 100, side / 0.72), face_at(240, 100, side / 0.72)]
    finder = bench._Finds(network, faces, CPU)
    picture = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
    assert [face.centre for face in finder.detect([picture], 0.5)[0]] == [face.centre for face in faces]
    assert (len(runs) > 1) is looks_again
