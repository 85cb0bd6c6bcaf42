"""The reference packages' networks: missing packages, the tensors that each is given, the crops to compare on."""

from __future__ import annotations

import sys

import pytest
import torch

from lib_facerestore import load_network
from lib_facerestore.checks import originals
from lib_facerestore.errors import FaceRestoreError

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
