"""Getting a model file: resumable, from mirrors in turn, verified before it has its final name.

What has arrived is kept in a hidden `.part` file beside the target, so that a cut, a full disk or a second try costs
nothing twice. A lock file keeps two processes from fetching the same thing. Nothing here is called unasked: the page
and the command line call it when a user says so, after they have shown the licence.
Proxies come from the environment (HTTPS_PROXY, NO_PROXY).
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import filelock
import httpx

from ..errors import DownloadError, ModelFileError
from .connection import open_client
from .entries import ModelEntry, ModelFile
from .fingerprints import Progress, hash_file
from .peek import describe, peek, sniff_file

logger = logging.getLogger(__name__)

OFFLINE = "FACERESTORE_OFFLINE"
MIRROR = "HF_ENDPOINT"
"""Names another address for huggingface.co, as that site's own tools read it."""

HUGGING_FACE = "https://huggingface.co"
ATTEMPTS = 4
"""Tries at one address without a byte of progress before the next mirror is taken."""

PAUSE = 1.0
"""Seconds before the second such try; doubled each time."""

SPARE = 64 * 2**20
"""Bytes that stay free on the disk."""

_RETRIED = (408, 425, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class Downloaded:
    """A file that has arrived.

    Attributes:
        path: where it lies.
        url: where it came from; "" if it was there already.
        verified: what it was checked against: its published SHA-256, its published size, or neither is known.
    """

    path: Path
    url: str
    verified: Literal["sha256", "size", "nothing"]


class _NextMirrorError(Exception):
    """This address will not do; the message says why."""


class _AgainError(Exception):
    """This request did not bring the file to its end, another may; the message says why."""


def is_offline(offline: bool | None = None) -> bool:
    """The argument if it is given, else whether FACERESTORE_OFFLINE is set to anything but 0, no or false."""
    if offline is not None:
        return offline
    return os.environ.get(OFFLINE, "").strip().lower() not in ("", "0", "no", "false", "off")


def addresses(file: ModelFile, mirror: str | None = None) -> list[str]:
    """The file's addresses in the order in which they are tried; a mirror's copy of Hugging Face goes first.

    mirror: its address, e.g. "https://hf-mirror.com"; "" means none, None asks HF_ENDPOINT.
    """
    mirror = (os.environ.get(MIRROR, "") if mirror is None else mirror).strip().rstrip("/")
    urls = list(file.urls)
    if mirror and mirror != HUGGING_FACE:
        moved = [mirror + url.removeprefix(HUGGING_FACE) for url in urls if url.startswith(HUGGING_FACE + "/")]
        urls = moved + urls
    return list(dict.fromkeys(urls))


def download(
    entry: ModelEntry,
    folder: Path,
    *,
    name: str | None = None,
    offline: bool | None = None,
    progress: Progress | None = None,
    lock_seconds: float = -1,
    mirror: str | None = None,
) -> Downloaded:
    """Get a model's file into a folder.

    Args:
        entry: the model. Whoever calls this has shown its licence.
        folder: made if it is not there.
        name: which of its published files; None takes the first.
        offline: True refuses to use the network; None asks FACERESTORE_OFFLINE.
        progress: called with the bytes so far and the bytes in all (None if unknown). What it raises ends the
            download; what has arrived stays, so that the next one goes on there.
        lock_seconds: how long to wait for another process that fetches the same file; -1 as long as it takes.
        mirror: another address for huggingface.co; "" means none, None asks HF_ENDPOINT.

    Returns:
        Where it lies. A good file that is there already is left as it is.

    Raises:
        DownloadError: offline, no address, no room, or no mirror gave a good file; nothing has the final name then.
    """
    file = _choose(entry, name)
    target = folder / file.name
    if not target.exists():
        _check_possible(entry, file, folder, offline)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / f".{file.name}.lock", file, lock_seconds):
            if target.exists():  # perhaps since a moment ago: another process was quicker
                return _already(target, file)
            return _from_mirrors(entry, file, target, progress, mirror)
    except filelock.Timeout as error:
        raise DownloadError(f"{file.name}: another process is downloading it; wait for it, or try again.") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DownloadError(
                f"{file.name}: the disk of {folder} is full; make room and try again, it goes on where it stopped."
            ) from error
        raise DownloadError(f"{file.name}: cannot be written to {folder} ({error}).") from error


@contextlib.contextmanager
def _locked(path: Path, file: ModelFile, seconds: float) -> Iterator[None]:
    """Hold the lock; where it must be waited for, that is said first. Raises filelock.Timeout."""
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        logger.warning("%s: another process is downloading it; waiting until it is done", file.name)
        lock.acquire(timeout=seconds)
    try:
        yield
    finally:
        lock.release()


def _choose(entry: ModelEntry, name: str | None) -> ModelFile:
    if not entry.published:
        raise DownloadError(f"{entry.id}: is part of this package; there is nothing to download.")
    if name is None:
        return entry.published[0]
    for file in entry.published:
        if file.name.lower() == name.lower():
            return file
    known = ", ".join(dict.fromkeys(file.name for file in entry.published))
    raise DownloadError(f"{entry.id}: has no file {name}; the files it has: {known}.")


def _check_possible(entry: ModelEntry, file: ModelFile, folder: Path, offline: bool | None) -> None:
    if not file.urls:
        where = f" from {entry.page}" if entry.page else ""
        raise DownloadError(
            f"{entry.id}: there is no direct address for {file.name}; get it by hand{where} and bring it in with "
            "`facerestore models import FILE`."
        )
    if is_offline(offline):
        raise DownloadError(
            f"{entry.id}: offline is set, nothing is downloaded; put {file.name} into {folder} yourself "
            f"(from {file.urls[0]}), or unset {OFFLINE}."
        )


def check_file(path: Path, file: ModelFile) -> Literal["sha256", "size", "nothing"]:
    """Compare a file with what is published of it: size first, then SHA-256; where neither is known, with what it says
    of its own length.

    Returns:
        What it could be checked against.

    Raises:
        DownloadError: it differs, ends too early, or is no model file at all.
        OSError: it cannot be read.
    """
    size = path.stat().st_size
    if file.bytes and size != file.bytes:
        raise DownloadError(f"{file.name}: has {size:,} bytes, the published file has {file.bytes:,}")
    if file.sha256:
        digest = hash_file(path)
        if digest != file.sha256:
            raise DownloadError(f"{file.name}: its SHA-256 is {digest}, that of the published file is {file.sha256}")
        return "sha256"
    kind = sniff_file(path)
    if kind in ("web page", "pointer", "empty", "unknown"):
        raise DownloadError(f"{file.name}: is no model file: {describe(kind)}")
    if file.bytes:
        return "size"
    try:
        peek(path)
    except ModelFileError as error:
        raise DownloadError(f"{file.name}: {str(error).removeprefix(f'{path}: ').rstrip('.')}") from error
    return "nothing"


def _already(target: Path, file: ModelFile) -> Downloaded:
    try:
        return Downloaded(target, "", check_file(target, file))
    except DownloadError as error:
        raise DownloadError(f"{error} ({target}); move that file away, then download again.") from error


def _from_mirrors(
    entry: ModelEntry, file: ModelFile, target: Path, progress: Progress | None, mirror: str | None
) -> Downloaded:
    failures = []
    urls = addresses(file, mirror)
    with open_client() as client:
        for url in urls:
            part = _part(target, file, url, urls)
            try:
                return _from_one(client, url, file, part, target, progress)
            except _NextMirrorError as reason:
                logger.info("%s: %s", url, reason)
                failures.append(f"{url}: {reason}")
    raise DownloadError(
        f"{entry.id}: {file.name} could not be downloaded:\n  " + "\n  ".join(failures) + "\nCheck the connection to "
        "the internet and try again, or get the file by hand and bring it in with `facerestore models import FILE`."
    )


def _from_one(
    client: httpx.Client, url: str, file: ModelFile, part: Path, target: Path, progress: Progress | None
) -> Downloaded:
    continued = part.exists()
    _fetch(client, url, file, part, progress)
    try:
        return Downloaded(target, url, _finish(part, target, file))
    except _NextMirrorError:
        if not continued:
            raise
    # Another address may have begun it with other bytes: what this one sends alone decides.
    _fetch(client, url, file, part, progress)
    return Downloaded(target, url, _finish(part, target, file))


def _part(target: Path, file: ModelFile, url: str, urls: list[str]) -> Path:
    """What has arrived so far. Mirrors continue each other's work only where a hash tells whether it is one file."""
    number = "" if file.sha256 else f".{urls.index(url)}"
    return target.with_name(f".{target.name}{number}.part")


def _fetch(client: httpx.Client, url: str, file: ModelFile, part: Path, progress: Progress | None) -> None:
    """Bring `part` to its full length from one address. Raises _NextMirrorError, OSError."""
    failed = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            _stream(client, url, file, part, progress)
            return
        except _AgainError as error:
            reason = str(error)
        except httpx.HTTPStatusError as error:
            reason = f"the server answers {error.response.status_code}"
            if error.response.status_code not in _RETRIED:
                raise _NextMirrorError(reason) from error
        except (httpx.TransportError, httpx.InvalidURL, httpx.TooManyRedirects) as error:
            reason = f"{type(error).__name__} {error}".strip()
            if isinstance(error, (httpx.ConnectError, httpx.UnsupportedProtocol)) or not isinstance(
                error, httpx.TransportError
            ):
                raise _NextMirrorError(reason) from error
        moved = (part.stat().st_size if part.exists() else 0) > before
        failed = 1 if moved else failed + 1
        if failed >= ATTEMPTS:
            raise _NextMirrorError(reason)
        logger.info("%s: %s, trying again", url, reason)
        time.sleep(PAUSE * 2 ** (failed - 1))


def _stream(client: httpx.Client, url: str, file: ModelFile, part: Path, progress: Progress | None) -> None:
    """One request that completes `part`, continuing it where the server can. Raises _AgainError, _NextMirrorError."""
    tag = part.with_name(part.name + ".etag")
    have = part.stat().st_size if part.exists() else 0
    if file.bytes and have > file.bytes:
        have = 0
    if have and file.bytes == have:
        return
    stored = tag.read_text("utf-8") if tag.is_file() else ""
    headers = {}
    if have and (file.sha256 or stored):  # without a hash, only a tag tells that it is still the same file
        headers["Range"] = f"bytes={have}-"
        if not file.sha256:
            headers["If-Range"] = stored
    with client.stream("GET", url, headers=headers) as response:
        status = response.status_code
        if status == 416 and headers:  # nothing after what we have: it is complete, or not this file
            total = _total(response, 0)
            if total and total == have and file.bytes in (0, total):
                return
        begins = response.headers.get("content-range", "").replace("bytes ", "").startswith(f"{have}-")
        start = have if status == 206 and begins else 0
        if headers and (status == 416 or (status == 206 and not start)):
            _drop(part)  # what the server makes of our wish would be the same each time: the next request has none
            raise _AgainError(f"the server cannot continue at byte {have:,} (answer {status})")
        response.raise_for_status()
        if status not in (200, 206):
            raise _NextMirrorError(f"the server answers {status}, and no file")
        encoding = response.headers.get("content-encoding", "identity")
        if encoding != "identity":
            raise _NextMirrorError(f"it sends the file compressed ({encoding}), which nobody asked for")
        total = _total(response, start)
        if file.bytes and total is not None and total != file.bytes:
            raise _NextMirrorError(f"it offers {total:,} bytes, the published file has {file.bytes:,}")
        if response.headers.get("content-type", "").startswith("text/html"):
            raise _NextMirrorError("it sends a web page")
        length = file.bytes or total
        _check_room(part.parent, file, length, start)
        etag = response.headers.get("etag", "")
        if etag and etag.isascii() and not etag.startswith("W/"):
            tag.write_text(etag, "utf-8")
        elif not start:
            tag.unlink(missing_ok=True)
        done = start
        with open(part, "r+b" if start else "wb") as out:
            out.seek(start)
            for chunk in response.iter_raw():  # as it arrives: a fixed size would lose what came before a cut
                out.write(chunk)
                done += len(chunk)
                if progress:
                    progress(done, length)
                if length and done > length:
                    raise _NextMirrorError(f"it sends more than {length:,} bytes")
        if length is not None and done != length:
            raise _AgainError(f"the connection ended too early, at {done:,} of {length:,} bytes")


def _total(response: httpx.Response, start: int) -> int | None:
    """Bytes of the whole file, as far as the server says."""
    after = response.headers.get("content-range", "").rpartition("/")[2]
    if after.isdigit():
        return int(after)
    length = response.headers.get("content-length", "")
    return start + int(length) if length.isdigit() and response.status_code in (200, 206) else None


def _check_room(folder: Path, file: ModelFile, length: int | None, start: int) -> None:
    free = shutil.disk_usage(folder).free
    needed = (length or 0) - start + SPARE
    if free < needed:
        raise DownloadError(
            f"{file.name}: needs {needed / 2**20:,.0f} MB on the disk of {folder}, which has {free / 2**20:,.0f} MB "
            "free; make room, or choose another folder."
        )


def _finish(part: Path, target: Path, file: ModelFile) -> Literal["sha256", "size", "nothing"]:
    """Verify what has arrived and give it its name. A bad one is deleted: continuing it could never make it good."""
    try:
        verified = check_file(part, file)
    except DownloadError as error:
        _drop(part)
        raise _NextMirrorError(str(error).partition(": ")[2]) from error
    with open(part, "rb+") as out:
        os.fsync(out.fileno())
    os.replace(part, target)
    for leftover in _leftovers(target):
        _drop(leftover)
    return verified


def _leftovers(target: Path) -> Iterator[Path]:
    for path in target.parent.iterdir():
        if path.name.startswith(f".{target.name}.") and path.name.endswith((".part", ".etag")):
            yield path


def _drop(part: Path) -> None:
    for path in (part, part.with_name(part.name + ".etag")):
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
