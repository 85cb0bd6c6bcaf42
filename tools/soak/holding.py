"""A process that can tell what it holds from what it has freed and keeps for later use.

The command line keeps all memory that it frees (`lib_facerestore.system.heap`), and glibc some of it in any process:
how much depends on what lay where, and goes up and down by a tenth. So the memory of a process says little about a
leak. On a signal, a process of this module returns what it has freed to the system; `checks.held` measures it then.

`python -m tools.soak.holding ARGUMENTS...` is the command line with that signal.
"""

from __future__ import annotations

import signal
import sys
from types import FrameType

from lib_facerestore.system import heap

SIGNAL = signal.SIGUSR1


def on_signal() -> None:
    """Return freed memory to the system at each `SIGNAL` from now on."""

    def give_back(_number: int, _frame: FrameType | None) -> None:
        heap.give_back_freed_memory()

    signal.signal(SIGNAL, give_back)


if __name__ == "__main__":
    from lib_facerestore.__main__ import run

    on_signal()
    sys.exit(run())
