"""Small model files that ask for a lot of memory or time: refused, in a moment, with a sentence."""

from __future__ import annotations

import pickle
import struct
import tracemalloc
import zipfile
from pathlib import Path

import pytest
import torch

from lib_facerestore.catalogue.identify import identify
from lib_facerestore.catalogue.peek import HostileFileError, peek
from lib_facerestore.errors import ModelFileError
from lib_facerestore.networks.checkpoint_files import read_state


def as_key(made: bytes) -> bytes:
    """A pickle of a mapping with this as its key."""
    return b"\x80\x02}" + made + b"K\x01s."


def doubled(times: int) -> bytes:
    return b"K\x01\x85" + b"q\x00h\x00\x86" * times


PICKLES = {
    "deep tuple": as_key(b"K\x01" + b"\x85" * 500_000),
    "tuple that doubles": as_key(doubled(60)),
    "set that doubles": as_key(b"(K\x01\x91" + b"q\x00(h\x00h\x00\x85\x91" * 20_000),
    "size that doubles": as_key(b"K\x01\x85" + b"q\x00ctorch\nSize\nh\x00h\x00\x86\x85R" * 60),
}


@pytest.mark.parametrize("name", PICKLES)
def test_a_pickle_bomb_is_refused(name: str, tmp_path: Path) -> None:
    plain, zipped = tmp_path / "plain.pth", tmp_path / "zipped.pth"
    plain.write_bytes(PICKLES[name])
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("archive/data.pkl", PICKLES[name])
        archive.writestr("archive/version", "3")
    for file in (plain, zipped):
        with pytest.raises(HostileFileError, match="made to do harm"):
            peek(file)
        with pytest.raises(HostileFileError, match="made to do harm"):
            read_state(file)
        assert identify(file).fault == "damaged"


def test_a_table_that_a_pickle_asks_for_is_not_made(tmp_path: Path) -> None:
    file = tmp_path / "memo.pth"
    tracemalloc.start()
    try:
        for index in (2**31 - 1, 2**32 - 1):
            file.write_bytes(b"\x80\x02Nr" + struct.pack("<L", index) + b".")
            assert peek(file).shapes == {}
        file.write_bytes(b"\x80\x04" + pickle.BYTEARRAY8 + struct.pack("<Q", 2**33) + b".")
        with pytest.raises(ModelFileError):
            peek(file)
        file.write_bytes(b"\x80\x04" + pickle.BINBYTES8 + struct.pack("<Q", 2**33) + b".")
        with pytest.raises(ModelFileError):
            peek(file)
        assert tracemalloc.get_traced_memory()[1] < 20 * 2**20
    finally:
        tracemalloc.stop()


def test_a_description_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lib_facerestore.catalogue.pickle_reader._MOST_STEPS", 20_000)
    file = tmp_path / "lists.pth"
    file.write_bytes(b"\x80\x02" + b"]" * 30_000 + b".")
    with pytest.raises(HostileFileError, match="too long"):
        peek(file)


def test_a_zip_bomb_is_refused_before_anything_is_unpacked(tmp_path: Path) -> None:
    plain, packed = tmp_path / "plain.pth", tmp_path / "packed.pth"
    torch.save({"a": torch.zeros(2**20)}, plain)
    with zipfile.ZipFile(plain) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    assert read_state(plain)["a"].shape == (2**20,)
    for read in (peek, read_state):
        with pytest.raises(HostileFileError, match="unpacks to"):
            read(packed)


@pytest.mark.parametrize("old_format", [False, True])
def test_tensors_that_claim_more_than_they_hold_are_refused(tmp_path: Path, old_format: bool) -> None:
    file, one = tmp_path / "claims.pth", torch.zeros(1)
    torch.save({"a": one.expand(2**40)}, file, _use_new_zipfile_serialization=not old_format)
    with pytest.raises(HostileFileError, match="claim 4,398,046,511,104 bytes and hold 4"):
        read_state(file)
    shared = torch.zeros(2**17)
    torch.save({f"a{number}": shared for number in range(20)}, file)
    with pytest.raises(HostileFileError, match="claim"):
        read_state(file)
    torch.save({"a": shared, "b": shared}, file)
    assert len(read_state(file)) == 2, "tied weights are honest"


@pytest.mark.parametrize("length", [2**40, 99 * 2**20, 2**63])
def test_a_safetensors_header_of_huge_size_is_refused(tmp_path: Path, length: int) -> None:
    file = tmp_path / "huge.safetensors"
    file.write_bytes(struct.pack("<Q", length) + b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}')
    for read in (peek, read_state):
        with pytest.raises(ModelFileError, match="damaged"):
            read(file)
