"""Compare a re-implementation with the stored reference numbers.

    from tests.oracle import check, synth
    spec, meta, gold = check.load("GFPGANv1.4")
    net.load_state_dict(synth.synth_state_dict(spec, meta.get("aliases")))
    y = net(torch.from_numpy(synth.pseudo_image(0, 512, 512)))
    print(check.compare(gold, "out", y))          # {"grid": .., "mid": .., "tl": .., "br": ..}

Numbers are max |difference| / reference standard deviation.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.lib.npyio import NpzFile

from . import synth

HERE = os.path.dirname(os.path.abspath(__file__))


def load(name: str) -> tuple[synth.Spec, dict[str, Any], NpzFile]:
    spec = synth.load_spec(os.path.join(HERE, "specs", name + ".json"))
    with open(os.path.join(HERE, "meta.json")) as f:
        meta = json.load(f)[name]
    return spec, meta, np.load(os.path.join(HERE, "golden", name + ".npz"))


def compare(gold: NpzFile, key: str, value: torch.Tensor | np.ndarray, step: int = 8) -> dict[str, float]:
    """The differences of the parts that are stored. Raises ValueError for another shape."""
    a = value.detach().float().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value, np.float32)
    if key + "_shape" not in gold:  # stored whole
        ref = gold[key]
        return {"all": float(np.abs(a.reshape(ref.shape) - ref).max() / max(float(ref.std()), 1e-12))}
    if tuple(a.shape) != tuple(int(v) for v in gold[key + "_shape"]):
        raise ValueError(f"{key}: the shape is {a.shape}, not {tuple(gold[key + '_shape'])}")
    sd = float(gold[key + "_stats"][1])
    h, w = a.shape[-2:]
    parts = {
        "grid": a[..., ::step, ::step],
        "mid": a[..., h // 3 : h // 3 + 24, w // 3 : w // 3 + 24],
        "tl": a[..., :10, :10],
        "br": a[..., -10:, -10:],
    }
    res = {}
    for k, v in parts.items():
        gk = key if k == "grid" else key + "_" + k
        if gk in gold:
            res[k] = float(np.abs(v - gold[gk]).max() / sd)
    return res


def missing_and_extra(spec: synth.Spec, state_dict: Mapping[str, torch.Tensor]) -> dict[str, list[Any]]:
    """Key and shape differences between a spec and a state dict (yours, or a real checkpoint's)."""
    want = {e[0]: tuple(e[1]) for e in spec}
    have = {k: tuple(v.shape) for k, v in state_dict.items()}
    return {
        "missing": [k for k in want if k not in have],
        "extra": [k for k in have if k not in want],
        "shape": [(k, want[k], have[k]) for k in want if k in have and want[k] != have[k]],
    }
