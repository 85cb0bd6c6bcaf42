"""The original networks, where their packages are installed, and the comparison of ours with them.

`facerestore models verify ID --against reference` runs the user's own file through both. The originals come from the
packages gfpgan, basicsr, spandrel and spandrel-extra-arches, imported only when asked for.
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
from .replaced import replaced

FIDELITY = 0.5
"""What both sides run with, where the network has the knob."""

Tensors = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Original:
    """An original network that is ready to run.

    Attributes:
        source: package, version and class that it is from.
        run: from crops (B×3×S×S, RGB in [-1, 1], on the network's device) to restored crops of the same shape.
        module: the network itself.
    """

    source: str
    run: Restore
    module: torch.nn.Module | None = None


@dataclass(frozen=True)
class Difference:
    """Ours against the original's, on values from -1 to 1.

    Attributes:
        source: the original's.
        largest: the largest difference of a value.
        mean: the mean difference.
        share: the largest difference over the standard deviation of the original's output.
        crops: how many were compared.
    """

    source: str
    largest: float
    mean: float
    share: float
    crops: int


def compare(network: Network, state: Tensors, companions: Tensors | None = None, crops: int = 2) -> Difference:
    """Run the same synthetic crops through the original network and through ours.

    Args:
        network: ours, loaded from `state`, in float32.
        state: the file's tensors, without wrapping key.
        companions: what `network.read_companions` gave.
        crops: how many.

    Raises:
        FaceRestoreError: there is no original to be had for this family; the message says why and what to install.
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
    """A 1×3×size×size crop in [-1, 1] of soft shapes and a little noise; the same on every machine."""
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
    """The original network of this family, filled with these tensors.

    Args:
        network: ours.
        state: the file's tensors, without wrapping key.
        companions: the files beside the model's, by file name: DFDNet's dictionaries.

    Raises:
        FaceRestoreError: it is not installed, or was never published as a package; or companions are missing.
    """
    # Only what some package has: a family that is not here has no original to compare with.
    makers: dict[str, Callable[[dict[str, torch.Tensor]], Original]] = {
        "gfpgan": _gfpgan,
        "restoreformer": _restoreformer,
        "codeformer": _codeformer,
        "dfdnet": lambda tensors: _dfdnet(tensors, network, companions),
    }
    if network.family not in makers:
        raise FaceRestoreError(
            f"{network.family}: its original code is in no package that could be installed; this project's tests "
            "compare with numbers that it gave."
        )
    found = find_family({name: tuple(value.shape) for name, value in state.items()})
    view = found[1] if found is not None else {}  # of other tensors than ours: the original will refuse them
    bare = {short: state[full] for short, full in view.items() if short not in HARMLESS_EXTRAS}
    # These packages print while they build; standard output is for our results.
    with torch.inference_mode(False), torch.no_grad(), contextlib.redirect_stdout(sys.stderr):
        original = makers[network.family](bare)
        if original.module is not None:
            original.module.to(network.device)
        return original


def _import(module: str, package: str) -> Any:
    facexlib_import.prepare()
    try:
        return importlib.import_module(module)
    except Exception as error:  # these packages fail at import in many ways; each means that they cannot be used
        raise FaceRestoreError(
            f"the original network needs the package {package}, which cannot be imported ({error}); install it with: "
            f"pip install --no-deps {package}  (or all of them, in the package's folder: pip install '.[reference]')."
        ) from error


def _ready(module: torch.nn.Module, state: dict[str, torch.Tensor], package: str, run: Restore) -> Original:
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise FaceRestoreError(
            f"the original network of {package} does not take this file: {str(error).splitlines()[-1].strip()}"
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
    """Lets GFPGAN 1 run where basicsr has not compiled its fused activation, which has code for CUDA only. The formula
    in its place is the one that this code computes: sqrt(2) * leaky_relu(x + bias, 0.2)."""
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
            "restoreformer++: its original code is in no package that could be installed (gfpgan's has the first "
            "RestoreFormer only); this project's tests compare with numbers that it gave."
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
        raise FaceRestoreError("dfdnet: its original needs the dictionaries beside the model file.")
    arch, vgg = (_import(f"basicsr.archs.{name}_arch", "basicsr") for name in ("dfdnet", "vgg"))
    # Its start would fetch VGG-19, which is in the model file, and read one file of dictionaries, basicsr's own, in
    # place of the authors' sixteen. So it starts empty, and gets both after that.
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
        # Its matching is written for one face and that face's boxes; its authors run faces one by one too.
        return torch.cat([module(face, places) for face in faces.split(1)])

    names = _dfdnet_names(module.state_dict(), vgg.NAMES["vgg19"])
    return _ready(module, {theirs: state[name] for theirs, name in names.items()}, "basicsr", run)


def _dfdnet_names(names: Iterable[str], layers: Sequence[str]) -> dict[str, str]:
    """From each name in basicsr's DFDNet to the public file's (basicsr, scripts/model_conversion/convert_dfdnet.py).

    Args:
        names: of the tensors.
        layers: basicsr's names of VGG's layers, in order; the file counts them.
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
