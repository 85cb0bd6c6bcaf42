"""The `lite` restorer: its gate, weights that are older than it, and what the shipped weights do to a real face."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lib_facerestore.catalogue import weights_path
from lib_facerestore.faces import alignment, warping
from lib_facerestore.networks.archs.lite import LiteRestorer, build
from lib_facerestore.networks.load import load_network
from lib_facerestore.stages.detection import create_detector

from ...conftest import small_lite


def shapes_of(network: LiteRestorer) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


def test_the_gate_is_the_share_of_the_change() -> None:
    network = small_lite().eval()
    faces = torch.rand(2, 3, 256, 256) * 2 - 1

    def with_gate(bias: float) -> torch.Tensor:
        torch.nn.init.constant_(network.gate_crop.bias, bias)  # type: ignore[arg-type]
        with torch.inference_mode():
            return network(faces)

    shut, half, wide = with_gate(-40.0), with_gate(0.0), with_gate(40.0)
    assert torch.equal(shut, faces)
    assert (wide - faces).abs().max() > 0.05
    assert torch.allclose(half - faces, (wide - faces) / 2, atol=1e-6)


def test_weights_that_are_older_than_the_gate_load_and_change_all() -> None:
    new = small_lite().eval()
    torch.nn.init.constant_(new.gate_crop.bias, 40.0)  # type: ignore[arg-type]
    state = {name: value for name, value in new.state_dict().items() if not name.startswith("gate")}
    old = build({name: tuple(value.shape) for name, value in state.items()}).eval()
    assert not old.gated and build(shapes_of(new)).gated
    old.load_state_dict(state)
    faces = torch.rand(1, 3, 256, 256) * 2 - 1
    with torch.inference_mode():
        assert torch.allclose(old(faces), new(faces), atol=1e-6)


@pytest.fixture(scope="module")
def face() -> NDArray[np.float32]:
    """The aligned crop of a clean photograph, 256 px."""
    image: NDArray[np.uint8] = pytest.importorskip("skimage.data").astronaut()
    (found,) = create_detector("lite").detect([image], 0.5)[0]
    return warping.crop_face(image, alignment.face_transform(found, 256), 256)


def decibels(one: NDArray[np.float32], two: NDArray[np.float32]) -> float:
    return float(-10 * np.log10(np.mean((one - two) ** 2) + 1e-12))


def restored(face: NDArray[np.float32]) -> NDArray[np.float32]:
    network = load_network(weights_path("lite_restorer.safetensors"))
    output = network(torch.from_numpy(face).permute(2, 0, 1)[None] * 2 - 1)[0].clamp(-1, 1)
    return np.asarray((output.permute(1, 2, 0).numpy() + 1) / 2, np.float32)


def test_a_clean_face_is_left_as_it_is(face: NDArray[np.float32]) -> None:
    assert decibels(restored(face), face) >= 52


@pytest.mark.parametrize(("strength", "gain"), [(14, 6.0), (30, 8.0), (50, 8.0)])
def test_noise_is_removed(face: NDArray[np.float32], strength: float, gain: float) -> None:
    noise = np.random.default_rng(1).normal(0, strength / 255, face.shape).astype(np.float32)
    noisy = np.clip(face + noise, 0, 1)
    assert decibels(restored(noisy), face) >= decibels(noisy, face) + gain
