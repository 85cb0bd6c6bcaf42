"""Entry point of `python -m lib_facerestore` and of the command `facerestore`."""

import os
import sys

from .cli.main import main
from .system.heap import keep_freed_memory


def run() -> int:
    """Set up the process's memory, run the command line, and return the exit code."""
    if not keep_freed_memory():
        # On Linux, torch reads this at its first allocation: large pages make repeated allocations cheaper.
        os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    return main()


if __name__ == "__main__":
    sys.exit(run())
