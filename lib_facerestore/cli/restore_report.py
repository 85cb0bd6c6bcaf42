"""What `facerestore restore` prints of a run: a line or more for each picture, and the sentences at its end."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from .output import FAILED, INTERRUPTED, OK, on_no_face, print_error
from .progress import Bar

if TYPE_CHECKING:
    from ..batch.folder import Outcome
    from ..options.table import Options


def follow(
    running: Iterator[Outcome], bar: Bar, total: int, options: Options, settings: argparse.Namespace
) -> tuple[list[Outcome], bool]:
    """Print the outcome of each picture when it is finished; with --json only errors.

    Results that exist already are named only of a single picture or with --verbose: `conclude` counts them.

    Args:
        running: the run.
        bar: where it prints.
        total: number of its pictures.
        options: those of the run.
        settings: the arguments.

    Returns:
        The outcomes, and whether a second Ctrl-C stopped the run.
    """
    outcomes = []
    try:
        for outcome in running:
            outcomes.append(outcome)
            if (outcome.exists or outcome.skipped) and total > 1 and not settings.verbose:
                continue
            if outcome.error:
                bar.say(f"facerestore: {outcome.error}", error=True)
            elif not settings.json:
                bar.say(_summary(outcome, options, alone=total == 1))
            for failure in outcome.failures:
                bar.say(f"facerestore: {outcome.task.source}: {failure}", error=True)
    except KeyboardInterrupt:
        return outcomes, True
    return outcomes, False


def conclude(
    outcomes: Sequence[Outcome], total: int, options: Options, settings: argparse.Namespace, stopped: bool
) -> int:
    """Print what is to be said of the whole run of `total` pictures; returns the exit code."""
    failed = sum(bool(outcome.error) and not outcome.exists for outcome in outcomes)
    existing = [outcome for outcome in outcomes if outcome.exists or outcome.skipped]
    absent = _absent_faces(outcomes, total, options)
    empty = sum(not (outcome.faces or outcome.error or outcome.skipped) for outcome in outcomes)
    for remark in (on_no_face(empty, len(outcomes), options.confidence), _on_absent_faces(outcomes, absent)):
        if remark:
            print_error(remark)
    if failed and len(outcomes) > 1:
        print_error(f"{failed} of {len(outcomes)} pictures failed")
    if stopped:
        there = f", {_results(existing)} already" if existing else ""
        go_on = _how_to_go_on(settings) if failed < len(outcomes) < total else ""
        finished = len(outcomes) - failed - len(existing)
        print_error(f"interrupted; {finished} of {total} pictures are finished{there}{go_on}")
        return INTERRUPTED
    if existing and total > 1:
        print_error(f"{_results(existing)} already{_on_existing(existing, settings)}")
    return FAILED if absent or any(outcome.error or outcome.failures for outcome in outcomes) else OK


def _results(outcomes: Sequence[Outcome]) -> str:
    return f"{len(outcomes)} results exist" if len(outcomes) > 1 else "1 result exists"


def _on_existing(existing: Sequence[Outcome], settings: argparse.Namespace) -> str:
    if settings.skip_existing:
        return " and were left as they are" if len(existing) > 1 else " and was left as it is"
    example, them = ("such as ", "them") if len(existing) > 1 else ("", "it")
    return (
        f", {example}{existing[0].task.target}, and nothing was done for {them}; "
        "--skip-existing leaves such results as they are, --overwrite replaces them"
    )


def _how_to_go_on(settings: argparse.Namespace) -> str:
    """How a run that was interrupted is continued; with --overwrite it cannot be, since old results may be left."""
    if settings.overwrite:
        return ""
    return f"; the same command{'' if settings.skip_existing else ' with --skip-existing'} goes on with the others"


def _absent_faces(outcomes: Sequence[Outcome], total: int, options: Options) -> list[int]:
    """The numbers of --faces that no picture has; none if that is not known, since not all pictures were searched."""
    if len(outcomes) < total or any(outcome.error or outcome.skipped for outcome in outcomes):
        return []
    there = {report.number for outcome in outcomes for report in outcome.faces}
    return [number for number in options.face_numbers if number not in there]


def _on_absent_faces(outcomes: Sequence[Outcome], absent: Sequence[int]) -> str:
    from ..faces.face import no_such_face

    if not absent:
        return ""
    where = "the picture" if len(outcomes) == 1 else "any of the pictures"
    return f"--faces: {no_such_face(absent)} in {where}; `facerestore detect` shows the numbers"


def _summary(outcome: Outcome, options: Options, alone: bool) -> str:
    """The lines on a picture; `conclude` says which numbers of --faces it has not, if it is `alone`."""
    from ..faces.face import NO_FACE, missing_numbers, no_such_face, reasons_together

    if outcome.skipped:
        return f"{outcome.task.source}: skipped, {outcome.task.target} exists"
    applied = sum(report.applied for report in outcome.faces)
    count = f"{applied} of {len(outcome.faces)} faces restored" if outcome.faces else NO_FACE
    if outcome.copied:
        count += ", copied unchanged"
    lines = [f"{outcome.task.source} -> {outcome.task.target}: {count} ({outcome.model})"]
    lines += [f"  {reason}" for reason in reasons_together(report.reason for report in outcome.faces)]
    absent = missing_numbers([report.face for report in outcome.faces], options)
    said = (NO_FACE, no_such_face(absent) if alone else "")
    lines += [f"  {note}" for note in outcome.notes if note not in said]
    return "\n".join(lines)
