"""Opening a picture with Pillow whatever other packages of this process, a WebUI's for instance, have set in it."""

from __future__ import annotations

import contextlib
import io
import logging
import struct
import threading
import warnings
from collections.abc import Iterator
from typing import Any, TextIO

from PIL import Image, ImageFile, UnidentifiedImageError

logger = logging.getLogger(__name__)

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "DIB", "GIF")  # MPO, from phones, is opened as JPEG


def open_image(data: bytes, formats: tuple[str, ...] = FORMATS) -> Image.Image:
    """Open the content of a file by its header, as `PIL.Image.open` does, but without its limit and its warning on the
    number of pixels: those are of the whole process, and the caller has a limit of its own.

    Raises:
        UnidentifiedImageError: it is of none of the formats.
        Exception: for a damaged header, whatever Pillow raises.
    """
    if any(name not in Image.OPEN for name in formats):
        Image.init()
    for name in formats:
        factory, accept = Image.OPEN[name]
        if accept is not None and accept(data[:16]) is not True:  # else False, or what is missing for the format
            continue
        try:
            return factory(io.BytesIO(data), "")
        except (SyntaxError, IndexError, TypeError, struct.error) as error:
            logger.debug("it is no %s (%s)", name, error)
    raise UnidentifiedImageError("cannot identify image file")


def pixels_allowed() -> int | None:
    """Most pixels that `PIL.Image.open` opens in this process, outside of `unlimited`; None if there is no limit."""
    most = _pillow.limit()
    return None if most is None else 2 * most


class _Pillow:
    """What is changed in Pillow and `warnings` while any thread decodes: the first changes it, the last puts it back.

    Both are of the whole process, so that threads that each changed and restored them would restore each other's
    changes.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._depth = 0
        self._names = threading.local()
        self._before: tuple[bool, contextlib.AbstractContextManager[Any]] | None = None
        self._unlimited = 0
        self._most = Image.MAX_IMAGE_PIXELS

    def limit(self) -> int | None:
        """Pillow's limit, or what it was before another thread entered `unlimited`."""
        with self._lock:
            return self._most if self._unlimited else Image.MAX_IMAGE_PIXELS

    @contextlib.contextmanager
    def unlimited(self) -> Iterator[None]:
        with self._lock:
            if self._unlimited == 0:
                self._most, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            self._unlimited += 1
        try:
            yield
        finally:
            with self._lock:
                self._unlimited -= 1
                if self._unlimited == 0 and Image.MAX_IMAGE_PIXELS is None:
                    Image.MAX_IMAGE_PIXELS = self._most

    @contextlib.contextmanager
    def strict(self, name: str) -> Iterator[None]:
        with self._lock:
            if self._depth == 0:
                self._change()
            self._depth += 1
        outer = getattr(self._names, "current", None)
        self._names.current = name
        try:
            yield
        finally:
            self._names.current = outer
            with self._lock:
                self._depth -= 1
                if self._depth == 0:
                    self._put_back()

    def _change(self) -> None:
        filters = warnings.catch_warnings()
        filters.__enter__()
        self._before = ImageFile.LOAD_TRUNCATED_IMAGES, filters
        ImageFile.LOAD_TRUNCATED_IMAGES = False
        shown = warnings.showwarning

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            name = getattr(self._names, "current", None)
            if name is None:  # of a thread that does something else
                shown(message, category, filename, lineno, file, line)
            else:
                logger.info("%s: %s", name, message)

        warnings.showwarning = show

    def _put_back(self) -> None:
        assert self._before is not None
        truncated, filters = self._before
        self._before = None
        if not ImageFile.LOAD_TRUNCATED_IMAGES:  # else somebody has set it meanwhile
            ImageFile.LOAD_TRUNCATED_IMAGES = truncated
        filters.__exit__(None, None, None)


_pillow = _Pillow()


def strict(name: str) -> contextlib.AbstractContextManager[None]:
    """A context to decode in: truncated data is an error also where `LOAD_TRUNCATED_IMAGES` is set, and Pillow's
    warnings become lines of our log that name the picture. May be entered by several threads at the same time.

    Args:
        name: what the log calls the picture.
    """
    return _pillow.strict(name)


def unlimited() -> contextlib.AbstractContextManager[None]:
    """A context without Pillow's limit for the number of pixels, which it looks up again while it decodes a TIFF. It
    holds for the whole process: not for a server."""
    return _pillow.unlimited()
