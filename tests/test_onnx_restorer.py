"""ONNX restorers: graphs of the public files' shapes, made here, run by the real onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lib_facerestore import onnx_restorer
from lib_facerestore.errors import ModelFileError
from lib_facerestore.onnx_restorer import load_onnx

onnx = pytest.importorskip("onnx", reason="needs the package onnx to make the files (extra `test`)")
pytest.importorskip("onnxruntime", reason="needs onnxruntime (extra `test`)")
helper, FLOAT, HALF, DOUBLE = onnx.helper, onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE


def save(path: Path, nodes: list, inputs: list, outputs: list) -> Path:
    info = helper.make_tensor_value_info
    graph = helper.make_graph(nodes, "net", [info(*one) for one in inputs], [info(*one) for one in outputs])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(path))
    return path


def negative(path: Path, batch: int | str = 1, side: int = 64, kind: int = FLOAT) -> Path:
    shape = [batch, 3, side, side]
    nodes = [helper.make_node("Neg", ["input"], ["output"])]
    return save(path, nodes, [("input", kind, shape)], [("output", kind, shape)])


def weighted(path: Path, name: str = "weight", kind: int = DOUBLE, shape: tuple = (1,)) -> Path:
    """Picture × weight, beside an output that comes first and is no picture."""
    picture = [1, 3, 64, 64]
    nodes = [
        helper.make_node("Cast", [name], ["w"], to=FLOAT),
        helper.make_node("Mul", ["input", "w"], ["main_dec"]),
        helper.make_node("ReduceMean", ["input"], ["code"], axes=[2, 3], keepdims=1),
        helper.make_node("Neg", ["input"], ["texture"]),
    ]
    outputs = [("code", FLOAT, [1, 3, 1, 1]), ("texture", FLOAT, picture), ("main_dec", FLOAT, picture)]
    return save(path, nodes, [("input", FLOAT, picture), (name, kind, list(shape))], outputs)


def faces(count: int, side: int = 64) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize("batch", [1, 2, "batch"])
@pytest.mark.parametrize("count", [1, 3])
def test_every_face_of_a_batch_comes_back_in_order(tmp_path: Path, batch: int | str, count: int) -> None:
    network = load_onnx(negative(tmp_path / "n.onnx", batch))
    assert (network.family, network.size, network.knobs, network.template) == ("onnx", 64, frozenset(), "ffhq")
    assert torch.equal(network(faces(count)), -faces(count))


def test_half_precision_files_take_and_give_float32(tmp_path: Path) -> None:
    result = load_onnx(negative(tmp_path / "n.onnx", kind=HALF))(faces(2))
    assert result.dtype == torch.float32
    assert torch.allclose(result, -faces(2), atol=1e-3)


@pytest.mark.parametrize(("kind", "shape"), [(DOUBLE, (1,)), (FLOAT, ()), (FLOAT, (1,))])
def test_the_number_is_the_fidelity_and_the_finished_picture_is_chosen(tmp_path: Path, kind: int, shape: tuple) -> None:
    network = load_onnx(weighted(tmp_path / "w.onnx", kind=kind, shape=shape))
    assert network.knobs == {"fidelity"}
    for fidelity in (0.0, 0.25, 1.0):
        assert torch.allclose(network(faces(2), fidelity=fidelity), faces(2) * fidelity)


def test_the_256_px_file_is_cropped_as_its_publishers_do(tmp_path: Path) -> None:
    assert load_onnx(negative(tmp_path / "gpen_bfr_256.onnx", side=256)).template == "arcface"


def test_what_is_no_restorer_is_refused_with_its_inputs(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="no such model file"):
        load_onnx(tmp_path / "gone.onnx")
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(negative(tmp_path / "n.onnx").read_bytes()[:40])
    with pytest.raises(ModelFileError, match=r"damaged, or not an ONNX file .*get it again"):
        load_onnx(damaged)
    any_side = save(
        tmp_path / "yolo.onnx",
        [helper.make_node("Neg", ["images"], ["o"])],
        [("images", FLOAT, [1, 3, "h", "w"])],
        [("o", FLOAT, [1, 3, "h", "w"])],
    )
    with pytest.raises(ModelFileError, match=r"takes images \[1, 3, 'h', 'w'\] tensor\(float\); wanted is one"):
        load_onnx(any_side)
    vector = save(
        tmp_path / "embed.onnx",
        [helper.make_node("ReduceMean", ["input"], ["e"], axes=[2, 3], keepdims=0)],
        [("input", FLOAT, [1, 3, 112, 112])],
        [("e", FLOAT, [1, 3])],
    )
    with pytest.raises(ModelFileError, match=r"it gives e \[1, 3\], no picture"):
        load_onnx(vector)


def test_without_onnxruntime_the_message_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(name: str) -> None:
        raise ImportError(name)

    path = negative(tmp_path / "n.onnx")
    monkeypatch.setattr(onnx_restorer.importlib, "import_module", gone)
    with pytest.raises(ModelFileError, match="pip install onnxruntime"):
        load_onnx(path)


def test_values_are_the_sessions_own(tmp_path: Path) -> None:
    pixels = faces(1)
    session = load_onnx(negative(tmp_path / "n.onnx"))._session
    assert np.array_equal(session.run(None, {"input": pixels.numpy()})[0], -pixels.numpy())
