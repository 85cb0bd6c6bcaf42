"""Downloads where the server or the environment does what nobody expects, and files whose length nobody tells."""

from __future__ import annotations

import gzip
import os
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch

from lib_facerestore.catalogue.download import download
from lib_facerestore.errors import DownloadError

from .. import fileserver
from ..fileserver import CONTENT, Server, entry, names

server = fileserver.server


def unsized_files(folder: Path) -> dict[str, bytes]:
    """One file of each format."""
    tensors = {"a": torch.rand(40, 30), "b": torch.rand(9)}
    torch.save(tensors, folder / "old", _use_new_zipfile_serialization=False)
    torch.save(tensors, folder / "new")
    graph = b"\x08\x08" + b"\x3a\xe8\x07" + bytes(1000) + b"\x42\x02\x10\x11"  # version, graph, operator sets
    old, new = ((folder / name).read_bytes() for name in ("old", "new"))
    return {"old.pth": old, "new.pth": new, "c.safetensors": safetensors.torch.save(tensors), "d.onnx": graph}


@pytest.mark.parametrize("name", ["old.pth", "new.pth", "c.safetensors", "d.onnx"])
def test_a_cut_that_nobody_tells_is_seen_in_the_file_itself(name: str, server: Server, tmp_path: Path) -> None:
    content = unsized_files(tmp_path)[name]
    folder = tmp_path / "models"
    place = server.add("a", content=content[: len(content) // 2], length=False, ranges=False)
    unknown = entry(server.url("a"), sha256="", size=0, name=name)
    with pytest.raises(DownloadError, match="damaged, or cut off"):
        download(unknown, folder)
    assert names(folder) == []
    place.content = content
    assert download(unknown, folder).path.read_bytes() == content


@pytest.mark.parametrize(
    "part",
    [(206, ""), (206, f"bytes 0-{len(CONTENT) - 1}/{len(CONTENT)}"), (206, "multipart"), (416, "")],
    ids=["no range", "another range", "no bytes", "no part at all"],
)
def test_a_server_that_continues_wrongly_starts_again(part: tuple[int, str], server: Server, tmp_path: Path) -> None:
    place = server.add("a", part=part)
    (tmp_path / ".net.pth.part").write_bytes(CONTENT[:300_000])
    download(entry(server.url("a")), tmp_path)
    assert (tmp_path / "net.pth").read_bytes() == CONTENT and place.asked == ["bytes=300000-", ""]


def test_answers_without_the_file_are_named(server: Server, tmp_path: Path) -> None:
    server.add("none", status=204)
    server.add("never", status=416)
    server.add("packed", content=gzip.compress(CONTENT), answer={"Content-Encoding": "gzip"})
    server.add("cut", cuts=[1000, 0, 0, 0, 0], length=False)
    urls = [server.url(name) for name in ("none", "never", "packed", "cut")]
    with pytest.raises(DownloadError) as caught:
        download(entry(*urls), tmp_path)
    for text in (
        "none: the server answers 204, without a file",
        "never: the server answers 416",
        "packed: it sends the file compressed (gzip)",
        "cut: the connection ended too early, at 1,000 of 768,004 bytes",
    ):
        assert text in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("HTTPS_PROXY", "http://proxy.invalid:80x", "the proxy from HTTPS_PROXY cannot be used (Invalid port: '80x')"),
        ("all_proxy", "ftp://user:secret@x", "the proxy from all_proxy cannot be used"),
        ("ALL_PROXY", "socks5://127.0.0.1:1", "the proxy from ALL_PROXY cannot be used"),
        ("SSL_CERT_FILE", "absent.pem", "the certificates from SSL_CERT_FILE cannot be used"),
    ],
)
def test_what_the_environment_has_wrong_is_named(
    variable: str, value: str, reason: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.add("a")
    for name in [name for name in os.environ if name.lower().endswith("_proxy") or name.startswith("SSL_CERT")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv(variable, value)
    if value.startswith("socks"):
        monkeypatch.setitem(sys.modules, "socksio", None)  # as where httpx is installed without it
    with pytest.raises(DownloadError) as caught:
        download(entry(server.url("a")), tmp_path)
    assert reason in str(caught.value) and "correct or unset it" in str(caught.value)
    assert "secret" not in str(caught.value)
