"""VQFR v1 and v2 against the original's numbers, and narrow networks against what they were built with.

The original is not on PyPI (and spandrel has no VQFR), so there is nothing to run beside it. A face costs v1 2257
GFLOP: v2 is run at full size, of v1 the encoder is (all of it with
FACERESTORE_LONG_TESTS=1), and narrow networks show that the faces of a batch do not meet.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from numpy.lib.npyio import NpzFile
from torch import nn

from lib_facerestore.errors import ModelFileError, OptionError
from lib_facerestore.networks.archs import vqfr1, vqfr2
from lib_facerestore.networks.archs.vqgan import Codebook
from lib_facerestore.networks.load import Network, load_network

from ...oracle import check, synth
from .conftest import LONG

TOLERANCE = 2e-4
"""Largest difference over the reference's deviation. The original's own float32 is 1e-4 from its float64 in v2."""

NARROW_V1 = {"widths": (32, 64, 32, 96), "encoder_blocks": 1, "decoder_blocks": 2, "codes": 19, "code_width": 12,
             "guide": 5, "groups": 2}  # fmt: skip
NARROW_V2 = {"widths": (32, 64, 96), "encoder_blocks": 3, "decoder_blocks": 1, "codes": 23, "code_width": 10,
             "guide": 7, "groups": 8}  # fmt: skip


def from_oracle(name: str) -> tuple[Network, NpzFile, list[torch.Tensor]]:
    """The network with synthetic weights, its golden numbers, and a list that collects the codes of each run."""
    spec, _, gold = check.load(name)
    network = load_network(synth.synth_state_dict(spec))
    seen: list[torch.Tensor] = []
    module = network.module
    choose: Callable[[torch.Tensor], torch.Tensor] = module.codes  # type: ignore[assignment]

    def codes(faces: torch.Tensor) -> torch.Tensor:
        seen.append(choose(faces))
        return seen[-1]

    object.__setattr__(module, "codes", codes)
    return network, gold, seen


def assert_golden(gold: NpzFile, key: str, faces: torch.Tensor, tolerance: float = TOLERANCE) -> None:
    figures = check.compare(gold, key, faces)
    assert figures and max(figures.values()) <= tolerance, (key, figures)
    assert max(figures.values()) * float(gold[f"{key}_stats"][1]) <= 1e-3


def faces(count: int, side: int) -> torch.Tensor:
    return torch.from_numpy(synth.pseudo_image(0, side, side, count))


def narrow(network: nn.Module, seed: int = 0) -> nn.Module:
    """Random weights of the size that keeps a signal alive."""
    torch.manual_seed(seed)
    for name, value in network.named_parameters():
        if value.ndim == 1:
            nn.init.normal_(value, float(name.endswith("weight")), 0.1)
        else:
            nn.init.normal_(value, 0, math.prod(value.shape[1:]) ** -0.5)
    return network.eval().requires_grad_(False)


def test_v1_equals_the_original() -> None:
    network, gold, codes = from_oracle("VQFR_v1")
    assert (network.family, network.size, network.template, network.knobs) == ("vqfr", 512, "ffhq", frozenset())
    if LONG:
        made = network(faces(3, 512))
        assert_golden(gold, "out", made[:1])
        assert_golden(gold, "fwd_seed1", made[1:2])
    else:  # the encoder alone, a fifth of the time: the decoders are made of the same blocks as v2's
        with torch.inference_mode():
            network.module.codes(faces(1, 512))  # type: ignore[operator]
    assert (codes[0][:1].numpy() == gold["code_index"]).all()  # the smallest margin is 0.006, so none may differ


def test_v2_equals_the_original() -> None:
    network, gold, codes = from_oracle("VQFR_v2")
    assert (network.family, network.size, network.template) == ("vqfr", 512, "ffhq")
    assert network.knobs == {"fidelity"}
    last = network.module.decoder.conv_out  # type: ignore[union-attr]
    features: list[torch.Tensor] = []
    last.register_forward_pre_hook(lambda _, inputs: features.append(inputs[0][:1].clone()))  # type: ignore[union-attr]

    made = network(faces(3 if LONG else 1, 512), fidelity=0.5)
    assert_golden(gold, "out_f0.5", made[:1])
    if LONG:
        assert_golden(gold, "fwd_seed1", made[1:2])  # made with 0.5 too, as its deviation tells
        assert_golden(gold, "out_f0", network(faces(1, 512), fidelity=0.0))
        # The branches are added before the last layer, so 1 needs no third run; the narrow network makes it. Going on
        # from the middle doubles its rounding.
        with torch.inference_mode():
            whole = last(2 * features[0] - features[1])  # type: ignore[operator]
        assert_golden(gold, "out_f1", whole, 2 * TOLERANCE)
    for chosen in codes:
        assert (chosen[:1].numpy() == gold["code_index"]).all()


def test_fidelity_turns_the_warped_branch() -> None:
    network = load_network(narrow(vqfr2.VQFRv2(**NARROW_V2)).state_dict()).module  # type: ignore[arg-type]
    picture = faces(1, 32)
    features: list[torch.Tensor] = []
    last = network.decoder.conv_out  # type: ignore[union-attr]
    last.register_forward_pre_hook(lambda _, inputs: features.append(inputs[0].clone()))  # type: ignore[union-attr]
    results = [network(picture, fidelity=value) for value in (0.0, 0.5, 1.0)]
    torch.testing.assert_close(features[1], (features[0] + features[2]) / 2, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(network(picture), results[1])
    assert (results[0] - results[1]).abs().max() > 1e-2 < (results[1] - results[2]).abs().max()


@pytest.mark.parametrize(
    ("kind", "sizes"),
    [
        (vqfr1.VQFRv1, NARROW_V1),
        (vqfr2.VQFRv2, NARROW_V2),
        (vqfr2.VQFRv2, NARROW_V2 | {"attention": (False, True), "classifier": False}),
        (vqfr2.VQFRv2, NARROW_V2 | {"attention": (True, False)}),
    ],
    ids=["v1", "v2", "v2-nearest", "v2-half-attentive"],
)
def test_sizes_are_read_off_the_shapes_and_faces_do_not_meet(kind: type[nn.Module], sizes: dict[str, Any]) -> None:
    original = narrow(kind(**sizes))
    module = load_network(original.state_dict()).module
    assert type(module) is type(original)
    assert str(module) == str(original)  # every layer's arguments
    picture = faces(3, 64)
    together = module(picture)
    assert together.shape == picture.shape and together.std() > 0.05
    torch.testing.assert_close(together, original(picture), atol=0, rtol=0)
    alone = torch.cat([module(picture[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone, atol=2e-4, rtol=0)
    assert len(module.codes(picture).unique()) > 1  # type: ignore[operator]


@pytest.mark.parametrize("network", [vqfr1.VQFRv1(**NARROW_V1), vqfr2.VQFRv2(**NARROW_V2)], ids=["v1", "v2"])  # type: ignore[arg-type]
def test_codes_are_chosen_in_float32_whatever_the_precision(network: vqfr1.VQFRv1 | vqfr2.VQFRv2) -> None:
    (codebook,) = (module for module in network.bfloat16().modules() if isinstance(module, Codebook))
    torch.manual_seed(0)
    vectors = torch.randn_like(codebook.embedding.weight) + 32  # far from zero, where bfloat16 cannot tell them apart
    codebook.embedding.weight.data.copy_(vectors)
    wanted = torch.randint(len(vectors), (2, 16, 16))
    latent = codebook.look_up(wanted)
    assert torch.equal(codebook.nearest(latent), wanted)


def test_nothing_else_is_vqfr() -> None:
    for name in ("codeformer", "RestoreFormer", "GFPGANv1.4", "DFDNet"):
        shapes = {entry[0]: tuple(entry[1]) for entry in check.load(name)[0]}
        assert not vqfr1.matches(shapes) and not vqfr2.matches(shapes)


def test_errors_name_what_is_wrong() -> None:
    state = narrow(vqfr1.VQFRv1(**NARROW_V1)).state_dict()  # type: ignore[arg-type]
    network = load_network(state)
    with pytest.raises(OptionError, match="fidelity: vqfr has no such knob"):
        network(torch.zeros(1, 3, 512, 512), fidelity=0.5)
    del state["encoder.conv_in.bias"]
    with pytest.raises(ModelFileError, match=r"encoder\.conv_in\.bias"):
        load_network(state)
