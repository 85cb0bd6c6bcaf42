"""DFDNet against the original's numbers, and a narrow one against the original's matching written as a loop.

tests/bench/test_measure.py runs a narrow one beside basicsr's.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from lib_facerestore.errors import ModelFileError
from lib_facerestore.faces.alignment import ffhq_template
from lib_facerestore.networks.archs import dfdnet
from lib_facerestore.networks.archs.dfdnet_parts import (
    COMPONENTS,
    CROP,
    DICTIONARY_FILES,
    SCALES,
    part_boxes,
    read_dictionaries,
)
from lib_facerestore.networks.load import load_network

from ...conftest import narrow_dfdnet
from ...oracle import check, synth
from .conftest import LONG

TOLERANCE = 1e-4


def dictionaries(width: int, entries: int) -> dict[str, torch.Tensor]:
    """The oracle's rule for dictionaries, keyed as the files are."""
    made = {}
    for part, (_, side) in COMPONENTS.items():
        for scale, multiple in zip(SCALES, (2, 4, 8, 8), strict=True):
            size = multiple * width * (side * scale // CROP) ** 2
            made[f"{part}_{scale}_center.npy"] = torch.from_numpy(synth.unit(f"dict.{part}_{scale}", (entries, size)))
    return {name: value + 0.5 for name, value in made.items()}


def narrow(width: int = 4, entries: int = 5) -> dfdnet.DFDNet:
    network = narrow_dfdnet(width)
    network.set_dictionaries(dictionaries(width, entries))
    return network.eval().requires_grad_(False)


def test_it_equals_the_original() -> None:
    spec, meta, gold = check.load("DFDNet")
    idle = [entry for entry in spec if ".classifier." in entry[0]]  # half of the file, never used: zeros will do
    copies = meta["aliases"]
    state = synth.synth_state_dict([e for e in spec if e not in idle and e[0] not in copies])
    state |= {name: state[source] for name, source in copies.items()}
    state |= {name: torch.zeros(shape) for name, shape, _ in idle}
    assert check.missing_and_extra(spec, state) == {"missing": [], "extra": [], "shape": []}

    network = load_network(state)
    assert (network.family, network.size, network.template, network.knobs) == ("dfdnet", 512, "ffhq", frozenset())
    module = network.module
    assert isinstance(module, dfdnet.DFDNet)
    module.set_dictionaries(dictionaries(64, 6))
    module.boxes = meta["oracle.dfdnet_boxes"]
    with torch.inference_mode():
        pictures = torch.from_numpy(synth.pseudo_image(0, 512, 512, 3 if LONG else 1))
        result = module(pictures)
    for key, picture in zip(("out", "fwd_seed1"), result.split(1), strict=False):
        figures = check.compare(gold, key, picture)
        assert figures and max(figures.values()) <= TOLERANCE, (key, figures)


def test_sizes_are_read_off_the_shapes_and_faces_do_not_meet() -> None:
    original = narrow()
    network = load_network(original.state_dict())
    module = network.module
    assert isinstance(module, dfdnet.DFDNet)
    assert not any("classifier" in name for name in module.state_dict())  # dropped once it is loaded
    module.set_dictionaries(dictionaries(4, 5))
    pictures = torch.from_numpy(synth.pseudo_image(0, 512, 512, 3))
    together = network(pictures)
    assert together.shape == pictures.shape and together.std() > 0.01
    torch.testing.assert_close(together[1:2], network(pictures[1:2]), atol=1e-4, rtol=0)
    torch.testing.assert_close(together[:1], original(pictures[:1]), atol=1e-4, rtol=0)
    module.boxes = [(40, 40, 90, 90)] * 4
    elsewhere = module(pictures[:1])
    assert (elsewhere - together[:1]).abs().max() > 1e-3


@pytest.mark.parametrize("scale", SCALES)
def test_matching_equals_the_original_rule(scale: int) -> None:
    """Upstream, networks.py: normalise each entry with the face's statistics, correlate, softmax, take the largest."""
    network = narrow(2, 7)
    raw = dictionaries(2, 7)
    torch.manual_seed(scale)
    width = dict(zip(SCALES, (4, 8, 16, 16), strict=True))[scale]
    features = torch.randn(2, width, scale, scale)
    boxes = ((150, 200, 230, 280), (270, 201, 362, 281), (225, 260, 289, 324), (196, 330, 316, 450))
    expected = features.clone()
    for b in range(len(features)):
        for (part, (prefix, side)), box in zip(COMPONENTS.items(), boxes, strict=True):
            x0, y0, x1, y1 = (int(edge // (CROP / scale)) for edge in box)
            own = features[b : b + 1, :, y0:y1, x0:x1]
            cells = int(side // (CROP / scale))
            entries = raw[f"{part}_{scale}_center.npy"].view(-1, width, cells, cells)
            face = functional.interpolate(own, (cells, cells), mode="bilinear", align_corners=False)
            entries = (entries - spread(entries)[0]) / spread(entries)[1] * spread(face)[1] + spread(face)[0]
            best = int(functional.conv2d(face, entries).view(-1).softmax(0).argmax())
            swap = functional.interpolate(entries[best : best + 1], own.shape[2:])
            expected[b, :, y0:y1, x0:x1] = (network.get_submodule(f"{prefix}_{scale}")(swap - own) * swap + own)[0]
    torch.testing.assert_close(network._match(features, scale, boxes), expected, atol=1e-4, rtol=1e-4)


def spread(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return x.mean((2, 3), keepdim=True), (x.flatten(2).var(2)[..., None, None] + 1e-5).sqrt()


def test_spectral_norm_is_the_old_style_one_of_torch() -> None:
    """The same file tensors give the same weights as torch.nn.utils.spectral_norm in evaluation."""
    torch.manual_seed(0)
    reference = nn.utils.spectral_norm(nn.Conv2d(5, 6, 3, padding=2, dilation=2)).eval()
    ours = dfdnet.SpectralConv2d(5, 6, 2)
    ours.load_state_dict(reference.state_dict())
    x = torch.randn(2, 5, 9, 8)
    torch.testing.assert_close(ours(x), reference(x))


def test_default_boxes_are_those_of_the_mean_face() -> None:
    """What upstream's rule gives for the mean 68-point face (dlib's order) once it is aligned to the template."""
    mean = ((144, 178, 236, 269), (277, 177, 368, 268), (228, 294, 285, 350), (202, 323, 312, 433))
    boxes = part_boxes(ffhq_template(512))
    assert np.abs(np.subtract(boxes, mean)).max() <= 2
    smaller = part_boxes(ffhq_template(512) * 0.5 + 100)
    assert all((b[2] - b[0]) * 0.5 - 2 <= s[2] - s[0] <= (b[2] - b[0]) * 0.5 + 2 for b, s in zip(boxes, smaller))  # noqa: B905


def test_missing_dictionaries_are_named(tmp_path: Path) -> None:
    network = load_network(narrow().state_dict())
    with pytest.raises(ModelFileError, match=r"16 of 16 .*: (left_eye_\d+_center\.npy, ){3}…;"):
        network(torch.zeros(1, 3, 512, 512))
    made = dictionaries(4, 5)
    for name, value in made.items():
        np.save(tmp_path / name, value.numpy())
    assert set(read_dictionaries(tmp_path)) == set(DICTIONARY_FILES)
    network.module.set_dictionaries(read_dictionaries(tmp_path))  # type: ignore[operator]
    (tmp_path / "nose_64_center.npy").unlink()
    with pytest.raises(ModelFileError, match=r"1 of 16 .*: nose_64_center\.npy;"):
        read_dictionaries(tmp_path)
    np.save(tmp_path / "nose_64_center.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ModelFileError, match=r"nose_64_center\.npy: damaged, or not a plain array"):
        read_dictionaries(tmp_path)
    with pytest.raises(ModelFileError, match=r"nose_64_center\.npy: shape \(5, 9\)"):
        network.module.set_dictionaries(made | {"nose_64_center.npy": torch.zeros(5, 9)})  # type: ignore[operator]


@pytest.mark.parametrize("folder", [".", "DictionaryCenter512"])
def test_a_model_file_brings_the_dictionaries_beside_it(tmp_path: Path, folder: str) -> None:
    path = tmp_path / "latest_net_G.pth"
    torch.save(narrow().state_dict(), path)
    with pytest.raises(ModelFileError, match="16 of 16 dictionaries are missing"):
        load_network(path)
    (tmp_path / folder).mkdir(exist_ok=True)
    for name, value in dictionaries(4, 5).items():
        np.save(tmp_path / folder / name, value.numpy())
    faces = torch.rand(1, 3, 512, 512, generator=torch.Generator().manual_seed(0)) * 2 - 1
    beside = load_network(path)(faces)
    by_hand = load_network(narrow().state_dict())
    by_hand.module.set_dictionaries(dictionaries(4, 5))  # type: ignore[operator]
    torch.testing.assert_close(beside, by_hand(faces))
