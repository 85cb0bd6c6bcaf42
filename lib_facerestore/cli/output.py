"""Output of the command line: exit codes, JSON, errors, and handling of limited encodings and closed pipes."""

from __future__ import annotations

import codecs
import contextlib
import io
import json
import os
import sys
from collections.abc import Iterator

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
"""Exit codes: success; some file failed; the command or an option is wrong; interrupted by Ctrl-C."""
LOW_CONFIDENCE = 0.2
"""At this --confidence or below, a lower one is no good advice: most of what it finds besides is no face."""


def print_json(value: object) -> None:
    """Print plain values as indented JSON on standard output."""
    print(json.dumps(value, indent=1, ensure_ascii=False))


def print_error(message: object) -> None:
    """Print a message on standard error, after the program's name."""
    print(f"facerestore: {message}", file=sys.stderr)


def on_no_face(empty: int, pictures: int, confidence: float) -> str:
    """What to try where no face was found in `empty` of the pictures, "" if there are none such."""
    if not empty:
        return ""
    where = f"no face was found in {empty} of {pictures} pictures; " if pictures > 1 else ""
    if confidence <= LOW_CONFIDENCE:
        return f"{where}another --detector may find more; `facerestore models list` shows them"
    return f"{where}a lower --confidence (it was {confidence:g}) may find more"


@contextlib.contextmanager
def streams() -> Iterator[None]:
    """Context in which standard output and error exist; what is written to a missing one is dropped.

    They are None under pythonw and in some hosts. tqdm fails there, and `print` takes `file=None` for standard output,
    so that errors would be mixed with the JSON.
    """
    with contextlib.ExitStack() as stack:
        if sys.stdout is None:
            stack.enter_context(contextlib.redirect_stdout(stack.enter_context(_nowhere())))
        if sys.stderr is None:
            stack.enter_context(contextlib.redirect_stderr(stack.enter_context(_nowhere())))
        yield


def _nowhere() -> io.TextIOWrapper:
    return open(os.devnull, "w", encoding="utf-8")


def escape_unencodable() -> None:
    """Make standard output and error write characters that their encoding lacks as \\uXXXX, as in JSON.

    Otherwise, a file name with such a character would end the run with an error.
    """
    codecs.register_error("facerestore", _escape)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # some hosts replace them
            stream.reconfigure(errors="facerestore")


def _escape(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass").hex()
    return "".join("\\u" + units[start : start + 4] for start in range(0, len(units), 4)), error.end


def discard_output() -> None:
    """Discard further output after the reader of a pipe has closed it (`… | head -1`).

    The streams would try to write the rest when the interpreter exits, print "Exception ignored" and change the exit
    code to 120.
    """
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except BrokenPipeError:
                os.dup2(nowhere, stream.fileno())
    finally:
        os.close(nowhere)
