"""GFPGAN 1 (original network) and 1.2 to 1.4 (clean network) against the oracle, gfpgan's networks and spandrel's."""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from lib_facerestore.bench import public_networks
from lib_facerestore.networks.archs import gfpgan
from lib_facerestore.networks.load import Network, load_network
from lib_facerestore.system import facexlib_import

from ...oracle import check, synth
from .conftest import LONG

State = dict[str, torch.Tensor]

NARROW: list[dict[str, Any]] = [
    # every hyper-parameter differs from the public files'; the second has one style for all layers and full-width maps
    {"out_size": 64, "num_style_feat": 24, "channel_multiplier": 1, "narrow": 0.0625, "num_mlp": 3, "sft_half": True},
    {"out_size": 32, "num_style_feat": 16, "channel_multiplier": 2, "narrow": 0.03125, "num_mlp": 2, "sft_half": False},
]


def plan_of(network: Network) -> gfpgan.Plan:
    """The widths and levels that were read off its tensors."""
    assert isinstance(network.module, gfpgan.GFPGAN)
    return network.module.plan


def picture(side: int, batch: int = 1) -> torch.Tensor:
    return torch.from_numpy(synth.pseudo_image(0, side, side, batch))


def public(name: str) -> tuple[State, Any]:
    spec, _, gold = check.load(name)
    return synth.synth_state_dict(spec), gold


@pytest.mark.parametrize(("name", "original"), [("GFPGANv1", True), ("GFPGANv1.4", False)])
def test_public_file_gives_its_authors_output(name: str, original: bool) -> None:
    state, gold = public(name)
    network = load_network(state)  # strict
    assert (network.family, network.size, network.template) == ("gfpgan", 512, "ffhq")
    assert network.knobs == frozenset()
    assert plan_of(network).original == original

    together = network(picture(512, batch=3 if LONG else 1))
    outputs = list(zip(("out", "fwd_seed1"), together.split(1), strict=False))
    if LONG:
        outputs.append(("out", network(picture(512))))

    for key, out in outputs:
        difference = check.compare(gold, key, out)
        assert max(difference.values()) <= 1e-4, (key, difference)
        assert max(difference.values()) * float(gold[f"{key}_stats"][1]) <= 1e-3


@pytest.mark.parametrize("name", ["GFPGANCleanv1-NoCE-C2", "GFPGANv1.3"])
def test_other_clean_files_are_the_same_network(name: str) -> None:
    spec, _, gold = check.load(name)
    known, _, known_gold = check.load("GFPGANv1.4")
    assert spec == known  # so that the test above stands for this file too
    assert np.array_equal(gold["out"], known_gold["out"])


@pytest.mark.parametrize("original", [True, False])
def test_a_tensor_tells_the_two_networks_apart(original: bool) -> None:
    spec = check.load("GFPGANv1" if original else "GFPGANv1.4")[0]
    shapes = {name: tuple(shape) for name, shape, _ in spec}
    assert gfpgan.matches(shapes)
    del shapes["final_conv.0.weight" if original else "conv_body_first.weight"]
    assert gfpgan.matches(shapes) == original
    assert not gfpgan.matches({"conv_body_first.weight": (32, 3, 1, 1)})


def synthetic(original: torch.nn.Module) -> State:
    """Synthetic weights for a network of another package, loaded into it too."""
    spec = [(name, value.shape, "float32") for name, value in original.state_dict().items()]
    state = synth.synth_state_dict(spec)
    original.load_state_dict(state)
    original.eval()
    return state


def same_as(original: torch.nn.Module, arguments: dict[str, Any]) -> Network:
    """Our network on the weights of `original`, after checking that it computes the same."""
    network = load_network(synthetic(original))
    side = arguments["out_size"]
    assert network.size == side
    faces = picture(side, batch=3)
    with torch.inference_mode():
        expected = original(faces, return_rgb=False, randomize_noise=False)[0]
    assert float(expected.std()) > 0.1
    tolerance = 2e-5 * float(expected.abs().max())
    assert torch.allclose(network(faces), expected, atol=tolerance, rtol=0)
    assert torch.allclose(network(faces[1:2]), expected[1:2], atol=tolerance, rtol=0)
    return network


@pytest.mark.parametrize("arguments", NARROW)
def test_narrow_clean_network_equals_gfpgan(arguments: dict[str, Any]) -> None:
    facexlib_import.prepare()  # first: gfpgan imports torchvision
    upstream = pytest.importorskip("gfpgan.archs.gfpganv1_clean_arch", reason="comes with the extra `reference`")
    network = same_as(
        upstream.GFPGANv1Clean(input_is_latent=True, different_w=arguments["sft_half"], **arguments), arguments
    )
    assert not plan_of(network).original


@pytest.mark.parametrize("arguments", NARROW)
def test_narrow_original_network_equals_gfpgan(arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    facexlib_import.prepare()
    upstream = pytest.importorskip("gfpgan.archs.gfpganv1_arch", reason="comes with the extra `reference`")
    blocks: ModuleType = pytest.importorskip("basicsr.archs.stylegan2_arch", reason="comes with the extra `reference`")

    def activation(module: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        bias = module.get_parameter("bias").view(1, -1, *[1] * (x.ndim - 2))
        return math.sqrt(2) * torch.nn.functional.leaky_relu(x + bias, 0.2)

    # upstream's fused activation has no CPU path; it is the one formula above
    monkeypatch.setattr(blocks.FusedLeakyReLU, "forward", activation)
    network = same_as(
        upstream.GFPGANv1(input_is_latent=True, different_w=arguments["sft_half"], **arguments), arguments
    )
    assert plan_of(network).original


def test_narrow_clean_network_equals_spandrel() -> None:
    facexlib_import.prepare()
    upstream = pytest.importorskip(
        "spandrel.architectures.GFPGAN.__arch.gfpganv1_clean_arch", reason="spandrel is not installed"
    )
    same_as(upstream.GFPGANv1Clean(input_is_latent=True, different_w=True, **NARROW[0]), NARROW[0])


def narrow_network() -> Network:
    """A clean network of a few channels, 32 px, one style a layer, without any other package."""
    plan = gfpgan.Plan(False, (8, 8, 8, 4), (16, 16, 16, 8), (8, 8, 4), 16, 8, ("1", "3"))
    state = gfpgan.GFPGAN(plan).state_dict()
    return load_network(synth.synth_state_dict([(name, value.shape, "float32") for name, value in state.items()]))


def test_a_face_looks_the_same_each_time_and_whichever_faces_share_its_batch() -> None:
    network = narrow_network()
    faces = picture(32, batch=2)
    first = network(faces)
    assert torch.equal(network(faces), first)
    assert torch.allclose(network(faces[1:]), first[1:], atol=1e-5)


def test_a_run_leaves_input_weights_and_noise_as_they_were() -> None:
    network = narrow_network()
    faces = picture(32, batch=2).contiguous(memory_format=torch.channels_last)
    before, weights = faces.clone(), {name: value.clone() for name, value in network.module.state_dict().items()}
    network(faces)
    assert torch.equal(faces, before)
    assert all(torch.equal(value, weights[name]) for name, value in network.module.state_dict().items())


def test_bfloat16_is_safe() -> None:
    network = narrow_network()
    assert "bfloat16" in network.precisions
    faces = picture(32, batch=2)
    state = {name: value.clone() for name, value in network.module.state_dict().items()}
    exact = network(faces)
    rough = load_network(state, dtype=torch.bfloat16)(faces)
    assert float((rough - exact).abs().mean() / exact.std()) < 0.03


def test_narrow_shapes_rebuild_the_same_plan() -> None:
    network = narrow_network()
    assert network.size == 32
    assert network.module.plan == gfpgan.Plan(False, (8, 8, 8, 4), (16, 16, 16, 8), (8, 8, 4), 16, 8, ("1", "3"))


def test_the_original_network_can_be_had_without_its_file() -> None:
    with torch.device("meta"):
        network = public_networks.gfpgan_original()
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    assert shapes == {name: tuple(shape) for name, shape, _ in check.load("GFPGANv1")[0]}
