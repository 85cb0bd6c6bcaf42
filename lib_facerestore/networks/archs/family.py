"""`Restorer`, the base class of restoration networks, and `Family`, the interface of the modules that define them.

Each module listed in `archs.FAMILIES` is a `Family`; `networks.load` finds the one that a checkpoint belongs to.
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
    """Base class of networks that restore aligned faces.

    Sub-classes set the attributes: on the class, or in `__init__` if they depend on the checkpoint. `forward` runs in
    several threads at once, so it must not store anything about a face in the module.

    Attributes:
        family: name of the family, as in models.toml, e.g. "codeformer".
        size: side of the crop in pixels.
        larger: sides of larger crops that it takes too, ascending; faces that are large enough get them.
        template: landmark template that the crop is aligned with: "ffhq", "gpen" or "arcface".
        knobs: names of the further keyword arguments of `forward`: {"fidelity"} or none.
        precisions: names of the dtypes whose results look the same as those of float32.
        side_by_side: how many parts of a batch may be in work at the same time on a CPU; each needs memory.
        bytes_a_pixel: how much memory in bytes, for each pixel of the part's faces.
    """

    family: str
    size: int
    larger: tuple[int, ...] = ()
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
        """Restore faces. A network with knobs takes each of them as a keyword argument with a default.

        Args:
            faces: B×3×size×size, RGB in [-1, 1]; or with a side of `larger`.

        Returns:
            A tensor of the same shape, RGB, nominally in [-1, 1] (not clipped).
        """
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def read_companions(self, folder: Path) -> Mapping[str, torch.Tensor]:
        """Read the additional files that the network needs, such as DFDNet's dictionaries.

        Args:
            folder: folder of the model file.

        Returns:
            The tensors that were read, by file name; empty for most networks.

        Raises:
            ModelFileError: files are missing or damaged; names them.
        """
        return {}


class Family(Protocol):
    """Interface of a module of `archs`. Two modules may share a family name, as the two versions of VQFR do."""

    @property
    def RESTORER(self) -> type[Restorer]:
        """The class of its networks; its class attributes can be read without building a network."""

    def matches(self, shapes: Shapes, /) -> bool:
        """Whether tensors of these names and shapes are a network of this family."""

    def build(self, shapes: Shapes, /) -> Restorer:
        """A network without weights, its hyper-parameters read off the shapes. Called only if `matches` is true.

        Raises:
            KeyError: a needed tensor is missing; `load_network` turns this into an error for the user.
        """


def count_children(shapes: Shapes, prefix: str) -> int:
    """How many sub-modules `prefix` has, e.g. 25 if there are tensors `encoder.blocks.0.…` to `encoder.blocks.24.…`."""
    start = prefix + "."
    return len({name[len(start) :].split(".", 1)[0] for name in shapes if name.startswith(start)})
