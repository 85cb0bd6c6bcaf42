"""`facerestore detect`: prints the faces that were found in pictures."""

from __future__ import annotations

import argparse

from .arguments import Commands, add_inputs, add_options, common, options_of, refuse_missing, restorer_of
from .output import FAILED, INTERRUPTED, OK, on_no_face, print_error, print_json

OPTIONS = ("detector", "confidence", "order")


def add_command(commands: Commands) -> None:
    """Add `detect` to the command line."""
    parser = commands.add_parser(
        "detect",
        help="find the faces without changing anything",
        parents=[common(detector=True)],
        epilog="Example: `facerestore detect photo.jpg`.",
    )
    add_inputs(parser)
    add_options(parser, OPTIONS)
    parser.set_defaults(run=run)


def run(settings: argparse.Namespace) -> int:
    """Find the faces of all pictures and print them; returns the exit code.

    Raises:
        FaceRestoreError: an argument is wrong, or the detector is missing.
    """
    options = options_of(settings)
    from ..batch.search import find_pictures

    found = find_pictures(settings.inputs)
    refuse_missing(settings, options)
    from ..batch.folder import detect_files

    rows: list[dict[str, object]] = []
    code = OK
    try:
        for one, faces, notes, error in detect_files(restorer_of(settings), found.pictures, options):
            row: dict[str, object] = {"file": str(one.source), "faces": [face.to_dict() for face in faces]}
            rows.append(row | {"error": error} if error else row)
            for line in (*notes, *([error] if error else [])):
                print_error(line)
            if error:
                code = FAILED
            elif not settings.json:
                print(f"{one.source}: {len(faces)} face{'' if len(faces) == 1 else 's'}")
                for face in faces:
                    x0, y0, x1, y1 = face.box
                    print(f"  {face.number}: {x0:.0f},{y0:.0f} to {x1:.0f},{y1:.0f}, score {face.score:.2f}")
    except KeyboardInterrupt:
        print_error(f"interrupted; {len(rows)} of {len(found.pictures)} pictures are finished")
        code = INTERRUPTED
    empty = sum(not row["faces"] and "error" not in row for row in rows)
    for remark in (*found.remarks, on_no_face(empty, len(rows), options.confidence)):
        if remark:
            print_error(remark)
    if settings.json:
        print_json(rows)
    return code
