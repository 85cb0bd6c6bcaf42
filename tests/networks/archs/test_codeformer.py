"""CodeFormer against the oracle's golden outputs and spandrel's network."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lib_facerestore.errors import ModelFileError, OptionError
from lib_facerestore.networks.archs import FAMILIES, codeformer
from lib_facerestore.networks.archs.vqgan import Downsample, ResidualBlock, SelfAttention, Upsample, group_norm
from lib_facerestore.networks.load import Network, WrongTensorsError, load_network
from lib_facerestore.system import facexlib_import

from ...oracle import check, synth
from .conftest import LONG, face_by_face

SPECS = Path(check.HERE) / "specs"


def synthetic(module: nn.Module) -> dict[str, torch.Tensor]:
    return synth.synth_state_dict([(name, value.shape, "float32") for name, value in module.state_dict().items()])


def narrow() -> dict[str, torch.Tensor]:
    """Synthetic weights of a network for crops of 8 px: one halving, a latent of 4×4, one fusion."""

    def block(channels_in: int, channels_out: int) -> ResidualBlock:
        return ResidualBlock(channels_in, channels_out, shortcut="conv_out")

    encoder = [nn.Conv2d(3, 32, 3), block(32, 64), Downsample(64), SelfAttention(64), group_norm(64)]
    encoder.append(nn.Conv2d(64, 32, 3))
    generator = [nn.Conv2d(32, 64, 3), SelfAttention(64), Upsample(64), block(64, 64), group_norm(64)]
    generator.append(nn.Conv2d(64, 3, 3))
    return synthetic(codeformer.CodeFormer(encoder, generator, (20, 32), 16, 64, 96, 3, {8: 64}))


def picture(side: int, batch: int = 1) -> torch.Tensor:
    return torch.from_numpy(synth.pseudo_image(0, side, side, batch))


def assert_golden(key: str, value: torch.Tensor) -> None:
    gold = check.load("codeformer")[2]
    worst = max(check.compare(gold, key, value).values())
    assert worst <= 1e-4, key
    assert worst * float(gold[f"{key}_stats"][1]) <= 1e-3, key


@pytest.fixture(scope="module")
def public() -> Network:
    return load_network(synth.synth_state_dict(check.load("codeformer")[0]))  # strict


@pytest.fixture
def small() -> Network:
    return load_network(narrow())


@pytest.mark.skipif(not LONG, reason="the next test runs its parts; set FACERESTORE_LONG_TESTS=1")
def test_public_file_gives_its_authors_output(public: Network) -> None:
    out = public(picture(512, batch=3), fidelity=0.5)
    assert_golden("out_w0.5_adain1", out[:1])
    assert_golden("fwd_seed1", out[1:2])
    with face_by_face():
        assert_golden("out_w0.5_adain1", public(picture(512), fidelity=0.5))


def test_public_file_codes_and_knobs(public: Network) -> None:
    assert (public.family, public.size, public.template) == ("codeformer", 512, "ffhq")
    assert public.knobs == {"fidelity"}
    gold = check.load("codeformer")[2]
    module = public.module
    assert isinstance(module, codeformer.CodeFormer)
    with torch.inference_mode():
        latent, features = module.encode(picture(512))
        codes = module.predict(latent).argmax(-1).view(1, 16, 16)
        assert np.array_equal(codes.numpy(), gold["code_index"])  # the smallest margin is 0.003, far above rounding
        plain = module.quantize.look_up(codes)
        adapted = codeformer.adapt(plain, latent)
        both = module.generate(torch.cat((adapted, plain)), {}, 0.0)
        assert_golden("out_w0_adain1", both[:1])
        assert_golden("out_w0_adain0", both[1:])
        assert_golden("out_w1_adain1", module.generate(adapted, features, 1.0))


def test_narrow_network_equals_spandrel() -> None:
    facexlib_import.prepare()
    pytest.importorskip("spandrel_extra_arches", reason="an independent implementation, not needed to run")
    arch = importlib.import_module("spandrel_extra_arches.architectures.CodeFormer.__arch.codeformer")
    with torch.device("meta"):  # the constructor would fill 94 million weights
        net = arch.CodeFormer(dim_embd=64, n_layers=2, codebook_size=48, connect_list=["32", "64"])
    # It fixes widths and levels of the convolutions; narrow ones for crops of 64 px take their places.
    net.encoder = arch.Encoder(3, 32, 256, [1, 1, 2], 2, 64, [16])
    net.generator = arch.Generator(32, [1, 1, 2], 2, 64, [16], 256)
    net.fuse_encoder_block = {"64": 2, "32": 5}
    net.fuse_convs_dict = nn.ModuleDict({side: arch.Fuse_sft_block(32, 32) for side in ("32", "64")})
    state = synthetic(net)
    net.to_empty(device="cpu").load_state_dict(state)
    ours = load_network(state)
    assert ours.size == 64
    faces = picture(64, batch=2)
    for fidelity in (0.0, 0.7):
        with torch.inference_mode():
            expected = net.eval()(faces, weight=fidelity)[0]
        assert torch.allclose(ours(faces, fidelity=fidelity), expected, atol=2e-5), fidelity


def test_knobs_change_the_output_and_the_batch_does_not(small: Network) -> None:
    assert small.size == 8
    faces = picture(8, batch=3)
    out = {fidelity: small(faces, fidelity=fidelity) for fidelity in (0.0, 0.5, 1.0)}
    assert (out[0.0] - out[0.5]).abs().max() > 1e-2
    assert (out[0.5] - out[1.0]).abs().max() > 1e-2
    assert torch.equal(small(faces), out[0.5])  # the default
    for fidelity, together in out.items():
        for i in range(3):
            assert torch.allclose(small(faces[i : i + 1], fidelity=fidelity)[0], together[i], atol=1e-5)


def test_nothing_is_fused_at_fidelity_zero(small: Network) -> None:
    before = small(picture(8), fidelity=0.0)
    for parameter in small.module.get_submodule("fuse_convs_dict").parameters():
        parameter.fill_(float("nan"))
    assert torch.equal(small(picture(8), fidelity=0.0), before)


def test_adapted_features_have_the_style_of_the_latent() -> None:
    content, style = picture(16, batch=2) * 3 + 1, picture(32, batch=4)[2:]
    adapted = codeformer.adapt(content, style)
    assert torch.allclose(adapted.mean((2, 3)), style.mean((2, 3)), atol=1e-5)
    assert torch.allclose(adapted.std((2, 3)), style.std((2, 3)), rtol=1e-3)


def test_a_misspelt_knob_is_refused(small: Network) -> None:
    with pytest.raises(TypeError):
        small.module(picture(8), w=0.5)
    with pytest.raises(OptionError):
        load_network(Path(codeformer.__file__).parents[2] / "weights" / "lite_restorer.safetensors")(
            picture(256), fidelity=0.5
        )


def test_incomplete_and_foreign_tensors_are_named() -> None:
    state = narrow()
    del state["generator.blocks.0.weight"]
    with pytest.raises(ModelFileError, match=r"codeformer.*generator\.blocks\.0\.weight"):
        load_network(state)
    state = narrow() | {"fuse_convs_dict.4.scale.0.weight": torch.zeros(64, 64, 3, 3)}
    with pytest.raises(ModelFileError, match=r"fuse_convs_dict\.4\.scale\.0\.weight"):
        load_network(state)


@pytest.mark.parametrize("path", sorted(SPECS.glob("*.json")), ids=lambda path: path.stem)
def test_no_other_public_file_is_taken_for_it(path: Path) -> None:
    shapes = {name: tuple(shape) for name, shape, _ in synth.load_spec(str(path))}
    assert codeformer.matches(shapes) == (path.stem == "codeformer")
    assert codeformer in FAMILIES


def test_a_file_whose_places_make_no_square_is_refused() -> None:
    state = narrow()
    state["position_emb"] = state["position_emb"][:8]
    with pytest.raises(WrongTensorsError, match=r"looks like codeformer, .*position_emb has 8 places"):
        load_network(state)
