"""What the command line needs while it works: text for any terminal, a bar, and a Ctrl-C that keeps what is done."""

from __future__ import annotations

import codecs
import contextlib
import io
import signal
import sys
from types import FrameType, TracebackType

_FORMAT = "{percentage:3.0f}%|{bar}| {desc} [{elapsed}<{remaining}]"


def print_anything() -> None:
    """Let standard output and error take every character: what their encoding lacks is written as \\uXXXX, so that a
    file's name never ends a run. JSON stays JSON, for that is its own way of writing them."""
    codecs.register_error("facerestore", _escape)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # not every host has one, and pythonw has none at all
            stream.reconfigure(errors="facerestore")


def _escape(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass").hex()
    return "".join("\\u" + units[start : start + 4] for start in range(0, len(units), 4)), error.end


class Interrupt:
    """Within `with`, the first Ctrl-C only makes `asked` true, so that what is under way can be finished and written;
    the second is a KeyboardInterrupt as ever."""

    def __init__(self) -> None:
        self._asked = False
        self._installed = False

    def asked(self) -> bool:
        """Whether Ctrl-C was pressed."""
        return self._asked

    def __enter__(self) -> Interrupt:
        with contextlib.suppress(ValueError):  # signals reach the main thread only
            self._before = signal.signal(signal.SIGINT, self._note)
            self._installed = True
        return self

    def __exit__(self, *_: object) -> None:
        if self._installed:
            signal.signal(signal.SIGINT, self._before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True
        with contextlib.suppress(RuntimeError):  # it may come while a line is being printed
            print("facerestore: finishing what is under way; Ctrl-C again stops at once", file=sys.stderr, flush=True)


class Bar:
    """A bar on standard error, where that is a terminal, that moves with the faces within a picture."""

    def __init__(self, total: int) -> None:
        from tqdm import tqdm

        self._total = total
        self._bar = tqdm(total=total, file=sys.stderr, disable=None, bar_format=_FORMAT)

    def __enter__(self) -> Bar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    def show(self, way: float, done: int, what: str) -> None:
        """Move to `way` of the pictures, a fraction while some are under way; done, what: for the reader."""
        self._bar.n = way
        said = f"{done} of {self._total} pictures"
        self._bar.set_description_str(f"{said}, {what}" if what else said, refresh=False)
        self._bar.refresh()

    def say(self, text: str, *, error: bool = False) -> None:
        """Print a line without breaking the bar."""
        self._bar.write(text, file=sys.stderr if error else sys.stdout)
