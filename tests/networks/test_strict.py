"""Strict loading, and the prefixes of training code."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lib_facerestore.networks.checkpoint_files import WrongTensorsError
from lib_facerestore.networks.strict import fill, own_tensors


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))


def ones() -> dict[str, torch.Tensor]:
    return {name: torch.ones_like(value) for name, value in network().state_dict().items()}


def test_values_are_converted_and_batch_counters_are_not_needed() -> None:
    counter = "1.num_batches_tracked"
    for counters in ({}, {counter: torch.zeros(3)}):
        state = {name: value.half() for name, value in ones().items() if name != counter} | counters
        made = network()
        fill(made, state, "net", "x.pth")
        assert made[0].weight.dtype == torch.float32
        assert all(bool((value == 1).all()) for name, value in made.state_dict().items() if name != counter)
        assert made.state_dict()[counter] == 0


def test_each_fault_is_named_and_nothing_is_copied() -> None:
    state = ones() | {"0.weight": torch.zeros(3), "2.bias": torch.zeros(1)}
    del state["1.bias"]
    made = network()
    before = made.state_dict()["0.bias"].clone()
    reason = (
        r"x\.pth: looks like net, but has tensors 1 missing \(1\.bias\); 1 unknown \(2\.bias\); "
        r"1 of another shape \(0\.weight \(3,\) for \(2, 1, 1, 1\)\); get it again\."
    )
    with pytest.raises(WrongTensorsError, match=reason):
        fill(made, state, "net", "x.pth")
    assert torch.equal(made[0].bias, before)  # type: ignore[arg-type]


def test_a_tensor_that_no_network_uses_is_passed_over() -> None:
    fill(network(), ones() | {"quantize.utility_counter": torch.zeros(8)}, "net", "x.pth")


@pytest.mark.parametrize("prefix", ["", "module.", "module.vqvae."])
def test_prefixes_are_dropped_with_the_groups_beside_them(prefix: str) -> None:
    state = {prefix + name: value for name, value in ones().items()}
    beside = {"loss.weight": torch.zeros(1)} if prefix else {}
    own = own_tensors(state | beside, ["0.weight"])
    assert own is not None and own.keys() == ones().keys()
    assert own_tensors(state, ["absent"]) is None
