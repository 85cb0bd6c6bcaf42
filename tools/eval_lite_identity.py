"""Measure whether `lite` keeps people who they are: distances between descriptors of a face recognition network.

    pip install dlib-bin face-recognition-models
    python tools/eval_lite_identity.py --cache DIR [--weights FILE]

The network is dlib's ResNet (King, "dlib_face_recognition_resnet_model_v1", CC0; below 0.6 it calls two faces the same
person). The crops are those of `val`. Prints, for each kind of damage, the distances from the damaged to the restored
face, from the damaged and from the restored to the true one (median and
99th percentile); and those of different people.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib_facerestore.bench import degradations as damage
from lib_facerestore.catalogue import weights_path
from lib_facerestore.networks.load import load_network
from tools.degradations import degrade
from tools.photographs import PHOTOS
from tools.restorer_data import load_crops

Faces = NDArray[np.uint8]
KINDS: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "none": lambda face, _: face,
    "noise σ14": lambda face, rng: damage.noise(face, 14, rng),
    "ordinary": damage.ordinary,
    "heavy": damage.heavy,
    "÷8": lambda face, _: damage.coarse(face, 8),
    "blind": degrade,
}
FACE = (56, 72, 200, 216)
"""Where the face is in an FFHQ-aligned crop of 256 px, as dlib's own detector would draw the box."""


def describer() -> Callable[[Faces, Faces], NDArray[np.float64]]:
    """A function of faces and of the undamaged faces (N×256×256×3 RGB) that gives descriptors (N×128).

    Landmarks are those of the undamaged faces, so that all versions of a face are cut alike.
    """
    dlib = importlib.import_module("dlib")
    found = importlib.util.find_spec("face_recognition_models")  # importing it needs an old setuptools
    if found is None or found.origin is None:
        raise SystemExit("pip install dlib-bin face-recognition-models")
    models = Path(found.origin).parent / "models"
    landmarks = dlib.shape_predictor(str(models / "shape_predictor_5_face_landmarks.dat"))
    network = dlib.face_recognition_model_v1(str(models / "dlib_face_recognition_resnet_model_v1.dat"))
    box = dlib.rectangle(*FACE)

    def describe(faces: Faces, true: Faces) -> NDArray[np.float64]:
        pairs = (
            (np.ascontiguousarray(face), np.ascontiguousarray(clean)) for face, clean in zip(faces, true, strict=True)
        )
        return np.array([network.compute_face_descriptor(face, landmarks(clean, box)) for face, clean in pairs])

    return describe


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, default=PHOTOS)
    parser.add_argument("--cache", type=Path, required=True, help="folder for the cut crops")
    parser.add_argument("--weights", type=Path, default=None, help="default: the shipped ones")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    network = load_network(arguments.weights or weights_path("lite_restorer.safetensors"))
    true = load_crops(arguments.photos, "val", network.size, 0, arguments.cache)
    describe = describer()
    people = describe(true, true)
    others = [float(np.linalg.norm(people[i] - people[j])) for i in range(len(people)) for j in range(i)]
    print("| damage | damaged to restored | damaged to true | restored to true |\n| --- | ---: | ---: | ---: |")
    for name, spoilt in KINDS.items():
        poor = np.stack(
            [spoilt(np.ascontiguousarray(face), np.random.default_rng(index)) for index, face in enumerate(true)]
        )
        tensors = (torch.from_numpy(face).permute(2, 0, 1)[None].float() / 127.5 - 1 for face in poor)
        outputs = [((network(face)[0].permute(1, 2, 0).numpy() + 1) * 127.5).round().clip(0, 255) for face in tensors]
        before, after = describe(poor, true), describe(np.stack(outputs).astype(np.uint8), true)
        cells = []
        for one, two in ((before, after), (before, people), (after, people)):
            middle, high = np.percentile(np.linalg.norm(one - two, axis=1), (50, 99))
            cells.append(f"{middle:.2f}, {high:.2f}")
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
    low, middle = np.percentile(others, (1, 50))
    print(f"\ndifferent people: {low:.2f} at 1 %, {middle:.2f} in the median")


if __name__ == "__main__":
    main()
