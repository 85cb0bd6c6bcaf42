"""The bench: what it compares is the same work on the same weights; its table; its command. Never how fast it is."""

from __future__ import annotations

import functools
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from lib_facerestore.bench import measure as measuring
from lib_facerestore.bench import networks as bench_networks
from lib_facerestore.bench import public_networks, reference_job
from lib_facerestore.bench import table as bench_table
from lib_facerestore.bench.measure import bench_job, bench_network
from lib_facerestore.bench.networks import network_pair
from lib_facerestore.bench.public_networks import DICTIONARY_ENTRIES, dfdnet_dictionaries
from lib_facerestore.bench.table import Row
from lib_facerestore.catalogue import Store
from lib_facerestore.checks import originals
from lib_facerestore.checks.originals import Original
from lib_facerestore.cli.main import main
from lib_facerestore.errors import ModelFileError, OptionError
from lib_facerestore.faces.face import Face
from lib_facerestore.networks.archs.dfdnet import DFDNet
from lib_facerestore.networks.load import Network, load_network
from lib_facerestore.system import facexlib_import

from ..conftest import face_at, narrow_dfdnet

Tensors = Mapping[str, torch.Tensor]

facexlib_import.prepare()
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
    helper = facexlib_import.import_facexlib("facexlib.utils.face_restoration_helper")
    own = helper.init_detection_model, helper.init_parsing_model
    result = reference_job.ReferenceJob(detector, Parser(), network, faces, CPU)(image)
    assert (helper.init_detection_model, helper.init_parsing_model) == own, "facexlib is left as it was"
    assert detector.sizes == [(640, 1280)], "it looks at 640 px short side"
    assert network.calls == 2, "one face at a time"
    assert result.shape == image.shape
    for one in faces:
        x, y = (int(value) for value in one.centre)
        assert abs(int(result[y, x, 0]) - (180 - 51)) <= 2, (x, y)
    assert (result[:, 310:330] == 180).all()


def test_ours_and_the_original_get_the_same_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    built = Path(measuring.__file__).parents[1] / "weights" / "lite_restorer.safetensors"

    def find(network: Network, state: Tensors, companions: Tensors) -> Original:
        assert not companions
        same = load_network(state)
        return Original("here", same, same.module)

    monkeypatch.setattr(originals, "find_original", find)
    pair = network_pair("lite", Store([tmp_path]), CPU)
    assert pair.original is not None and (pair.weights, pair.why) == (built.name, "")
    picture = torch.rand(1, 3, 256, 256) * 2 - 1
    assert torch.equal(pair.ours(picture), pair.original.run(picture))
    row = bench_network("lite", Store([tmp_path]), CPU, repeats=0)
    assert min(row.ours or 0, row.ours_batch or 0, row.reference or 0, row.reference_batch or 0) > 0
    assert row.ratio == pytest.approx((row.reference or 0) / (row.ours or 1))


@pytest.mark.usefixtures("narrow_original")
def test_dfdnet_is_measured_beside_basicsrs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(public_networks.PUBLIC, "dfdnet", narrow_dfdnet)
    monkeypatch.setattr(bench_networks, "dfdnet_dictionaries", functools.partial(dfdnet_dictionaries, entries=7))
    pair = network_pair("dfdnet", Store([tmp_path]), CPU)
    ours, original, weights = pair.ours, pair.original, pair.weights
    assert original is not None and original.source.startswith("basicsr") and weights == "random"
    pictures = torch.cat([originals.synthetic_crop(number, 512) for number in range(2)])
    expected = original.run(pictures)
    assert expected.std() > 0.1 and (expected[0] - expected[1]).abs().max() > 0.1
    torch.testing.assert_close(ours(pictures), expected, atol=1e-5, rtol=0)
    assert isinstance(ours.module, DFDNet)
    ours.module.boxes = [(40, 40, 90, 90)] * 4
    elsewhere = ours.module(pictures)
    assert (elsewhere - expected).abs().max() > 1e-3, "the dictionaries and the boxes are seen in the result"


def test_an_installed_dfdnet_is_measured_with_the_dictionaries_beside_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given: list[Tensors] = []

    def find(network: Network, state: Tensors, companions: Tensors) -> Original:
        given.append(companions)
        return Original("here", network)

    monkeypatch.setattr(originals, "find_original", find)
    torch.save(narrow_dfdnet().state_dict(), tmp_path / "latest_net_G.pth")
    with pytest.raises(ModelFileError, match="16 of 16 dictionaries are missing"):
        network_pair("dfdnet", Store([tmp_path]), CPU)
    beside = dfdnet_dictionaries((8, 16, 32, 32), 3)
    for name, entries in beside.items():
        np.save(tmp_path / name, entries.numpy())
    pair = network_pair("dfdnet", Store([tmp_path]), CPU)
    assert pair.weights == "latest_net_G.pth" and len(pair.ours.module.get_buffer("dictionary_nose_64")) == 3
    assert given[0].keys() == beside.keys() and all(torch.equal(given[0][name], beside[name]) for name in beside)


@pytest.mark.filterwarnings("ignore:.*copying from a non-meta parameter")
@pytest.mark.parametrize("model", ["gfpgan-1.4", "codeformer", "restoreformer"])
def test_our_random_networks_are_the_packages_own(model: str) -> None:
    pytest.importorskip("gfpgan", reason="comes with the extra `reference`")
    pytest.importorskip("spandrel_extra_arches", reason="comes with the extra `reference`")
    with torch.device("meta"):  # names and shapes alone: nothing is filled
        state = public_networks.PUBLIC[model]().state_dict()
        like = cast(Network, SimpleNamespace(family=model.partition("-")[0], device="meta"))
        assert originals.find_original(like, state).module is not None, "it takes exactly these tensors"


def small_gfpgan() -> nn.Module:
    return public_networks.gfpgan_clean((16,) * 5)


def test_our_random_weights_keep_the_size_of_what_goes_through() -> None:
    restored = load_network(small_gfpgan().state_dict())(originals.synthetic_crop(0, 64))
    assert restored.isfinite().all() and 1e-2 < restored.std() < 1e2


def lacks(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    """As if these were not installed."""
    for name in [name for name in sys.modules if name.partition(".")[0] in packages]:
        monkeypatch.setitem(sys.modules, name, None)
    for name in packages:
        monkeypatch.setitem(sys.modules, name, None)


def test_without_the_reference_packages_ours_are_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    lacks(monkeypatch, "gfpgan", "basicsr", "spandrel", "spandrel_extra_arches")
    monkeypatch.setitem(public_networks.PUBLIC, "gfpgan-1.4", small_gfpgan)
    command = ["bench", "--networks", "gfpgan-1.4", "--job", "none", "--repeats", "0", "--models", str(tmp_path)]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert re.search(r"\| gfpgan-1\.4 \| random \| \d+\.\d+ \|", printed), "however slow this machine is"
    assert "- gfpgan-1.4: no reference: the original network needs the package gfpgan" in printed


def test_without_facexlib_our_job_is_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lacks(monkeypatch, "facexlib")
    picture = np.full((200, 200, 3), 90, np.uint8)
    row = bench_job("one", picture, [face(100, 100, 20)], "lite", Store([tmp_path]), CPU, 0)
    assert row.ours and row.reference is None and row.what == "one: 1 face, 200×200"
    assert "facexlib.parsing.bisenet cannot be imported" in " ".join(row.notes)


def test_a_call_that_runs_out_of_memory_costs_no_other() -> None:
    seen: list[str] = []

    def greedy() -> None:
        seen.append("greedy")
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory: you tried")

    def broken() -> None:
        raise ValueError("of another version")

    calls = {"ours": lambda: seen.append("ours"), measuring.OURS_BATCH: greedy, "reference": broken}
    measured = measuring._compare(calls, 2, CPU)
    assert list(measured.seconds) == ["ours"] and seen == ["ours", "greedy", "ours", "ours"]
    assert measured.failures[0].startswith("ours at batch 4: out of memory")
    assert measured.failures[1] == "reference: ValueError of another version"
    with pytest.raises(ValueError, match="of another version"):
        measuring._compare({"ours": broken}, 0, CPU)
    assert not measuring.is_out_of_memory(RuntimeError("shapes differ")) and measuring.is_out_of_memory(MemoryError())


def test_random_dictionaries_have_the_public_sizes() -> None:
    made = dfdnet_dictionaries((1, 1, 1, 1))
    assert {len(entries) for entries in made.values()} == {DICTIONARY_ENTRIES}
    assert made["mouth_256_center.npy"].shape[1:] == (1, 55, 55) and made["nose_32_center.npy"].shape[1:] == (1, 3, 3)


def test_the_table_has_a_line_a_row_and_dashes_for_what_is_not_there() -> None:
    first = Row("a", "random", 0.5, 0.25, 1.0, 1.0, 2**20 * 7, None)
    second = Row("b", "b.pth", 12.34, None, None, None, None, None, ("no\nreference",))
    lines = [*bench_table.head("network", "a face").splitlines(), *map(bench_table.line, (first, second))]
    assert len(lines) == 4 and len({line.count("|") for line in lines}) == 1
    assert "| a | random | 0.500 | 0.250 | 1.000 | 1.000 | 2.00× | 4.00× | 7 | – |" in lines[2]
    assert "| b | b.pth | 12.3 | – | – | – | – | – | – | – |" in lines[3]
    assert bench_table.notes((first, second)) == "- b: no reference"


def test_the_command_measures_and_prints_json(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    command = ["bench", "--networks", "lite", "--job", "none", "--repeats", "0", "--json", "--models", str(tmp_path)]
    assert main([*command, "--threads", str(torch.get_num_threads()), "--device", "cpu"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [row["what"] for row in answer["networks"]] == ["lite"]
    assert answer["networks"][0]["ours"] > 0 and answer["jobs"] == [] and answer["complete"]
    assert answer["networks"][0]["notes"][0].startswith("no reference: lite: its original code is not in any package")
    facts = (answer["threads"], answer["batch"], answer["device"], answer["torch"], answer["repeats"])
    assert facts == (torch.get_num_threads(), 4, "cpu", torch.__version__, 0)


def test_what_cannot_be_measured_is_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["bench", "--networks", "gfpgan-9", "--job", "none"]) == 2
    assert "'gfpgan-9' is not known; give all, none, or of gfpgan-1.4" in capsys.readouterr().err
    with pytest.raises(OptionError, match="'x' is not known"):
        network_pair("x", Store([tmp_path]), CPU)


def a_row(model: str) -> Row:
    return Row(model, "random", 1.5, None, None, None, None, None)


@pytest.mark.parametrize(
    "wrong", [["--job", "gfpgan-9"], ["absent.png"], ["flat.png"], ["--detector-file", "absent.pth", "flat.png"]]
)
def test_a_wrong_argument_is_found_before_anything_is_measured(
    wrong: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    measured: list[str] = []

    def bench_network(model: str, *_: object) -> Row:
        measured.append(model)
        return a_row(model)

    monkeypatch.setattr(measuring, "bench_network", bench_network)
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (64, 64)).save("flat.png")
    assert main(["bench", "--networks", "lite", "--models", str(tmp_path), *wrong]) == 2
    assert not measured


@pytest.mark.parametrize("json_wanted", [False, True])
def test_an_interruption_keeps_what_is_measured(
    json_wanted: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[str] = []

    def measure(model: str, *_: object) -> Row:
        seen.append(capsys.readouterr().out)
        if model == "codeformer":
            raise KeyboardInterrupt
        return a_row(model)

    monkeypatch.setattr(measuring, "bench_network", measure)
    command = ["bench", "--networks", "lite, gpen-256,codeformer,vqfr-1", "--job", "none"]
    assert main([*command, "--json"] if json_wanted else command) == 130
    if json_wanted:
        answer = json.loads(capsys.readouterr().out)
        assert [row["what"] for row in answer["networks"]] == ["lite", "gpen-256"] and not answer["complete"]
    else:
        assert "| lite | random | 1.500" in seen[1] and seen[1].startswith("| network |"), "printed before the next"
        assert seen[2].startswith("| gpen-256 |") and len(seen) == 3


def test_a_network_that_cannot_be_measured_costs_no_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure(model: str, *_: object) -> Row:
        if model == "vqfr-1":
            raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes.")
        if model == "dfdnet":
            raise ModelFileError("latest_net_G.pth: 16 of 16 dictionaries are missing")
        return a_row(model)

    monkeypatch.setattr(measuring, "bench_network", measure)
    assert main(["bench", "--networks", "vqfr-1,dfdnet,lite", "--job", "none"]) == 1
    printed = capsys.readouterr().out
    assert "| vqfr-1 | – | – |" in printed and "- vqfr-1: out of memory" in printed
    assert "- dfdnet: latest_net_G.pth: 16 of 16" in printed and "| lite | random | 1.500" in printed


def test_plain_bench_measures_every_network_but_the_heavy_ones_and_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(measuring, "bench_network", lambda model, *_: a_row(model))
    lacks(monkeypatch, "skimage")
    assert main(["bench"]) == 0
    printed = capsys.readouterr().out
    shown = {line.split("|")[1].strip() for line in printed.splitlines() if line.startswith("|")}
    assert shown - {"network", "---"} == set(bench_networks.NETWORKS) - set(bench_networks.HEAVY)
    assert "Not measured: gpen-2048, vqfr-1, vqfr-2, dfdnet: minutes or gigabytes each" in printed
    assert "Not measured: the whole job (bench: no picture given" in printed
    assert main(["bench", "--networks", "none", "--job", "lite"]) == 2, "asked for by name, it is an error"


def test_memory_of_a_block_is_seen() -> None:
    with measuring.Peak(CPU) as peak:
        block = np.ones(2**25)
        assert block.sum() == 2**25
        block = np.ones(2**25)
    if peak.bytes is None:
        pytest.skip("nobody tells the memory of a process here")
    assert peak.bytes > 2**27


def test_the_blind_detector_finds_nothing() -> None:
    from lib_facerestore.stages.detection.retinaface import MOBILENET, RetinaFaceDetector, build_network

    finder = RetinaFaceDetector(measuring._blind(build_network(MOBILENET)), "bench")
    picture = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
    assert finder.detect([picture], 0.001) == [[]]


@pytest.mark.parametrize(("side", "looks_again"), [(120.0, False), (30.0, True)])
def test_the_detector_of_the_job_looks_again_where_its_faces_are_small(side: float, looks_again: bool) -> None:
    from lib_facerestore.stages.detection.retinaface import MOBILENET, build_network

    runs = []
    network = measuring._blind(build_network(MOBILENET)).eval()
    network.register_forward_hook(lambda *arguments: runs.append(1))
    faces = [face_at(100, 100, side / 0.72), face_at(240, 100, side / 0.72)]
    finder = measuring._KnownFaces(network, faces, CPU)
    picture = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
    assert [face.centre for face in finder.detect([picture], 0.5)[0]] == [face.centre for face in faces]
    assert (len(runs) > 1) is looks_again
