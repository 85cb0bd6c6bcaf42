"""The reference packages' networks: missing packages, the tensors that each is given, the crops to compare on."""

from __future__ import annotations

import importlib
import sys
from types import SimpleNamespace
from typing import cast

import pytest
import torch

from lib_facerestore import load_network
from lib_facerestore.bench import public_networks
from lib_facerestore.checks import originals
from lib_facerestore.errors import FaceRestoreError
from lib_facerestore.networks.load import Network
from lib_facerestore.system import facexlib_import

from ..conftest import small_lite


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(originals.importlib, "import_module", missing)
    monkeypatch.setattr(originals.facexlib_import, "prepare", lambda: None)
    network = load_network(small_lite().state_dict())
    network.family = "gfpgan"
    with pytest.raises(FaceRestoreError, match=r"needs the package gfpgan.*pip install --no-deps gfpgan"):
        originals.find_original(network, {})


def test_synthetic_crops_are_the_same_each_time() -> None:
    crop = originals.synthetic_crop(0, 64)
    assert crop.shape == (1, 3, 64, 64) and crop.abs().max() <= 1 and crop.std() > 0.1
    assert torch.equal(crop, originals.synthetic_crop(0, 64))
    assert not torch.equal(crop, originals.synthetic_crop(1, 64))


@pytest.mark.parametrize("prefix", ["", "module.", "vqvae."])
def test_the_original_gets_its_own_tensors_only(
    prefix: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own = small_lite().state_dict()
    state = {prefix + name: value for name, value in own.items()}
    state[prefix + "quantize.utility_counter"] = torch.zeros(2)
    if prefix:
        state["loss.weight"] = torch.zeros(3)
    given: list[set[str]] = []

    def make(tensors: dict[str, torch.Tensor]) -> originals.Original:
        sys.stdout.write("chatter of packages")
        given.append(set(tensors))
        return originals.Original("x", lambda x: x)

    monkeypatch.setattr(originals, "_gfpgan", make)
    network = load_network(state)
    network.family = "gfpgan"
    originals.find_original(network, state)
    assert given == [set(own)]
    assert "chatter" not in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore:.*copying from a non-meta parameter")
def test_basicsrs_fused_activation_is_replaced_only_while_gfpgan_1_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    facexlib_import.prepare()
    pytest.importorskip("gfpgan.archs.gfpganv1_arch", reason="comes with the extra `reference`")
    modules = [
        importlib.import_module(f"basicsr.{name}") for name in ("ops.fused_act.fused_act", "archs.stylegan2_arch")
    ]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    blur = importlib.import_module("basicsr.ops.upfirdn2d.upfirdn2d")

    def plain(
        x: torch.Tensor, kernel: torch.Tensor, up: int = 1, down: int = 1, pad: tuple[int, int] = (0, 0)
    ) -> object:
        return blur.upfirdn2d_native(x, kernel, up, up, down, down, *pad, *pad)

    monkeypatch.setattr(modules[1], "upfirdn2d", plain)  # which basicsr takes on a CPU, but not for shapes alone
    before = [module.fused_leaky_relu for module in modules]
    with torch.device("meta"):  # shapes alone
        like = cast(Network, SimpleNamespace(family="gfpgan", device="meta"))
        original = originals.find_original(like, public_networks.gfpgan_original().state_dict())
        assert [module.fused_leaky_relu for module in modules] == before
        faces = torch.zeros(1, 3, 512, 512)
        assert original.run(faces).shape == faces.shape, "the compiled activation has no code for this"
    assert [module.fused_leaky_relu for module in modules] == before
