"""Every family as a CPU runs it for users: the faces of a batch side by side, each as it is in the whole batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch

from lib_facerestore.networks import cpu_batches
from lib_facerestore.networks.archs import dfdnet
from lib_facerestore.networks.load import Network, load_network

from ...conftest import small_lite
from ...oracle import synth
from . import test_dfdnet, test_winograd
from .conftest import face_by_face

SIDES = {"restoreformer": 32, "vqfr-1": 32, "vqfr-2": 32}
"""Of narrow networks whose tensors do not say their side."""


def with_dictionaries() -> Network:
    network = load_network(test_dfdnet.narrow().state_dict())
    assert isinstance(network.module, dfdnet.DFDNet)
    network.module.set_dictionaries(test_dfdnet.dictionaries(4, 5))
    return network


NETWORKS: dict[str, Callable[[], Network]] = {
    **test_winograd.NETWORKS,
    "dfdnet": with_dictionaries,
    "lite": lambda: load_network(small_lite().state_dict()),
}


@pytest.fixture(autouse=True)
def two_threads_and_enough_memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(cpu_batches, "pixels_that_fit", lambda bytes_a_pixel: 2 * 2048**2)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", NETWORKS)
def test_faces_side_by_side_are_those_of_the_whole_batch(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network = NETWORKS[name]()
    network.size = side = SIDES.get(name, network.size)
    faces = torch.from_numpy(synth.pseudo_image(0, side, side, batch=2))
    sizes: list[int] = []
    network.module.register_forward_pre_hook(lambda _module, inputs: sizes.append(len(inputs[0])))
    together = network(faces)
    assert sizes == [2]
    sizes.clear()
    monkeypatch.setattr(cpu_batches, "CACHED_PIXELS", side**2)  # as if a face filled the caches
    with face_by_face():
        apart = network(faces)
    assert sizes == [1, 1]
    # Each output is a chain of some tens of sums of up to a few thousand float32 terms, in another order.
    torch.testing.assert_close(apart, together, atol=1e-4 * float(together.std()), rtol=0)
