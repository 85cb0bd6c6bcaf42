"""The networks of the public files with random weights, for tests, and for `bench` if a file is not installed.

The weights are scaled so that values neither grow nor vanish. A network then takes the same time as with its file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn import functional

from ..networks.archs import Restorer
from ..networks.archs.codeformer import CodeFormer
from ..networks.archs.dfdnet import ChannelBlur, DFDNet, SpectralConv2d
from ..networks.archs.dfdnet_parts import dictionary_file, entry_shapes
from ..networks.archs.gfpgan import GFPGAN, Plan
from ..networks.archs.gpen import GPEN
from ..networks.archs.restoreformer import RestoreFormer
from ..networks.archs.stylegan import EqualLinear
from ..networks.archs.vqfr1 import VQFRv1
from ..networks.archs.vqfr2 import VQFRv2
from ..networks.archs.vqgan import Downsample, ResidualBlock, SelfAttention, Upsample, group_norm

DICTIONARY_ENTRIES = 512
"""Entries of each public dictionary of DFDNet. The number is not documented; it follows from the error "Tried to
allocate 758.00 MiB" (issues 14 and 39 of csxmli2016/DFDNet), the size of the mouth at 256 px with 512 entries."""


def gfpgan_clean(unet: tuple[int, ...] = (256, 256, 256, 256, 256, 128, 64, 32)) -> GFPGAN:
    """GFPGAN 1.2 to 1.4; `unet` are the channels of its U-Net from 4 px up to the crop's side."""
    prior = tuple(2 * channels for channels in unet)
    mapping = tuple(str(layer) for layer in range(1, 17, 2))
    network = GFPGAN(Plan(False, unet, prior, unet[1:], 512, 2 * len(unet), mapping))
    _randomise_equalised(network)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):  # not equalised, so they do not scale their weights
                module.weight.div_(module.weight[0].numel() ** 0.5)
    return network


def gfpgan_original() -> GFPGAN:
    """GFPGAN 1."""
    prior = (512, 512, 512, 512, 256, 128, 64, 32)
    unet = tuple(channels // 2 for channels in prior)
    network = GFPGAN(Plan(True, unet, prior, unet[1:], 512, 16, tuple(str(layer) for layer in range(1, 9))))
    _randomise_equalised(network)
    return network


def gpen(size: int) -> GPEN:
    """GPEN of 256, 512, 1024 or 2048 px."""
    # 512 channels up to 64 px, then half as many at each doubling; GPEN-BFR-256 has 256 up to 32 px
    most, double_from = (256, 32) if size == 256 else (512, 64)
    sides = [4 << level for level in range((size // 4).bit_length())]
    channels = tuple(most * double_from // max(side, double_from) for side in sides)
    network = GPEN(channels[::-1], channels, 512, 8)
    _randomise_equalised(network)
    return network


def _randomise_equalised(network: nn.Module) -> None:
    """Set StyleGAN2's initial weights (appendix B of the paper, and its code).

    Weights have unit variance; biases and noise strengths are 0, modulation biases 1.
    """
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.ndim > 1 and not name.endswith("bias"):
                parameter.normal_()
            else:
                parameter.fill_(1.0 if name.endswith("modulation.bias") else 0.0)
        for module in network.modules():
            if isinstance(module, EqualLinear):
                module.weight.div_(module.rate)


def codeformer() -> CodeFormer:
    """CodeFormer, with torch's own random weights."""
    widths, latent = (64, 128, 128, 256, 256, 512), 256

    def blocks(channels_in: int, channels_out: int, attention: bool) -> list[nn.Module]:
        made: list[nn.Module] = []
        for wide in (channels_in, channels_out):
            made.append(ResidualBlock(wide, channels_out, shortcut="conv_out"))
            made += [SelfAttention(channels_out)] if attention else []
        return made

    def middle() -> list[nn.Module]:
        return blocks(widths[-1], widths[-1], True)[:3]

    encoder: list[nn.Module] = [nn.Conv2d(3, widths[0], 3, padding=1)]
    generator: list[nn.Module] = [nn.Conv2d(latent, widths[-1], 3, padding=1), *middle()]
    before, last = widths[0], widths[-1]
    for width in widths:
        encoder += [*blocks(before, width, width == last), *([Downsample(width)] if width != last else [])]
        before = width
    encoder += [*middle(), group_norm(last), nn.Conv2d(last, latent, 3, padding=1)]
    for level, width in enumerate(reversed(widths)):
        generator += blocks(before, width, width == last)
        generator += [Upsample(width)] if level < len(widths) - 1 else []
        before = width
    generator += [group_norm(before), nn.Conv2d(before, 3, 3, padding=1)]
    fusions = {32: 256, 64: 256, 128: 128, 256: 128}
    return CodeFormer(encoder, generator, (1024, latent), 256, 512, 1024, 9, fusions)


def dfdnet(width: int = 64, hidden: int = 4096, classes: int = 1000) -> DFDNet:
    """DFDNet without its dictionaries; the arguments are those of the network.

    Weights W with spectral norm are divided by u·Wv, with random directions u and v. By chance this would be near 0, so
    a multiple of u⊗v is added to W that makes it 1. The blur is that of the file, 1 2 1.
    """
    network = DFDNet(width, hidden, classes)
    blur = torch.tensor([0.25, 0.5, 0.25])
    rectified = set(network.VggExtract.modules())
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, ChannelBlur):
                module.weight.copy_(torch.outer(blur, blur))
                module.weight_flip.copy_(module.weight)
            elif isinstance(module, SpectralConv2d):
                nn.init.kaiming_normal_(module.weight_orig, nonlinearity="linear")
                for direction in (module.weight_u, module.weight_v):
                    direction.copy_(functional.normalize(torch.randn_like(direction), dim=0))
                u, v, matrix = module.weight_u, module.weight_v, module.weight_orig.flatten(1)
                matrix.add_((1 - u @ matrix @ v) * torch.outer(u, v))
            elif isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu" if module in rectified else "linear")
    return network


def dfdnet_dictionaries(widths: Sequence[int], entries: int = DICTIONARY_ENTRIES) -> dict[str, torch.Tensor]:
    """Random dictionaries by file name, the same in every call. The public ones have 3.2 GB.

    Args:
        widths: channels of the feature maps, `DFDNet.widths`.
        entries: number of entries in each.
    """
    source = torch.Generator().manual_seed(0)
    return {
        dictionary_file(*which): torch.rand(entries, *shape, generator=source)
        for which, shape in entry_shapes(widths).items()
    }


PUBLIC: dict[str, Callable[[], Restorer]] = {
    "gfpgan-1.4": gfpgan_clean,
    "codeformer": codeformer,
    "restoreformer": RestoreFormer,
    "gfpgan-1": gfpgan_original,
    "gpen-256": lambda: gpen(256),
    "gpen-512": lambda: gpen(512),
    "gpen-1024": lambda: gpen(1024),
    "gpen-2048": lambda: gpen(2048),
    "restoreformer++": lambda: RestoreFormer(heads=4, decoder_attending=(4, 5)),
    "vqfr-1": VQFRv1,
    "vqfr-2": VQFRv2,
    "dfdnet": dfdnet,
}
"""Functions that make the network of a public file, by model id."""
