"""The replaced torch.load: that the double refuses what A1111's safe.py refuses, and that our files load beside it."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import torch

from lib_facerestore.errors import FaceRestoreError
from lib_facerestore.stages import parsing
from lib_facerestore.system import facexlib_import

from .double import Host

STATE = {"a.weight": torch.ones(2, 3), "a.bias": torch.zeros(2)}


def save(state: dict[str, torch.Tensor], path: Path, kind: str) -> Path:
    """A checkpoint as PyTorch wrote it before 1.6 ("old"), from then on ("zip"), or as it does now ("recent")."""
    torch.save(state, path, _use_new_zipfile_serialization=kind != "old")
    if kind == "zip":
        with zipfile.ZipFile(path) as archive:
            kept = {name: archive.read(name) for name in archive.namelist() if is_of_first_kind(name)}
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in kept.items():
                archive.writestr(name, data)
    return path


def is_of_first_kind(name: str) -> bool:
    inside = name.partition("/")[2]
    return inside in ("data.pkl", "version") or inside.startswith("data/")


@pytest.mark.parametrize("kind", ["old", "zip"])
def test_the_host_loads_plain_files_by_name(host: Host, tmp_path: Path, kind: str) -> None:
    path = save(STATE, tmp_path / "x.pth", kind)
    assert torch.equal(torch.load(path, weights_only=True)["a.weight"], STATE["a.weight"])
    assert not host.loaders.rejected


def test_the_host_fails_at_open_files(host: Host, tmp_path: Path) -> None:
    with open(save(STATE, tmp_path / "old.pth", "old"), "rb") as file:
        assert torch.load(file, weights_only=True) is None  # it opens by name what is no zip file
    assert "TypeError" in host.loaders.rejected[-1]
    with open(save(STATE, tmp_path / "zip.pth", "zip"), "rb") as file, pytest.raises(Exception):
        torch.load(file, weights_only=True)  # it passes the look, which leaves it at its end
    assert len(host.loaders.rejected) == 1


@pytest.mark.parametrize("content", [{"mask": torch.ones(2, dtype=torch.bool)}, {"x": Path()}, b"\x80\x02cut"])
def test_the_host_gives_none_for_what_it_dislikes(host: Host, tmp_path: Path, content: object) -> None:
    path = tmp_path / "x.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path, _use_new_zipfile_serialization=False)
    assert torch.load(path) is None
    assert len(host.loaders.rejected) == 1


@pytest.mark.parametrize("kind", ["old", "zip", "recent"])
@pytest.mark.parametrize("host", ["a1111", "forge"], indirect=True)
def test_parsers_load_inside_the_host(host: Host, tmp_path: Path, kind: str) -> None:
    try:
        bisenet = facexlib_import.import_facexlib("facexlib.parsing.bisenet")
    except FaceRestoreError as error:
        pytest.skip(str(error))
    path = save(bisenet.BiSeNet(num_class=19).state_dict(), tmp_path / "parsing_bisenet.pth", kind)
    parser = parsing.create_parser([tmp_path])
    assert parser is not None and parser.name == "bisenet"
    assert path.exists() and not host.loaders.rejected
