"""From files to networks, and every way in which a file can be wrong."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import safetensors.torch
import torch

from lib_facerestore import InputError, ModelFileError, OptionError, load_network
from tests.conftest import small_lite


@pytest.mark.parametrize("wrapping", [None, "params_ema", "params", "state_dict"])
def test_pth_loads_with_and_without_a_wrapping_key(tmp_path: Path, wrapping: str | None) -> None:
    state = small_lite().state_dict()
    path = tmp_path / "any name.pth"
    torch.save({wrapping: state} if wrapping else state, path)
    network = load_network(path)
    faces = torch.rand(2, 3, 256, 256) * 2 - 1
    with torch.no_grad():
        expected = small_lite().eval()(faces)
    assert torch.allclose(network(faces), expected, atol=1e-5)
    assert (network.family, network.size, network.knobs) == ("lite", 256, frozenset())


def test_safetensors_and_state_dicts_load(tmp_path: Path) -> None:
    state = small_lite().state_dict()
    safetensors.torch.save_file({name: value.half() for name, value in state.items()}, tmp_path / "x.safetensors")
    faces = torch.zeros(1, 3, 256, 256)
    assert torch.allclose(load_network(tmp_path / "x.safetensors")(faces), load_network(state)(faces), atol=1e-2)


def test_widths_and_depths_are_read_off_the_shapes() -> None:
    module = load_network(small_lite().state_dict()).module
    assert sum(p.numel() for p in module.parameters()) == sum(p.numel() for p in small_lite().parameters())


class _Code:
    def __reduce__(self) -> tuple[object, ...]:
        return (print, ("the pickle ran",))


def test_bad_files_have_errors_that_name_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ModelFileError, match=r"absent\.pth: there is no such model file"):
        load_network(tmp_path / "absent.pth")
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(ModelFileError, match=r"text\.pth: .*(damaged|not a plain checkpoint)"):
        load_network(tmp_path / "text.pth")
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(ModelFileError, match=r"text\.safetensors: damaged, or not a safetensors file"):
        load_network(tmp_path / "text.safetensors")
    torch.save(small_lite().state_dict(), tmp_path / "whole.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "whole.pth").read_bytes()[:5000])
    with pytest.raises(ModelFileError, match=r"cut\.pth: damaged, cut off"):
        load_network(tmp_path / "cut.pth")
    (tmp_path / "code.pth").write_bytes(pickle.dumps({"x": _Code()}))
    with pytest.raises(ModelFileError, match=r"code\.pth: not a plain checkpoint.*may run code"):
        load_network(tmp_path / "code.pth")
    torch.save({"epoch": 3}, tmp_path / "empty.pth")
    with pytest.raises(ModelFileError, match=r"empty\.pth: holds no tensors"):
        load_network(tmp_path / "empty.pth")
    assert "the pickle ran" not in capsys.readouterr().out


def test_unknown_family_and_wrong_tensors_say_what_was_seen() -> None:
    with pytest.raises(ModelFileError, match=r"2 tensors \(a\.weight, b\.weight, …\) of no family .*\(lite\)"):
        load_network({"a.weight": torch.zeros(1), "b.weight": torch.zeros(1)})
    state = small_lite().state_dict()
    del state["lite_trunk.0.second.bias"]
    with pytest.raises(ModelFileError, match=r"1 missing \(lite_trunk\.0\.second\.bias\)"):
        load_network(state)


def test_misuse_of_a_network_is_an_error() -> None:
    network = load_network(small_lite().state_dict())
    with pytest.raises(InputError, match=r"shape \(1, 3, 128, 128\) does not fit lite; give B×3×256×256"):
        network(torch.zeros(1, 3, 128, 128))
    with pytest.raises(OptionError, match="lite has no such knob; the knobs it has: none"):
        network(torch.zeros(1, 3, 256, 256), fidelity=0.5)


def test_networks_made_in_inference_mode_can_be_moved() -> None:
    with torch.inference_mode():
        network = load_network(small_lite().state_dict())
    network.module.to(torch.float64)
    assert next(network.module.parameters()).dtype == torch.float64
