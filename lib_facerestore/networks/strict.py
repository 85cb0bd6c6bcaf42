"""Strict loading of weights: `fill` accepts exactly the tensors of a network, each with its exact shape.

Training code puts prefixes such as `module.` before the names; `own_tensors` removes them.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import nn

from ..catalogue.peek import views
from .checkpoint_files import State, WrongTensorsError

HARMLESS_EXTRAS = frozenset({"quantize.utility_counter"})
"""Tensors of public files that are not used: RestoreFormer's counter of used codes."""


def own_tensors(state: State, typical: Collection[str]) -> dict[str, torch.Tensor] | None:
    """Pick the tensors of one network from a file, without the prefixes of training code.

    Args:
        state: the tensors of a file, which may hold other networks too.
        typical: tensor names by which the network is recognised; one of them is enough.

    Returns:
        The tensors by the network's own names; None if none of the typical names is found.
    """
    for view in views(state):
        if any(name in view for name in typical):
            return {short: state[full] for short, full in view.items()}
    return None


def fill(module: nn.Module, state: State, family: str, name: str) -> None:
    """Copy tensors into a network, strictly: none may be missing, unknown or of another shape.

    Batch counters (`num_batches_tracked`) are used in training only; they may be missing and are not copied.

    Args:
        module: the network, on any device and of any floating-point type; values are converted.
        state: tensors by the network's own names.
        family: name of the network in error messages.
        name: name of the file in error messages.

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
