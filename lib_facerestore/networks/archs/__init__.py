"""Restoration networks: the families, one file each, and the blocks that they are made of.

`family` says what a network and a family are; docs/contributing.md how to add one.
"""

from __future__ import annotations

from . import codeformer, dfdnet, gfpgan, gpen, lite, restoreformer, vqfr1, vqfr2
from .family import Family, Restorer, Shapes

FAMILIES: tuple[Family, ...] = (codeformer, restoreformer, vqfr1, vqfr2, gfpgan, gpen, dfdnet, lite)
"""Asked in this order; the first whose `matches` says yes builds the network."""

__all__ = ["FAMILIES", "Family", "Restorer", "Shapes"]
