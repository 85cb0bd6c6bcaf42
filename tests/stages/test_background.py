"""Upscaling: the originals' numbers, tiles without seams, sizes, depths and alpha, recognition and errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lib_facerestore.errors import FaceRestoreError, InputError, ModelFileError
from lib_facerestore.stages import background
from lib_facerestore.stages.background import OVERLAP, Upscaler, enlarge, load_upscaler
from lib_facerestore.system import facexlib_import

from ..oracle import check, synth

facexlib_import.prepare()
rrdbnet = pytest.importorskip("basicsr.archs.rrdbnet_arch", reason="needs the extra `reference` (basicsr)")
srvgg = pytest.importorskip("basicsr.archs.srvgg_arch", reason="needs the extra `reference` (basicsr)")


class Near(nn.Module):
    """Doubles by nearest neighbour after a blur that reaches `OVERLAP` pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.blur = nn.Conv2d(3, 3, 2 * OVERLAP + 1, padding=OVERLAP, groups=3, bias=False)
        nn.init.constant_(self.blur.weight, 1 / (2 * OVERLAP + 1) ** 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.interpolate(self.blur(x), scale_factor=2.0)


def noise(height: int, width: int, channels: int = 3, dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(3).integers(0, np.iinfo(dtype).max, (height, width, channels), dtype, endpoint=True)


@pytest.mark.parametrize("name", ["RealESRGAN_x2plus", "RealESRGAN_x4plus", "realesr-general-x4v3"])
def test_the_public_networks_compute_what_the_originals_do(name: str) -> None:
    spec, meta, gold = check.load(name)
    upscaler = load_upscaler(synth.synth_state_dict(spec, meta.get("aliases")))
    assert upscaler.scale == (2 if "x2" in name else 4)
    with torch.inference_mode():
        output = upscaler.network(torch.from_numpy(synth.pseudo_image_01(0, 128, 128)))
        assert max(check.compare(gold, "out", output).values()) < 1e-4
        small = torch.from_numpy(synth.pseudo_image_01(0, 16, 16, 3))  # pictures of a batch do not meet
        together = upscaler.network(small)
        for index in range(3):
            alone = upscaler.network(small[index : index + 1])
            assert torch.allclose(together[index : index + 1], alone, atol=1e-4 * float(alone.std()))


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_narrow_rrdb_networks_are_read_off_their_shapes(scale: int) -> None:
    original = rrdbnet.RRDBNet(3, 3, scale, num_feat=8, num_block=2, num_grow_ch=4)
    upscaler = load_upscaler(original.state_dict())
    picture = noise(21, 30)
    result = upscaler(picture)
    assert result.shape == (21 * scale, 30 * scale, 3)
    with torch.inference_mode():
        even = original(torch.from_numpy(picture[:20, :28].transpose(2, 0, 1))[None].float() / 255)
    alike = upscaler(np.ascontiguousarray(picture[:20, :28]))
    assert np.allclose(even[0].clamp(0, 1).permute(1, 2, 0).numpy(), alike, atol=1e-5)


@pytest.mark.parametrize("activation", ["prelu", "leakyrelu"])
def test_narrow_compact_networks_are_read_off_their_shapes(activation: str) -> None:
    original = srvgg.SRVGGNetCompact(3, 3, 8, 3, 2, activation)
    upscaler = load_upscaler(original.state_dict())
    with torch.inference_mode():
        expected = original(torch.from_numpy(noise(9, 12).transpose(2, 0, 1))[None].float() / 255)
    assert np.allclose(expected[0].clamp(0, 1).permute(1, 2, 0).numpy(), upscaler(noise(9, 12)), atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (150, 200), (65, 129), (1, 3)])
def test_tiles_leave_no_seam(height: int, width: int) -> None:
    whole, tiled = Upscaler(Near(), 2, tile=1024), Upscaler(Near(), 2, tile=64)
    picture = noise(height, width)
    assert np.allclose(whole(picture), tiled(picture), atol=1e-6)


def test_a_network_that_folds_its_input_gets_sides_that_it_can_fold() -> None:
    seen = []

    class Folding(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(tuple(x.shape[2:]))
            return nn.functional.interpolate(x, scale_factor=2.0)

    picture = noise(7, 9)
    assert np.allclose(Upscaler(Folding(), 2, multiple=4)(picture)[::2, ::2] * 255, picture, atol=1e-3)
    assert seen == [(8, 12)]


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


def test_an_enlarged_flat_picture_is_flat_in_the_same_colour() -> None:
    picture = np.full((300, 20, 3), (10, 128, 250), np.uint8)
    blur = Near()
    blur.blur = nn.Identity()  # type: ignore[assignment]
    assert np.array_equal(np.unique(enlarge(picture, 2, Upscaler(blur, 2)).reshape(-1, 3), axis=0), picture[0, :1])


def test_errors_name_the_thing_and_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelFileError, match="no such model file"):
        load_upscaler(tmp_path / "x4.pth")
    state = rrdbnet.RRDBNet(3, 3, 4, 8, 1, 4).state_dict()
    with pytest.raises(ModelFileError, match=r"does not fit it .*get it again"):
        load_upscaler({key: value for key, value in state.items() if key != "conv_hr.weight"})
    with pytest.raises(ModelFileError, match="RRDBNet with 5 input channels"):
        load_upscaler(state | {"conv_first.weight": torch.zeros(8, 5, 3, 3)})
    with pytest.raises(InputError, match=r"H×W×3"):
        Upscaler(Near(), 2)(np.zeros((4, 4), np.uint8))
    with pytest.raises(InputError, match="tile: 10"):
        Upscaler(Near(), 2, tile=10)

    def gone(*_: object) -> None:
        raise FaceRestoreError("not here")

    monkeypatch.setattr(background.facexlib_import, "prepare", gone)
    with pytest.raises(ModelFileError, match="pip install --no-deps basicsr"):
        load_upscaler(state)
    monkeypatch.setattr(background.importlib, "import_module", lambda name: (_ for _ in ()).throw(ImportError(name)))
    with pytest.raises(ModelFileError, match="the package spandrel reads other upscalers"):
        load_upscaler({"odd.weight": torch.zeros(2)})
