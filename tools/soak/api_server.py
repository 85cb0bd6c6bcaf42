"""The server of `api`, as a process of its own: the host double's app with our routes. Prints its port and stops with
its standard input.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from pathlib import Path

from lib_facerestore.catalogue.download import OFFLINE

from .holding import on_signal
from .pictures import model_folder


def main(work: Path) -> None:
    """Serve until standard input ends."""
    import uvicorn

    from tests.webui.double import Host
    from tests.webui.double.module import HostModule

    os.environ[OFFLINE] = "1"
    host = Host(work / "webui").install()
    queue = HostModule("modules.call_queue")
    queue.queue_lock = threading.Lock()  # the WebUI's, under which all its jobs run
    host._put(queue)
    model_folder(host.root / "models" / "facerestore")
    host.start()
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(host.app, log_level="warning"))
        threading.Thread(target=_stop_with_input, args=(server,), daemon=True).start()
        print(place.getsockname()[1], flush=True)
        on_signal()
        server.run(sockets=[place])


def _stop_with_input(server: object) -> None:
    sys.stdin.read()
    server.should_exit = True  # type: ignore[attr-defined]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
