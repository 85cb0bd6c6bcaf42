"""From files to networks, and every way in which a file can be wrong."""

from __future__ import annotations

import io
import pickle
import random
import re
import sys
import types
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from lib_facerestore import InputError, ModelFileError, OptionError, load_network
from lib_facerestore.catalogue.peek import PREFIXES, WRAPPING_KEYS
from lib_facerestore.networks import load as loading
from lib_facerestore.networks.archs import Restorer
from lib_facerestore.networks.load import (
    NotACheckpointError,
    TruncatedFileError,
    UnknownFamilyError,
    UnsafeFileError,
    WrongTensorsError,
    read_state,
)

from ..conftest import small_lite


def is_lite(path: Path) -> None:
    """The file loads and computes what the network that was saved computes."""
    network = load_network(path)
    faces = torch.rand(2, 3, 256, 256) * 2 - 1
    with torch.no_grad():
        expected = small_lite().eval()(faces)
    assert torch.allclose(network(faces), expected, atol=1e-5)
    assert (network.family, network.size, network.knobs) == ("lite", 256, frozenset())


@pytest.mark.parametrize("wrapping", [None, *WRAPPING_KEYS])
def test_pth_loads_with_and_without_a_wrapping_key(tmp_path: Path, wrapping: str | None) -> None:
    state = small_lite().state_dict()
    path = tmp_path / "any name.pth"
    torch.save({wrapping: state, "epoch": 3} if wrapping else state, path)
    is_lite(path)


def test_the_averaged_weights_are_preferred(tmp_path: Path) -> None:
    both = {"params": small_lite(seed=1).state_dict(), "params_ema": small_lite().state_dict()}
    torch.save(both, tmp_path / "both.pth")
    is_lite(tmp_path / "both.pth")


def test_a_table_that_holds_itself_is_no_checkpoint(tmp_path: Path) -> None:
    content: dict[str, object] = {"epoch": 3}
    content["params"] = content
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(ModelFileError, match=r"x\.pth"):
        load_network(tmp_path / "x.pth")


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".ckpt"])
@pytest.mark.parametrize("zipped", [True, False])
def test_both_of_pytorchs_formats_load_under_every_suffix(tmp_path: Path, suffix: str, zipped: bool) -> None:
    path = tmp_path / f"x{suffix}"
    torch.save(small_lite().state_dict(), path, _use_new_zipfile_serialization=zipped)
    is_lite(path)


@pytest.mark.parametrize("prefix", [*PREFIXES, "module.vqvae."])
def test_prefixes_are_looked_through_and_other_groups_dropped(tmp_path: Path, prefix: str) -> None:
    state = {prefix + name: value for name, value in small_lite().state_dict().items()}
    state["loss.discriminator.0.weight"] = torch.zeros(4)
    torch.save({"state_dict": state}, tmp_path / "trained.ckpt")
    is_lite(tmp_path / "trained.ckpt")


def test_a_tensor_that_no_network_uses_is_passed_over(tmp_path: Path) -> None:
    safetensors.torch.save_file(
        small_lite().state_dict() | {"quantize.utility_counter": torch.zeros(8)}, tmp_path / "x.safetensors"
    )
    is_lite(tmp_path / "x.safetensors")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".onnx", ""])
@pytest.mark.parametrize("kind", ["safetensors", "zip", "old"])
def test_the_content_decides_not_the_suffix(tmp_path: Path, kind: str, suffix: str) -> None:
    path = tmp_path / f"really {kind}{suffix}"
    if kind == "safetensors":
        safetensors.torch.save_file(small_lite().state_dict(), path)
    else:
        torch.save(small_lite().state_dict(), path, _use_new_zipfile_serialization=kind == "zip")
    is_lite(path)


def test_safetensors_and_state_dicts_load(tmp_path: Path) -> None:
    state = small_lite().state_dict()
    safetensors.torch.save_file({name: value.half() for name, value in state.items()}, tmp_path / "x.safetensors")
    faces = torch.zeros(1, 3, 256, 256)
    assert torch.allclose(load_network(tmp_path / "x.safetensors")(faces), load_network(state)(faces), atol=1e-2)


def test_state_dicts_load_as_files_do() -> None:
    state = small_lite().state_dict()
    faces = torch.zeros(1, 3, 256, 256)
    expected = load_network(state)(faces)
    prefixed = {"module." + name: value for name, value in state.items()}
    for content in (
        {"params_ema": state},
        {"params-ema": state},
        {"model_state_dict": state},
        {"net": state},
        {**state, "epoch": 3},
        {"state_dict": prefixed},
    ):
        assert torch.equal(load_network(content)(faces), expected)  # type: ignore[arg-type]


def quantized(value: torch.Tensor) -> torch.Tensor:
    with warnings.catch_warnings():  # torch means to drop them; files of them stay
        warnings.simplefilter("ignore", UserWarning)
        return torch.quantize_per_tensor(value, 0.1, 0, torch.qint8)


def test_state_dicts_without_tensors_to_copy_say_so() -> None:
    state = small_lite().state_dict()
    first = next(iter(state))
    arrays = {name: value.numpy() for name, value in state.items()}
    for content, reason in (
        (arrays, rf"the state dict: holds no named PyTorch tensors .*\({first}: ndarray"),
        ({}, "the state dict: holds no named PyTorch tensors .*empty"),
    ):
        with pytest.raises(NotACheckpointError, match=reason):
            load_network(content)
    for value, reason in (
        (state[first].to_sparse(), f"the state dict: {first} is not dense .*give a checkpoint of ordinary tensors"),
        (state[first].to("meta"), f"the state dict: {first} has no values"),
        (state[first].to(torch.complex64), f"the state dict: {first} is not of real numbers .*complex64"),
        (quantized(state[first]), f"the state dict: {first} is quantized .*qint8"),
    ):
        with pytest.raises(WrongTensorsError, match=reason):
            load_network(state | {first: value})


@pytest.mark.parametrize("device", ["cuda:99", "warp"])
def test_a_device_that_is_not_there_is_an_option_error(device: str) -> None:
    with pytest.raises(OptionError, match=f"device: '{device}' cannot be used here .*; give cpu"):
        load_network(small_lite().state_dict(), device=device)
    with pytest.raises(OptionError, match=f"device: '{device}' cannot be used here"):
        load_network(small_lite().state_dict()).to(device)


def test_widths_and_depths_are_read_off_the_shapes() -> None:
    module = load_network(small_lite().state_dict()).module
    assert sum(p.numel() for p in module.parameters()) == sum(p.numel() for p in small_lite().parameters())


def test_a_host_that_replaced_torch_load_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def rejects(file: object, *_: object, **__: object) -> None:  # gives None and renames what it was handed by name
        if isinstance(file, str):
            Path(file).rename(file + ".corrupted")

    monkeypatch.setattr(torch, "load", rejects)
    monkeypatch.setattr(safetensors.torch, "load_file", rejects)
    torch.save(small_lite().state_dict(), tmp_path / "x.pth")
    safetensors.torch.save_file(small_lite().state_dict(), tmp_path / "x.safetensors")
    is_lite(tmp_path / "x.pth")
    is_lite(tmp_path / "x.safetensors")
    (tmp_path / "bad.pth").write_bytes(b"\x80\x02not a pickle")
    with pytest.raises(ModelFileError):
        load_network(tmp_path / "bad.pth")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.pth", "x.pth", "x.safetensors"]


@pytest.mark.parametrize("can_be_told", [True, False])  # torch before 2.5 cannot be told what is safe
def test_lightning_leaves_its_classes_in_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_be_told: bool
) -> None:
    room = types.ModuleType("pytorch_lightning.callbacks.model_checkpoint")
    room.ModelCheckpoint = type("ModelCheckpoint", (), {"__module__": room.__name__})  # type: ignore[attr-defined]
    for name in ("pytorch_lightning", "pytorch_lightning.callbacks"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, room.__name__, room)
    state = {"vqvae." + name: value for name, value in small_lite().state_dict().items()}
    content = {"epoch": 1, "callbacks": {room.ModelCheckpoint: {"best": 0.5}}, "state_dict": state}
    torch.save(content, tmp_path / "x.ckpt")
    monkeypatch.undo()  # whoever loads it does not have the package
    if not can_be_told:
        monkeypatch.delattr(torch.serialization, "safe_globals", raising=False)
    is_lite(tmp_path / "x.ckpt")
    with pytest.raises(pickle.UnpicklingError, match="ModelCheckpoint"):  # nobody else is let through
        torch.load(tmp_path / "x.ckpt", weights_only=True)


class _Code:
    def __reduce__(self) -> tuple[object, ...]:
        return (print, ("the pickle ran",))


def test_a_pickle_that_asks_for_code_does_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "plain.pth").write_bytes(pickle.dumps({"x": _Code()}, protocol=2))
    state = small_lite().state_dict()
    for name, zipped in (("zip.pth", True), ("old.pth", False)):
        torch.save({"params": state, "x": _Code()}, tmp_path / name, _use_new_zipfile_serialization=zipped)
    for name in ("plain.pth", "zip.pth", "old.pth"):
        with pytest.raises(UnsafeFileError, match=rf"{name}: not a plain checkpoint.*asks for .*print.*may run code"):
            load_network(tmp_path / name)
    assert "the pickle ran" not in capsys.readouterr().out


def test_files_that_are_no_checkpoints_say_so(tmp_path: Path) -> None:
    for absent in ("absent.pth", "absent.onnx"):
        with pytest.raises(ModelFileError, match=rf"{re.escape(absent)}: there is no such file; check the path\."):
            load_network(tmp_path / absent)
    (tmp_path / "folder.pth").mkdir()
    with pytest.raises(ModelFileError, match=r"folder\.pth: is a folder; name a model file"):
        load_network(tmp_path / "folder.pth")
    for name, content, reason in (
        ("text.pth", b"hello", "no format of model files"),
        ("empty.pth", b"", "it is empty"),
        ("page.ckpt", b"<!DOCTYPE html><html>Sign in</html>", "it is a web page"),
        ("lfs.pth", b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS pointer"),
        ("text.safetensors", b"hello", "no format of model files"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(NotACheckpointError, match=rf"{name}: damaged, or not.*{reason}"):
            load_network(tmp_path / name)
    torch.save({"epoch": 3}, tmp_path / "numbers.pth")
    with pytest.raises(NotACheckpointError, match=r"numbers\.pth: holds no named PyTorch tensors"):
        load_network(tmp_path / "numbers.pth")


@pytest.mark.parametrize("how", ["zip", "old", "safetensors"])
@pytest.mark.parametrize("share", [0.1, 0.9])
def test_files_that_were_cut_off_say_so(tmp_path: Path, how: str, share: float) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut.pth"
    if how == "safetensors":
        safetensors.torch.save_file(small_lite().state_dict(), whole)
    else:
        torch.save(small_lite().state_dict(), whole, _use_new_zipfile_serialization=how == "zip")
    data = whole.read_bytes()
    cut.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ModelFileError, match=r"cut\.pth: damaged.*get it again") as caught:
        load_network(cut)
    if how != "safetensors" or share > 0.5:  # a header that ends too early is as good as none
        assert isinstance(caught.value, TruncatedFileError)


def small_old_file() -> bytes:
    """A checkpoint of two tensors in PyTorch's format before 1.6."""
    file = io.BytesIO()
    content = {"params": {"a.weight": torch.zeros(3, 3), "b": torch.ones(2)}, "epoch": 1}
    torch.save(content, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


def test_an_old_file_that_ends_anywhere_says_so(tmp_path: Path) -> None:
    data, path = small_old_file(), tmp_path / "cut.pth"
    for length in range(1, len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(TruncatedFileError, match=r"cut\.pth: damaged.*get it again"):
            read_state(path)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_altered_files_are_model_file_errors(tmp_path: Path) -> None:
    data, path = small_old_file(), tmp_path / "altered.pth"
    dice = random.Random(0)
    messages: list[str] = []
    for _ in range(300):
        altered = bytearray(data)
        for _ in range(dice.randint(1, 4)):
            altered[dice.randrange(len(altered))] = dice.randrange(256)
        path.write_bytes(altered)
        try:
            read_state(path)
        except ModelFileError as error:
            messages.append(str(error))
    assert len(messages) > 100
    assert all("altered.pth: " in message for message in messages)


def test_other_zip_files_are_not_called_cut_off(tmp_path: Path) -> None:
    torch.jit.script(nn.ReLU()).save(str(tmp_path / "script.pt"))
    with zipfile.ZipFile(tmp_path / "packed.pth", "w") as archive:
        archive.writestr("GFPGANv1.4.pth", b"x" * 100)
    with pytest.raises(NotACheckpointError, match=r"script\.pt: is a TorchScript program.*get the model's"):
        read_state(tmp_path / "script.pt")
    with pytest.raises(NotACheckpointError, match=r"packed\.pth: is a zip file that is not a checkpoint; unpack it"):
        read_state(tmp_path / "packed.pth")


def test_unknown_family_and_wrong_tensors_say_what_was_seen(tmp_path: Path) -> None:
    with pytest.raises(UnknownFamilyError, match=r"2 tensors \(a\.weight, b\.weight\) of no family .*\(.*lite\)"):
        load_network({"a.weight": torch.zeros(1), "b.weight": torch.zeros(1)})
    with pytest.raises(UnknownFamilyError, match=r"is bisenet, a parser, not a restorer; the families"):
        load_network({"cp.resnet.conv1.weight": torch.zeros(1), "conv_out.conv_out.weight": torch.zeros(1)})
    state = small_lite().state_dict()
    del state["lite_trunk.0.second.bias"]
    with pytest.raises(WrongTensorsError, match=r"1 missing \(lite_trunk\.0\.second\.bias\)"):
        load_network(state)
    state = small_lite().state_dict()
    state["lite_trunk.0.second.bias"] = torch.zeros(3)
    with pytest.raises(WrongTensorsError, match=r"1 of another shape \(lite_trunk\.0\.second\.bias \(3,\) for"):
        load_network(state)
    del state["down_eighth.weight"]
    with pytest.raises(
        WrongTensorsError, match=r"looks like lite, but lacks the tensor down_eighth\.weight; get it again"
    ):
        load_network(state)


def test_onnx_files_go_to_onnxruntime(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="runs .onnx files")
    (tmp_path / "x.onnx").write_bytes(b"\x08\x07garbage")
    with pytest.raises(ModelFileError, match=r"x\.onnx: damaged, or not an ONNX file"):
        load_network(tmp_path / "x.onnx")
    with pytest.raises(NotACheckpointError, match=r"x\.onnx: is an ONNX file"):
        read_state(tmp_path / "x.onnx")
    (tmp_path / "x.onnx").rename(tmp_path / "x.pth")  # the suffix does not decide
    with pytest.raises(ModelFileError, match=r"x\.pth: damaged, or not an ONNX file"):
        load_network(tmp_path / "x.pth")
    (tmp_path / "x.ONNX").write_bytes(b"ORTM of some other kind")
    with pytest.raises(ModelFileError, match=r"x\.ONNX: damaged, or not an ONNX file"):
        load_network(tmp_path / "x.ONNX")


def test_every_kind_of_bad_file_is_a_model_file_error() -> None:
    for kind in (NotACheckpointError, TruncatedFileError, UnsafeFileError, UnknownFamilyError, WrongTensorsError):
        assert issubclass(kind, ModelFileError)


def test_read_state_keeps_prefixes_for_others_to_look_at(tmp_path: Path) -> None:
    torch.save({"params": {"module.a": torch.ones(2)}}, tmp_path / "x.pth")
    assert list(read_state(tmp_path / "x.pth")) == ["module.a"]


def test_misuse_of_a_network_is_an_error() -> None:
    network = load_network(small_lite().state_dict())
    with pytest.raises(
        InputError, match=r"shape \(1, 3, 128, 128\) does not fit lite; give B×3×256×256 or B×3×512×512"
    ):
        network(torch.zeros(1, 3, 128, 128))
    with pytest.raises(OptionError, match="fidelity: lite has no such knob; the knobs it has: none"):
        network(torch.zeros(1, 3, 256, 256), fidelity=0.5)
    with pytest.raises(TypeError, match="fidelty"):
        network(torch.zeros(1, 3, 256, 256), fidelty=0.5)  # type: ignore[call-arg]


class _Faithful(Restorer):
    family, size = "faithful", 8
    knobs = frozenset({"fidelity"})

    def forward(self, faces: torch.Tensor, *, fidelity: float = 0.5) -> torch.Tensor:
        assert type(fidelity) is float
        return faces + fidelity


def test_fidelity_is_a_number_from_0_to_1() -> None:
    network = loading.Network(_Faithful(), "cpu", torch.float32)
    faces = torch.zeros(1, 3, 8, 8)
    for right in (0, 1, 0.25, np.float32(0.25)):
        assert torch.equal(network(faces, fidelity=right), faces + float(right))
    for wrong in (5.0, -0.1, float("nan"), "0.5", True):
        with pytest.raises(OptionError, match=r"fidelity: .* is not allowed; give a number from 0 to 1"):
            network(faces, fidelity=wrong)  # type: ignore[arg-type]


def test_networks_made_in_inference_mode_can_be_moved() -> None:
    with torch.inference_mode():
        network = load_network(small_lite().state_dict())
    network.module.to(torch.float64)
    assert next(network.module.parameters()).dtype == torch.float64


def test_an_empty_batch_gives_an_empty_batch() -> None:
    network = load_network(small_lite().state_dict())
    assert network(torch.zeros(0, 3, 256, 256)).shape == (0, 3, 256, 256)
