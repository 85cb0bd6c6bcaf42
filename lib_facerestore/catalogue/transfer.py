"""`fetch`: downloads a file from one address over HTTP into a part file, which a later request can continue."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import DownloadError
from .answer import RedirectError, SlowServerError, answer
from .entries import ModelFile
from .fingerprints import ByteProgress
from .part_file import drop, finish, kept, saving, size_of

if TYPE_CHECKING:
    import httpx

logger = logging.getLogger(__name__)

ATTEMPTS = 4
"""Consecutive requests without anything new after which an address is given up."""

PAUSE = 1.0
"""Seconds before the second of these requests; doubled for each further one."""

WORTH = 64 * 2**10
"""Bytes that a request must add to what any earlier one has reached, or it counts as one without anything new."""

SLOW_SECONDS = 60.0
"""Seconds in which a server must send `WORTH` bytes, or the request is ended."""

SPARE = 64 * 2**20
"""Bytes that must remain free on the disk."""

MOST_BYTES = 16 * 2**30
"""Most bytes that are received where nobody says how many there are."""

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
        part: the part file; see `part_file`.
        progress: called with the number of bytes so far, and of all bytes (None if unknown).

    Raises:
        NextMirrorError: the file cannot be downloaded from this address.
        DownloadError: the disk has too little free space.
        OSError: the part file cannot be written.
    """
    import httpx  # imported here, because a WebUI must start without it

    failed, furthest = 0, size_of(part)
    while True:
        slow = False
        try:
            _request(client, url, file, part, progress)
            return
        except _RetryError as error:
            reason = str(error)
        except httpx.HTTPStatusError as error:
            reason = f"the server answers {error.response.status_code}"
            if error.response.status_code not in _RETRIED:
                raise NextMirrorError(reason) from error
        except RedirectError as error:
            raise NextMirrorError(str(error)) from error
        except SlowServerError as error:
            reason, slow = str(error), True
        except (httpx.ConnectError, httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            raise NextMirrorError(_named(error)) from error
        except httpx.TransportError as error:
            reason = _named(error)
        # Not compared with the size before this request: a server that cannot continue starts again and again.
        size = size_of(part)
        failed = failed + 1 if slow or size < furthest + WORTH else 1
        furthest = max(furthest, size)
        if failed >= ATTEMPTS:
            raise NextMirrorError(reason)
        logger.info("%s: %s, trying again", url, reason)
        time.sleep(PAUSE * 2 ** (failed - 1))


def _request(client: httpx.Client, url: str, file: ModelFile, part: Path, progress: ByteProgress | None) -> None:
    """Complete `part` by one request. Raises _RetryError, NextMirrorError and what `answer` raises."""
    have, tag = kept(part, bool(file.sha256))
    if file.bytes and have > file.bytes:
        have = 0
    if have and have == file.bytes:
        return
    headers = {"Range": f"bytes={have}-"} if have else {}
    if tag:
        headers["If-Range"] = tag
    with answer(client, url, headers) as response:
        if headers and _nothing_after(response, file, have):
            return
        start = _start(response, part, have) if headers else 0
        length = _length(response, file, start)
        _check_room(part.parent, file, length, start)
        with saving(part, start, response.headers.get("etag", ""), bool(file.sha256)) as save:
            done = start
            for chunk in _chunks(response, file, part.parent):
                done += len(chunk)
                if done > (length or MOST_BYTES):
                    raise NextMirrorError(f"it sends more than {length or MOST_BYTES:,} bytes")
                save(chunk)
                if progress:
                    progress(done, length)
        if length is not None and done != length:
            raise _RetryError(f"the connection ended too early, at {done:,} of {length:,} bytes")
        finish(part, done)


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


def _chunks(response: httpx.Response, file: ModelFile, folder: Path) -> Iterator[bytes]:
    """The content as it arrives, so that a lost connection loses no bytes.

    Raises:
        SlowServerError: too little arrives, even if the connection never pauses for long.
        DownloadError: the disk has become too full.
    """
    since, arrived, checked = time.monotonic(), 0, 0
    for chunk in response.iter_raw():
        yield chunk
        arrived += len(chunk)
        checked += len(chunk)
        if checked >= SPARE // 4:
            _check_room(folder, file, 0, 0)
            checked = 0
        seconds = time.monotonic() - since
        if arrived >= WORTH or seconds < 0:
            since, arrived = time.monotonic(), 0
        elif seconds >= SLOW_SECONDS:
            raise SlowServerError(f"it sends only {arrived:,} bytes in {seconds:.0f} s")


def _named(error: Exception) -> str:
    text = f"{type(error).__name__} {error}".strip()
    wrong_time = "certificate" in text and ("not yet valid" in text or "expired" in text)
    return text + ("; check this machine's clock" if wrong_time else "")
