"""Restoration networks, one family a file; each ends with `matches(shapes) -> bool` and `build(shapes) -> nn.Module`.

`FAMILIES` is the list that `checkpoints` asks in turn. A module built here carries what it can do as data: `family`,
`size`, `template`, `knobs`, `precisions`, and `side_by_side` where its memory asks for fewer faces at a time than
`checkpoints.SIDE_BY_SIDE`. Batches run in several threads at once, so `forward` keeps nothing in the module. A new
family is a new file and one line in `FAMILIES`.
"""

from __future__ import annotations

from types import ModuleType

from . import codeformer, dfdnet, gfpgan, gpen, lite, restoreformer, vqfr1, vqfr2

FAMILIES: tuple[ModuleType, ...] = (codeformer, restoreformer, vqfr1, vqfr2, gfpgan, gpen, dfdnet, lite)
"""Asked in this order; the first whose `matches` says yes builds the network."""
