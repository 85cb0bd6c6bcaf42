"""`python -m lib_facerestore`: the command line."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
