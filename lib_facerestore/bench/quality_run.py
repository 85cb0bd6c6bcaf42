"""All of `bench --quality`: the three tables, for portraits and a `FaceRestorer`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..errors import FaceRestoreError
from ..faces.face import Face
from ..options.table import Options
from ..pipeline import FaceRestorer
from . import metrics, quality, quality_detector, quality_restorer
from .aims import with_aims
from .metrics import Pixels
from .pastes import FACEXLIB, OURS, SQUARE, FacexlibPaste, KnownFaces, OurPaste, Paste, paste_square
from .portraits import Portrait
from .quality_table import Table
from .sheet import Sheet

TABLES = ("paste", "restorer", "detector")
"""Names of the tables, in order."""

Say = Callable[[str], None]
"""Is told what is being measured."""


@dataclass(frozen=True)
class Extent:
    """How much is measured.

    Attributes:
        sides: sides of the face at which the restorer's own output is pasted.
        restorer_sides: sides of the face in the restorer's table.
        angles: angles of the detector's table.
    """

    sides: Sequence[int] = quality.SIDES
    restorer_sides: Sequence[int] = quality_restorer.SIDES
    angles: Sequence[int] = quality_detector.ANGLES


QUICK = Extent((256, 512), (256,), (30, 90, 180))
"""The extent of `--quick`."""


def run(
    restorer: FaceRestorer,
    portraits: Sequence[Portrait],
    model: str,
    extent: Extent,
    sheet: Sheet,
    say: Say,
    done: Callable[[Table], None],
    tables: Sequence[str] = TABLES,
) -> None:
    """Measure.

    Args:
        restorer: its model folders, device and detector are used.
        portraits: the truth.
        model: the restorer to measure.
        extent: how much is measured.
        sheet: gets pictures of the paste's cases.
        say: is told what is being measured.
        done: gets each table when it is finished.
        tables: names of the tables that are wanted.

    Raises:
        FaceRestoreError: scikit-image is missing, or a model is missing or damaged.
    """
    metrics.color_module()
    there = restorer.store.scan()
    chosen = restorer.loaded.restorer(model, there)
    network, detector = restorer.loaded.network(chosen), restorer.loaded.detector(Options(), there)
    known = KnownFaces([])
    whole_job = FaceRestorer(restorer.store.folders or None, str(restorer.device), detector=known)
    options = Options(model=model)

    def restore(image: Pixels, face: Face) -> Pixels:
        known.faces = [face]
        return whole_job.restore(image, options).image

    if "paste" in tables:
        pastes: dict[str, Paste] = {OURS: OurPaste(restorer.store.folders, restorer.device, model)}
        notes = []
        try:
            pastes[FACEXLIB] = FacexlibPaste(restorer.store, restorer.device)
        except FaceRestoreError as error:
            notes.append(f"{FACEXLIB}: {error}")
        pastes[SQUARE] = paste_square
        bench = quality.PasteBench(pastes, network, restore, detector, sheet)
        for index, portrait in enumerate(portraits):
            say(f"pastes on {portrait.name} …")
            bench.measure(portrait, index, extent.sides)
        columns = [OURS, FACEXLIB, SQUARE] if FACEXLIB in pastes else [OURS, SQUARE]
        done(Table("paste", "the paste", columns, with_aims(bench.lines()), notes))
    if "restorer" in tables:
        say(f"restorer {chosen.id} …")
        lines = quality_restorer.measure(portraits, restore, chosen.id, extent.restorer_sides)
        columns = [chosen.id, quality_restorer.BILATERAL, quality_restorer.UNSHARP]
        done(Table("restorer", f"the restorer {chosen.id}", columns, with_aims(lines)))
    if "detector" in tables:
        say(f"detector {detector.name} …")
        lines = quality_detector.measure(portraits, lambda image: detector.detect([image], 0.5)[0], extent.angles)
        notes = [] if any(portrait.alone for portrait in portraits) else [_NOT_LABELLED]
        done(Table("detector", f"the detector {detector.name}", quality_detector.COLUMNS, with_aims(lines), notes))


_NOT_LABELLED = (
    "the detector's own answers on the clean pictures are the truth here, and there are no false faces; --photos has "
    "labelled ones"
)
