"""`python -m lib_facerestore` and `facerestore`: the command line in a process of its own."""

import os
import sys

from .cli.main import main
from .system.heap import keep_freed_memory


def run() -> int:
    """The command line, in a process that is set up for it; returns the exit code."""
    if not keep_freed_memory():
        # Read by torch at its first allocation, on Linux: large pages cost less where blocks are fetched anew.
        os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    return main()


if __name__ == "__main__":
    sys.exit(run())
