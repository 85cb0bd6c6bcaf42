"""What a restoration network is, `Restorer`, and what a family of them is, `Family`.

Each module of `archs` that `FAMILIES` lists is a `Family`; `networks.load` finds the one that a checkpoint belongs to.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import torch
from torch import nn

from ...catalogue.entries import family_title
from ..cpu_batches import BYTES_A_PIXEL

Shapes = Mapping[str, tuple[int, ...]]
"""Names of a checkpoint's tensors with their shapes."""


class Restorer(nn.Module):
    """A network that restores aligned faces, with what is known about it.

    Sub-classes set the attributes: on the class, or in `__init__` where they depend on the checkpoint. Batches run in
    several threads at once, so `forward` must keep nothing of a face in the module.

    Attributes:
        family: the name of its family, as in models.toml: "codeformer".
        size: native side of the crop in pixels.
        template: which landmark template the crop is aligned with: "ffhq", "gpen" or "arcface".
        knobs: names of the keyword arguments that `forward` takes beside the faces: {"fidelity"} or nothing.
        precisions: dtype names that give the same picture as float32 to the eye.
        side_by_side: how many parts of a batch may be in work at a time on a CPU; each takes memory of its own.
        bytes_a_pixel: how much of it, for each pixel of its faces.
    """

    family: str
    size: int
    template: str = "ffhq"
    knobs: frozenset[str] = frozenset()
    precisions: tuple[str, ...] = ("float32",)
    side_by_side: int = 4
    bytes_a_pixel: int = BYTES_A_PIXEL

    @property
    def title(self) -> str:
        """The family's name for people, from models.toml: "CodeFormer"."""
        return family_title(self.family)

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        """Restore faces; a network with knobs takes each of them as a keyword argument with a default.

        Args:
            faces: B×3×size×size, RGB in [-1, 1].

        Returns:
            A tensor of the same shape, RGB, nominally in [-1, 1] (not clipped).
        """
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def read_companions(self, folder: Path) -> Mapping[str, torch.Tensor]:
        """Read the files that the network needs beside its own, such as DFDNet's dictionaries.

        Args:
            folder: the folder of the model file.

        Returns:
            What was read, by the names of the files; nothing for most networks.

        Raises:
            ModelFileError: something is missing or damaged; names the files.
        """
        return {}


class Family(Protocol):
    """What a module of `archs` offers. Two modules may share a family's name, as the two versions of VQFR do."""

    @property
    def RESTORER(self) -> type[Restorer]:
        """The class of its networks, whose class attributes say what is known without building one."""

    def matches(self, shapes: Shapes, /) -> bool:
        """Whether tensors of these names and shapes are a network of this family."""

    def build(self, shapes: Shapes, /) -> Restorer:
        """An empty network, its hyper-parameters read off the shapes.

        Only asked where `matches` said yes. A tensor that it asks for in vain is a KeyError, as of any mapping:
        `load_network` says in its words that the file lacks that tensor.
        """


def count_children(shapes: Shapes, prefix: str) -> int:
    """How many different children `prefix` has, e.g. 25 where there are `encoder.blocks.0.…` to `.24.…`."""
    start = prefix + "."
    return len({name[len(start) :].split(".", 1)[0] for name in shapes if name.startswith(start)})
