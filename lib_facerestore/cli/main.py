"""The command line: `facerestore restore | detect | models | bench | doctor`, also as `python -m lib_facerestore`.

Results and JSON are printed on standard output, progress and errors on standard error. Exit codes: 0 success, 1 some
file failed, a model failed on a face, or a face of --faces is in no picture; 2 the command or an option is wrong, 130
interrupted.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

from .. import __version__
from ..errors import FaceRestoreError
from . import bench, detect, doctor, models, restore
from .output import FAILED, INTERRUPTED, OK, USAGE, discard_output, escape_unencodable, print_error, streams
from .parser import Parser

logger = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. Expected errors are printed, not raised.

    Args:
        arguments: the arguments after the program's name; None takes those of the process.

    Returns:
        The exit code.
    """
    with streams():
        escape_unencodable()
        try:
            code = _run(arguments)
        except BrokenPipeError:  # the reader of the output has closed it
            code = OK
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            discard_output()
        return code


def build_parser() -> Parser:
    """The argument parser with all commands; the options of `restore` and `detect` come from the table of options."""
    parser = Parser(
        prog="facerestore",
        description="Find the faces in pictures, restore them, and paste them back seamlessly.",
        epilog=restore.EXAMPLES,
    )
    parser.add_argument("--version", action="version", version=f"facerestore {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in (restore, detect, models, bench, doctor):
        command.add_command(commands)
    return parser


def _run(arguments: Sequence[str] | None) -> int:
    parser = build_parser()
    given = sys.argv[1:] if arguments is None else arguments
    if not given:
        parser.print_help(sys.stderr)
        return USAGE
    if unknown := parser.unknown(given):
        print_error(unknown)
        return USAGE
    try:
        settings = parser.parse_args(given)
    except SystemExit as stop:  # argparse has printed the reason
        return int(stop.code or 0)
    level = logging.DEBUG if settings.verbose else logging.WARNING
    logging.basicConfig(level=level, format="%(levelname)s: %(message)s", stream=sys.stderr)
    try:
        return int(settings.run(settings))
    except FaceRestoreError as error:
        print_error(error)
        return FAILED if isinstance(error, MemoryError) else USAGE
    except KeyboardInterrupt:
        print_error("interrupted; finished files are complete")
        return INTERRUPTED
    except BrokenPipeError:
        raise
    except MemoryError:
        logger.debug("failed", exc_info=True)
        print_error("there is too little memory; close other programs, and try again")
        return FAILED
    except OSError as error:  # e.g. an unreadable folder or a full disk; a traceback would not help
        logger.debug("failed", exc_info=True)
        print_error(error)
        return FAILED
    except ImportError as error:
        from ..checks.installs import explained_import

        explained = explained_import(error)
        if not explained:
            raise
        logger.debug("failed", exc_info=True)
        print_error(explained)
        return FAILED
