"""How the command line prints: exit codes, JSON, text that any terminal can show, and a quiet end of a closed pipe."""

from __future__ import annotations

import codecs
import io
import json
import os
import sys

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
"""Exit codes: all went well; some file failed; the command or an option is wrong; stopped by Ctrl-C."""


def print_json(value: object) -> None:
    """Print plain values as indented JSON on standard output."""
    print(json.dumps(value, indent=1, ensure_ascii=False))


def print_error(message: object) -> None:
    """Print a message on standard error, with the program's name before it."""
    print(f"facerestore: {message}", file=sys.stderr)


def escape_unencodable() -> None:
    """Make standard output and error write a character that their encoding lacks as \\uXXXX, which JSON reads back, so
    that no file name can end a run with an error."""
    codecs.register_error("facerestore", _escape)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # not every host has one, and pythonw has none at all
            stream.reconfigure(errors="facerestore")


def _escape(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass").hex()
    return "".join("\\u" + units[start : start + 4] for start in range(0, len(units), 4)), error.end


def discard_output() -> None:
    """Send what is still to be printed nowhere, once the reader of a pipe has gone (`… | head -1`).

    The streams keep what they could not write and try again when the interpreter ends: without this it would print
    "Exception ignored" then, and exit with 120.
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
