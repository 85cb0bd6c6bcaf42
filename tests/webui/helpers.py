"""What the tests of the Script and of "Restore faces" share: a service whose faces and network are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from lib_facerestore.networks.load import Network
from lib_facerestore.pipeline import FaceRestorer
from lib_facerestore.webui import service

from ..conftest import KnownFaces, small_lite

LEFT, RIGHT = (48.0, 56.0, 44.0), (144.0, 64.0, 44.0)  # centre x, y and side of the crop, in pixels
OPTIONS: dict[str, Any] = {"model": "small.safetensors", "mask": "ellipse"}


class Faces(KnownFaces):
    """Faces at known places; pictures whose top left pixel is `NO_FACE` have none."""

    NO_FACE = (1, 2, 3)

    def detect(self, images: Sequence[np.ndarray], confidence: float) -> list[Any]:
        found = super().detect(images, confidence)
        return [
            [] if tuple(image[0, 0, :3]) == self.NO_FACE else faces for image, faces in zip(images, found, strict=True)
        ]


class Known:
    """The restorer in the service; `batches` are the sizes of the network's calls, `before` is called ahead of each."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        safetensors.torch.save_file(small_lite().state_dict(), folder / "small.safetensors")
        self.detector = Faces(LEFT, RIGHT)
        self.restorer = FaceRestorer(folder, "cpu", 8, detector=self.detector, precision="float32")
        self.batches: list[int] = []
        self.before: Callable[[], None] = lambda: None
        run = Network.__call__

        def counted(network: Network, faces: torch.Tensor, **knobs: float | None) -> torch.Tensor:
            self.before()
            self.batches.append(len(faces))
            return run(network, faces, **knobs)

        monkeypatch.setattr(Network, "__call__", counted)
        monkeypatch.setattr(service, "restorer", lambda: self.restorer)

    def restored(self, picture: np.ndarray, **options: Any) -> np.ndarray:
        """What the library makes of the picture, without any WebUI."""
        from lib_facerestore.options.table import Options

        result = self.restorer.restore(picture, Options(**(OPTIONS | options)))
        self.batches.clear()
        return result.image


def photo(seed: int = 0, width: int = 192, height: int = 128) -> np.ndarray:
    """A noisy picture, uint8, that holds `LEFT` and `RIGHT`; every value from 0 to 255 occurs."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    base = np.stack([120 + 80 * np.sin(x / 23), 110 + 70 * np.cos(y / 31), 60 + 0.6 * x], axis=2)
    made = np.clip(base + rng.normal(0, 12, base.shape), 0, 255).astype(np.uint8)
    made[-1, : min(width, 256)] = np.arange(min(width, 256))[:, None]
    return made


def without_face(seed: int = 0) -> np.ndarray:
    made = photo(seed)
    made[0, 0] = Faces.NO_FACE
    return made
