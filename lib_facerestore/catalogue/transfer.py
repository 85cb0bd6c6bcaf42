"""`fetch`: downloads a file from one address over HTTP into a part file, which a later request can continue.

NAME.etag, next to the part file NAME, holds the server's ETag of the version of the file that was begun.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import DownloadError
from .entries import ModelFile
from .fingerprints import ByteProgress

if TYPE_CHECKING:
    import httpx

logger = logging.getLogger(__name__)

ATTEMPTS = 4
"""Consecutive requests without a single new byte after which an address is given up."""

PAUSE = 1.0
"""Seconds before the second of these requests; doubled for each further one."""

SPARE = 64 * 2**20
"""Bytes that must remain free on the disk."""

_RETRIED = (408, 425, 429, 500, 502, 503, 504)


class NextMirrorError(Exception):
    """This address does not have the file, or cannot send it; the message says why."""


class _RetryError(Exception):
    """This request did not complete the file, but another one may; the message says why."""


def fetch(client: httpx.Client, url: str, file: ModelFile, part: Path, progress: ByteProgress | None) -> None:
    """Download a file from one address into `part`, continuing a part that exists. The content is not verified.

    Args:
        client: from `open_client`.
        url: the address.
        file: the published file.
        part: the part file.
        progress: called with the number of bytes so far, and of all bytes (None if unknown).

    Raises:
        NextMirrorError: the file cannot be downloaded from this address.
        DownloadError: the disk has too little free space.
        OSError: the part file cannot be written.
    """
    import httpx  # imported here, because a WebUI must start without it

    failed = 0
    while True:
        before = _size(part)
        try:
            _request(client, url, file, part, progress)
            return
        except _RetryError as error:
            reason = str(error)
        except httpx.HTTPStatusError as error:
            reason = f"the server answers {error.response.status_code}"
            if error.response.status_code not in _RETRIED:
                raise NextMirrorError(reason) from error
        except (httpx.ConnectError, httpx.UnsupportedProtocol, httpx.InvalidURL, httpx.TooManyRedirects) as error:
            raise NextMirrorError(_named(error)) from error
        except httpx.TransportError as error:
            reason = _named(error)
        failed = 1 if _size(part) > before else failed + 1
        if failed >= ATTEMPTS:
            raise NextMirrorError(reason)
        logger.info("%s: %s, trying again", url, reason)
        time.sleep(PAUSE * 2 ** (failed - 1))


def drop(part: Path) -> None:
    """Delete a part file and its tag; errors are ignored."""
    for path in (part, _tag(part)):
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def _request(client: httpx.Client, url: str, file: ModelFile, part: Path, progress: ByteProgress | None) -> None:
    """Complete `part` by one request. Raises _RetryError, NextMirrorError and httpx's errors."""
    have = _size(part)
    if file.bytes and have > file.bytes:
        have = 0
    if have and have == file.bytes:
        return
    headers = _range_headers(file, part, have)
    with client.stream("GET", url, headers=headers) as response:
        if headers and _nothing_after(response, file, have):
            return
        start = _start(response, part, have) if headers else 0
        length = _length(response, file, start)
        _check_room(part.parent, file, length, start)
        _keep_tag(response, part, start)
        _save(response, part, start, length, progress)


def _range_headers(file: ModelFile, part: Path, have: int) -> dict[str, str]:
    """Headers that request the bytes after the first `have`; none if the file may have changed since."""
    if not have:
        return {}
    if file.sha256:
        return {"Range": f"bytes={have}-"}
    tag = _tag(part).read_text("utf-8") if _tag(part).is_file() else ""
    return {"Range": f"bytes={have}-", "If-Range": tag} if tag else {}


def _nothing_after(response: httpx.Response, file: ModelFile, have: int) -> bool:
    """Whether the server says that the file is no longer than the part, so that the part is complete."""
    return response.status_code == 416 and _total(response, 0) == have and file.bytes in (0, have)


def _start(response: httpx.Response, part: Path, have: int) -> int:
    """The byte at which the response to a range request begins: `have`, or 0 for the whole file.

    Raises _RetryError if it is neither. The part is deleted then, so that the next request is for the whole file.
    """
    if response.status_code not in (206, 416):
        return 0
    begins = response.headers.get("content-range", "").replace("bytes ", "").startswith(f"{have}-")
    if response.status_code == 206 and begins:
        return have
    drop(part)
    raise _RetryError(f"the server cannot continue at byte {have:,} (answer {response.status_code})")


def _length(response: httpx.Response, file: ModelFile, start: int) -> int | None:
    """Length of the whole file in bytes, None if unknown.

    Raises NextMirrorError or httpx.HTTPStatusError if the response is not this file.
    """
    response.raise_for_status()
    if response.status_code not in (200, 206):
        raise NextMirrorError(f"the server answers {response.status_code}, without a file")
    encoding = response.headers.get("content-encoding", "identity")
    if encoding != "identity":
        raise NextMirrorError(f"it sends the file compressed ({encoding}), which was not requested")
    total = _total(response, start)
    if file.bytes and total is not None and total != file.bytes:
        raise NextMirrorError(f"it offers {total:,} bytes, the published file has {file.bytes:,}")
    if response.headers.get("content-type", "").startswith("text/html"):
        raise NextMirrorError("it sends a web page")
    return file.bytes or total


def _total(response: httpx.Response, start: int) -> int | None:
    """Length of the whole file in bytes according to the server, None if it does not say."""
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


def _keep_tag(response: httpx.Response, part: Path, start: int) -> None:
    """Store the file's ETag. Weak ETags are not stored, since they do not guarantee identical bytes."""
    etag = response.headers.get("etag", "")
    if etag and etag.isascii() and not etag.startswith("W/"):
        _tag(part).write_text(etag, "utf-8")
    elif not start:
        _tag(part).unlink(missing_ok=True)


def _save(response: httpx.Response, part: Path, start: int, length: int | None, progress: ByteProgress | None) -> None:
    """Write the response's bytes into `part`, from byte `start` on. Raises _RetryError and NextMirrorError."""
    done = start
    with open(part, "r+b" if start else "wb") as out:
        out.seek(start)
        for chunk in response.iter_raw():  # in pieces as they arrive, so that a lost connection loses no bytes
            out.write(chunk)
            done += len(chunk)
            if progress:
                progress(done, length)
            if length and done > length:
                raise NextMirrorError(f"it sends more than {length:,} bytes")
    if length is not None and done != length:
        raise _RetryError(f"the connection ended too early, at {done:,} of {length:,} bytes")


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _tag(part: Path) -> Path:
    return part.with_name(part.name + ".etag")


def _named(error: Exception) -> str:
    return f"{type(error).__name__} {error}".strip()
