"""Restoration networks, one family a file; each ends with `matches(shapes) -> bool` and `build(shapes) -> nn.Module`.

`FAMILIES` is the list that `checkpoints` asks in turn. A module built here carries what it can do as data: `family`,
`size`, `template`, `knobs`, `precisions`, and `bytes_a_pixel` where its memory is far from `sidebyside.BYTES`. Batches
run in several threads at once, so `forward` keeps nothing of a face in the module. A new family is a new file and one
line in `FAMILIES`.
"""

from __future__ import annotations

from types import ModuleType

from . import codeformer, dfdnet, gfpgan, gpen, lite, restoreformer, vqfr1, vqfr2

FAMILIES: tuple[ModuleType, ...] = (codeformer, restoreformer, vqfr1, vqfr2, gfpgan, gpen, dfdnet, lite)
"""Asked in this order; the first whose `matches` says yes builds the network."""
