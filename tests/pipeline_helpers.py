"""What the tests of the stages together share: options of the small network, and the network behind a model."""

from __future__ import annotations

from lib_facerestore import FaceRestorer, Options
from lib_facerestore.networks.load import Network

SMALL = Options(model="small", color="none")


def network_of(restorer: FaceRestorer, model: str) -> Network:
    """The network that the restorer runs for a model."""
    return restorer.loaded.network(restorer.loaded.restorer(model, restorer.store.scan()))
