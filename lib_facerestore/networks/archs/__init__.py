"""Restoration networks: one module for each family, and modules with the blocks that they share.

`family` defines what a network and a family are; docs/contributing.md explains how to add one.
"""

from __future__ import annotations

from . import codeformer, dfdnet, gfpgan, gpen, lite, restoreformer, vqfr1, vqfr2
from .family import Family, Restorer, Shapes

FAMILIES: tuple[Family, ...] = (codeformer, restoreformer, vqfr1, vqfr2, gfpgan, gpen, dfdnet, lite)
"""All families, in the order in which they are tried; the first whose `matches` is true builds the network."""

__all__ = ["FAMILIES", "Family", "Restorer", "Shapes"]
