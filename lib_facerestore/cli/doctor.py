"""`facerestore doctor`: prints what is installed, what is missing and how to get it, and a verdict."""

from __future__ import annotations

import argparse
import contextlib

from ..errors import FaceRestoreError
from .arguments import Commands, common, store_of
from .output import FAILED, OK, print_json


def add_command(commands: Commands) -> None:
    """Add `doctor` to the command line."""
    help_text = "show what is installed, what is missing, and how to get it"
    ends = "Exit code: 0 if faces can be restored and nothing that is needed or installed is missing or broken, else 1."
    parser = commands.add_parser("doctor", help=help_text, parents=[common()], epilog=ends)
    parser.add_argument("--all", action="store_true", help="also each package that only comparisons use")
    parser.set_defaults(run=run)


def run(settings: argparse.Namespace) -> int:
    """Print the findings; returns the exit code, 1 if no face can be restored, or anything is missing or broken.

    A package that only adds something is no fault when it is missing, only when it is broken.
    """
    from ..checks.doctor import examine

    store = None
    with contextlib.suppress(FaceRestoreError):  # `examine` says why
        store = store_of(settings)
    *findings, verdict = examine(store, settings.device, settings.all)
    if settings.json:
        print_json([vars(finding) for finding in (*findings, verdict)])
    else:
        for finding in findings:
            print(f"{finding.status:<8} {finding.subject:<30} {finding.detail}")
            if finding.remedy:
                print(f"{'':<8} {'':<30} -> {finding.remedy}")
        print(f"\n{verdict.detail[:1].upper()}{verdict.detail[1:]}. Next: {verdict.remedy}.")
    return FAILED if any(finding.status in ("missing", "broken") for finding in (*findings, verdict)) else OK
