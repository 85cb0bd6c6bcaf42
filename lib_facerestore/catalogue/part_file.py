"""The part file of a download: the bytes that have arrived.

Where a hash verifies the result, all of these bytes are continued. Where none does, NAME.etag, next to the part file
NAME, holds the server's ETag of the version that was begun, and how many bytes of it were flushed to disk; only these
are continued, since after a power cut the others may be anything. The bytes on the disk are never of another version
than the tag beside them.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from ..errors import InputError
from ..images.atomic_write import flush_folder, write_atomically

logger = logging.getLogger(__name__)

FLUSHED_EVERY = 64 * 2**20
"""Bytes after which what has arrived is flushed, and counted in the tag."""

_STRONG = re.compile(r"(?!W/)[!-~][ -~]*")
_TAG = re.compile(rb"([!-~][ -~]*)\n(\d{1,18})\n")

Save = Callable[[bytes], None]


def tag_of(part: Path) -> Path:
    """The file with the tag of a part file."""
    return part.with_name(part.name + ".etag")


def size_of(part: Path) -> int:
    """Bytes that have arrived, 0 if there is no part file."""
    return part.stat().st_size if part.exists() else 0


def drop(part: Path) -> None:
    """Delete a part file and its tag; errors are ignored."""
    for path in (tag_of(part), part):
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def kept(part: Path, hashed: bool) -> tuple[int, str]:
    """How many bytes can be continued, and the tag of their version.

    Without a hash, bytes that are not surely right are cut off.

    Args:
        part: the part file.
        hashed: whether a hash verifies the result: then no tag is needed, and it is "".

    Raises:
        OSError: the file cannot be read or changed.
    """
    size = size_of(part)
    if hashed or not size:
        return size, ""
    try:
        known = _TAG.fullmatch(tag_of(part).read_bytes())
    except FileNotFoundError:
        known = None
    flushed = int(known[2]) if known else 0
    if not known or not 0 < flushed <= size:
        return 0, ""
    if flushed < size:
        os.truncate(part, flushed)
    return flushed, known[1].decode("ascii")


@contextlib.contextmanager
def saving(part: Path, start: int, tag: str, hashed: bool) -> Iterator[Save]:
    """A function that adds bytes to a part file.

    Args:
        part: the part file.
        start: how many of its bytes are continued.
        tag: the server's ETag, "" if there is none. A weak one is not kept: it does not promise identical bytes.
        hashed: whether a hash verifies the result. Then bytes of an earlier try stay until they are overwritten: they
            are not lost if this one ends early.

    Raises:
        OSError: it cannot be written.
    """
    if not start and not hashed:
        drop(part)
        flush_folder(part.parent)  # or the tag might come back after a power cut, beside bytes of another version
    tag = tag if not hashed and _STRONG.fullmatch(tag) else ""
    with open(part, "r+b" if part.exists() else "wb") as out:
        out.seek(start)
        done = flushed = start

        def keep() -> None:
            nonlocal flushed
            flushed = done
            if tag and done:
                out.flush()
                os.fsync(out.fileno())
                _write_tag(part, tag, done)

        def save(data: bytes) -> None:
            nonlocal done
            out.write(data)
            done += len(data)
            if done - flushed >= FLUSHED_EVERY:
                keep()

        try:
            yield save
        finally:
            keep()


def finish(part: Path, length: int) -> None:
    """Cut a complete part file to its length: an earlier, longer try may have left more. Raises OSError."""
    if size_of(part) > length:
        os.truncate(part, length)


def _write_tag(part: Path, tag: str, done: int) -> None:
    try:
        write_atomically(tag_of(part), f"{tag}\n{done}\n".encode("ascii"), overwrite=True)
    except InputError as error:  # the download itself goes on; after a cut it may start again
        logger.info("%s", error)
