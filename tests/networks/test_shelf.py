"""The networks that are kept, and where they are made."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lib_facerestore.networks import shelf
from lib_facerestore.networks.load import Network

from ..conftest import small_lite


@pytest.mark.parametrize(
    ("name", "content", "where"),
    [
        ("upper case.ONNX", b"of a kind that is not known", "meta"),
        ("really onnx.pth", b"\x08\x08\x12\x07pytorch", "meta"),
        ("really a checkpoint.onnx", b"PK\x03\x04", "cpu"),
        ("plain.pth", b"PK\x03\x04", "cpu"),
    ],
)
def test_sessions_are_made_where_they_run_and_checkpoints_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes, where: str
) -> None:
    made: list[str] = []

    def load(path: Path, device: str | torch.device) -> Network:
        made.append(str(device))
        return Network(small_lite(), "cpu", torch.float32)

    monkeypatch.setattr(shelf, "load_network", load)
    (tmp_path / name).write_bytes(content)
    network = shelf.Shelf(torch.device("meta")).network(tmp_path / name)
    assert made == [where]
    assert network.device.type == "meta"
