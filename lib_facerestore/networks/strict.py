"""Strict loading: a network takes exactly the tensors that it has, each with its shape.

Every stage loads its networks with `fill`. Training code puts prefixes such as ``module.`` before the names;
`own_tensors` drops them.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import nn

from ..catalogue.peek import views
from .checkpoint_files import State, WrongTensorsError

HARMLESS_EXTRAS = frozenset({"quantize.utility_counter"})
"""Tensors that some public files carry and that no network uses: RestoreFormer's count of used codes."""


def own_tensors(state: State, typical: Collection[str]) -> dict[str, torch.Tensor] | None:
    """The tensors of a network without the prefixes of training code and without the groups beside them.

    Args:
        state: the tensors of a file.
        typical: names of tensors, one of which at least the network has.

    Returns:
        The tensors by the network's names; None where none of the ways to read the names gives a typical one.
    """
    for view in views(state):
        if any(name in view for name in typical):
            return {short: state[full] for short, full in view.items()}
    return None


def fill(module: nn.Module, state: State, family: str, name: str) -> None:
    """Copy tensors into a network, strictly: each must be there, with its shape, and none beside them.

    Batch counters (``num_batches_tracked``) serve training only; they may be missing and are not copied.

    Args:
        module: the network, on any device and of any floating-point type; values are converted on the way.
        state: its tensors, by the network's names.
        family: what to call the network in errors.
        name: what to call the file in errors.

    Raises:
        WrongTensorsError: tensors are missing, unknown or of another shape; the message names the first few.
    """
    own = module.state_dict()
    needed = [key for key in own if not key.endswith("num_batches_tracked")]
    missing = [key for key in needed if key not in state]
    unknown = [key for key in state if key not in own and key not in HARMLESS_EXTRAS]
    misshapen = [
        f"{key} {tuple(state[key].shape)} for {tuple(own[key].shape)}"
        for key in needed
        if key in state and state[key].shape != own[key].shape
    ]
    faults = (("missing", missing), ("unknown", unknown), ("of another shape", misshapen))
    seen = "; ".join(f"{len(keys)} {fault} ({', '.join(keys[:3])})" for fault, keys in faults if keys)
    if seen:
        raise WrongTensorsError(f"{name}: looks like {family}, but has tensors {seen}; get it again.")
    module.load_state_dict(own | {key: state[key] for key in needed})
