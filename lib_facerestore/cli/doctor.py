"""`facerestore doctor`: prints what is installed, what is missing, and how to get it."""

from __future__ import annotations

import argparse

from .arguments import Commands, common, store_of
from .output import FAILED, OK, print_json


def add_command(commands: Commands) -> None:
    """Add `doctor` to the command line."""
    help_text = "show what is installed, what is missing, and how to get it"
    parser = commands.add_parser("doctor", help=help_text, parents=[common()])
    parser.set_defaults(run=run)


def run(settings: argparse.Namespace) -> int:
    """Print the findings; returns the exit code, 1 if something that is needed is missing or broken."""
    from ..checks.doctor import examine

    findings = examine(store_of(settings), settings.device)
    if settings.json:
        print_json([vars(finding) for finding in findings])
    else:
        for finding in findings:
            print(f"{finding.status:<8} {finding.subject:<30} {finding.detail}")
            if finding.remedy:
                print(f"{'':<8} {'':<30} -> {finding.remedy}")
    return FAILED if any(finding.status in ("missing", "broken") for finding in findings) else OK
