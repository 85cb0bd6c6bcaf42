"""The command line: `python -m tools.fuzz --help`."""

from __future__ import annotations

import argparse
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

from . import model_targets, picture_targets, restoring_targets, value_targets
from .runner import Report, Target, run, save

TARGETS: dict[str, Target] = {
    target.name: target
    for module in (picture_targets, value_targets, model_targets, restoring_targets)
    for target in module.TARGETS
}


def row(target: Target, report: Report) -> str:
    """A line of the table."""
    return (
        f"| {target.name} | {target.what} | {report.cases:,} | {report.results:,} | {report.refusals:,} "
        f"| {len(report.findings)} | {report.slowest:.2f} | {report.memory / 2**20:.0f} |"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the targets and print a table; 1 if there were findings."""
    parser = argparse.ArgumentParser(prog="python -m tools.fuzz", description=__doc__)
    parser.add_argument("--targets", default=",".join(TARGETS), help="names, separated by commas")
    parser.add_argument("--cases", type=int, help="cases of each target")
    parser.add_argument("--seconds", type=float, help="seconds for all targets together")
    parser.add_argument("--seed", type=int, help="repeat a run")
    parser.add_argument("--findings", type=Path, default=Path("fuzz-findings"), help="folder for cases that failed")
    parser.add_argument("--atheris", metavar="TARGET", help="let atheris choose cases of one target by coverage")
    given = parser.parse_args(arguments)
    if given.atheris:
        from .guided import guide

        return guide(TARGETS[given.atheris], given.cases or 100_000, given.findings)
    names = given.targets.split(",")
    if unknown := [name for name in names if name not in TARGETS]:
        parser.error(f"--targets: there is no {', '.join(unknown)}; the targets are {', '.join(TARGETS)}")
    if given.cases is None and given.seconds is None:
        parser.error("give --cases or --seconds")
    seed = secrets.randbelow(2**31) if given.seed is None else given.seed
    print(f"seed {seed}\n\n| target | what | cases | results | refused | findings | slowest, s | memory grew by, MiB |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
    found = 0
    for name in names:
        report = run(TARGETS[name], seed, given.cases, given.seconds and given.seconds / len(names))
        save(given.findings, TARGETS[name], report)
        found += len(report.findings)
        print(row(TARGETS[name], report), flush=True)
        for key in report.findings:
            print(f"finding: {name}: {key}", file=sys.stderr)
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main())
