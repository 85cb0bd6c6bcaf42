"""Measure the shipped `lite` restorer on the `val` photographs and draw a contact sheet: true, degraded, restored.

    python tools/eval_lite_restorer.py --cache DIR [--sheet sheet.png] [--weights FILE]
    python tools/eval_lite_restorer.py --cache DIR --kinds

Prints a Markdown table: PSNR, SSIM, perceptual distance (a face detector's features), sharpness (mean gradient, of the
true face), and seconds a face. With `--kinds`, the gain by kind of damage on every twelfth face instead, beside two
plain filters.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from skimage.metrics import structural_similarity

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib_facerestore.bench import degradations as damage
from lib_facerestore.bench.quality_restorer import bilateral, unsharp
from lib_facerestore.catalogue import weights_path
from lib_facerestore.networks.load import load_network
from tools.degradations import degrade
from tools.perceptual import DetectorFeatures
from tools.photographs import PHOTOS, TEACHER
from tools.restorer_data import load_crops

Damage = Callable[[np.ndarray, np.random.Generator], np.ndarray]
KINDS: dict[str, Damage] = (
    {f"JPEG {q}": lambda face, _, q=q: damage.jpeg(face, q) for q in (90, 75, 30, 10)}
    | {f"noise σ{s}": lambda face, rng, s=s: damage.noise(face, s, rng) for s in (5, 14, 30, 50)}
    | {f"blur σ{s}": lambda face, _, s=s: damage.blur(face, s) for s in (1, 2, 4)}
    | {f"÷{f}": lambda face, _, f=f: damage.coarse(face, f) for f in (2, 4, 8)}
    | {"ordinary": damage.ordinary, "heavy": damage.heavy}
)
"""The damage of `--kinds`. Lengths are pixels of the 256-px crop."""
EVERY = 12
"""`--kinds` uses one face of so many."""


def psnr(one: np.ndarray, two: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / max(np.mean((one.astype(np.float64) - two) ** 2), 1e-9)))


def sharpness(face: np.ndarray) -> float:
    """Mean gradient of the luma in the middle of the crop, where the face is."""
    side = face.shape[0]
    grey = cv2.cvtColor(face, cv2.COLOR_RGB2GRAY).astype(np.float32)[side // 5 : -side // 5, side // 5 : -side // 5]
    return float(np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)).mean())


def by_kind(restored: Callable[[np.ndarray], np.ndarray], crops: np.ndarray) -> None:
    """Print the gain in dB by kind of damage: over all faces together, and of the worst face; then of plain filters.

    Args:
        restored: the restorer, S×S×3 uint8 RGB to the same.
        crops: N×S×S×3 uint8 RGB, the truth.
    """
    print("| damage | lite | worst | bilateral | unsharp |\n| --- | ---: | ---: | ---: | ---: |")
    for name, spoilt in KINDS.items():
        errors, gains = [], []
        for index, crop in enumerate(crops[::EVERY]):
            poor = spoilt(crop, np.random.default_rng(index))
            faces = (poor, restored(poor), bilateral(poor), unsharp(poor))
            errors.append([np.mean((face.astype(np.float64) - crop) ** 2) + 1e-9 for face in faces])
            gains.append(10 * np.log10(errors[-1][0] / errors[-1][1]))
        before, *after = np.mean(errors, axis=0)
        lite, *filters = (10 * np.log10(before / value) for value in after)
        print(f"| {name} | {lite:+.2f} | {min(gains):+.2f} | " + " | ".join(f"{v:+.2f}" for v in filters) + " |")
    clean = [np.mean((restored(crop).astype(np.float64) - crop) ** 2) for crop in crops[::EVERY]]
    print(f"\nclean faces to themselves: {10 * np.log10(255**2 / max(float(np.mean(clean)), 1e-9)):.1f} dB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, default=PHOTOS)
    parser.add_argument("--cache", type=Path, required=True, help="folder for the cut crops")
    parser.add_argument("--weights", type=Path, default=None, help="default: the shipped ones")
    parser.add_argument("--sheet", type=Path, help="where to write the contact sheet")
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--kinds", action="store_true", help="the gain by kind of damage")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    network = load_network(arguments.weights or weights_path("lite_restorer.safetensors"))
    features = DetectorFeatures(arguments.photos / TEACHER)
    crops = load_crops(arguments.photos, "val", network.size, 0, arguments.cache)

    def restored(face: np.ndarray) -> np.ndarray:
        """What the network makes of a crop (S×S×3 uint8 RGB)."""
        output = network(torch.from_numpy(face.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1)[0]
        return ((output.permute(1, 2, 0).numpy() + 1) * 127.5).round().clip(0, 255).astype(np.uint8)

    if arguments.kinds:
        by_kind(restored, crops)
        return
    rng = np.random.default_rng(2026)
    rows, sheet = [], []
    for index, crop in enumerate(crops):
        true = np.ascontiguousarray(crop)
        poor = degrade(true, rng)
        tensor = torch.from_numpy(poor).permute(2, 0, 1)[None].float() / 127.5 - 1
        started = time.perf_counter()
        output = network(tensor)
        seconds = time.perf_counter() - started
        good = ((output[0].permute(1, 2, 0).numpy() + 1) * 127.5).round().clip(0, 255).astype(np.uint8)
        target = torch.from_numpy(true).permute(2, 0, 1)[None].float() / 127.5 - 1
        far, near = features.distance(torch.cat([tensor, output.clamp(-1, 1)]), target.expand(2, -1, -1, -1)).tolist()
        ssim = [structural_similarity(true, face, channel_axis=2) for face in (poor, good)]
        rows.append(
            [psnr(true, poor), psnr(true, good), *ssim, far, near, *map(sharpness, (true, poor, good)), seconds]
        )
        if index < 3 * arguments.rows:
            sheet.append(np.hstack([true, poor, good]))
    mean = np.mean(rows, axis=0)
    gains = np.array([row[1] - row[0] for row in rows])
    print("| val, 256 px crops | degraded | restored |\n| --- | --- | --- |")
    print(f"| PSNR, dB (mean of {len(rows)}) | {mean[0]:.2f} | {mean[1]:.2f} |")
    print(f"| SSIM | {mean[2]:.4f} | {mean[3]:.4f} |")
    print(f"| perceptual distance | {mean[4]:.4f} | {mean[5]:.4f} |")
    print(f"| sharpness, share of the true face's | {mean[7] / mean[6]:.2f} | {mean[8] / mean[6]:.2f} |")
    print(f"\nPSNR gain {gains.mean():+.2f} dB mean, {np.median(gains):+.2f} median, {(gains > 0).mean():.0%} better;")
    print(f"{np.median([row[-1] for row in rows]):.3f} s a face (median, {arguments.threads} threads)")
    if arguments.sheet:
        lines = [np.hstack(sheet[start : start + 3]) for start in range(0, len(sheet) - 2, 3)]
        arguments.sheet.parent.mkdir(parents=True, exist_ok=True)
        data = cv2.imencode(arguments.sheet.suffix, cv2.cvtColor(np.vstack(lines), cv2.COLOR_RGB2BGR))[1]
        arguments.sheet.write_bytes(data.tobytes())


if __name__ == "__main__":
    main()
