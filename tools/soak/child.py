"""What another process does in the runs with several: `download URL SHA256 BYTES FOLDER [MOST_BYTES]` or `folder PATH`.

It prints "done", or the error. MOST_BYTES is the size at which its files cannot grow any more.
"""

from __future__ import annotations

import logging
import signal
import sys
from pathlib import Path

from lib_facerestore.errors import FaceRestoreError


def main(arguments: list[str]) -> None:
    """Do it."""
    from lib_facerestore.catalogue import ModelEntry, ModelFile, transfer
    from lib_facerestore.catalogue.download import download

    transfer.PAUSE = 0.01
    what, *given = arguments
    try:
        if what == "folder":
            from .jobs import run_folder

            run_folder(Path(given[0]))
        else:
            if len(given) > 4:
                import resource

                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                resource.setrlimit(resource.RLIMIT_FSIZE, (int(given[4]), int(given[4])))
            file = ModelFile("net.pth", int(given[2]), given[1], (given[0],))
            download(ModelEntry("net", 1, ("net.pth",), published=(file,)), Path(given[3]))
        print("done")
    except FaceRestoreError as error:
        print(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    logging.disable()
    main(sys.argv[1:])
