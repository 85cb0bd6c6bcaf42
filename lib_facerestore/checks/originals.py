"""The original networks, if their packages are installed, and the comparison of this package's networks with them.

`facerestore models verify ID --against reference` runs both with the user's own file. The originals are in the packages
gfpgan, basicsr, spandrel and spandrel-extra-arches, which are imported only when needed.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import io
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from ..errors import FaceRestoreError
from ..networks.archs.dfdnet import DFDNet
from ..networks.archs.dfdnet_parts import COMPONENTS, SCALES, dictionary_file, entry_shapes
from ..networks.cpu_batches import Restore
from ..networks.load import Network, find_family
from ..networks.strict import HARMLESS_EXTRAS
from ..system import facexlib_import
from ..wording import pip_install
from .replaced import replaced

FIDELITY = 0.5
"""Fidelity that both networks run with, if they have the knob."""

Tensors = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Original:
    """An original network, ready to run.

    Attributes:
        source: its package, version and class.
        run: maps crops (B×3×S×S, RGB in [-1, 1], on the network's device) to restored crops of the same shape.
        module: the network itself.
    """

    source: str
    run: Restore
    module: torch.nn.Module | None = None


@dataclass(frozen=True)
class Difference:
    """Differences between the outputs of our network and the original, on values from -1 to 1.

    Attributes:
        source: as in `Original`.
        largest: largest absolute difference.
        mean: mean absolute difference.
        share: largest difference divided by the standard deviation of the original's output.
        crops: number of crops compared.
    """

    source: str
    largest: float
    mean: float
    share: float
    crops: int


def compare(network: Network, state: Tensors, companions: Tensors | None = None, crops: int = 2) -> Difference:
    """Compare our network with the original one on the same synthetic crops.

    Args:
        network: our network, loaded from `state`, in float32.
        state: the file's tensors, without wrapping key.
        companions: from `network.read_companions`.
        crops: number of crops.

    Raises:
        FaceRestoreError: the original is not available; the message says why, and what to install.
    """
    original = find_original(network, state, companions)
    largest = total = 0.0
    outputs = []
    knobs: dict[str, Any] = {"fidelity": FIDELITY} if "fidelity" in network.knobs else {}
    for number in range(crops):
        crop = synthetic_crop(number, network.size)
        with torch.inference_mode():
            theirs = original.run(crop.to(network.device)).float().cpu()
        ours = network(crop, **knobs).cpu()
        apart = (ours - theirs).abs()
        largest = max(largest, float(apart.max()))
        total += float(apart.mean())
        outputs.append(theirs)
    spread = float(torch.cat(outputs).std())
    return Difference(original.source, largest, total / crops, largest / max(spread, 1e-12), crops)


def synthetic_crop(number: int, size: int) -> torch.Tensor:
    """A crop (1×3×size×size in [-1, 1]) of soft shapes and a little noise, the same on every machine."""
    rng = np.random.default_rng(1000 + number)
    y, x = np.mgrid[0:size, 0:size] / size
    planes = []
    for _ in range(3):
        plane = np.zeros((size, size))
        for _ in range(12):
            fx, fy = rng.uniform(-9, 9, 2)
            plane += rng.uniform(0.05, 0.25) * np.sin(2 * math.pi * (fx * x + fy * y) + rng.uniform(0, 6))
        planes.append(plane + rng.normal(0, 0.04, plane.shape))
    return torch.from_numpy(np.clip(np.stack(planes)[None], -1, 1).astype(np.float32))


def find_original(network: Network, state: Tensors, companions: Tensors | None = None) -> Original:
    """Load the original network of a family.

    Args:
        network: our network.
        state: the file's tensors, without wrapping key.
        companions: tensors of the model's further files by file name: DFDNet's dictionaries.

    Raises:
        FaceRestoreError: its package is not installed, it is not in any package, or companions are missing.
    """
    # Families that are not listed here have no original in any package.
    makers: dict[str, Callable[[dict[str, torch.Tensor]], Original]] = {
        "gfpgan": _gfpgan,
        "restoreformer": _restoreformer,
        "codeformer": _codeformer,
        "dfdnet": lambda tensors: _dfdnet(tensors, network, companions),
    }
    if network.family not in makers:
        raise FaceRestoreError(
            f"{network.family}: its original code is not in any package; this project's tests compare with its results "
            "instead."
        )
    found = find_family({name: tuple(value.shape) for name, value in state.items()})
    view = found[1] if found is not None else {}  # none: the original will report unknown tensors
    bare = {short: state[full] for short, full in view.items() if short not in HARMLESS_EXTRAS}
    # These packages print messages, but standard output is for results.
    with torch.inference_mode(False), torch.no_grad(), contextlib.redirect_stdout(sys.stderr):
        original = makers[network.family](bare)
        if original.module is not None:
            original.module.to(network.device)
        return original


def _import(module: str, package: str) -> Any:
    facexlib_import.prepare()
    try:
        return importlib.import_module(module)
    except Exception as error:  # these packages can raise anything at import
        raise FaceRestoreError(
            f"the original network needs the package {package}, which cannot be imported ({error}); install it with "
            f"`{pip_install('--no-deps', package)}`, or all of them, in the package's folder, with pip install "
            "'.[reference]'."
        ) from error


def _ready(module: torch.nn.Module, state: dict[str, torch.Tensor], package: str, run: Restore) -> Original:
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise FaceRestoreError(
            f"the original network of {package} cannot load this file: {str(error).splitlines()[-1].strip()}"
        ) from error
    module.eval().requires_grad_(False)
    try:
        version = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # a copy of its sources, not installed
        version = "of unknown version"
    return Original(f"{package} {version}, {type(module).__name__}", run, module)


def _gfpgan(state: dict[str, torch.Tensor]) -> Original:
    original = "stylegan_decoder.style_conv1.activate.bias" in state
    # Arguments of the public files: GFPGAN inference_gfpgan.py.
    shared = {
        "num_style_feat": 512, "fix_decoder": False, "num_mlp": 8, "input_is_latent": True, "different_w": True,
        "narrow": 1, "sft_half": True,
    }  # fmt: skip
    if original:
        arch = _import("gfpgan.archs.gfpganv1_arch", "gfpgan")
        module = arch.GFPGANv1(512, channel_multiplier=1, **shared)
    else:
        arch = _import("gfpgan.archs.gfpganv1_clean_arch", "gfpgan")
        module = arch.GFPGANv1Clean(512, channel_multiplier=2, **shared)

    def run(faces: torch.Tensor) -> torch.Tensor:
        with _fused_activation() if original else contextlib.nullcontext():
            restored: torch.Tensor = module(faces, return_rgb=False, randomize_noise=False)[0]
            return restored

    return _ready(module, state, "gfpgan", run)


@contextlib.contextmanager
def _fused_activation() -> Iterator[None]:
    """Make GFPGAN 1 run without CUDA, for which alone basicsr's fused activation has code.

    It is replaced by its formula, sqrt(2) * leaky_relu(x + bias, 0.2).
    """
    with contextlib.ExitStack() as stack:
        if not torch.cuda.is_available():
            for name in ("basicsr.ops.fused_act.fused_act", "basicsr.archs.stylegan2_arch"):
                stack.enter_context(replaced(importlib.import_module(name), "fused_leaky_relu", _leaky))
        yield


def _leaky(x: torch.Tensor, bias: torch.Tensor, negative_slope: float = 0.2, scale: float = 2**0.5) -> torch.Tensor:
    bias = bias.view(1, -1, *([1] * (x.ndim - 2)))
    return functional.leaky_relu(x + bias, negative_slope) * scale


def _restoreformer(state: dict[str, torch.Tensor]) -> Original:
    if "decoder.up.4.attn.0.norm1.weight" in state:
        raise FaceRestoreError(
            "restoreformer++: its original code is not in any package (gfpgan has the first RestoreFormer only); this "
            "project's tests compare with its results instead."
        )
    module = _import("gfpgan.archs.restoreformer_arch", "gfpgan").RestoreFormer()
    return _ready(module, state, "gfpgan", lambda x: module(x)[0])


def _codeformer(state: dict[str, torch.Tensor]) -> Original:
    _import("spandrel", "spandrel")
    arch = _import("spandrel_extra_arches.architectures.CodeFormer", "spandrel-extra-arches")
    module = arch.CodeFormerArch().load(dict(state)).model
    return _ready(module, state, "spandrel-extra-arches", lambda x: module(x, weight=FIDELITY, adain=True)[0])


def _dfdnet(state: dict[str, torch.Tensor], network: Network, dictionaries: Tensors | None) -> Original:
    ours = network.module
    if not isinstance(ours, DFDNet) or not dictionaries:
        raise FaceRestoreError("dfdnet: the original needs the dictionaries in the folder of the model file.")
    arch, vgg = (_import(f"basicsr.archs.{name}_arch", "basicsr") for name in ("dfdnet", "vgg"))
    # Its constructor would download VGG-19, which is in the model file, and read basicsr's single dictionary file in
    # place of the authors' sixteen. So it gets an empty file, and both are set afterwards.
    empty = io.BytesIO()
    torch.save({}, empty)
    empty.seek(0)
    layers = vgg.vgg.vgg19(init_weights=False)
    with replaced(vgg.vgg, "vgg19", lambda *_, **__: layers):
        module = arch.DFDNet(64, empty)
    module.dict = {str(scale): {} for scale in SCALES}
    for (part, scale), shape in entry_shapes(ours.widths).items():
        entries = dictionaries[dictionary_file(part, scale)].reshape(-1, *shape)
        module.dict[str(scale)][part] = entries.to(network.device)
    places = [torch.tensor([box]) for box in ours.boxes]

    def run(faces: torch.Tensor) -> torch.Tensor:
        # Its code for matching supports one face only; its authors also run faces one by one.
        return torch.cat([module(face, places) for face in faces.split(1)])

    names = _dfdnet_names(module.state_dict(), vgg.NAMES["vgg19"])
    return _ready(module, {theirs: state[name] for theirs, name in names.items()}, "basicsr", run)


def _dfdnet_names(names: Iterable[str], layers: Sequence[str]) -> dict[str, str]:
    """Map tensor names in basicsr's DFDNet to those in the public file.

    The rules are those of basicsr's scripts/model_conversion/convert_dfdnet.py.

    Args:
        names: names of the tensors in basicsr.
        layers: basicsr's names of VGG's layers, in order; the file numbers them.
    """
    changes = {f".vgg_net.{layer}.": f".model.features.{number}." for number, layer in enumerate(layers)}
    changes |= {f"attn_blocks.{part}_": f"{prefix}_" for part, (prefix, _) in COMPONENTS.items()}
    changes |= {f".conv_blocks.{number}.": f".conv{number + 1}." for number in range(4)}
    changes |= {
        "vgg_extractor.": "VggExtract.", ".mean": ".RGB_mean", ".std": ".RGB_std", "multi_scale_dilation.": "MSDilate.",
        ".conv_fusion.": ".convi.", "upsample": "up", ".scale_block.": ".ScaleModel1.",
        ".shift_block.": ".ShiftModel1.", ".body.": ".Model.",
    }  # fmt: skip
    found = {}
    for theirs in names:
        found[theirs] = theirs
        for old, new in changes.items():
            found[theirs] = found[theirs].replace(old, new)
    return found
