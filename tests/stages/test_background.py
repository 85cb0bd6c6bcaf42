"""Upscaling: the originals' numbers, every kind of network, tiles without seams, sizes, depths and alpha, errors."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from lib_facerestore.errors import FaceRestoreError, InputError, ModelFileError
from lib_facerestore.stages import background
from lib_facerestore.stages.background import InputRules, Upscaler, enlarge, enlarged_size, load_upscaler
from lib_facerestore.system import facexlib_import

from ..networks.archs.conftest import LONG
from ..oracle import check, synth

facexlib_import.prepare()
spandrel = pytest.importorskip("spandrel", reason="reads the upscalers' files")

REACH = 16
long = pytest.mark.skipif(not LONG, reason="its layers are those of x2plus; set FACERESTORE_LONG_TESTS=1")


class Near(nn.Module):
    """Doubles by nearest neighbour after a blur that reaches `REACH` pixels; notes the sizes that it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.blur = nn.Conv2d(3, 3, 2 * REACH + 1, padding=REACH, groups=3, bias=False)
        nn.init.constant_(self.blur.weight, 1 / (2 * REACH + 1) ** 2)
        self.sizes: list[tuple[int, ...]] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.sizes.append(tuple(x.shape[2:]))
        return nn.functional.interpolate(self.blur(x), scale_factor=2.0)


def noise(height: int, width: int, channels: int = 3, dtype: type = np.uint8) -> NDArray[Any]:
    return np.random.default_rng(3).integers(0, np.iinfo(dtype).max, (height, width, channels), dtype, endpoint=True)


SMALL: dict[str, dict[str, Any]] = {
    "ESRGAN": {"num_filters": 8, "num_blocks": 2, "scale": 2},
    "Compact": {"num_feat": 8, "num_conv": 2, "upscale": 2},
    "SwinIR": {
        "embed_dim": 8, "depths": [2, 2], "num_heads": [2, 2], "window_size": 8, "mlp_ratio": 2.0, "upscale": 2,
        "upsampler": "nearest+conv", "img_size": 16,
    },
    "DRUNet": {"in_nc": 4, "out_nc": 3, "nc": [4, 8, 8, 8]},
    "MixDehazeNet": {"embed_dims": [24, 8, 8, 8, 24], "depths": [1, 1, 1, 1, 1]},
    "MMRealSR": {
        "num_in_ch": 3, "num_out_ch": 3, "num_feat": 8, "num_block": 1, "num_grow_ch": 4, "num_feats": [8, 8, 8, 8],
    },
    "RealCUGAN": {},
    "Uformer": {"embed_dim": 4, "depths": [1] * 9, "num_heads": [1] * 9},
}  # fmt: skip
"""A small network of several of spandrel's architectures: plain ones, and those whose bare module wants another
input (DRUNet), gives a tuple (MMRealSR) or other values (MixDehazeNet), or takes some sizes only (SwinIR, RealCUGAN,
Uformer)."""


def small_state(name: str, **changes: Any) -> dict[str, torch.Tensor]:
    torch.manual_seed(5)
    folder = importlib.import_module(f"spandrel.architectures.{name}")
    cls = folder.UpCunet2x if name == "RealCUGAN" else getattr(folder, name)
    state: dict[str, torch.Tensor] = cls(**SMALL[name] | changes).state_dict()
    return state


@pytest.mark.parametrize(
    "name",
    [
        "RealESRGAN_x2plus",
        pytest.param("RealESRGAN_x4plus", marks=long),
        "realesr-general-x4v3",
    ],
)
def test_the_public_networks_compute_what_the_originals_do(name: str) -> None:
    spec, meta, gold = check.load(name)
    upscaler = load_upscaler(synth.synth_state_dict(spec, meta.get("aliases")))
    assert upscaler.scale == (2 if "x2" in name else 4)
    bare = upscaler.network.model  # type: ignore[attr-defined]  # the original's numbers are not clipped to [0, 1]
    with torch.inference_mode():
        output = bare(torch.from_numpy(synth.pseudo_image_01(0, 128, 128)))
        assert max(check.compare(gold, "out", output).values()) < 1e-4
        small = torch.from_numpy(synth.pseudo_image_01(0, 16, 16))
        assert torch.equal(upscaler.network(small), bare(small).clamp(0, 1))


@pytest.mark.parametrize("name", SMALL)
def test_every_kind_of_network_gives_what_its_descriptor_gives(name: str) -> None:
    state = small_state(name)
    upscaler, descriptor = load_upscaler(state), spandrel.ModelLoader().load_from_state_dict(state)
    picture = noise(50, 61)
    expected = descriptor(torch.from_numpy(picture.transpose(2, 0, 1))[None].float() / 255)[0].permute(1, 2, 0)
    assert expected.std() > 0.01, "a picture without content proves nothing"
    output = upscaler(picture)
    assert output.shape == (50 * descriptor.scale, 61 * descriptor.scale, 3)
    assert np.allclose(output, expected.numpy(), atol=1e-5)
    scale = descriptor.scale
    assert upscaler(noise(1, 3)).shape == (scale, 3 * scale, 3)


@pytest.mark.parametrize("name", SMALL)
def test_every_tile_is_one_that_the_network_takes(name: str) -> None:
    upscaler = load_upscaler(small_state(name))
    upscaler.rules = dataclasses.replace(upscaler.rules, tile=64, overlap=32)
    seen: list[tuple[int, int]] = []
    network = upscaler.network

    def watched(tile: torch.Tensor) -> torch.Tensor:
        seen.append((tile.shape[2], tile.shape[3]))
        return network(tile)

    upscaler.network = watched
    assert upscaler(noise(20, 400)).shape == (20 * upscaler.scale, 400 * upscaler.scale, 3)
    needs = network.size_requirements  # type: ignore[attr-defined]
    assert len(seen) == upscaler.count_tiles(20, 400) > 1 and len(set(seen)) == 1
    assert all(needs.check(width, height) for height, width in seen)


@pytest.mark.parametrize("name", ["ESRGAN", "Compact", "DRUNet"])
def test_tiles_of_a_network_meet_where_they_agree(name: str) -> None:
    """What such a network makes of a pixel depends on its neighbours only: tiles give what the whole picture gives."""
    upscaler = load_upscaler(small_state(name))
    picture = noise(90, 220)
    whole = upscaler(picture)
    upscaler.rules = dataclasses.replace(upscaler.rules, tile=96, overlap=64)
    assert upscaler.count_tiles(90, 220) == 3
    assert np.abs(whole - upscaler(picture)).max() < 2e-3


def test_networks_that_judge_the_whole_picture_get_it_whole() -> None:
    swin, dehaze = load_upscaler(small_state("SwinIR")), load_upscaler(small_state("MixDehazeNet"))
    compact = load_upscaler(small_state("Compact"))
    for upscaler in (swin, dehaze):
        assert upscaler.count_tiles(512, 512) == upscaler.count_tiles(400, 640) == 1
        assert upscaler.count_tiles(512, 1024) > 1
    assert compact.count_tiles(512, 512) == 4
    inner = Upscaler(Near(), 2, rules=InputRules(tile=None))
    assert inner.count_tiles(3000, 4000) == 1
    assert InputRules(tile=None, multiple=8).side(100, 4001) == 4008


@pytest.mark.parametrize(
    ("wrapped", "prefix"), [("params_ema", ""), ("", "module."), ("params", "module."), ("", "netG.")]
)
def test_an_upscaler_is_recognised_whatever_wraps_and_prefixes_its_tensors(
    tmp_path: Path, wrapped: str, prefix: str
) -> None:
    state = small_state("Compact")
    named = {f"{prefix}{key}": value for key, value in state.items()}
    content: dict[str, Any] = {wrapped: named} if wrapped else named
    torch.save(content, tmp_path / "any.pth")
    plain = load_upscaler(state)(noise(9, 12))
    assert np.array_equal(load_upscaler(tmp_path / "any.pth")(noise(9, 12)), plain)
    assert np.array_equal(load_upscaler(content)(noise(9, 12)), plain)


def test_half_precision_files_run_in_full_precision() -> None:
    state = {key: value.half() for key, value in small_state("Compact").items()}
    assert load_upscaler(state)(noise(9, 12)).dtype == np.float32


def test_an_upscaler_that_a_host_loads_in_inference_mode_can_be_moved() -> None:
    with torch.inference_mode():
        upscaler = load_upscaler(small_state("Compact"))
    upscaler.network.to("cpu", torch.float64)  # type: ignore[attr-defined]


@pytest.mark.parametrize(("height", "width"), [(64, 64), (150, 200), (97, 129), (97, 98), (1, 3)])
def test_tiles_leave_no_seam(height: int, width: int) -> None:
    near = Near()
    whole, tiled = Upscaler(near, 2, rules=InputRules(tile=1024)), Upscaler(near, 2, rules=InputRules(tile=96))
    picture = noise(height, width)
    assert np.allclose(whole(picture), tiled(picture), atol=1e-6)
    assert all(max(size) <= 96 for size in near.sizes[1:])


def test_the_last_tile_is_as_large_as_the_others() -> None:
    near = Near()
    Upscaler(near, 2, rules=InputRules(tile=96))(noise(97, 161))
    assert near.sizes == [(96, 96)] * 6


def test_a_network_that_folds_its_input_gets_sides_that_it_can_fold() -> None:
    seen = []

    class Folding(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(tuple(x.shape[2:]))
            return nn.functional.interpolate(x, scale_factor=2.0)

    picture = noise(7, 9)
    output = Upscaler(Folding(), 2, rules=InputRules(multiple=4))(picture)
    assert np.allclose(output[::2, ::2] * 255, picture, atol=1e-3)
    assert seen == [(8, 12)]


def test_progress_is_told_by_tiles_and_a_stop_ends_the_work_between_two() -> None:
    near = Near()
    upscaler = Upscaler(near, 2, rules=InputRules(tile=96))
    told: list[tuple[int, int]] = []
    picture = noise(97, 161)
    upscaler(picture, lambda done, total: told.append((done, total)))
    assert told == [(done, 6) for done in range(7)] and upscaler.count_tiles(97, 161) == 6
    near.sizes.clear()
    assert enlarge(picture, 2, upscaler, None, lambda: len(near.sizes) == 2) is None
    assert len(near.sizes) == 2


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("factor", [1.5, 2, 3])
def test_enlarged_pictures_keep_depth_and_alpha_and_have_the_size_asked_for(dtype: type, factor: float) -> None:
    picture = noise(40, 50, 4, dtype)
    plain, better = enlarge(picture, factor, None), enlarge(picture, factor, Upscaler(Near(), 2))
    assert plain.shape == better.shape == (round(40 * factor), round(50 * factor), 4)
    assert plain.dtype == better.dtype == dtype
    assert np.array_equal(plain[..., 3], better[..., 3])
    assert not np.array_equal(plain[..., :3], better[..., :3])
    assert enlarge(picture, 1, Upscaler(Near(), 2)) is not picture
    assert np.array_equal(enlarge(picture, 1, Upscaler(Near(), 2)), picture)


def test_the_size_is_known_beforehand() -> None:
    for width, height, factor in ((5, 7, 1.3), (1, 1, 1.2), (101, 33, 2.5)):
        output = enlarge(noise(height, width), factor, None)
        assert output.shape[1::-1] == enlarged_size(width, height, factor)


def test_an_enlarged_flat_picture_is_flat_in_the_same_colour() -> None:
    picture = np.full((300, 20, 3), (10, 128, 250), np.uint8)
    output = enlarge(picture, 2, Upscaler(lambda x: nn.functional.interpolate(x, scale_factor=2.0), 2))
    assert np.array_equal(np.unique(output.reshape(-1, 3), axis=0), picture[0, :1])


def test_files_that_are_no_upscalers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="there is no such file"):
        load_upscaler(tmp_path / "x4.pth")
    state = small_state("Compact")
    with pytest.raises(ModelFileError, match=r"tensors do not make one .*get it again"):
        load_upscaler({key: value for key, value in state.items() if key != "body.2.bias"})
    with pytest.raises(ModelFileError, match="not an upscaler that spandrel"):
        load_upscaler({"odd.weight": torch.zeros(2)})
    grey = small_state("Compact", num_in_ch=1, num_out_ch=1)
    with pytest.raises(ModelFileError, match=r"does not take colour pictures \(1 channels in, 1 out\)"):
        load_upscaler(grey)
    lama = importlib.import_module("spandrel.architectures.LaMa").LaMa
    with pytest.raises(ModelFileError, match="LaMa is for inpainting, not an upscaler"):
        load_upscaler(lama().state_dict())


def test_a_network_that_restores_faces_is_no_upscaler(monkeypatch: pytest.MonkeyPatch) -> None:
    load = spandrel.ModelLoader.load_from_state_dict

    def faces(loader: object, state: Mapping[str, torch.Tensor]) -> object:
        descriptor = load(loader, state)
        descriptor._purpose = "FaceSR"
        return descriptor

    monkeypatch.setattr(spandrel.ModelLoader, "load_from_state_dict", faces)
    with pytest.raises(ModelFileError, match="is a face restorer, not an upscaler"):
        load_upscaler(small_state("Compact"))


def test_errors_name_the_thing_and_the_remedy() -> None:
    with pytest.raises(InputError, match=r"H×W×3"):
        Upscaler(Near(), 2)(np.zeros((4, 4), np.uint8))
    with pytest.raises(InputError, match="tile: 10"):
        InputRules(tile=10)
    with pytest.raises(InputError, match="multiple"):
        InputRules(multiple=0)


def raising(error: Exception) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise error

    return fail


def test_without_spandrel_lanczos_works_and_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    spandrel = ".*-m pip install spandrel`, or choose upscaler none"
    for place, name, error, said in (
        (background.facexlib_import, "prepare", FaceRestoreError("no torchvision; install X"), ", or choose upscaler"),
        (background.importlib, "import_module", ImportError("No module named 'spandrel'"), spandrel),
        (background.importlib, "import_module", RuntimeError("built for another torch"), spandrel),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(place, name, raising(error))
            with pytest.raises(ModelFileError, match=rf"{error}{said}"):
                load_upscaler({"body.0.weight": torch.zeros(2)})
            assert enlarge(noise(4, 4), 2, None).shape == (8, 8, 3)


def test_values_that_are_not_numbers_are_an_error() -> None:
    upscaler = background.Upscaler(lambda tile: tile.repeat(1, 1, 2, 2) * float("nan"), 2)
    with pytest.raises(ModelFileError, match="not numbers; choose another one"):
        upscaler(np.zeros((8, 8, 3), np.uint8))
