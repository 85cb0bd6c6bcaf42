"""The networks that `facerestore bench` measures: ours and the original with the same weights.

These are the installed file's, else random ones of our own classes, so that no other package is needed to measure ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from ..catalogue import BUILT_IN, Store
from ..checks import originals
from ..errors import FaceRestoreError, OptionError
from ..networks.archs import dfdnet, gfpgan, gpen, stylegan
from ..networks.archs.codeformer import CodeFormer
from ..networks.archs.dfdnet_parts import random_dictionaries
from ..networks.archs.restoreformer import RestoreFormer
from ..networks.archs.vqfr1 import VQFRv1
from ..networks.archs.vqfr2 import VQFRv2
from ..networks.archs.vqgan import Downsample, ResidualBlock, SelfAttention, Upsample, group_norm
from ..networks.load import Network, load_network, read_state


def clean_gfpgan(unet: tuple[int, ...] = (256, 256, 256, 256, 256, 128, 64, 32)) -> gfpgan.GFPGAN:
    """The network of the public files of GFPGAN 1.2 to 1.4, with random weights that keep the size of what goes
    through. unet: its channels from 4 px up to the crop's side."""
    prior = tuple(2 * channels for channels in unet)
    mapping = tuple(str(layer) for layer in range(1, 17, 2))
    network = gfpgan.GFPGAN(gfpgan.Plan(False, unet, prior, unet[1:], 512, 2 * len(unet), mapping))
    stylegan.randomise(network)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):  # not equalised: they bring no factor of their own
                module.weight.div_(module.weight[0].numel() ** 0.5)
    return network


def codeformer() -> CodeFormer:
    """The network of CodeFormer's public file, with random weights (torch's own)."""
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


OWN: dict[str, Callable[[], nn.Module]] = {
    "gfpgan-1.4": clean_gfpgan,
    "codeformer": codeformer,
    "restoreformer": RestoreFormer,
    "gfpgan-1": gfpgan.public_original,
    "gpen-256": lambda: gpen.public(256),
    "gpen-512": lambda: gpen.public(512),
    "gpen-1024": lambda: gpen.public(1024),
    "gpen-2048": lambda: gpen.public(2048),
    "restoreformer++": lambda: RestoreFormer(heads=4, decoder_attending=(4, 5)),
    "vqfr-1": VQFRv1,
    "vqfr-2": VQFRv2,
    "dfdnet": dfdnet.public,
}
"""The public networks, with random weights."""
NETWORKS = (*OWN, BUILT_IN)
HEAVY = ("gpen-2048", "vqfr-1", "vqfr-2", "dfdnet")
"""Networks that take minutes on a small CPU, or gigabytes of memory: measured when asked for."""
DEFAULT = tuple(name for name in NETWORKS if name not in HEAVY)


@dataclass(frozen=True)
class Pair:
    """Ours and the original with the same weights.

    Attributes:
        original: None where there is none; `why` says why then.
        weights: the file that they are from, or "random".
    """

    ours: Network
    original: originals.Original | None
    weights: str
    why: str = ""


def check(model: str) -> None:
    """Raise OptionError where there is no such model to measure."""
    if model not in NETWORKS:
        raise OptionError(f"bench: {model!r} is not known; it can measure {', '.join(NETWORKS)}.")


def network_pair(model: str, store: Store, device: torch.device) -> Pair:
    """Ours and the original, ready to run.

    Raises:
        OptionError: there is no such model to measure.
        FaceRestoreError: an installed file is damaged, or lacks the files that belong beside it.
    """
    check(model)
    path = store.installed().get(model)
    torch.manual_seed(0)
    state: Mapping[str, torch.Tensor]
    if path is not None:
        state = read_state(path)
    else:
        with torch.inference_mode(False):
            state = OWN[model]().state_dict()
    ours = load_network(state, device)
    companions = ours.read_companions(path.parent) if path is not None else _random_companions(ours)
    weights = path.name if path is not None else "random"
    try:
        return Pair(ours, originals.find_original(ours, state, companions), weights)
    except FaceRestoreError as error:
        return Pair(ours, None, weights, f"no reference: {error}")


def _random_companions(network: Network) -> Mapping[str, torch.Tensor]:
    """Random values for the files beside the model's, already set in our network; the original gets the same."""
    if not isinstance(network.module, dfdnet.DFDNet):
        return {}
    dictionaries = random_dictionaries(network.module.widths)
    network.module.set_dictionaries(dictionaries)
    return dictionaries
