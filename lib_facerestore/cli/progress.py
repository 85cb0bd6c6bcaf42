"""A progress bar on the terminal, and a Ctrl-C that lets the current work be finished."""

from __future__ import annotations

import contextlib
import signal
import sys
from types import FrameType
from typing import Any

from .output import discard_output, print_error

_PICTURES_FORMAT = "{percentage:3.0f}%|{bar}| {desc} [{elapsed}<{remaining}]"


class Interrupt:
    """Context in which the first Ctrl-C only makes `asked` true, so that the current work can be finished and written.

    The second one raises KeyboardInterrupt as usual.
    """

    def __init__(self) -> None:
        self._asked = False
        self._installed = False

    def asked(self) -> bool:
        """Whether Ctrl-C was pressed."""
        return self._asked

    def __enter__(self) -> Interrupt:
        with contextlib.suppress(ValueError):  # only the main thread can handle signals
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
        with contextlib.suppress(RuntimeError):  # raised if the signal comes while a line is being printed
            print_error("finishing the current pictures; press Ctrl-C again to stop at once")
            sys.stderr.flush()


class Bar:
    """A progress bar on standard error, shown only if that is a terminal.

    Args:
        total: its end; None if that is not known yet.
        format: further arguments of `tqdm.tqdm`.
    """

    def __init__(self, total: float | None, **format: Any) -> None:
        from tqdm import tqdm

        self._bar = tqdm(total=total, file=sys.stderr, disable=None, **format)

    @classmethod
    def of_pictures(cls, total: int) -> Bar:
        """A bar for a number of pictures, which also moves with the faces in a picture."""
        return cls(total, bar_format=_PICTURES_FORMAT)

    @classmethod
    def of_bytes(cls, name: str) -> Bar:
        """A bar for the bytes of a file."""
        return cls(None, desc=name, unit="B", unit_scale=True, unit_divisor=1024)

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def move(self, to: float, total: float | None = None) -> None:
        """Move to a position between 0 and the total; `total` sets a new total."""
        if total:
            self._bar.total = total
        self._bar.update(to - self._bar.n)

    def show(self, to: float, text: str) -> None:
        """Move to a position, and show a text next to the bar at once."""
        self._bar.n = to
        self._bar.set_description_str(text, refresh=False)
        self._bar.refresh()

    def say(self, text: str, *, error: bool = False) -> None:
        """Print a line above the bar, on standard output or error. A closed pipe does not end the work."""
        try:
            self._bar.write(text, file=sys.stderr if error else sys.stdout)
        except BrokenPipeError:
            discard_output()
