"""Convolutions by minimal filtering, and group normalisation of channels-last maps: torch's own results, as exact."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from lib_facerestore.networks.archs import dfdnet, vqfr1, vqfr2, winograd
from lib_facerestore.networks.archs.groupnorm import GroupNorm
from lib_facerestore.networks.archs.stylegan import EqualConv, ModulatedConv
from lib_facerestore.networks.archs.vqgan import Upsample
from lib_facerestore.networks.load import Network, load_network

from . import test_codeformer, test_gfpgan, test_gpen, test_restoreformer, test_vqfr


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def channels_last(x: torch.Tensor) -> torch.Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def exactly(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    return functional.conv2d(x.double(), weight.double(), None if bias is None else bias.double(), padding=1)


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> list[torch.Size]:
    """Shapes that the algorithm was given, in a world where it is worth it for small layers too."""
    seen: list[torch.Size] = []
    usual = winograd.convolve

    def spy(x: torch.Tensor, kernels: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        seen.append(x.shape)
        return usual(x, kernels, bias)

    monkeypatch.setattr(winograd, "convolve", spy)
    monkeypatch.setattr(winograd, "USED", True)
    monkeypatch.setattr(winograd, "CHANNELS", 4)
    monkeypatch.setattr(winograd, "PIXELS", 16)
    return seen


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 3), st.integers(1, 9), st.integers(1, 9), st.integers(1, 6), st.integers(1, 6), st.booleans(),
    st.booleans(), st.integers(1, 40),
)  # fmt: skip
def test_any_shape_gives_the_convolution(
    batch: int, inputs: int, outputs: int, rows: int, across: int, biased: bool, usual_layout: bool, tiles: int
) -> None:
    x = noise(batch, inputs, 4 * rows, 4 * across)
    weight = noise(outputs, inputs, 3, 3, seed=1)
    bias = noise(outputs, seed=2) if biased else None
    given_x = x if usual_layout else channels_last(x)
    before = winograd.TILES
    winograd.TILES = tiles  # strips of any height, from one row of tiles to all of them
    try:
        out = winograd.convolve(given_x, winograd.transform(weight, 1.0), bias)
    finally:
        winograd.TILES = before
    assert out.shape == (batch, outputs, 4 * rows, 4 * across)
    torch.testing.assert_close(out.double(), exactly(x, weight, bias), atol=1e-4, rtol=0)
    assert torch.equal(given_x, x)  # it is only read


ROUNDING = 2.0**-24 / 3**0.5
"""Root mean square of float32's relative rounding error: evenly spread within half a unit in the last place."""


def plain_bound(channels: int, mean: float) -> float:
    """What rounding may do to a plain convolution whose exact result is of deviation 1 (for mean 0).

    A sum of n independent terms of deviation p passes partial sums of p·√k, each rounded: ROUNDING·p·n/√2 together,
    and a result of deviation p·√n. Adding one by one is the worst order, so that no kernel's own order counts.
    """
    return ROUNDING * ((1 + mean**2) * 9 * channels / 2) ** 0.5


def winograd_bound(matrices: tuple[torch.Tensor, ...], channels: int, mean: float) -> float:
    """The same for the algorithm, by its three matrices: rounding of the 36 values of pixels and taps, of the sums over
    the channels, and of the sums that make pixels."""
    pixels, taps, results = (matrix.double() for matrix in matrices)
    terms = [(matrix != 0).sum(1) / 2 for matrix in (pixels, taps, results)]
    taps_squared = taps.square().sum(1) / (9 * channels)
    product_squared = (pixels.square().sum(1) + (mean * pixels.sum(1)) ** 2) * taps_squared * channels
    largest_squared = (pixels.square().sum(1) + (mean * pixels.abs().sum(1)) ** 2) * taps_squared * channels
    error = product_squared * (channels / 2 + terms[1]) + largest_squared * terms[0]
    squared = results.square() @ error + results.square() @ product_squared * terms[2]
    return ROUNDING * float(squared.mean()) ** 0.5


@pytest.mark.parametrize("channels", [128, 512])
@pytest.mark.parametrize("mean", [0.0, 3.0])
def test_its_error_is_what_float32_allows(mean: float, channels: int) -> None:
    x, weight = noise(1, channels, 16, 16) + mean, noise(channels, channels, 3, 3, seed=1) / (9 * channels) ** 0.5
    exact = exactly(x, weight, None)
    error = winograd.convolve(channels_last(x), winograd.transform(weight, 1.0)) - exact
    bound = winograd_bound(winograd._matrices(), channels, mean)
    assert 0 < float(error.square().mean().sqrt()) <= bound


def test_its_points_double_the_error_of_a_plain_convolution(monkeypatch: pytest.MonkeyPatch) -> None:
    """At 128 channels; the usual points, 0, ±1, ±2, quadruple it."""
    plain = plain_bound(128, 0.0)
    assert winograd_bound(winograd._matrices(), 128, 0.0) <= 2 * plain
    monkeypatch.setattr(winograd, "_POINTS", (0.0, 1.0, -1.0, 2.0, -2.0))
    assert winograd_bound(winograd._matrices(), 128, 0.0) > 4 * plain


def test_faces_of_a_batch_do_not_meet() -> None:
    x, kernels = channels_last(noise(3, 8, 16, 12)), winograd.transform(noise(8, 8, 3, 3, seed=1), 1.0)
    x[1] = float("nan")
    out = winograd.convolve(x, kernels)
    assert bool(out[1].isnan().all())
    assert not bool(out[[0, 2]].isnan().any())


def test_a_layer_has_torchs_tensors_and_its_result(used: list[torch.Size]) -> None:
    layer, plain = winograd.Conv3x3(8, 4), nn.Conv2d(8, 4, 3, padding=1)
    layer.load_state_dict(plain.state_dict())  # strict
    x = noise(2, 8, 16, 16)
    with torch.inference_mode():
        torch.testing.assert_close(layer(x), plain(x), atol=1e-5, rtol=0)
    assert used == [x.shape]


@pytest.mark.parametrize(
    ("x", "weight"),
    [
        pytest.param(noise(1, 8, 18, 16), noise(8, 8, 3, 3), id="no whole tiles"),
        pytest.param(noise(1, 3, 16, 16), noise(8, 3, 3, 3), id="few inputs"),
        pytest.param(noise(1, 8, 16, 16), noise(3, 8, 3, 3), id="few outputs"),
        pytest.param(noise(1, 8, 16, 16).bfloat16(), noise(8, 8, 3, 3).bfloat16(), id="bfloat16"),
        pytest.param(noise(1, 8, 16, 16).double(), noise(8, 8, 3, 3).double(), id="float64"),
        pytest.param(noise(1, 8, 16, 16), noise(8, 8, 3, 3).requires_grad_(), id="training"),
        pytest.param(noise(1, 8, 16, 16).requires_grad_(), noise(8, 8, 3, 3), id="the input's gradient"),
        pytest.param(noise(1, 8, 16, 16).to("meta"), noise(8, 8, 3, 3).to("meta"), id="elsewhere"),
    ],
)
def test_what_does_not_suit_goes_to_torch(used: list[torch.Size], x: torch.Tensor, weight: torch.Tensor) -> None:
    out = winograd.Winograd()(x, weight, None, 2.0)
    assert not used
    if x.device.type != "meta":
        torch.testing.assert_close(out, functional.conv2d(x, weight * 2.0, padding=1))


def test_the_usual_thresholds_leave_small_layers_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(winograd, "USED", True)
    weight = torch.empty(128, 128, 3, 3)
    assert winograd.suits(torch.empty(1, 128, 32, 32), weight)
    assert not winograd.suits(torch.empty(1, 128, 28, 32), weight)
    assert not winograd.suits(torch.empty(1, 127, 32, 32), torch.empty(128, 127, 3, 3))


def test_only_cpus_of_its_kind_use_it(monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight = torch.empty(1, 128, 32, 32), torch.empty(128, 128, 3, 3)
    for named, used in (("AVX2", True), ("AVX512", False), ("DEFAULT", False)):
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda named=named: named)
        monkeypatch.setattr(winograd, "USED", winograd._slow_multiplier())
        assert winograd.suits(x, weight) is used
        assert winograd.winograd_layout(x).is_contiguous() is not used
    monkeypatch.delattr(torch.backends.cpu, "get_cpu_capability")  # an older torch
    assert not winograd._slow_multiplier()


CHANGES: dict[str, Callable[[winograd.Conv3x3], object]] = {
    "in place": lambda layer: layer.weight.mul_(2.0),
    "loaded": lambda layer: layer.load_state_dict({"weight": layer.weight * 2.0, "bias": layer.bias}),
    "another tensor": lambda layer: setattr(layer, "weight", nn.Parameter(layer.weight * 2.0, requires_grad=False)),
    "there and back": lambda layer: [layer.double(), layer.weight.mul_(2.0), layer.float()],
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_weights_are_seen(used: list[torch.Size], change: str) -> None:
    layer = winograd.Conv3x3(8, 8).requires_grad_(False)
    x = noise(1, 8, 16, 16)
    layer(x)
    CHANGES[change](layer)
    torch.testing.assert_close(layer(x), functional.conv2d(x, layer.weight, layer.bias, padding=1), atol=1e-5, rtol=0)
    assert len(used) == 2


def test_kernels_are_made_once_and_leave_with_the_network(used: list[torch.Size]) -> None:
    made: list[float] = []

    def compute(weight: torch.Tensor, gain: float) -> torch.Tensor:
        made.append(gain)
        return weight * gain

    kept, weight = winograd.WeightCache(compute), noise(4)
    assert torch.equal(kept(weight, 2.0), weight * 2.0)
    assert kept(weight, 2.0) is kept(weight, 2.0)
    kept(weight, 3.0)
    assert made == [2.0, 3.0]
    holder = nn.Sequential(kept)
    assert not holder.state_dict()
    holder.bfloat16()
    assert kept_by(holder) == 0
    with torch.inference_mode():
        inference = noise(4)
        assert kept(inference, 1.0) is kept(inference, 1.0)
        assert torch.equal(kept(weight, 1.0), weight)

    layer = winograd.Conv3x3(8, 8).requires_grad_(False)
    layer(noise(1, 8, 16, 16))
    layer(noise(1, 8, 18, 16))  # a map that does not suit costs the kernels nothing
    assert kept_by(layer) == 1
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert kept_by(twin) == 0  # four times the weights, which a copy makes itself
        torch.testing.assert_close(twin(x := noise(1, 8, 16, 16)), layer(x), atol=0, rtol=0)
        assert kept_by(twin) == 1


def test_a_weight_at_an_old_ones_address_is_another_one(used: list[torch.Size]) -> None:
    kept = winograd.WeightCache(lambda weight, gain: weight * gain)
    for number in range(20):  # each is freed before the next is made, but for what is kept
        assert torch.equal(kept(torch.full((64,), float(number)), 1.0), torch.full((64,), float(number)))


def test_a_hosts_autocast_does_not_reach_what_is_kept(used: list[torch.Size]) -> None:
    layer, x = winograd.Conv3x3(8, 8).requires_grad_(False), noise(1, 8, 16, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = layer(x)
    torch.testing.assert_close(inside, layer(x), atol=0, rtol=0)
    assert inside.dtype == torch.float32 and len(used) == 2


def test_faces_side_by_side_may_make_the_kernels_at_once(used: list[torch.Size]) -> None:
    layer, x = winograd.Conv3x3(8, 8).requires_grad_(False), noise(1, 8, 16, 16)
    expected = functional.conv2d(x, layer.weight, layer.bias, padding=1)
    for _ in range(20):
        layer.weight.mul_(1.0)  # counts as a change
        with ThreadPoolExecutor(4) as pool:
            for out in pool.map(layer, [x] * 8):
                torch.testing.assert_close(out, expected, atol=1e-5, rtol=0)


def kept_by(layer: nn.Module) -> int:
    return sum(one._kept is not None for one in layer.modules() if isinstance(one, winograd.WeightCache))


NETWORKS: dict[str, Callable[[], Network]] = {
    "gfpgan": test_gfpgan.narrow_network,
    "gpen": lambda: load_network(test_gpen.narrow((4, 8, 8, 8), (8, 8, 8, 4), 16, 2)),
    "codeformer": lambda: load_network(test_codeformer.narrow()),
    "restoreformer": lambda: load_network(test_restoreformer.narrow()),
    "vqfr-1": lambda: load_network(test_vqfr.narrow(vqfr1.VQFRv1(**test_vqfr.NARROW_V1)).state_dict()),  # type: ignore[arg-type]
    "vqfr-2": lambda: load_network(test_vqfr.narrow(vqfr2.VQFRv2(**test_vqfr.NARROW_V2)).state_dict()),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_family_computes_the_same_with_it(
    used: list[torch.Size], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    network = NETWORKS[name]()
    side = 64 if network.family in ("vqfr", "restoreformer") else network.size
    faces = noise(2, 3, side, side).clamp_(-1, 1)
    with torch.inference_mode():
        quick = network.module(faces)
        assert len(used) >= 3
        monkeypatch.setattr(winograd, "USED", False)
        plain = network.module(faces)
    torch.testing.assert_close(quick, plain, atol=1e-4 * float(plain.std()), rtol=0)


def test_dfdnet_computes_the_same_with_it(used: list[torch.Size], monkeypatch: pytest.MonkeyPatch) -> None:
    layer = dfdnet.SpectralConv2d(8, 8).requires_grad_(False)
    for number, value in enumerate(layer.state_dict().values()):
        value.copy_(noise(*value.shape, seed=number))
    x = noise(2, 8, 16, 16)
    quick = layer(x)
    assert len(used) == 1
    monkeypatch.setattr(winograd, "USED", False)
    torch.testing.assert_close(quick, layer(x), atol=1e-5, rtol=1e-5)
    layer.weight_u.zero_()  # as in a damaged file: as wrong as ever, but no error out of nowhere
    monkeypatch.setattr(winograd, "USED", True)
    assert not bool(layer(x).isfinite().all())


def test_equalised_and_modulated_layers_use_it(used: list[torch.Size], monkeypatch: pytest.MonkeyPatch) -> None:
    equal = EqualConv(8, 8, 3).requires_grad_(False)
    equal.weight.copy_(noise(8, 8, 3, 3))
    equal.bias.copy_(noise(8, seed=1))  # type: ignore[union-attr]
    modulated = ModulatedConv(8, 8, 3, 5, equalised=True).requires_grad_(False)
    for number, parameter in enumerate(modulated.parameters()):
        parameter.copy_(noise(*parameter.shape, seed=number))
    x, style = noise(2, 8, 16, 16), noise(2, 5)

    def results() -> list[torch.Tensor]:
        return [equal(x, 1.5), *modulated(x.clone(), style), modulated(x.clone(), style, bilinear=True)[0]]

    quick = results()
    assert [shape[2] for shape in used] == [16, 16, 32]
    monkeypatch.setattr(winograd, "CHANNELS", 1000)
    for ours, plain in zip(quick, results(), strict=True):
        torch.testing.assert_close(ours, plain, atol=2e-5, rtol=1e-5)
    assert len(used) == 3


@pytest.mark.parametrize("mean", [0.0, 10.0])
@pytest.mark.parametrize(("batch", "side"), [(1, 256), (2, 12)])
def test_group_norm_of_channels_last_maps_is_exact(mean: float, batch: int, side: int) -> None:
    norm = GroupNorm(32, 64, eps=1e-6).requires_grad_(False)
    norm.weight.copy_(noise(64, seed=1))
    norm.bias.copy_(noise(64, seed=2))
    x = noise(batch, 64, side, side) * 0.5 + mean
    exact = functional.group_norm(x.double(), 32, norm.weight.double(), norm.bias.double(), 1e-6)
    out = norm(channels_last(x))
    assert out.is_contiguous(memory_format=torch.channels_last)
    # mean / deviation × float32's rounding is what any method loses
    torch.testing.assert_close(out.double(), exact, atol=2e-6 * (3 + 2 * mean), rtol=0)


def test_group_norm_elsewhere_is_torchs_own() -> None:
    norm, plain = GroupNorm(4, 8), nn.GroupNorm(4, 8)
    assert norm.state_dict().keys() == plain.state_dict().keys()
    x = noise(2, 8, 6, 6)
    assert torch.equal(norm(x), plain(x))
    assert norm(channels_last(x)).requires_grad  # trains
    assert norm.bfloat16()(channels_last(x).bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize("side", [2, 8])
def test_doubling_keeps_the_fast_layout(side: int) -> None:
    layer = Upsample(8).requires_grad_(False)
    x = noise(2, 8, side, side)
    expected = layer.conv(functional.interpolate(x, scale_factor=2.0, mode="nearest"))
    for given_x in (x, channels_last(x)):
        torch.testing.assert_close(layer(given_x), expected, atol=1e-5, rtol=0)
    assert layer(channels_last(x)).is_contiguous(memory_format=torch.channels_last)
