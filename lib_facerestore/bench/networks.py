"""The networks that `facerestore bench` measures: this package's ("ours") and the originals, with the same weights.

The weights are those of the installed file, or random ones. So ours can be measured without files or further packages.
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
"""Networks that need minutes on a small CPU, or gigabytes of memory; they are not measured by default."""
DEFAULT = tuple(name for name in NETWORKS if name not in HEAVY)


@dataclass(frozen=True)
class Pair:
    """Our network and the original one with the same weights.

    Attributes:
        ours: our network.
        original: the original, or None.
        weights: name of the file with the weights, or "random".
        why: why there is no original, or "".
    """

    ours: Network
    original: originals.Original | None
    weights: str
    why: str = ""


def measurable() -> tuple[str, ...]:
    """Ids of the models that can be measured: `NETWORKS`, and the other restorers that run in torch.

    The latter must be installed.
    """
    others = (entry.id for entry in known_models("restorer") if entry.used and not entry.needs)
    return tuple(dict.fromkeys([*NETWORKS, *others]))


def network_pair(model: str, store: Store, device: torch.device) -> Pair:
    """Load our network and the original.

    Args:
        model: id of the model.
        store: the model folders.
        device: device to run on.

    Raises:
        OptionError: the model cannot be measured, or must be installed first.
        FaceRestoreError: an installed file is damaged, or further files that it needs are missing.
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
    """Random values in place of the model's further files, set in our network and returned for the original."""
    if not isinstance(network.module, DFDNet):
        return {}
    dictionaries = dfdnet_dictionaries(network.module.widths)
    network.module.set_dictionaries(dictionaries)
    return dictionaries
