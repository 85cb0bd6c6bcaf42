"""shared.state and the other things that live in `modules.shared`; the built-in face restorers."""

from __future__ import annotations

import time
from argparse import Namespace
from typing import Any

import numpy as np


class State:
    """Progress, interrupt and skip. Unknown attributes cannot be set: a misspelt one would be lost in the host too."""

    _FIELDS = (
        "skipped", "interrupted", "stopping_generation", "job", "job_no", "job_count", "job_timestamp",
        "sampling_step", "sampling_steps", "current_latent", "current_image", "current_image_sampling_step",
        "id_live_preview", "textinfo", "time_start", "server_start", "processing_has_refined_job_count", "texts",
        "paused",
    )  # fmt: skip

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.server_start = 0.0
        self.begin("")
        self.job_count = 0

    def __setattr__(self, key: str, value: Any) -> None:
        if key not in self._FIELDS:
            raise AttributeError(f"shared.state has no {key}")
        if key == "textinfo" and value:
            self.texts.append(value)
        super().__setattr__(key, value)

    def begin(self, job: str = "(unknown)") -> None:
        self.skipped = self.interrupted = self.stopping_generation = self.paused = False
        self.job, self.job_no, self.job_count, self.job_timestamp = job, 0, -1, "20250101000000"
        self.sampling_step = self.sampling_steps = self.current_image_sampling_step = self.id_live_preview = 0
        self.current_latent = self.current_image = self.textinfo = None
        self.time_start, self.processing_has_refined_job_count = time.time(), False

    def end(self) -> None:
        self.job, self.job_count = "", 0

    def skip(self) -> None:
        self.skipped = True

    def interrupt(self) -> None:
        self.interrupted = True

    def stop_generating(self) -> None:
        self.stopping_generation = True

    def nextjob(self) -> None:
        self.job_no += 1
        self.sampling_step = 0
        self.current_image_sampling_step = 0

    def assign_current_image(self, image: Any) -> None:
        image.mode  # noqa: B018  # a PIL image is expected
        self.current_image = image
        self.id_live_preview += 1


class FaceRestoration:
    """The base class that `modules.face_restoration` offers."""

    def name(self) -> str:
        return "None"

    def restore(self, np_image: np.ndarray) -> np.ndarray:
        return np_image


class BuiltInRestorer(FaceRestoration):
    """Stands for the host's own GFPGAN and CodeFormer: adds one to the red channel of the whole picture."""

    def __init__(self, name: str) -> None:
        self._name = name

    def name(self) -> str:
        return self._name

    def restore(self, np_image: np.ndarray) -> np.ndarray:
        changed = np_image.copy()
        changed[..., 0] = np.minimum(changed[..., 0], 254) + 1
        return changed


def restore_faces(host: Any, np_image: np.ndarray) -> np.ndarray:
    """Point 3: the first restorer with the chosen name; no match does nothing; what it raises fails the job."""
    wanted = host.shared.opts.face_restoration_model
    found = [restorer for restorer in host.shared.face_restorers if wanted is None or restorer.name() == wanted]
    if not found:
        return np_image
    result = found[0].restore(np_image)
    if not isinstance(result, np.ndarray) or result.dtype != np.uint8 or result.ndim != 3 or result.shape[2] != 3:
        raise TypeError("FaceRestoration.restore must return a uint8 H×W×3 array")
    return result


def command_line(host: Any) -> Namespace:
    models = host.root / "models"
    return Namespace(
        api_auth=None, use_cpu=[], nowebui=False, api=True, no_half=False, models_dir=None, data_dir=str(host.root),
        gfpgan_models_path=str(models / "GFPGAN"), codeformer_models_path=str(models / "Codeformer"),
        hide_ui_dir_config=False, disable_safe_unpickle=False, device_id=None, freeze_settings=False, share=False,
        always_cpu=False, lowvram=False, medvram=False, facerestore_models_path=None,
    )  # fmt: skip
