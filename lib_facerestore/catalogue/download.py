"""Getting a model file: resumable, from mirrors in turn, verified before it has its final name.

What has arrived is kept in a hidden `.part` file beside the target, so that a cut, a full disk or a second try costs
nothing twice. A lock file keeps two processes from fetching the same thing. Nothing here runs unless a user asks for
it, on the page or the command line, after its licence was shown.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import DownloadError, ModelFileError
from ..images.atomic_write import put_in_place
from .connection import open_client
from .entries import ModelEntry, ModelFile
from .fingerprints import ByteProgress, hash_file
from .peek import describe, peek, sniff_file
from .terms import Verified
from .transfer import NextMirrorError, drop, fetch

if TYPE_CHECKING:
    import httpx

logger = logging.getLogger(__name__)

OFFLINE = "FACERESTORE_OFFLINE"
MIRROR = "HF_ENDPOINT"
"""Names another address for huggingface.co, as that site's own tools read it."""

HUGGING_FACE = "https://huggingface.co"


@dataclass(frozen=True)
class Downloaded:
    """A file that has arrived.

    Attributes:
        path: where it is.
        url: where it came from; "" if it was there already.
        verified: what it was compared with.
    """

    path: Path
    url: str
    verified: Verified


def is_offline(offline: bool | None = None) -> bool:
    """The argument if it is given, else whether FACERESTORE_OFFLINE is set to anything but 0, no, off or false."""
    if offline is not None:
        return offline
    return os.environ.get(OFFLINE, "").strip().lower() not in ("", "0", "no", "false", "off")


def addresses(file: ModelFile, mirror: str | None = None) -> list[str]:
    """The file's addresses in the order in which they are tried; a mirror's copy of Hugging Face goes first.

    Args:
        file: a published file.
        mirror: the mirror's address, e.g. "https://hf-mirror.com"; "" means none, None asks HF_ENDPOINT.
    """
    mirror = (os.environ.get(MIRROR, "") if mirror is None else mirror).strip().rstrip("/")
    urls = list(file.urls)
    if mirror and mirror != HUGGING_FACE:
        moved = [mirror + url.removeprefix(HUGGING_FACE) for url in urls if url.startswith(HUGGING_FACE + "/")]
        urls = moved + urls
    return list(dict.fromkeys(urls))


def published_file(entry: ModelEntry, name: str | None = None) -> ModelFile:
    """The published file of that name, in any case; None takes the first. DownloadError where there is none."""
    if not entry.published:
        raise DownloadError(f"{entry.id}: is part of this package; there is nothing to download.")
    if name is None:
        return entry.published[0]
    for file in entry.published:
        if file.name.lower() == name.lower():
            return file
    known = ", ".join(dict.fromkeys(file.name for file in entry.published))
    raise DownloadError(f"{entry.id}: has no file {name}; the files it has: {known}.")


def check_available(entry: ModelEntry, file: ModelFile, folder: Path, offline: bool | None = None) -> None:
    """Check that a file is in the folder already, or has an address and may be downloaded.

    Args:
        entry: the model.
        file: one of its published files.
        folder: where it goes.
        offline: True refuses to use the network; None asks FACERESTORE_OFFLINE.

    Raises:
        DownloadError: it is not, and there is none or the network may not be used; the message says what to do.
    """
    if (folder / file.name).exists():
        return
    if not file.urls:
        where = f" from {entry.page}" if entry.page else ""
        raise DownloadError(
            f"{entry.id}: there is no direct address for {file.name}; get it by hand{where} and bring it in with "
            f"`facerestore models import FILE`, or put it into {folder}."
        )
    if is_offline(offline):
        raise DownloadError(
            f"{entry.id}: offline is set, nothing is downloaded; put {file.name} into {folder} yourself "
            f"(from {file.urls[0]}), or unset {OFFLINE}, --offline or the WebUI's setting."
        )


def download(
    entry: ModelEntry,
    folder: Path,
    *,
    name: str | None = None,
    offline: bool | None = None,
    progress: ByteProgress | None = None,
    lock_seconds: float = -1,
    mirror: str | None = None,
) -> Downloaded:
    """Get a model's file into a folder.

    Args:
        entry: the model. Whoever calls this has shown its licence.
        folder: made if it does not exist.
        name: which of its published files; None takes the first.
        offline: True refuses to use the network; None asks FACERESTORE_OFFLINE.
        progress: called with the bytes so far and the bytes in all (None if unknown). What it raises ends the
            download; what has arrived stays, so that the next one goes on there.
        lock_seconds: how long to wait for another process that fetches the same file; -1 as long as it takes.
        mirror: another address for huggingface.co; "" means none, None asks HF_ENDPOINT.

    Returns:
        Where it is. A good file that is there already is left alone.

    Raises:
        DownloadError: offline, no address, no space, or no mirror gave a good file; nothing has the final name then.
        ImportError: the package filelock or httpx is missing.
    """
    file = published_file(entry, name)
    check_available(entry, file, folder, offline)
    target = folder / file.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / f".{file.name}.lock", file, lock_seconds):
            if target.exists():  # perhaps since a moment ago: another process was quicker
                return _already(target, file)
            return _from_mirrors(entry, file, target, progress, mirror)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DownloadError(
                f"{file.name}: the disk of {folder} is full; make room and try again, it goes on where it stopped."
            ) from error
        raise DownloadError(f"{file.name}: cannot be written to {folder} ({error}).") from error


@contextlib.contextmanager
def _locked(path: Path, file: ModelFile, seconds: float) -> Iterator[None]:
    """Hold the lock; where it must be waited for, that is logged first. DownloadError where that takes too long."""
    import filelock  # here, since a WebUI must start without it

    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        logger.warning("%s: another process is downloading it; waiting until it is done", file.name)
        try:
            lock.acquire(timeout=seconds)
        except filelock.Timeout as error:
            raise DownloadError(
                f"{file.name}: another process is downloading it; wait for it, or try again."
            ) from error
    try:
        yield
    finally:
        lock.release()


def check_file(path: Path, file: ModelFile) -> Verified:
    """Compare a file with what is published of it: size first, then SHA-256; where neither is known, with what it says
    of its own length.

    Returns:
        What it could be compared with.

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
    entry: ModelEntry, file: ModelFile, target: Path, progress: ByteProgress | None, mirror: str | None
) -> Downloaded:
    failures = []
    urls = addresses(file, mirror)
    with open_client() as client:
        for url in urls:
            part = _part(target, file, url, urls)
            try:
                return _from_one(client, url, file, part, target, progress)
            except NextMirrorError as reason:
                logger.info("%s: %s", url, reason)
                failures.append(f"{url}: {reason}")
    raise DownloadError(
        f"{entry.id}: {file.name} could not be downloaded:\n  " + "\n  ".join(failures) + "\nCheck the connection to "
        "the internet and try again, or get the file by hand and bring it in with `facerestore models import FILE`."
    )


def _from_one(
    client: httpx.Client, url: str, file: ModelFile, part: Path, target: Path, progress: ByteProgress | None
) -> Downloaded:
    """The file from one address, under its name. Raises NextMirrorError."""
    continued = part.exists()
    fetch(client, url, file, part, progress)
    try:
        return Downloaded(target, url, _finish(part, target, file))
    except NextMirrorError:
        if not continued:
            raise
    # Another address may have begun it with other bytes: what this one sends alone decides.
    fetch(client, url, file, part, progress)
    return Downloaded(target, url, _finish(part, target, file))


def _part(target: Path, file: ModelFile, url: str, urls: list[str]) -> Path:
    """What has arrived so far. Mirrors continue each other's work only where a hash tells whether it is one file."""
    number = "" if file.sha256 else f".{urls.index(url)}"
    return target.with_name(f".{target.name}{number}.part")


def _finish(part: Path, target: Path, file: ModelFile) -> Verified:
    """Verify what has arrived and give it its name. A bad one is deleted: continuing it could never make it good."""
    try:
        verified = check_file(part, file)
    except DownloadError as error:
        drop(part)
        raise NextMirrorError(str(error).partition(": ")[2]) from error
    put_in_place(part, target)
    for leftover in list(_leftovers(target)):
        drop(leftover)
    return verified


def _leftovers(target: Path) -> Iterator[Path]:
    """The part files of other addresses, and every tag."""
    for path in target.parent.iterdir():
        if path.name.startswith(f".{target.name}.") and path.name.endswith((".part", ".etag")):
            yield path
