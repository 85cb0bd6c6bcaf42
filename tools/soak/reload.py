"""Many "Reload UI"s of the host double: nothing of ours may pile up, and every job gives the same picture.

`python -m tools.soak reload --help`
"""

from __future__ import annotations

import argparse
import gc
import os
import random
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from lib_facerestore.catalogue.download import OFFLINE

from .checks import Checks, check_levels, level
from .pictures import model_folder, picture

OPTIONS = {"model": "small", "mask": "ellipse", "detector": "lite"}
JOB_EVERY = 10


def main(arguments: list[str]) -> int:
    """Run it and print the checks; 1 if one did not hold."""
    parser = argparse.ArgumentParser(prog="python -m tools.soak reload", description=__doc__)
    parser.add_argument("--reloads", type=int, default=200)
    given = parser.parse_args(arguments)
    os.environ[OFFLINE] = "1"
    from tests.webui.double import Host

    print(f"seed 0, {given.reloads} reloads", flush=True)
    work = Path(tempfile.mkdtemp(prefix="soak-reload-"))
    host = Host(work / "webui").install()
    try:
        return _soak(host, given.reloads)
    finally:
        host.remove()
        shutil.rmtree(work, ignore_errors=True)


def _soak(host: Any, reloads: int) -> int:
    checks, process = Checks(), psutil.Process()
    model_folder(host.root / "models" / "facerestore")
    host.start()
    photo = np.asarray(picture(random.Random(0)))
    expected = _job(host, photo)  # modules that a job needs are imported with it
    first, samples, same, jobs, level_counts = counts(host), [], 0, 0, 0
    for index in range(reloads):
        host.reload_ui()
        level_counts += counts(host) == first or _said(counts(host), first)
        if index % JOB_EVERY == 0:
            jobs += 1
            same += np.array_equal(_job(host, photo), expected)
        host.log.clear()  # of the double
        host.saved.clear()
        gc.collect()
        samples.append(level(process))
    checks.check("reloads after which callbacks, modules, routes and lists are as at first", reloads, level_counts)
    checks.check("jobs with the same picture as the first", jobs, same)
    checks.check("the host caught no error", 0, len(host.take_errors()))
    check_levels(checks, "the WebUI", samples)
    return checks.code()


def counts(host: Any) -> dict[str, object]:
    """How many there are of what we register with the host, and of our modules."""
    shared = host.modules.shared
    registered = {kind: len(calls) for kind, calls in host.modules.script_callbacks.callback_map.items()}
    return {
        "callbacks": registered,
        "modules": sorted(name for name in sys.modules if name.startswith(("lib_facerestore", "install", "preload"))),
        "routes": sum("facerestore" in getattr(route, "path", "") for route in host.app.routes),
        "face restorers": len(shared.face_restorers),
        "settings": len(shared.opts.data_labels),
        "scripts": len(host.modules.scripts.scripts_data),
        "path": sys.path.count(sys.path[0]),
    }


def _said(now: dict[str, object], first: dict[str, object]) -> bool:
    differ = [key for key in first if now[key] != first[key]]
    print(f"     differ: {', '.join(differ)}", flush=True)
    return False


def _job(host: Any, photo: np.ndarray) -> np.ndarray:
    made = host.run("txt2img", {"Face Restore": [{"enabled": True, **OPTIONS}]}, decoded=[photo])
    return np.asarray(made.images[0])
