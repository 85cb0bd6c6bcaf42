"""ONNX restorers: graphs of the public files' shapes, made here, run by the real onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
import torch

from lib_facerestore.errors import ModelFileError
from lib_facerestore.networks import onnx as onnx_networks
from lib_facerestore.networks.onnx import load_onnx

onnx = pytest.importorskip("onnx", reason="needs the package onnx to make the files (extra `test`)")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime (extra `test`)")
helper, FLOAT, HALF, DOUBLE = onnx.helper, onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE
INT, INT32 = onnx.TensorProto.INT64, onnx.TensorProto.INT32
Shape: TypeAlias = Sequence[int | str]
"""Of an input or output; a text is a side that may vary."""
Tensor: TypeAlias = tuple[str, int, Shape]
"""Name, kind of number and shape."""


def save(path: Path, nodes: list[Any], inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> Path:
    info = helper.make_tensor_value_info
    graph = helper.make_graph(nodes, "net", [info(*one) for one in inputs], [info(*one) for one in outputs])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(path))
    return path


def negative(path: Path, batch: int | str = 1, side: int = 64, kind: int = FLOAT) -> Path:
    shape = [batch, 3, side, side]
    nodes = [helper.make_node("Neg", ["input"], ["output"])]
    return save(path, nodes, [("input", kind, shape)], [("output", kind, shape)])


def weighted(path: Path, name: str = "weight", kind: int = DOUBLE, shape: Shape = (1,)) -> Path:
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
def test_the_number_is_the_fidelity_and_the_finished_picture_is_chosen(tmp_path: Path, kind: int, shape: Shape) -> None:
    network = load_onnx(weighted(tmp_path / "w.onnx", kind=kind, shape=shape))
    assert network.knobs == {"fidelity"}
    for fidelity in (0.0, 0.25, 1.0):
        assert torch.allclose(network(faces(2), fidelity=fidelity), faces(2) * fidelity)


@pytest.mark.parametrize(("kind", "shape"), [(FLOAT, (1, 1)), (FLOAT, ("n",)), (INT, (1,)), (INT32, ())])
def test_a_weight_of_any_form_is_filled_in(tmp_path: Path, kind: int, shape: Shape) -> None:
    network = load_onnx(weighted(tmp_path / "w.onnx", kind=kind, shape=shape))
    assert network.knobs == {"fidelity"}
    assert torch.allclose(network(faces(2), fidelity=1.0), faces(2))
    assert torch.allclose(network(faces(2), fidelity=0.0), faces(2) * 0)


@pytest.mark.parametrize(("given", "side"), [("h", 512), (64, 64)])
def test_a_graph_of_open_side_runs_at_the_side_that_it_gives_or_at_512(
    tmp_path: Path, given: int | str, side: int
) -> None:
    nodes = [helper.make_node("Neg", ["i"], ["o"])]
    taken: Shape = ["b", 3, "h", "w"]
    made: Shape = ["b", 3, given, given if isinstance(given, int) else "w"]
    network = load_onnx(save(tmp_path / "open.onnx", nodes, [("i", FLOAT, taken)], [("o", FLOAT, made)]))
    assert network.size == side
    assert torch.equal(network(faces(1, side)), -faces(1, side))


def test_an_upscaler_of_open_side_is_no_restorer(tmp_path: Path) -> None:
    nodes = [helper.make_node("Concat", ["i", "i"], ["o"], axis=2)]
    path = save(tmp_path / "up.onnx", nodes, [("i", FLOAT, ["b", 3, "h", "w"])], [("o", FLOAT, ["b", 3, "H", "W"])])
    with pytest.raises(ModelFileError, match=r"are o \(1, 3, 1024, 512\), none has the shape \(1, 3, 512, 512\)"):
        load_onnx(path)(faces(2, 512))


def test_a_graph_that_only_seems_to_take_any_batch_is_run_face_by_face(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    nodes = [
        helper.make_node("Constant", [], ["one"], value=helper.make_tensor("one", INT, [4], [1, 3, 64, 64])),
        helper.make_node("Reshape", ["i", "one"], ["r"]),
        helper.make_node("Neg", ["r"], ["o"]),
    ]
    shape: Shape = ["b", 3, 64, 64]
    network = load_onnx(save(tmp_path / "n.onnx", nodes, [("i", FLOAT, shape)], [("o", FLOAT, shape)]))
    caplog.set_level("INFO")
    for _ in range(2):
        assert torch.equal(network(faces(3)), -faces(3))
    assert caplog.text.count("takes one face at a time from now on") == 1


def test_the_256_px_file_is_cropped_as_its_publishers_do(tmp_path: Path) -> None:
    assert load_onnx(negative(tmp_path / "gpen_bfr_256.onnx", side=256)).template == "arcface"


def test_where_cuda_does_not_work_the_cpu_does_with_a_warning_and_nothing_is_printed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    path, real, tried = negative(tmp_path / "n.onnx"), onnxruntime.InferenceSession, []

    def session(file: str, settings: Any, *, providers: list[str], **more: Any) -> Any:
        tried.append(providers)
        if providers[0] != "CPUExecutionProvider":
            raise RuntimeError("no CUDA library\nat line 1")
        return real(file, settings, providers=providers, **more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    both = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: both)
    load_onnx(path, "cuda")
    assert tried == [both, both[1:]]
    assert caplog.messages == ["n.onnx: runs on the CPU, because onnxruntime cannot use CUDA (no CUDA library)"]
    caplog.clear()
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ModelFileError, match="damaged"):
        load_onnx(path, "cuda")
    assert caplog.messages == [] and capsys.readouterr().out == ""


def test_what_is_no_restorer_is_refused_with_its_inputs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ModelFileError, match=r"gone\.onnx: there is no such file"):
        load_onnx(tmp_path / "gone.onnx")
    damaged = tmp_path / "damaged.onnx"
    altered = negative(tmp_path / "open.onnx", batch="batch").read_bytes()
    damaged.write_bytes(altered.replace(b"batch", b"\xffatch"))  # the name of a side is no text
    with pytest.raises(ModelFileError, match=r"damaged, or not an ONNX file .*get it again"):
        load_onnx(damaged)
    damaged.write_bytes(negative(tmp_path / "n.onnx").read_bytes()[:40])
    with pytest.raises(ModelFileError, match=r"damaged, or not an ONNX file .*get it again"):
        load_onnx(damaged)
    assert capsys.readouterr().out == "", "onnxruntime prints there what it tries next"
    grey = save(
        tmp_path / "grey.onnx",
        [helper.make_node("Neg", ["images"], ["o"])],
        [("images", FLOAT, [1, 1, "h", "w"])],
        [("o", FLOAT, [1, 1, "h", "w"])],
    )
    with pytest.raises(ModelFileError, match=r"are images \[1, 1, 'h', 'w'\] tensor\(float\); they must be one square"):
        load_onnx(grey)
    oblong = save(
        tmp_path / "oblong.onnx",
        [helper.make_node("Neg", ["i"], ["o"])],
        [("i", FLOAT, [1, 3, 64, 32])],
        [("o", FLOAT, [1, 3, 64, 32])],
    )
    with pytest.raises(ModelFileError, match="they must be one square picture"):
        load_onnx(oblong)
    vector = save(
        tmp_path / "embed.onnx",
        [helper.make_node("ReduceMean", ["input"], ["e"], axes=[2, 3], keepdims=0)],
        [("input", FLOAT, [1, 3, 112, 112])],
        [("e", FLOAT, [1, 3])],
    )
    with pytest.raises(ModelFileError, match=r"its outputs are e \[1, 3\], none of them a picture"):
        load_onnx(vector)


def test_without_onnxruntime_the_message_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(name: str) -> None:
        raise ImportError(name)

    path = negative(tmp_path / "n.onnx")
    monkeypatch.setattr(onnx_networks.importlib, "import_module", gone)
    with pytest.raises(ModelFileError, match="pip install onnxruntime"):
        load_onnx(path)


def test_values_are_the_sessions_own(tmp_path: Path) -> None:
    pixels = faces(1)
    session = load_onnx(negative(tmp_path / "n.onnx"))._session
    assert np.array_equal(session.run(None, {"input": pixels.numpy()})[0], -pixels.numpy())
