"""What every family of restorers must do: the checks that a family's own test takes its networks through."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from torch import nn

from lib_facerestore.catalogue import known_models
from lib_facerestore.catalogue.entries import family_title
from lib_facerestore.errors import ModelFileError, OptionError
from lib_facerestore.networks.archs import FAMILIES, Restorer, Shapes
from lib_facerestore.networks.load import Network, find_family, load_network

from ...oracle import check, synth

SPECS = Path(check.HERE) / "specs"


def shapes_of(state: dict[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in state.items()}


def public_shapes() -> Iterable[tuple[str, Shapes]]:
    """Names of the public files, with the shapes of their tensors."""
    for path in sorted(SPECS.glob("*.json")):
        yield path.stem, {name: tuple(shape) for name, shape, _ in synth.load_spec(str(path))}


def synthetic(module: nn.Module) -> dict[str, torch.Tensor]:
    """Weights for a network, the same on every machine and of a size that keeps a signal alive."""
    return synth.synth_state_dict([(name, value.shape, "float32") for name, value in module.state_dict().items()])


def knobs_of_forward(kind: type[Restorer]) -> set[str]:
    """Names of what a network's `forward` takes by keyword only."""
    parameters = inspect.signature(kind.forward).parameters.values()
    return {one.name for one in parameters if one.kind is inspect.Parameter.KEYWORD_ONLY}


def check_family(restorer: Restorer, public: Iterable[str] = ()) -> Network:
    """Take a network, of any weights and best a narrow one, through everything that a file of it goes through.

    Args:
        restorer: the network; must run without files beside its own.
        public: names of the oracle's files that are of the same family; of no other may it say that it knows them.

    Returns:
        The network as it was loaded from synthetic weights.
    """
    kind = type(restorer)
    state = synthetic(restorer)
    mine = [family for family in FAMILIES if family.RESTORER is kind]
    assert len(mine) == 1, f"{kind.__name__} is the RESTORER of {len(mine)} modules in FAMILIES"
    found = find_family(shapes_of(state))
    assert found is not None and found[0] is mine[0], f"taken for another family: {found and found[0].RESTORER.family}"
    for name, shapes in public_shapes():
        assert mine[0].matches(shapes) == (name in set(public)), f"{name}: taken for one, or not"

    network = load_network(state)
    for attribute in ("family", "title", "size", "template", "knobs", "precisions", "side_by_side", "bytes_a_pixel"):
        assert getattr(network, attribute) == getattr(restorer, attribute), f"{attribute} is not that of the network"
    assert network.title == family_title(network.family) != network.family, "models.toml has no [[family]] of its name"
    entries = [entry for entry in known_models() if entry.family == network.family]
    assert any(entry.template == network.template for entry in entries), "models.toml has no [[model]] of this family"

    faces = torch.from_numpy(synth.pseudo_image(0, network.size, network.size, 3))
    together = network(faces)
    assert together.shape == faces.shape and together.dtype == torch.float32 and together.isfinite().all()
    tolerance = 1e-4 * max(1.0, float(together.abs().max()))
    assert torch.allclose(network(faces[1:2]), together[1:2], atol=tolerance), "a face depends on its batch"
    prefixed = load_network({"state_dict": {f"module.{name}": value for name, value in state.items()}})  # type: ignore[dict-item]
    assert torch.equal(prefixed(faces), together)

    assert knobs_of_forward(kind) == network.knobs, "knobs are what forward takes by keyword"
    if "fidelity" in network.knobs:
        assert not torch.allclose(network(faces, fidelity=0.0), network(faces, fidelity=1.0), atol=tolerance)
    else:
        with pytest.raises(OptionError, match=f"{network.family} has no such knob"):
            network(faces, fidelity=0.5)

    for name in (next(iter(state)), list(state)[-1]):
        with pytest.raises(ModelFileError):
            load_network({key: value for key, value in state.items() if key != name})
    return network
