"""Downloads against a local server that closes connections early and gives wrong or incomplete answers."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import filelock
import pytest

from lib_facerestore.catalogue import ModelEntry, ModelFile, part_file, transfer
from lib_facerestore.catalogue.download import MIRROR, OFFLINE, addresses, check_file, download, is_offline
from lib_facerestore.errors import DownloadError

from .. import fileserver
from ..fileserver import CONTENT, SHA, WHOLE, Place, Server, checkpoint, entry, names

server = fileserver.server


def test_a_file_arrives_whole_under_its_name(server: Server, tmp_path: Path) -> None:
    server.add("a")
    seen: list[tuple[int, int | None]] = []
    done = download(entry(server.url("a")), tmp_path / "new", progress=lambda *at: seen.append(at))
    assert done.path == tmp_path / "new" / "net.pth"
    assert done.path.read_bytes() == CONTENT
    assert (done.url, done.verified) == (server.url("a"), "sha256")
    assert seen[-1] == (len(CONTENT), len(CONTENT)) and [at[0] for at in seen] == sorted(at[0] for at in seen)
    assert names(tmp_path / "new") == ["net.pth"]


@pytest.mark.skipif(not hasattr(os, "O_DIRECTORY"), reason="folders cannot be flushed here")
def test_a_new_name_is_flushed_to_disk(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.add("a")
    flushed: list[tuple[bool, bool]] = []
    target, flush = tmp_path / "net.pth", os.fsync

    def recorded(handle: int) -> None:
        flushed.append((stat.S_ISDIR(os.fstat(handle).st_mode), target.exists()))
        flush(handle)

    monkeypatch.setattr(os, "fsync", recorded)
    download(entry(server.url("a")), tmp_path)
    assert flushed == [(False, False), (True, True)]  # the bytes before they have the name, then the folder


def test_it_is_not_fetched_twice(server: Server, tmp_path: Path) -> None:
    place = server.add("a")
    download(entry(server.url("a")), tmp_path)
    again = download(entry(server.url("a")), tmp_path, offline=True)
    assert (again.url, again.verified, len(place.asked)) == ("", "sha256", 1)
    (tmp_path / "net.pth").write_bytes(b"precious")
    with pytest.raises(DownloadError, match=r"has 8 bytes, the published file has .*move that file away"):
        download(entry(server.url("a")), tmp_path)
    assert (tmp_path / "net.pth").read_bytes() == b"precious"


def test_a_cut_is_continued_where_it_stopped(server: Server, tmp_path: Path) -> None:
    place = server.add("a", cuts=[100_000, 50_000])
    download(entry(server.url("a")), tmp_path)
    assert (tmp_path / "net.pth").read_bytes() == CONTENT
    assert place.asked[0] == "" and len(place.asked) == 3
    assert [int(asked[6:-1]) for asked in place.asked[1:]] == [100_000, 150_000]


def test_what_an_earlier_run_left_is_continued(server: Server, tmp_path: Path) -> None:
    place = server.add("a")
    (tmp_path / ".net.pth.part").write_bytes(CONTENT[:300_000])
    download(entry(server.url("a")), tmp_path)
    assert (tmp_path / "net.pth").read_bytes() == CONTENT and place.asked == ["bytes=300000-"]


def test_a_server_without_ranges_starts_again(server: Server, tmp_path: Path) -> None:
    place = server.add("a", ranges=False, cuts=[100_000])
    download(entry(server.url("a")), tmp_path)
    assert (tmp_path / "net.pth").read_bytes() == CONTENT and len(place.asked) == 2


def test_a_busy_server_is_asked_again(server: Server, tmp_path: Path) -> None:
    place = server.add("a", failures=2)
    download(entry(server.url("a")), tmp_path)
    assert len(place.asked) == 3
    server.add("b", failures=99)
    with pytest.raises(DownloadError, match="the server answers 503"):
        download(entry(server.url("b"), name="b.pth"), tmp_path)


def test_mirrors_are_taken_in_turn(server: Server, tmp_path: Path) -> None:
    server.add("forbidden", status=403)
    server.add("page", content=b"<!DOCTYPE html>", kind="text/html; charset=utf-8", length=False)
    server.add("other", content=CONTENT + b"more")
    server.add("moved", redirect=server.url("good"))
    server.add("good")
    urls = [server.url(name) for name in ("absent", "forbidden", "page", "other", "moved")]
    done = download(entry("http://127.0.0.1:1/refused", *urls), tmp_path)
    assert done.url == urls[-1] and done.path.read_bytes() == CONTENT


def test_every_failure_is_named_when_no_mirror_is_left(server: Server, tmp_path: Path) -> None:
    server.add("other", content=CONTENT + b"more")
    with pytest.raises(DownloadError) as caught:
        download(entry(server.url("absent"), server.url("other")), tmp_path)
    text = str(caught.value)
    assert "absent: the server answers 404" in text
    assert "other: it offers 768,008 bytes, the published file has 768,004" in text
    assert "models import" in text
    assert names(tmp_path) == []


def test_a_wrong_hash_never_gets_the_name(server: Server, tmp_path: Path) -> None:
    wrong = CONTENT[:-1] + b"!"
    server.add("wrong", content=wrong)
    with pytest.raises(DownloadError, match=r"its SHA-256 is .*, that of the published file is"):
        download(entry(server.url("wrong")), tmp_path)
    assert names(tmp_path) == []
    server.add("good")
    download(entry(server.url("wrong"), server.url("good")), tmp_path)
    assert (tmp_path / "net.pth").read_bytes() == CONTENT


def test_a_mirror_that_continued_anothers_wrong_bytes_starts_again(server: Server, tmp_path: Path) -> None:
    server.add("wrong", content=b"?" * len(CONTENT), cuts=[200_000, 0, 0, 0, 0])
    good = server.add("good")
    download(entry(server.url("wrong"), server.url("good")), tmp_path)
    assert (tmp_path / "net.pth").read_bytes() == CONTENT
    assert good.asked == ["bytes=200000-", ""]


def test_a_short_file_is_not_taken(server: Server, tmp_path: Path) -> None:
    server.add("said", content=CONTENT[:1000])
    server.add("unsaid", content=CONTENT[:1000], length=False, ranges=False)
    for path in ("said", "unsaid"):
        with pytest.raises(DownloadError):
            download(entry(server.url(path)), tmp_path)
        assert "net.pth" not in names(tmp_path)


def test_without_a_hash_the_size_and_the_kind_are_checked(server: Server, tmp_path: Path) -> None:
    server.add("a")
    unhashed = entry(server.url("a"), sha256="")
    assert download(unhashed, tmp_path).verified == "size"
    server.add("lfs", content=b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(DownloadError, match="Git LFS pointer"):
        download(entry(server.url("lfs"), sha256="", size=0, name="b.pth"), tmp_path)
    server.add("whole", content=WHOLE)
    assert download(entry(server.url("whole"), sha256="", size=0, name="c.pth"), tmp_path).verified == "nothing"


def test_without_a_hash_only_the_same_file_is_continued(server: Server, tmp_path: Path) -> None:
    place = server.add("a", content=checkpoint(700_000), cuts=[100_000, 0, 0, 0])
    unhashed = entry(server.url("a"), sha256="", size=0)
    with pytest.raises(DownloadError, match="could not be downloaded"):
        download(unhashed, tmp_path)
    place.content, place.etag = WHOLE, '"two"'
    place.asked.clear()
    assert download(unhashed, tmp_path).path.read_bytes() == place.content
    assert place.asked == ["bytes=100000-"]  # the server saw another tag, and sent the whole
    assert names(tmp_path) == ["net.pth"]


def test_a_part_that_is_too_long_is_dropped(server: Server, tmp_path: Path) -> None:
    server.add("a")
    (tmp_path / ".net.pth.part").write_bytes(CONTENT + b"too long")
    assert download(entry(server.url("a")), tmp_path).path.read_bytes() == CONTENT


@pytest.mark.parametrize("why", ["File name too long", "Permission denied", "Not a directory"])
def test_a_folder_that_cannot_be_is_said(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    server.add("a")
    real, closed = os.stat, tmp_path / "closed"

    def stat(path: Any, *rest: Any, **named: Any) -> os.stat_result:
        if str(path).startswith(str(closed)):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, *rest, **named)

    if why == "Permission denied":
        monkeypatch.setattr(os, "stat", stat)
        monkeypatch.setattr(Path, "mkdir", lambda path, *_, **__: stat(path))
    elif why == "Not a directory":
        closed.touch()
    else:
        closed = tmp_path / ("x" * 300)
    with pytest.raises(DownloadError) as caught:
        download(entry(server.url("a")), closed / "models")
    assert str(caught.value) == (
        f"net.pth: cannot be written to {closed / 'models'} ({why}); check the folder's name and permissions and the "
        "disk, or choose another folder."
    )


def test_a_full_disk_is_said_before_and_during(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = server.add("a")
    with monkeypatch.context() as patch:
        usage = type("Usage", (), {"free": 10 * 2**20})
        patch.setattr(transfer.shutil, "disk_usage", lambda _: usage)
        with pytest.raises(DownloadError, match=r"needs 65 MB on the disk of .*, which has 10 MB free"):
            download(entry(server.url("a")), tmp_path)
    assert "net.pth" not in names(tmp_path)

    real = open

    def full(path: Any, *rest: Any, **named: Any) -> Any:
        file = real(path, *rest, **named)
        if str(path).endswith(".part") and rest and rest[0] in ("wb", "r+b"):
            write, left = file.write, [1]

            def once(data: bytes) -> int:
                if not left:
                    raise OSError(errno.ENOSPC, "No space left on device")
                left.pop()
                return int(write(data))

            return type("Full", (), {
                "write": staticmethod(once), "seek": staticmethod(file.seek), "__enter__": lambda self: self,
                "__exit__": lambda self, *_: file.close(),
            })()  # fmt: skip
        return file

    with monkeypatch.context() as patch:
        patch.setattr(part_file, "open", full, raising=False)
        with pytest.raises(DownloadError, match=r"the disk of .* is full; free some space and try again"):
            download(entry(server.url("a")), tmp_path)
    assert 0 < (tmp_path / ".net.pth.part").stat().st_size < len(CONTENT)
    download(entry(server.url("a")), tmp_path)
    assert place.asked[-1].startswith("bytes=") and (tmp_path / "net.pth").read_bytes() == CONTENT


def test_offline_asks_nobody(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = server.add("a")
    with pytest.raises(DownloadError, match=r"offline is set.*put net\.pth into .* yourself \(from http"):
        download(entry(server.url("a")), tmp_path, offline=True)
    monkeypatch.setenv(OFFLINE, "1")
    assert is_offline() and not is_offline(False)
    with pytest.raises(DownloadError, match="or unset FACERESTORE_OFFLINE"):
        download(entry(server.url("a")), tmp_path)
    assert place.asked == []
    assert download(entry(server.url("a")), tmp_path, offline=False).verified == "sha256"
    for word in ("", "0", "false", "no"):
        monkeypatch.setenv(OFFLINE, word)
        assert not is_offline()


def test_what_cannot_be_downloaded_says_how_to_get_it(tmp_path: Path) -> None:
    by_hand = ModelEntry("net", 1, ("net.pth",), published=(ModelFile("net.pth"),), page="https://example.org/page")
    with pytest.raises(DownloadError, match=r"get it by hand from https://example\.org/page and bring it in"):
        download(by_hand, tmp_path)
    with pytest.raises(DownloadError, match="lite: is part of this package"):
        download(ModelEntry("lite", 1, ()), tmp_path)
    with pytest.raises(DownloadError, match=r"net: has no file x\.pth; the files it has: net\.pth"):
        download(by_hand, tmp_path, name="x.pth")


def test_another_published_file_can_be_chosen(server: Server, tmp_path: Path) -> None:
    server.add("half")
    half = ModelFile("Half.onnx", 0, SHA, (server.url("half"),))
    files = (ModelFile("net.pth", 1, "", ("https://example.org",)), half)
    both = ModelEntry("net", 1, ("net.pth", "Half.onnx"), published=files)
    assert download(both, tmp_path, name="half.ONNX").path == tmp_path / "Half.onnx"


def test_a_mirror_of_hugging_face_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    file = ModelFile("x", urls=("https://github.com/x", "https://huggingface.co/a/resolve/main/x"))
    monkeypatch.delenv(MIRROR, raising=False)
    assert addresses(file) == list(file.urls)
    monkeypatch.setenv(MIRROR, "https://hf-mirror.com/")
    assert addresses(file) == ["https://hf-mirror.com/a/resolve/main/x", *file.urls]


def test_a_proxy_is_taken_from_the_environment(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place()
    server.places["http://models.invalid/a"] = place  # what a proxy is asked for
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, server.url("").rstrip("/"))
    monkeypatch.setenv("no_proxy", "")
    assert download(entry("http://models.invalid/a"), tmp_path).path.read_bytes() == CONTENT
    assert len(place.asked) == 1


def test_waiting_for_another_process_is_said(server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    server.add("a")
    lock = filelock.FileLock(tmp_path / ".net.pth.lock", thread_local=False)
    lock.acquire()
    free = threading.Timer(0.3, lock.release)
    free.start()
    assert download(entry(server.url("a")), tmp_path, lock_seconds=60).verified == "sha256"
    free.join()
    assert "net.pth: another process is downloading it; waiting" in caplog.text
    caplog.clear()
    (tmp_path / "net.pth").unlink()
    download(entry(server.url("a")), tmp_path)
    assert not caplog.text


def test_another_process_is_waited_for(server: Server, tmp_path: Path) -> None:
    server.add("a")
    with filelock.FileLock(tmp_path / ".net.pth.lock"), pytest.raises(DownloadError, match="another process"):
        download(entry(server.url("a")), tmp_path, lock_seconds=0.05)


def test_two_processes_at_once_fetch_it_once(server: Server, tmp_path: Path) -> None:
    place = server.add("a", cuts=[100_000] * 3)
    code = (
        "import sys; from pathlib import Path; from lib_facerestore.catalogue import ModelEntry, ModelFile\n"
        "from lib_facerestore.catalogue.download import download\n"
        "url, sha, size, folder = sys.argv[1:]\n"
        "file = ModelFile('net.pth', int(size), sha, (url,))\n"
        "print(download(ModelEntry('net', 1, ('net.pth',), published=(file,)), Path(folder)).url)\n"
    )
    command = [sys.executable, "-c", code, server.url("a"), SHA, str(len(CONTENT)), str(tmp_path)]
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    running = [
        subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    urls = sorted(process.communicate(timeout=60)[0].strip() for process in running)
    assert urls == ["", server.url("a")]
    assert len(place.asked) == 4 and (tmp_path / "net.pth").read_bytes() == CONTENT


def test_check_file_names_what_differs(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    path.write_bytes(CONTENT)
    assert check_file(path, ModelFile("net.pth", len(CONTENT), SHA)) == "sha256"
    assert check_file(path, ModelFile("net.pth", len(CONTENT))) == "size"
    with pytest.raises(DownloadError, match=r"^net\.pth: damaged, or cut off \(File is not a zip file\)"):
        check_file(path, ModelFile("net.pth"))
    path.write_bytes(WHOLE)
    assert check_file(path, ModelFile("net.pth")) == "nothing"
    path.write_bytes(CONTENT)
    with pytest.raises(DownloadError, match="has 768,004 bytes, the published file has 5"):
        check_file(path, ModelFile("net.pth", 5, SHA))
