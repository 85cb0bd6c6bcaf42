"""The networks that `facerestore bench` measures: ours and the original with the same weights.

The weights are those of the installed file, else random ones, so that neither a file nor a package is needed to measure
ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from ..catalogue import BUILT_IN, Store, known_models
from ..checks import originals
from ..errors import FaceRestoreError, OptionError
from ..networks.archs.dfdnet import DFDNet
from ..networks.load import Network, load_network, read_state
from .public_networks import PUBLIC, dfdnet_dictionaries

NETWORKS = (*PUBLIC, BUILT_IN)
"""Models that can be measured without their files."""
HEAVY = ("gpen-2048", "vqfr-1", "vqfr-2", "dfdnet")
"""Networks that take minutes on a small CPU, or gigabytes of memory: measured when asked for."""
DEFAULT = tuple(name for name in NETWORKS if name not in HEAVY)


@dataclass(frozen=True)
class Pair:
    """Ours and the original with the same weights.

    Attributes:
        ours: our network.
        original: None where there is none; `why` says why then.
        weights: the file that they are from, or "random".
        why: why there is no original, else "".
    """

    ours: Network
    original: originals.Original | None
    weights: str
    why: str = ""


def measurable() -> tuple[str, ...]:
    """Ids of the models that can be measured: `NETWORKS`, and other restorers of the catalogue that run in torch, once
    their files are installed."""
    others = (entry.id for entry in known_models("restorer") if entry.used and not entry.needs)
    return tuple(dict.fromkeys([*NETWORKS, *others]))


def network_pair(model: str, store: Store, device: torch.device) -> Pair:
    """Ours and the original, ready to run.

    Raises:
        OptionError: there is no such model to measure, or its file must be installed first.
        FaceRestoreError: an installed file is damaged, or lacks the files that belong beside it.
    """
    if model not in measurable():
        raise OptionError(f"bench: {model!r} is not known; it can measure {', '.join(measurable())}.")
    path = store.scan().installed().get(model)
    torch.manual_seed(0)
    state: Mapping[str, torch.Tensor]
    if path is not None:
        state = read_state(path)
    elif model in PUBLIC:
        with torch.inference_mode(False):
            state = PUBLIC[model]().state_dict()
    else:
        raise OptionError(f"bench: {model} can only be measured with its file; install it, or choose another model.")
    ours = load_network(state, device)
    companions = ours.read_companions(path.parent) if path is not None else _random_companions(ours)
    weights = path.name if path is not None else "random"
    try:
        return Pair(ours, originals.find_original(ours, state, companions), weights)
    except FaceRestoreError as error:
        return Pair(ours, None, weights, f"no reference: {error}")


def _random_companions(network: Network) -> Mapping[str, torch.Tensor]:
    """Random values for the files beside the model's, already set in our network; the original gets the same."""
    if not isinstance(network.module, DFDNet):
        return {}
    dictionaries = dfdnet_dictionaries(network.module.widths)
    network.module.set_dictionaries(dictionaries)
    return dictionaries
