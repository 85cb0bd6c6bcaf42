"""Progress on the terminal: a bar, and a Ctrl-C that lets what is under way be finished."""

from __future__ import annotations

import contextlib
import signal
import sys
from types import FrameType
from typing import Any

from .output import discard_output, print_error

_PICTURES_FORMAT = "{percentage:3.0f}%|{bar}| {desc} [{elapsed}<{remaining}]"


class Interrupt:
    """Within `with`, the first Ctrl-C only makes `asked` true, so that what is under way can be finished and written;
    the second raises KeyboardInterrupt as usual."""

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
            print_error("finishing what is under way; Ctrl-C again stops at once")
            sys.stderr.flush()


class Bar:
    """A progress bar on standard error, shown where that is a terminal.

    Args:
        total: where it ends; None where that is not known yet.
        format: further arguments of `tqdm.tqdm`.
    """

    def __init__(self, total: float | None, **format: Any) -> None:
        from tqdm import tqdm

        self._bar = tqdm(total=total, file=sys.stderr, disable=None, **format)

    @classmethod
    def of_pictures(cls, total: int) -> Bar:
        """A bar over so many pictures, which moves with the faces within a picture too."""
        return cls(total, bar_format=_PICTURES_FORMAT)

    @classmethod
    def of_bytes(cls, name: str) -> Bar:
        """A bar over the bytes of a file."""
        return cls(None, desc=name, unit="B", unit_scale=True, unit_divisor=1024)

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def move(self, to: float, total: float | None = None) -> None:
        """Move to a place between 0 and the total; total: the new one, where it has become known."""
        if total:
            self._bar.total = total
        self._bar.update(to - self._bar.n)

    def show(self, to: float, text: str) -> None:
        """Move, and show a text beside the bar at once."""
        self._bar.n = to
        self._bar.set_description_str(text, refresh=False)
        self._bar.refresh()

    def say(self, text: str, *, error: bool = False) -> None:
        """Print a line above the bar, on standard output or error. A reader that has gone does not end the work."""
        try:
            self._bar.write(text, file=sys.stderr if error else sys.stdout)
        except BrokenPipeError:
            discard_output()
