"""Cases chosen by coverage, with the package atheris (`pip install atheris`; Linux)."""

from __future__ import annotations

import gc
import os
import sys
import tempfile
from pathlib import Path
from types import FunctionType

from lib_facerestore.catalogue.download import OFFLINE

from .runner import Report, Target, attempt, save

WATCHED = ("lib_facerestore", "PIL", "tifffile", "safetensors")
"""The packages whose branches guide it; all of torch would take an hour to prepare."""

MEMORY_MB = 6144
"""Most memory of the process."""


def _own_functions() -> list[FunctionType]:
    return [
        one
        for one in gc.get_objects()
        if isinstance(one, FunctionType) and (one.__module__ or "").partition(".")[0] in WATCHED
    ]


def guide(target: Target, cases: int, findings: Path) -> int:
    """Run cases that atheris makes from the target's corpus, then print how they ended.

    Args:
        target: what to run.
        cases: how many.
        findings: folder for cases that failed.

    Returns:
        1 if there were findings. The process ends here, as atheris' loop does.
    """
    import atheris  # type: ignore[import-not-found, unused-ignore]

    os.environ[OFFLINE] = "1"
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        folder = Path(name)
        for part in ("work", "corpus"):
            (folder / part).mkdir()
        for number, entry in enumerate(target.corpus()):
            (folder / "corpus" / str(number)).write_bytes(entry)
        take, report = target.prepare(folder / "work"), Report()
        for function in _own_functions():
            atheris.instrument_func(function)

        def one(case: bytes) -> None:
            attempt(take, case, report)
            if report.cases >= cases:
                save(findings, target, report)
                found = len(report.findings)
                print(f"{target.name}: {report.cases:,} cases, {report.results:,} results, {found} findings")
                sys.stdout.flush()
                os._exit(int(bool(report.findings)))  # libFuzzer would take an exception for a crash

        # Its own tables grow with the branches; without a limit of more than 2 GiB it would stop in the middle.
        limit = f"-rss_limit_mb={MEMORY_MB}"
        atheris.Setup([sys.argv[0], str(folder / "corpus"), "-verbosity=0", limit], one)
        atheris.Fuzz()
    return 0
