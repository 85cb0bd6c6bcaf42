"""RestoreFormer and RestoreFormer++ against the oracle's golden outputs, gfpgan's network and spandrel's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lib_facerestore.errors import ModelFileError
from lib_facerestore.networks.archs import FAMILIES, restoreformer
from lib_facerestore.networks.archs.vqgan import Upsample
from lib_facerestore.networks.load import load_network
from lib_facerestore.system import facexlib_import

from ...oracle import check, synth
from .conftest import LONG, face_by_face

SPECS = Path(check.HERE) / "specs"


def shapes_of(state: dict[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in state.items()}


def narrow(decoder_attending: tuple[int, ...] = (2,), heads: int = 8) -> dict[str, torch.Tensor]:
    """Synthetic weights of a network with three levels and other widths everywhere."""
    net = restoreformer.RestoreFormer(
        32, (32, 64, 64), 1, 32, (48, 64), heads, encoder_attending=(2,), decoder_attending=decoder_attending
    )
    return synth.synth_state_dict([(name, value.shape, "float32") for name, value in net.state_dict().items()])


def picture(side: int, batch: int = 1) -> torch.Tensor:
    return torch.from_numpy(synth.pseudo_image(0, side, side, batch))


long = pytest.mark.skipif(not LONG, reason="it differs by one attention; set FACERESTORE_LONG_TESTS=1")


@pytest.mark.parametrize(("name", "heads"), [("RestoreFormer", 8), pytest.param("RestoreFormer++", 4, marks=long)])
def test_public_file_gives_its_authors_output(name: str, heads: int) -> None:
    spec, _, gold = check.load(name)
    network = load_network(synth.synth_state_dict(spec))  # strict
    assert (network.family, network.size, network.template) == ("restoreformer", 512, "ffhq")
    assert network.knobs == frozenset()
    assert network.module.get_submodule("decoder.mid.attn_1").heads == heads
    codes: list[torch.Tensor] = []
    network.module.get_submodule("quantize").register_forward_hook(
        lambda _module, _inputs, outputs: codes.append(outputs[1])
    )

    out = network(picture(512, batch=3 if LONG else 1)).numpy()

    assert np.array_equal(codes[0][0].numpy(), gold["code_index"][0])
    for element, key in enumerate(("out", "fwd_seed1")[: len(out)]):
        difference = check.compare(gold, key, out[element : element + 1])
        assert max(difference.values()) <= 1e-4, (key, difference)
        assert max(difference.values()) * float(gold[f"{key}_stats"][1]) <= 1e-3

    if LONG:  # a batch is compared with single faces below
        with face_by_face():
            difference = check.compare(gold, "out", network(picture(512)))
        assert max(difference.values()) <= 1e-4, difference

    # Alone as in company. The network is convolutional, so a small picture shows it at a sixteenth of the cost.
    small = picture(512, batch=3)[..., 64:192, 64:192].contiguous()
    with torch.inference_mode():
        together = network.module(small)
        alone = network.module(small[1:2])
    assert torch.allclose(together[1:2], alone, atol=1e-4)


def test_narrow_network_equals_gfpgan() -> None:
    facexlib_import.prepare()  # first: gfpgan imports torchvision
    original_file = pytest.importorskip("gfpgan.archs.restoreformer_arch", reason="comes with the extra `reference`")

    state = narrow()
    original = original_file.RestoreFormer(
        n_embed=48, embed_dim=64, ch=32, ch_mult=(1, 2, 2), num_res_blocks=1, resolution=64, z_channels=32, head_size=8
    ).eval()
    original.load_state_dict(state)
    network = load_network(state)
    assert network.size == 64
    faces = picture(64, batch=3)
    with torch.inference_mode():
        expected = original(faces)[0]
    assert torch.allclose(network(faces), expected, atol=2e-5)
    assert torch.allclose(network(faces[1:2]), expected[1:2], atol=2e-5)


def test_six_narrow_levels_equal_spandrel() -> None:
    facexlib_import.prepare()
    spandrel = pytest.importorskip("spandrel", reason="an independent implementation, not needed to run")
    net = restoreformer.RestoreFormer(32, (32, 32, 64, 64, 32, 64), 2, 64, (32, 32))
    state = synth.synth_state_dict([(name, value.shape, "float32") for name, value in net.state_dict().items()])
    original = spandrel.ModelLoader().load_from_state_dict(state)
    assert original.architecture.id == "RestoreFormer"
    faces = picture(512)[..., :128, :128].contiguous()
    with torch.inference_mode():
        expected = original.model.eval()(faces)[0]
        ours = load_network(state).module(faces)
    assert torch.allclose(ours, expected, atol=2e-5)


@pytest.mark.parametrize("side", [4, 16])  # too small to be worth the sums, and worth them
def test_upsampling_is_nearest_then_convolution(side: int) -> None:
    up = Upsample(32)
    up.load_state_dict(synth.synth_state_dict([("conv.weight", (32, 32, 3, 3), "float32"), ("conv.bias", (32,), "f")]))
    x = torch.from_numpy(synth.unit("upsampling", (2, 32, side, side + 2)))
    with torch.inference_mode():
        expected = up.conv(x.repeat_interleave(2, 2).repeat_interleave(2, 3))
        assert torch.allclose(up(x), expected, atol=1e-5)


def test_heads_follow_the_second_attending_level() -> None:
    assert restoreformer.build(shapes_of(narrow())).decoder.mid.attn_1.heads == 8
    plus = narrow(decoder_attending=(1, 2))
    network = load_network(plus)
    assert network.module.get_submodule("decoder.up.1.attn.0").heads == 4
    # The extra level asks with the encoder's features of its own resolution; each element for itself.
    faces = picture(64, batch=3)
    assert torch.allclose(network(faces)[2:], network(faces[2:]), atol=2e-5)


def test_unused_norms_are_loaded_all_the_same() -> None:
    state = narrow()
    del state["encoder.mid.attn_1.norm2.weight"]
    with pytest.raises(ModelFileError, match=r"encoder\.mid\.attn_1\.norm2\.weight"):
        load_network(state)


def test_incomplete_file_is_named() -> None:
    state = narrow()
    del state["encoder.conv_out.weight"]
    with pytest.raises(ModelFileError, match=r"restoreformer.*encoder\.conv_out\.weight"):
        load_network(state)


@pytest.mark.parametrize("path", sorted(SPECS.glob("*.json")), ids=lambda path: path.stem)
def test_no_other_public_file_is_taken_for_it(path: Path) -> None:
    shapes = {name: tuple(shape) for name, shape, _ in synth.load_spec(str(path))}
    assert restoreformer.matches(shapes) == (path.stem in ("RestoreFormer", "RestoreFormer++"))
    assert restoreformer in FAMILIES
