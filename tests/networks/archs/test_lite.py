"""The `lite` restorer: its gate, weights that are older than it, and what the shipped weights do to a real face."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lib_facerestore.catalogue import weights_path
from lib_facerestore.faces import alignment, warping
from lib_facerestore.images.files import read_picture
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


@pytest.fixture(scope="module", params=[256, 512])
def face(request: pytest.FixtureRequest) -> NDArray[np.float32]:
    """The aligned crop of a clean photograph; with 512 px it is from the photograph enlarged."""
    image: NDArray[np.uint8] = pytest.importorskip("skimage.data").astronaut()
    (found,) = create_detector("lite").detect([image], 0.5)[0]
    return warping.crop_face(image, alignment.face_transform(found, request.param), request.param)


def test_a_position_means_the_same_part_of_the_face_in_a_larger_crop() -> None:
    """All that the network knows of a face without features is the position."""
    network = small_lite().eval()
    for name in ("place_eighth", "place_trunk"):
        torch.nn.init.normal_(getattr(network, name))
    with torch.inference_mode():
        small, large = (network(torch.zeros(1, 3, side, side)) for side in (256, 512))
        window = network(torch.zeros(1, 3, 256, 256), (256, 0), 512)
    reduced = torch.nn.functional.avg_pool2d(large, 16)
    expected = torch.nn.functional.avg_pool2d(small, 8)
    assert expected.std() > 0.05  # positions differ
    assert torch.corrcoef(torch.stack([reduced.flatten(), expected.flatten()]))[0, 1] > 0.9
    middle = slice(96, 160)  # far from the borders of the window, which the whole crop does not have
    assert torch.allclose(window[..., middle, middle], large[..., 256:, :256][..., middle, middle], atol=1e-4)


def decibels(one: NDArray[np.float32], two: NDArray[np.float32]) -> float:
    return float(-10 * np.log10(np.mean((one - two) ** 2) + 1e-12))


def restored(face: NDArray[np.float32]) -> NDArray[np.float32]:
    network = load_network(weights_path("lite_restorer.safetensors"))
    output = network(torch.from_numpy(face).permute(2, 0, 1)[None] * 2 - 1)[0].clamp(-1, 1)
    return np.asarray((output.permute(1, 2, 0).numpy() + 1) / 2, np.float32)


def test_a_clean_face_is_left_as_it_is(face: NDArray[np.float32]) -> None:
    enlarged = len(face) == 512  # soft, so it may become a little sharper
    assert decibels(restored(face), face) >= (36 if enlarged else 52)


def test_a_clean_face_of_a_large_photograph_is_left_as_it_is() -> None:
    """A synthetic portrait of the photographs, in which every pixel of a 512-px crop is sharp."""
    photos = Path(__file__).resolve().parents[4] / "shared" / "photos" / "faces"
    if not photos.is_dir():
        pytest.skip("../shared/photos is not there")
    rows = (json.loads(line) for line in (photos / "faces.jsonl").read_text("utf-8").splitlines())
    large = [
        row for row in rows if row["split"] == "val" and row["ffhq_side"] >= 500 and row["native_ffhq_side"] >= 900
    ][:3]
    assert large
    for row in large:
        image = read_picture(photos / row["file"]).pixels[..., :3]
        landmarks = np.array(row["lm5"], np.float64).reshape(5, 2)
        matrix = alignment.similarity(landmarks, alignment.ffhq_template(512))
        assert alignment.scale_of(matrix) <= 1.25  # hardly enlarged
        crop = warping.crop_face(image, matrix, 512)
        assert decibels(restored(crop), crop) >= 48, row["file"]


@pytest.mark.parametrize(("strength", "gain"), [(14, 6.0), (30, 8.0), (50, 8.0)])
def test_noise_is_removed(face: NDArray[np.float32], strength: float, gain: float) -> None:
    noise = np.random.default_rng(1).normal(0, strength / 255, face.shape).astype(np.float32)
    noisy = np.clip(face + noise, 0, 1)
    assert decibels(restored(noisy), face) >= decibels(noisy, face) + gain
