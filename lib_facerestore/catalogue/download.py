"""`download`: gets a model file from its mirrors, and verifies it before it gets its final name.

Downloads can be continued: received bytes are in a hidden `.part` file in the target's folder. A lock file keeps two
processes from downloading the same file. Callers run this only if the user asks for it, after showing the licence.
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
from ..images.atomic_write import create_folder, put_in_place, tidy_folder
from .connection import open_client
from .entries import ModelEntry, ModelFile
from .fingerprints import ByteProgress, hash_file
from .part_file import drop
from .peek import describe, peek, sniff_file
from .terms import Verified
from .transfer import NextMirrorError, fetch

if TYPE_CHECKING:
    import httpx

logger = logging.getLogger(__name__)

OFFLINE = "FACERESTORE_OFFLINE"
MIRROR = "HF_ENDPOINT"
"""Environment variable with an address used in place of https://huggingface.co, as in Hugging Face's own tools."""

HUGGING_FACE = "https://huggingface.co"


@dataclass(frozen=True)
class Downloaded:
    """A downloaded file.

    Attributes:
        path: the file.
        url: address that it was downloaded from; "" if it existed before.
        verified: how it was verified.
    """

    path: Path
    url: str
    verified: Verified


def is_offline(offline: bool | None = None) -> bool:
    """Whether downloads are forbidden: by the argument, or if it is None by the variable FACERESTORE_OFFLINE.

    The variable forbids them unless it is empty, 0, no, off or false.
    """
    if offline is not None:
        return offline
    return os.environ.get(OFFLINE, "").strip().lower() not in ("", "0", "no", "false", "off")


def addresses(file: ModelFile, mirror: str | None = None) -> list[str]:
    """The file's addresses, in the order in which they are tried.

    Args:
        file: the published file.
        mirror: mirror of Hugging Face that is tried first, e.g. "https://hf-mirror.com"; "" means none, None takes the
            variable HF_ENDPOINT.
    """
    mirror = (os.environ.get(MIRROR, "") if mirror is None else mirror).strip().rstrip("/")
    urls = list(file.urls)
    if mirror and mirror != HUGGING_FACE:
        moved = [mirror + url.removeprefix(HUGGING_FACE) for url in urls if url.startswith(HUGGING_FACE + "/")]
        urls = moved + urls
    return list(dict.fromkeys(urls))


def published_file(entry: ModelEntry, name: str | None = None) -> ModelFile:
    """The published file with this name (upper or lower case); None takes the first. Raises DownloadError if none."""
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
    """Check that a file exists in the folder or can be downloaded.

    Args:
        entry: the model.
        file: its published file.
        folder: the folder.
        offline: as for `is_offline`.

    Raises:
        DownloadError: the file has no direct address, or downloads are forbidden.
    """
    if os.path.exists(folder / file.name):  # false, and no error, where the folder may not be looked into
        return
    if not file.urls:
        where = f" from {entry.page}" if entry.page else ""
        raise DownloadError(
            f"{entry.id}: there is no direct address for {file.name}; get it by hand{where} and bring it in with "
            f"`facerestore models import FILE`, or put it into {folder}."
        )
    if is_offline(offline):
        raise DownloadError(
            f"{entry.id}: not downloaded, because offline is set; put {file.name} into {folder} yourself "
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
    """Download a model's file into a folder, unless a good one is there already.

    Args:
        entry: the model; the caller has shown its licence.
        folder: the folder, which is created if it does not exist.
        name: name of one of its published files; None takes the first.
        offline: as for `is_offline`.
        progress: called with the number of bytes so far, and of all bytes (None if unknown). An exception from it ends
            the download; the next one continues it.
        lock_seconds: longest time to wait for another process that downloads the same file; -1 is unlimited.
        mirror: as for `addresses`.

    Returns:
        The downloaded or existing file.

    Raises:
        DownloadError: downloads are forbidden, the file has no address, the disk is full, or no mirror has a good file.
            There is no file with the final name then.
        ImportError: the package filelock or httpx is missing.
    """
    file = published_file(entry, name)
    check_available(entry, file, folder, offline)
    target = folder / file.name
    try:
        create_folder(folder)
        tidy_folder(folder)
        with _locked(folder / f".{file.name}.lock", file, lock_seconds):
            if target.exists():  # perhaps another process has just finished it
                return _already(target, file)
            return _from_mirrors(entry, file, target, progress, mirror)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DownloadError(
                f"{file.name}: the disk of {folder} is full; free some space and try again to continue it."
            ) from error
        raise DownloadError(
            f"{file.name}: cannot be written to {folder} ({error.strerror or error}); check the folder's name and "
            "permissions and the disk, or choose another folder."
        ) from error


@contextlib.contextmanager
def _locked(path: Path, file: ModelFile, seconds: float) -> Iterator[None]:
    """Hold the lock; waiting for it is logged. Raises DownloadError after `seconds`."""
    import filelock  # imported here, because a WebUI must start without it

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
    """Verify a file by its published size and SHA-256; if neither is published, by the length that its format states.

    Returns:
        How it was verified.

    Raises:
        DownloadError: it differs, is cut off, or is not a model file.
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
        raise DownloadError(f"{file.name}: is not a model file: {describe(kind)}")
    if file.bytes:
        return "size"
    try:
        peek(path)
    except ModelFileError as error:
        raise DownloadError(f"{file.name}: {str(error).removeprefix(f'{path}: ').rstrip('.')}") from error
    return "nothing"


def _already(target: Path, file: ModelFile) -> Downloaded:
    try:
        verified = check_file(target, file)
    except DownloadError as error:
        raise DownloadError(f"{error} ({target}); move that file away, then download again.") from error
    tidy_parts(target)  # a run may have been ended between renaming and this
    return Downloaded(target, "", verified)


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
    """Download the file from one address, verify and rename it. Raises NextMirrorError."""
    continued = part.exists()
    fetch(client, url, file, part, progress)
    try:
        return Downloaded(target, url, _finish(part, target, file))
    except NextMirrorError:
        if not continued:
            raise
    # The part may begin with other bytes, from another address: download it once more, all from this one.
    fetch(client, url, file, part, progress)
    return Downloaded(target, url, _finish(part, target, file))


def _part(target: Path, file: ModelFile, url: str, urls: list[str]) -> Path:
    """The part file. Mirrors share one, and continue each other's downloads, only if a hash verifies the result."""
    number = "" if file.sha256 else f".{urls.index(url)}"
    return target.with_name(f".{target.name}{number}.part")


def _finish(part: Path, target: Path, file: ModelFile) -> Verified:
    """Verify a complete part file and rename it. If it is bad it is deleted, since continuing it cannot correct it."""
    try:
        verified = check_file(part, file)
    except DownloadError as error:
        drop(part)
        raise NextMirrorError(str(error).partition(": ")[2]) from error
    put_in_place(part, target)
    tidy_parts(target)
    return verified


def tidy_parts(target: Path) -> None:
    """Delete what is left of the download of a file that is complete: part files of other addresses, and all tags.

    Errors are ignored.
    """
    with contextlib.suppress(OSError):
        for path in list(target.parent.iterdir()):
            if path.name.startswith(f".{target.name}.") and path.name.endswith((".part", ".etag")):
                drop(path)
