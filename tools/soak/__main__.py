"""The command line: `python -m tools.soak PART`; each part is the module of that name, with a function `main`."""

from __future__ import annotations

import importlib
import sys

PARTS = ("api", "downloads", "faults", "folder", "reload")


def main(arguments: list[str]) -> int:
    """Run one part with its arguments, and return its exit code."""
    if not arguments or arguments[0] not in PARTS:
        print(f"usage: python -m tools.soak {{{','.join(PARTS)}}} ...", file=sys.stderr)
        return 2
    code: int = importlib.import_module(f"tools.soak.{arguments[0]}").main(arguments[1:])
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
