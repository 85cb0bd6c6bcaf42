"""Downloads after a power cut or a kill, and from servers that never come to an end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from lib_facerestore.catalogue import answer, download, part_file, transfer
from lib_facerestore.errors import DownloadError
from tools.soak.connections import SMALL
from tools.soak.file_server import FileServer, Place
from tools.soak.jobs import checkpoint, left_in, model

from .. import fileserver
from ..fileserver import CONTENT, Server, entry, names

server = fileserver.server
OLD, NEW = checkpoint(9000, b"1"), checkpoint(9000, b"2")
get = download.download


@pytest.mark.parametrize(
    "tag",
    [bytes(40), b"\xff\xfe", b'"one"', b'"one"\n', b'"one"\n9\n'],
    ids=["zeros", "no text", "tag only", "half", "nine bytes"],
)
def test_what_a_power_cut_leaves_of_a_tag_is_no_trouble(tag: bytes, server: Server, tmp_path: Path) -> None:
    server.add("a", content=NEW)
    (tmp_path / ".net.pth.0.part").write_bytes(bytes(500))
    (tmp_path / ".net.pth.0.part.etag").write_bytes(tag)
    unhashed = entry(server.url("a"), sha256="", size=len(NEW))
    if tag.endswith(b"9\n"):  # nine of the bytes are said to be sure
        (tmp_path / ".net.pth.0.part").write_bytes(NEW[:9] + bytes(500))
    assert get(unhashed, tmp_path).path.read_bytes() == NEW
    assert names(tmp_path) == ["net.pth"]


def test_bytes_of_two_versions_are_never_mixed(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = server.add("a", content=OLD, cuts=[5000, 0, 0, 0])
    unhashed = entry(server.url("a"), sha256="", size=len(NEW))
    with pytest.raises(DownloadError):
        get(unhashed, tmp_path)
    place.content, place.etag = NEW, '"two"'
    with monkeypatch.context() as patch:  # a kill at the moment when the part is begun anew
        patch.setattr(part_file, "open", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt), raising=False)
        with pytest.raises(KeyboardInterrupt):
            get(unhashed, tmp_path)
    assert get(unhashed, tmp_path).path.read_bytes() == NEW


def test_a_server_that_starts_again_and_again_is_given_up(server: Server, tmp_path: Path) -> None:
    place = server.add("a", ranges=False, cuts=[200_000, 100_000] * 20)
    with pytest.raises(DownloadError, match=r"net\.pth could not be downloaded"):
        get(entry(server.url("a")), tmp_path)
    assert len(place.asked) <= 2 * transfer.ATTEMPTS


def test_a_mirror_without_ranges_that_fails_loses_nothing(server: Server, tmp_path: Path) -> None:
    (tmp_path / ".net.pth.part").write_bytes(CONTENT[:300_000])
    server.add("a", ranges=False, cuts=[100_000] * 9)
    good = server.add("good")
    get(entry(server.url("a"), server.url("good")), tmp_path)
    assert good.asked == ["bytes=300000-"] and (tmp_path / "net.pth").read_bytes() == CONTENT


def test_what_a_kill_after_the_renaming_left_goes_with_the_next_run(server: Server, tmp_path: Path) -> None:
    server.add("a")
    get(entry(server.url("a")), tmp_path)
    for name in (".net.pth.1.part", ".net.pth.1.part.etag"):
        (tmp_path / name).write_bytes(b"left")
    get(entry(server.url("a")), tmp_path)
    assert names(tmp_path) == ["net.pth"]


def test_a_file_without_end_is_given_up(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "MOST_BYTES", 100_000)
    server.add("a", length=False, etag="")
    with pytest.raises(DownloadError, match="it sends more than 100,000 bytes"):
        get(entry(server.url("a"), sha256="", size=0), tmp_path)
    assert (tmp_path / ".net.pth.0.part").stat().st_size <= 100_000


def test_a_disk_that_others_fill_meanwhile_is_seen(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.add("a")
    free = iter([10**12])
    usage: Any = type("Usage", (), {"free": property(lambda _: next(free, 0))})
    monkeypatch.setattr(transfer, "SPARE", 400_000)
    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda _: usage())
    with pytest.raises(DownloadError, match="which has 0 MB free; make room"):
        get(entry(server.url("a")), tmp_path)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"seconds": 0.03, "drip": "head"}, "its answer did not begin within 0.1 s"),
        ({"seconds": 0.03, "drip": "content"}, "it sends only"),
        ({"redirect": "/a"}, "it redirects more than 10 times"),
        ({"redirect": "/b", "endless": True}, ""),
    ],
    ids=["slow head", "slow content", "circle", "redirect without end"],
)
def test_a_server_that_never_ends_is_given_up(
    how: dict[str, Any], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "PAUSE", 0.0)
    monkeypatch.setattr(transfer, "ATTEMPTS", 2)
    monkeypatch.setattr(transfer, "SLOW_SECONDS", 0.1)
    monkeypatch.setattr(answer, "ANSWER_SECONDS", 0.1)
    with FileServer() as odd:
        odd.add("a", Place(SMALL, **how))
        odd.add("b", Place(SMALL))
        if said:
            with pytest.raises(DownloadError, match=said):
                get(model(odd.url("a"), content=SMALL), tmp_path / "alone")
        assert get(model(odd.url("a"), odd.url("b"), content=SMALL), tmp_path).path.read_bytes() == SMALL
        assert not left_in(tmp_path, "net.pth", "alone")


def test_a_redirect_away_from_https_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def answered(request: httpx.Request) -> httpx.Response:
        return httpx.Response(302, headers={"Location": "http://example.org/file"})

    client = httpx.Client(transport=httpx.MockTransport(answered))
    monkeypatch.setattr(download, "open_client", lambda: client)
    with pytest.raises(DownloadError, match="it leads from https to http"):
        get(entry("https://example.org/file"), tmp_path)


def test_a_certificate_that_seems_too_old_or_new_names_the_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError(
            "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: certificate is not yet valid"
        )

    client = httpx.Client(transport=httpx.MockTransport(refused))
    monkeypatch.setattr(download, "open_client", lambda: client)
    with pytest.raises(DownloadError, match="not yet valid; check this machine's clock"):
        get(entry("https://example.org/file"), tmp_path)
