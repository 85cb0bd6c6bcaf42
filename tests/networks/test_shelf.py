"""The networks that are kept, and where they are made."""

from __future__ import annotations

import gc
import weakref
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


class Movable(Network):
    """A network that only notes where it is: these machines have no accelerator, and "meta" forgets the numbers."""

    def to(self, device: str | torch.device, dtype: torch.dtype | None = None) -> Network:
        """See `Network.to`."""
        self.device, self.dtype = torch.device(device), dtype or self.dtype
        return self


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are loaded, in order; each gives a network that notes where it is."""
    names: list[str] = []

    def load(path: Path, device: str | torch.device) -> Network:
        names.append(path.stem)
        return Movable(small_lite(), device, torch.float32)

    monkeypatch.setattr(shelf, "load_network", load)
    return names


def files(folder: Path, count: int) -> list[Path]:
    """So many files, named 0, 1, 2, …"""
    paths = [folder / f"{number}.pth" for number in range(count)]
    for path in paths:
        path.write_bytes(b"PK\x03\x04")
    return paths


def test_an_accelerator_holds_the_networks_that_were_used_last(tmp_path: Path, loaded: list[str]) -> None:
    kept = shelf.Shelf(torch.device("meta"))
    paths = files(tmp_path, shelf.MOST_ON_DEVICE + 2)
    networks = [kept.network(path) for path in paths]
    assert [network.device.type for network in networks] == ["cpu", "cpu"] + ["meta"] * shelf.MOST_ON_DEVICE
    assert kept.network(paths[0]) is networks[0] and networks[0].device.type == "meta"
    assert networks[2].device.type == "cpu", "the one that was not used for the longest makes space"
    assert loaded == [path.stem for path in paths], "no file is read again"


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_networks_that_were_not_used_for_long_are_let_go(tmp_path: Path, loaded: list[str], device: str) -> None:
    kept = shelf.Shelf(torch.device(device))
    paths = files(tmp_path, shelf.MOST_KEPT + 1)
    oldest = weakref.ref(kept.network(paths[0]))
    second = kept.network(paths[1])
    for path in paths[2:]:
        kept.network(path)
    gc.collect()
    assert oldest() is None
    assert kept.network(paths[1]) is second
    kept.network(paths[0])
    assert loaded == [path.stem for path in paths] + ["0"]


def test_a_replaced_file_is_loaded_again_and_the_old_network_let_go(tmp_path: Path, loaded: list[str]) -> None:
    kept = shelf.Shelf(torch.device("cpu"))
    (path,) = files(tmp_path, 1)
    old = weakref.ref(kept.network(path))
    assert kept.network(path) is old()
    path.write_bytes(b"PK\x03\x04 and more")
    kept.network(path)
    gc.collect()
    assert old() is None and loaded == ["0", "0"]
