"""What holds for each family, and that the catalogue says of its models what their networks say of themselves."""

from __future__ import annotations

import pytest
import torch

from lib_facerestore.bench import public_networks
from lib_facerestore.catalogue import known_model, known_models
from lib_facerestore.catalogue.entries import family_title
from lib_facerestore.networks.archs import FAMILIES, Family, Restorer, gfpgan, gpen, restoreformer, vqfr1, vqfr2
from lib_facerestore.networks.load import find_family

from ...conftest import small_lite
from .helpers import check_family, knobs_of_forward, public_shapes

NAMES = {
    "GFPGANv1": "gfpgan-1", "GFPGANCleanv1-NoCE-C2": "gfpgan-1.2", "GFPGANv1.3": "gfpgan-1.3",
    "GFPGANv1.4": "gfpgan-1.4", "GPEN-BFR-256": "gpen-256", "GPEN-BFR-512": "gpen-512", "GPEN-BFR-1024": "gpen-1024",
    "GPEN-BFR-2048": "gpen-2048", "RestoreFormer": "restoreformer", "RestoreFormer++": "restoreformer++",
    "codeformer": "codeformer", "VQFR_v1": "vqfr-1", "VQFR_v2": "vqfr-2", "DFDNet": "dfdnet",
}  # fmt: skip
"""The oracle's name of a public file → its model."""


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.RESTORER.__name__)
def test_knobs_and_titles_agree_with_the_network(family: Family) -> None:
    kind = family.RESTORER
    assert issubclass(kind, Restorer)
    assert knobs_of_forward(kind) == kind.knobs
    assert family_title(kind.family) != kind.family
    assert not family.matches({})


def test_the_catalogue_says_what_the_networks_say() -> None:
    told = dict(public_shapes())
    for name, model in NAMES.items():
        entry = known_model(model)
        found = find_family(told[name])
        assert entry is not None and found is not None
        with torch.device("meta"):  # shapes alone
            network = found[0].build(told[name])
        assert (entry.family, entry.size, entry.template) == (network.family, network.size, network.template), model
        assert set(entry.knobs) == network.knobs, model
    of_torch = {entry.id for entry in known_models() if entry.used and not entry.needs}
    assert of_torch == {*NAMES.values(), "lite"}


def test_what_is_no_restorer_is_of_no_family() -> None:
    for name, shapes in public_shapes():
        assert (find_family(shapes) is not None) == (name in NAMES), name


@pytest.mark.parametrize(
    ("network", "public"),
    [
        (lambda: small_lite(), ()),
        (
            lambda: gfpgan.GFPGAN(gfpgan.Plan(False, (8, 8, 8, 4), (16, 16, 16, 8), (8, 8, 4), 16, 8, ("1", "3"))),
            ("GFPGANv1", "GFPGANv1.3", "GFPGANv1.4", "GFPGANCleanv1-NoCE-C2"),
        ),
        (
            lambda: gpen.GPEN((4, 6, 8, 10), (10, 8, 6, 4), 12, 2),
            ("GPEN-BFR-256", "GPEN-BFR-512", "GPEN-BFR-1024", "GPEN-BFR-2048"),
        ),
        (
            lambda: restoreformer.RestoreFormer(32, (32, 64, 64), 1, 32, (48, 64), 8, (2,), (2,)),
            ("RestoreFormer", "RestoreFormer++"),
        ),
    ],
    ids=["lite", "gfpgan", "gpen", "restoreformer"],
)
def test_a_narrow_network_does_what_every_family_must(network: object, public: tuple[str, ...]) -> None:
    assert callable(network)
    check_family(network(), public)


def test_both_versions_of_vqfr_are_one_family() -> None:
    assert vqfr1.RESTORER.family == vqfr2.RESTORER.family == "vqfr"


def test_every_public_network_can_be_had_without_its_file() -> None:
    shapes = dict(public_shapes())
    for name, model in NAMES.items():
        if model in public_networks.PUBLIC:
            with torch.device("meta"):
                made = public_networks.PUBLIC[model]()
            own = {key: tuple(value.shape) for key, value in made.state_dict().items()}
            assert own.items() <= shapes[name].items(), model
