"""GPEN against the oracle and, on narrow networks, against its formulas written out slowly, one face at a time."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from lib_facerestore.bench import public_networks
from lib_facerestore.errors import ModelFileError, OptionError
from lib_facerestore.networks.archs import gpen
from lib_facerestore.networks.load import load_network

from ...oracle import check, synth
from .conftest import LONG, face_by_face

State = dict[str, torch.Tensor]
SIZES = (256, 512, 1024, 2048)


def picture(side: int, batch: int = 1) -> torch.Tensor:
    return torch.from_numpy(synth.pseudo_image(0, side, side, batch))


long = pytest.mark.skipif(not LONG, reason="half a minute; set FACERESTORE_LONG_TESTS=1")


@pytest.mark.parametrize(
    ("size", "batches"),
    [(256, (1, 3)), (512, (3 if LONG else 1,)), (1024, (3 if LONG else 1,)), pytest.param(2048, (3,), marks=long)],
)
def test_public_file_gives_its_authors_output(size: int, batches: tuple[int, ...]) -> None:
    spec, _, gold = check.load(f"GPEN-BFR-{size}")
    network = load_network(synth.synth_state_dict(spec))  # strict
    assert (network.family, network.size, network.template) == ("gpen", size, "gpen")
    assert network.knobs == frozenset()
    for batch in batches:
        out = network(picture(size, batch))
        for element, key in enumerate(("out", "fwd_seed1")[:batch]):
            step = size // gold[key].shape[-1]  # of the pixels that are stored, 16 for the largest
            difference = check.compare(gold, key, out[element : element + 1], step)
            assert max(difference.values()) <= 1e-4, (key, difference)
            assert max(difference.values()) * float(gold[f"{key}_stats"][1]) <= 1e-3
    if size == 512 or (LONG and size == 1024):
        with face_by_face():
            difference = check.compare(gold, "out", network(picture(size)), size // gold["out"].shape[-1])
        assert max(difference.values()) <= 1e-4, difference


@pytest.mark.parametrize("size", SIZES)
def test_public_shapes_are_recognised(size: int) -> None:
    shapes = {name: tuple(shape) for name, shape, _ in check.load(f"GPEN-BFR-{size}")[0]}
    assert gpen.matches(shapes)
    with torch.device("meta"):
        for network in (gpen.build(shapes), public_networks.gpen(size)):
            assert network.size == size
            assert {name: tuple(value.shape) for name, value in network.state_dict().items()} == shapes


def narrow(encoder: tuple[int, ...], prior: tuple[int, ...], style: int, layers: int) -> State:
    """Synthetic weights, and filters that are not symmetric, so that a flipped one would show."""
    empty = gpen.GPEN(encoder, prior, style, layers).state_dict()
    state = synth.synth_state_dict([(name, value.shape, "float32") for name, value in empty.items()])
    tilt = torch.tensor([1.3, 1.1, 0.9, 0.7])
    kernels = {name: value * torch.outer(tilt, tilt) for name, value in state.items() if name.endswith("kernel")}
    return state | kernels


def upfirdn(x: torch.Tensor, kernel: torch.Tensor, up: int, before: int, after: int) -> torch.Tensor:
    """Zeros between the pixels, zeros around, then a true convolution of each channel."""
    spread = x.new_zeros(*x.shape[:2], x.shape[2] * up, x.shape[3] * up)
    spread[..., ::up, ::up] = x
    padded = functional.pad(spread, (before, after, before, after))
    return torch.cat([functional.conv2d(c[None, None], kernel.flip(0, 1)[None, None]) for c in padded[0]], 1)


def activation(x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    return math.sqrt(2) * functional.leaky_relu(x + bias.view(1, -1, *[1] * (x.ndim - 2)), 0.2)


def reference(state: State, face: torch.Tensor) -> torch.Tensor:
    """GPEN of one face, from the paper and upstream's layer order: weights are modulated, nothing is folded."""

    def linear(x: torch.Tensor, name: str, rate: float = 1.0) -> torch.Tensor:
        weight = state[f"{name}.weight"] * (rate / math.sqrt(x.shape[1]))
        return functional.linear(x, weight, state[f"{name}.bias"] * rate)

    def modulated(x: torch.Tensor, name: str, style: torch.Tensor, demodulate: bool = True) -> torch.Tensor:
        weight = state[f"{name}.weight"][0]
        factors = linear(style, f"{name}.modulation")
        weight = weight / math.sqrt(weight[0].numel()) * factors[0][None, :, None, None]
        if demodulate:
            weight = weight * (weight.square().sum((1, 2, 3), keepdim=True) + 1e-8).rsqrt()
        if f"{name}.blur.kernel" in state:
            x = functional.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
            return upfirdn(x, state[f"{name}.blur.kernel"], 1, 1, 1)
        return functional.conv2d(x, weight, padding=weight.shape[-1] // 2)

    def styled(x: torch.Tensor, name: str, feature: torch.Tensor) -> torch.Tensor:
        x = modulated(x, f"{name}.conv", style)
        joined = torch.cat((x, state[f"{name}.noise.weight"] * feature), 1)
        return activation(joined, state[f"{name}.activate.bias"])

    def head(x: torch.Tensor, name: str) -> torch.Tensor:
        return modulated(x, f"{name}.conv", style, demodulate=False) + state[f"{name}.bias"]

    x = face
    features: list[torch.Tensor] = []
    while f"ecd{len(features)}.0.0.{'kernel' if features else 'weight'}" in state:
        name, place = f"ecd{len(features)}.0", 1 if features else 0
        weight = state[f"{name}.{place}.weight"]
        if features:
            x = upfirdn(x, state[f"{name}.0.kernel"], 1, 2, 2)
        x = functional.conv2d(x, weight / math.sqrt(weight[0].numel()), stride=2 if features else 1)
        x = activation(x, state[f"{name}.{place + 1}.bias"])
        features.append(x)
    features.reverse()
    latent = functional.leaky_relu(linear(x.flatten(1), "final_linear.0"), 0.2) * math.sqrt(2)
    style = latent * (latent.square().mean() + 1e-8).rsqrt()
    layer = 1
    while f"generator.style.{layer}.weight" in state:
        style = math.sqrt(2) * functional.leaky_relu(linear(style, f"generator.style.{layer}", 0.01), 0.2)
        layer += 1
    x = styled(state["generator.input.input"], "generator.conv1", features[0])
    image = head(x, "generator.to_rgb1")
    for level, feature in enumerate(features[1:]):
        x = styled(x, f"generator.convs.{2 * level}", feature)
        x = styled(x, f"generator.convs.{2 * level + 1}", feature)
        grown = upfirdn(image, state[f"generator.to_rgbs.{level}.upsample.kernel"], 2, 2, 1)
        image = grown + head(x, f"generator.to_rgbs.{level}")
    return image


@pytest.mark.parametrize(
    ("encoder", "prior", "style", "layers"),
    [((4, 6, 8, 10), (10, 8, 6, 4), 12, 2), ((2, 2, 4, 4, 8, 8, 8), (8, 8, 8, 4, 4, 2, 2), 16, 3)],
)
def test_narrow_network_equals_its_formulas(
    encoder: tuple[int, ...], prior: tuple[int, ...], style: int, layers: int
) -> None:
    state = narrow(encoder, prior, style, layers)
    network = load_network(state)
    assert network.size == 4 << (len(encoder) - 1)
    faces = picture(network.size, batch=3)
    together = network(faces)
    for index in range(3):
        expected = reference(state, faces[index : index + 1])
        tolerance = 2e-5 * float(expected.abs().max())
        assert torch.allclose(together[index : index + 1], expected, atol=tolerance, rtol=0)
        assert torch.allclose(network(faces[index : index + 1]), expected, atol=tolerance, rtol=0)


def test_a_run_leaves_input_and_weights_as_they_were() -> None:
    network = load_network(narrow((4, 6, 8), (8, 6, 4), 8, 2))
    faces = picture(16, batch=2).contiguous(memory_format=torch.channels_last)
    before, weights = faces.clone(), {name: value.clone() for name, value in network.module.state_dict().items()}
    network(faces)
    assert torch.equal(faces, before)
    assert all(torch.equal(value, weights[name]) for name, value in network.module.state_dict().items())


def test_bfloat16_is_safe() -> None:
    state = narrow((4, 6, 8, 8), (8, 8, 6, 4), 8, 2)
    faces = picture(32, batch=2)
    network = load_network(state)
    assert "bfloat16" in network.precisions
    exact, rough = network(faces), load_network(state, dtype=torch.bfloat16)(faces)
    assert float((rough - exact).abs().mean() / exact.std()) < 0.03


def test_relatives_are_refused() -> None:
    state = narrow((4, 6, 8), (8, 6, 4), 8, 2)
    added = dict(state, **{"generator.conv1.activate.bias": torch.zeros(8)})  # features added, not joined
    larger = {name: value for name, value in state.items() if not name.startswith("ecd2.")}  # super-resolution
    scalars = [state | {name: torch.tensor(1.0)} for name in ("generator.conv1.activate.bias", "ecd0.0.0.weight")]
    for relative in (added, larger, *scalars):
        assert not gpen.matches({name: tuple(value.shape) for name, value in relative.items()})
        with pytest.raises(ModelFileError, match="of no family"):
            load_network(relative)


def test_it_has_no_knobs() -> None:
    network = load_network(narrow((4, 6, 8), (8, 6, 4), 8, 2))
    with pytest.raises(OptionError, match="gpen has no such knob"):
        network(picture(16), fidelity=0.5)
