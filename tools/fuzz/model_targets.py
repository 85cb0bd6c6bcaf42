"""Targets: model files of every format."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Callable
from pathlib import Path

import safetensors.torch
import torch

from lib_facerestore.catalogue.identify import identify
from lib_facerestore.catalogue.peek import peek
from lib_facerestore.errors import ModelFileError
from lib_facerestore.networks.checkpoint_files import read_state
from lib_facerestore.networks.load import load_network

from .runner import Target


def _state() -> dict[str, torch.Tensor]:
    return {"conv.weight": torch.ones(2, 1, 3, 3), "conv.bias": torch.zeros(2), "half": torch.ones(3).half()}


def _safetensors() -> list[bytes]:
    return [
        safetensors.torch.save(_state()),
        safetensors.torch.save({f"params_ema.{name}": value for name, value in _state().items()}, {"made": "here"}),
        safetensors.torch.save({"empty": torch.zeros(0, 4)}),
    ]


def _pickles() -> list[bytes]:
    made = []
    shared = torch.arange(12.0)
    for content in (
        _state(), {"params_ema": _state(), "step": 3}, {"state_dict": {f"module.{n}": v for n, v in _state().items()}},
        {"a": shared[:4], "b": shared[4:].view(2, 4).t()}, [torch.ones(2)], {"n": torch.nn.Parameter(torch.ones(1))},
    ):  # fmt: skip
        for new in (True, False):
            file = io.BytesIO()
            torch.save(content, file, _use_new_zipfile_serialization=new)
            made.append(file.getvalue())
    return made


def _onnx() -> list[bytes]:
    from onnx import TensorProto, helper

    made = []
    for side in (16, "side"):
        face = helper.make_tensor_value_info("face", TensorProto.FLOAT, [1, 3, side, side])
        out = helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 3, side, side])
        half = helper.make_tensor("half", TensorProto.FLOAT, [1], [0.5])
        graph = helper.make_graph([helper.make_node("Mul", ["face", "half"], ["out"])], "g", [face], [out], [half])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        made.append(model.SerializeToString())
    return made


def _read_file(name: str) -> Callable[[Path], Callable[[bytes], None]]:
    """What every start of the program does with a file in a model folder, and what loading it does."""
    readers: tuple[Callable[[Path], object], ...] = (peek, read_state, load_network)

    def prepare(folder: Path) -> Callable[[bytes], None]:
        path = folder / name

        def take(case: bytes) -> None:
            path.write_bytes(case)
            identify(path)  # never an error, whatever the file is
            refusals = []
            for read in readers:
                try:
                    read(path)
                except ModelFileError as error:
                    refusals.append(error)
            assert path.read_bytes() == case
            assert [entry.name for entry in folder.iterdir()] == [name], "a file was left behind"
            if len(refusals) == len(readers):
                raise refusals[0]

        return take

    return prepare


TARGETS = (
    Target("safetensors", "altered .safetensors files, identified, peeked at and loaded", _safetensors,
           _read_file("model.safetensors")),
    Target("pickles", "altered .pth files, zip and legacy", _pickles, _read_file("model.pth")),
    *((Target("onnx", "altered .onnx files", _onnx, _read_file("model.onnx")),)
      if importlib.util.find_spec("onnx") and importlib.util.find_spec("onnxruntime") else ()),
)  # fmt: skip
