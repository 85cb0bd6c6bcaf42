"""What the tests share: a detector that knows where the faces are, small networks, pictures with a drawn face."""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import cv2
import hypothesis
import numpy as np
import pytest
import safetensors.torch
import torch

from lib_facerestore.bench import public_networks
from lib_facerestore.faces import alignment
from lib_facerestore.faces.face import Face
from lib_facerestore.networks.archs import dfdnet
from lib_facerestore.networks.archs.lite import LiteRestorer
from lib_facerestore.pipeline import FaceRestorer
from lib_facerestore.system import facexlib_import, heap

heap.keep_freed_memory()  # as the command line does
if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)  # the workers share the cores; more threads would only wait for each other
    cv2.setNumThreads(1)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the processes that tests start

# Files with few but long tests. They are begun first, or one process would work on the last of them while another has
# nothing left to do.
LONGEST = (
    "tests/webui/page/test_browser.py",
    "tests/networks/archs",
    "tests/webui/test_missing_packages.py",
    "tests/networks/test_adding_a_family.py",
    "tests/cli/test_bench_quality.py",
    "tests/bench",
    "tests/stages",
    "tests/tools",
)


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config.option, "loadscopereorder"):  # pytest-xdist would begin with files of many tests
        config.option.loadscopereorder = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        return next((at for at, start in enumerate(LONGEST) if item.nodeid.startswith(start)), len(LONGEST))

    items.sort(key=place)


# The same examples everywhere, and no limit of time for one: a busy machine must not decide whether a test passes.
hypothesis.settings.register_profile("everywhere", deadline=None, derandomize=True)
hypothesis.settings.load_profile("everywhere")


class KnownFaces:
    """A detector that finds the faces it was told of in every picture that can hold them."""

    name = "known"

    def __init__(self, *places: tuple[float, float, float]) -> None:
        self.places = places
        self.seen: list[tuple[int, ...]] = []

    def detect(self, images: Sequence[np.ndarray], confidence: float) -> list[list[Face]]:
        assert all(image.dtype == np.uint8 for image in images)
        self.seen.append(tuple(image.shape[1] for image in images))
        return [[face_at(*place) for place in self.places if place[0] < image.shape[1]] for image in images]


def face_at(x: float, y: float, side: float, score: float = 0.9) -> Face:
    """An upright face whose aligned crop would be centred at (x, y) and `side` pixels wide."""
    template = alignment.ffhq_template(512)
    landmarks = (template - 255.5) * (side / 512) + (x, y)
    half = side * 0.36
    return Face(0, (x - half, y - half, x + half, y + half), landmarks.astype(np.float32), score)


def small_lite(seed: int = 0, strength: float = 0.3) -> LiteRestorer:
    """A `lite` network of a few thousand random weights that changes every face visibly."""
    torch.manual_seed(seed)
    network = LiteRestorer((4, 4, 8, 8), (1, 1, 1, 1, 1, 1))
    torch.nn.init.normal_(network.unfold_half.weight, 0, strength)
    assert network.unfold_half.bias is not None
    torch.nn.init.normal_(network.unfold_half.bias, 0.2, 0.05)
    return network


def narrow_dfdnet(width: int = 4) -> dfdnet.DFDNet:
    """A random DFDNet of a few channels where the public one has 64, without dictionaries."""
    torch.manual_seed(1)
    network = public_networks.dfdnet(width, hidden=6, classes=7)
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, 0, 0.1)
    return network


@pytest.fixture
def narrow_original(monkeypatch: pytest.MonkeyPatch) -> None:
    """basicsr's DFDNet is built with 4 channels for 64, as `narrow_dfdnet` is; its own code fixes some of them."""
    facexlib_import.prepare()
    arch = pytest.importorskip("basicsr.archs.dfdnet_arch", reason="comes with the extra `reference`")
    vgg = importlib.import_module("torchvision.models.vgg")
    network, attention = arch.DFDNet, arch.AttentionBlock
    layers = [width if width == "M" else width // 16 for width in vgg.cfgs["E"]]
    monkeypatch.setattr(vgg, "vgg19", lambda init_weights: SimpleNamespace(features=vgg.make_layers(layers)))
    monkeypatch.setattr(arch, "AttentionBlock", lambda width: attention(width // 16))
    monkeypatch.setattr(arch, "DFDNet", lambda width, dictionaries: network(width // 16, dictionaries))


@pytest.fixture
def process_put_back() -> Iterator[None]:
    """What the command line sets for its whole process, logging and the number of threads, is put back afterwards."""
    root, threads = logging.getLogger(), torch.get_num_threads()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    torch.set_num_threads(threads)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A model folder with one small restorer, small.safetensors."""
    folder = tmp_path / "models"
    folder.mkdir()
    safetensors.torch.save_file(small_lite().state_dict(), folder / "small.safetensors")
    return folder


@pytest.fixture
def restorer(models: Path) -> FaceRestorer:
    """Two faces known in advance (the left one smaller), on the CPU."""
    return FaceRestorer(models, "cpu", detector=KnownFaces((60, 70, 60), (190, 100, 120)))


@pytest.fixture
def photo() -> np.ndarray:
    """A textured 200×280 RGB picture, uint8, that holds the places of `restorer`."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[0:200, 0:280]
    base = np.stack([120 + 60 * np.sin(x / 23), 110 + 50 * np.cos(y / 31), 100 + 0.2 * x], axis=2)
    return np.clip(base + rng.normal(0, 6, base.shape), 0, 255).astype(np.uint8)
