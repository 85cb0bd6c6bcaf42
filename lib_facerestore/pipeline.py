"""`FaceRestorer`: detect → select → align and crop → restore → match → paste, in that order, for many pictures at once.

Faces of all pictures of a call share the network's batches. Everything is chosen lazily and kept: detector, networks
and parser are loaded on first use. Options come in as arguments; no global state is read. Safe to call from threads.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import PIL.Image
import torch
from numpy.typing import NDArray

from . import alignment, blending, imageio
from .background import Upscaler, enlarge, load_upscaler
from .catalogue import BUILT_IN, Store
from .checkpoints import Network, load_network
from .detection import Detector, create_detector
from .errors import FaceRestoreError, InputError, ModelFileError, OptionError
from .faces import Face, FaceReport, missing_numbers, number_faces, select_faces
from .imageio import Picture
from .options import Options
from .parsing import Parser, create_parser

logger = logging.getLogger(__name__)

Image: TypeAlias = "NDArray[np.uint8] | NDArray[np.uint16] | PIL.Image.Image | Picture"
TEMPLATES: dict[str, Callable[[int], NDArray[np.float64]]] = {
    "ffhq": alignment.ffhq_template,
    "gpen": alignment.gpen_template,
    "arcface": alignment.arcface_template,
}


@dataclass(frozen=True)
class Result:
    """What `restore` gives back.

    Attributes:
        image: same type, mode, size and depth as the input (larger if `upscale` is above 1).
        faces: a report on every face found, in the order of their numbers.
        model: id of the model that was asked for, or chosen by auto.
        notes: remarks on the whole picture, e.g. that no face was found.
        timings: seconds by stage; the network's time is shared evenly among the faces of a batch.
    """

    image: Any
    faces: list[FaceReport]
    model: str
    notes: tuple[str, ...]
    timings: dict[str, float]

    @property
    def changed(self) -> bool:
        """Whether any face was restored."""
        return any(report.applied for report in self.faces)


@dataclass
class _Job:
    """One face that is to be restored, from its crop to its paste."""

    picture: int
    face: Face
    matrix: NDArray[np.float64]
    crop: NDArray[np.float32]
    timings: dict[str, float]
    restored: NDArray[np.float32] | None = None
    reason: str = ""
    applied: bool = False


class FaceRestorer:
    """Restores faces in pictures.

    Args:
        models: the model folder, or several; None means FACERESTORE_MODELS, else the user's data folder.
        device: where the networks run: "auto" (CUDA or MPS if there is one, else the CPU), or a torch device.
        batch_size: the most faces that go through a network at once.
        detector: path of a RetinaFace file, or any `Detector`, to use in place of what `Options.detector` names.

    Raises:
        OptionError: the device or batch size cannot be used.
    """

    def __init__(
        self,
        models: Path | str | Sequence[Path | str] | None = None,
        device: str = "auto",
        batch_size: int = 4,
        detector: Path | str | Detector | None = None,
    ) -> None:
        folders = [models] if isinstance(models, (str, Path)) else models
        if batch_size < 1:
            raise OptionError(f"batch_size: {batch_size} is not allowed; give a whole number from 1.")
        self.store = Store([Path(folder) for folder in folders] if folders else None)
        self.device = choose_device(device)
        self.batch_size = batch_size
        self._detector_file = str(detector) if isinstance(detector, (str, Path)) else ""
        self._own_detector = None if isinstance(detector, (str, Path)) else detector
        self._detectors: dict[str, Detector] = {}
        self._networks: dict[Path, Network] = {}
        self._upscalers: dict[Path, Upscaler] = {}
        self._parser: Parser | None = None
        self._parser_loaded = False
        self._lock = threading.RLock()

    def detect(self, image: Image, options: Options | None = None) -> list[Face]:
        """The faces of a picture, numbered by `options.order`; boxes and landmarks in pixels of the input.

        Raises:
            InputError: the picture cannot be used.
            ModelFileError: the detector asked for is not installed.
        """
        options = options or Options()
        with self._lock:
            return self._detect([_as_picture(image).pixels], options)[0]

    def restore(self, image: Image, options: Options | None = None) -> Result:
        """Restore the faces of one picture; see `restore_many`."""
        return self.restore_many([image], options)[0]

    def restore_many(self, images: Sequence[Image], options: Options | None = None) -> list[Result]:
        """Restore the faces of several pictures, which share batches. The inputs are never changed.

        Args:
            images: H×W×3 or H×W×4 uint8 or uint16 RGB(A) arrays, PIL images, or `Picture`s.
            options: the same for all; None means the defaults.

        Returns:
            A `Result` each, in order. Pixels outside of the paste masks are bit-identical to the input.

        Raises:
            InputError: a picture cannot be used.
            ModelFileError: a model or upscaler asked for is missing or damaged.
        """
        options = options or Options()
        pictures = [_as_picture(image) for image in images]
        with self._lock:
            model, network = self._network(options.model)
            upscaler = self._upscaler(options)
            started = time.perf_counter()
            found = self._detect([picture.pixels for picture in pictures], options)
            detecting = (time.perf_counter() - started) / max(len(pictures), 1)
            reports: list[dict[int, FaceReport]] = [{} for _ in pictures]
            jobs: list[_Job] = []
            for index, (picture, faces) in enumerate(zip(pictures, found, strict=True)):
                for face, reason in select_faces(faces, options):
                    if not reason and options.visibility == 0:
                        reason = f"face {face.number}: skipped, visibility is 0"
                    if reason:
                        reports[index][face.number] = FaceReport.of(face, model, False, reason)
                    else:
                        jobs.append(_cut(index, face, picture.pixels, network))
            self._run(network, jobs, options)
            canvases = [enlarge(picture.pixels, options.upscale, upscaler) for picture in pictures]
            self._paste(jobs, canvases, options)
        for job in jobs:
            remark = FaceReport.of(job.face, model, job.applied, job.reason, job.timings)
            reports[job.picture][job.face.number] = remark
        return [
            _result(image, picture, canvas, list(report.values()), faces, model, options, detecting)
            for image, picture, canvas, report, faces in zip(images, pictures, canvases, reports, found, strict=True)
        ]

    def check(self, options: Options) -> None:
        """Load what `options` asks for, so that what is missing is found before any picture is touched.

        Raises:
            ModelFileError: the model, the detector or the upscaler is missing or damaged.
        """
        with self._lock:
            self._network(options.model)
            self._detector(options)
            self._upscaler(options)

    def _detector(self, options: Options) -> Detector:
        if self._own_detector is not None:
            return self._own_detector
        name = self._detector_file or options.detector
        if name not in self._detectors:
            self._detectors[name] = create_detector(name, self.store.subfolders(), self.device)
        return self._detectors[name]

    def _detect(self, pixels: Sequence[NDArray[Any]], options: Options) -> list[list[Face]]:
        eight_bit = [p if p.dtype == np.uint8 else np.rint(p / np.float32(257)).astype(np.uint8) for p in pixels]
        found = self._detector(options).detect(eight_bit, options.confidence)
        return [number_faces(faces, options.order) for faces in found]

    def _network(self, model: str) -> tuple[str, Network]:
        """The model's id and its network; `auto` takes the best installed one that loads."""
        if model != "auto":
            return model, self._load(self.store.find(model))
        for name, path in self.store.installed().items():
            try:
                return name, self._load(path)
            except ModelFileError as error:
                if name == BUILT_IN:
                    raise
                logger.warning("auto passes over %s: %s", name, error)
        raise ModelFileError("no restorer is installed; install lib_facerestore again, it ships one.")

    def _upscaler(self, options: Options) -> Upscaler | None:
        """What enlarges the background; None where nothing does: upscale 1 leaves every pixel alone."""
        if options.upscaler == "none":
            return None
        path = self.store.find(options.upscaler, "upscaler")  # a misspelt name is told even where it would not be used
        if options.upscale == 1:
            return None
        if path not in self._upscalers:
            self._upscalers[path] = load_upscaler(path, self.device)
        return self._upscalers[path]

    def _load(self, path: Path) -> Network:
        if path not in self._networks:
            self._networks[path] = load_network(path, self.device)
        return self._networks[path]

    def _parse(self, crops: Sequence[NDArray[np.float32]], options: Options) -> Sequence[NDArray[np.uint8] | None]:
        if options.mask != "parsing" and not options.keep_parts:
            return [None] * len(crops)
        if not self._parser_loaded:
            self._parser = create_parser(self.store.subfolders(), self.device)
            self._parser_loaded = True
        return self._parser.masks(crops) if self._parser else [None] * len(crops)

    def _run(self, network: Network, jobs: list[_Job], options: Options) -> None:
        """Put every job's crop through the network, `batch_size` at a time."""
        fidelity = options.fidelity if "fidelity" in network.knobs else None
        for start in range(0, len(jobs), self.batch_size):
            batch = jobs[start : start + self.batch_size]
            started = time.perf_counter()
            crops = torch.from_numpy(np.stack([job.crop for job in batch])).permute(0, 3, 1, 2) * 2 - 1
            output = ((network(crops, fidelity=fidelity).clamp(-1, 1) + 1) / 2).permute(0, 2, 3, 1).cpu().numpy()
            seconds = (time.perf_counter() - started) / len(batch)
            for job, restored in zip(batch, output, strict=True):
                job.timings["restore"] = seconds
                if np.isfinite(restored).all():
                    job.restored = np.ascontiguousarray(restored)
                else:
                    job.reason = f"face {job.face.number}: left alone, the network gave values that are not numbers"

    def _paste(self, jobs: list[_Job], canvases: Sequence[NDArray[Any]], options: Options) -> None:
        ready = [job for job in jobs if job.restored is not None]
        for start in range(0, len(ready), self.batch_size):
            batch = ready[start : start + self.batch_size]
            started = time.perf_counter()
            parsed = self._parse([job.restored for job in batch if job.restored is not None], options)
            parsing = (time.perf_counter() - started) / len(batch)
            for job, labels in zip(batch, parsed, strict=True):
                job.timings["parse"] = parsing
                self._paste_one(job, labels, canvases[job.picture], options)

    @staticmethod
    def _paste_one(
        job: _Job, labels: NDArray[np.uint8] | None, canvas: NDArray[Any], options: Options
    ) -> None:
        started = time.perf_counter()
        assert job.restored is not None
        size = job.crop.shape[0]
        landmarks = alignment.apply_affine(job.matrix, job.face.landmarks)
        arguments = (labels, options.mask, options.mask_feather, options.keep_parts)
        try:
            mask = blending.build_mask(size, landmarks, *arguments)
        except InputError:  # landmarks that coincide: the crop followed the box, where the template is the best guess
            mask = blending.build_mask(size, alignment.ffhq_template(size), *arguments)
        restored = job.restored
        if options.color == "match":
            restored = blending.match_color(restored, job.crop, mask)
        matrix = alignment.compose(job.matrix, _shrink(options.upscale))
        shares = (options.visibility, options.detail, options.grain)
        box = blending.paste(canvas, restored, job.crop, mask, matrix, *shares)
        job.applied = box[2] > box[0]
        if not job.applied:
            job.reason = f"face {job.face.number}: left alone, no pixel of it lies in the picture or outside of keep"
        job.timings["paste"] = time.perf_counter() - started


def choose_device(name: str) -> torch.device:
    """The torch device that `name` stands for; "auto" takes CUDA, else MPS, else the CPU. Raises OptionError."""
    if name == "auto":
        mps = getattr(torch.backends, "mps", None)
        name = "cuda" if torch.cuda.is_available() else "mps" if mps is not None and mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise OptionError(f"device: {name!r} cannot be used here ({reason}); give auto or cpu.") from error
    return device


def _as_picture(image: Image) -> Picture:
    if isinstance(image, Picture):
        return image
    if isinstance(image, PIL.Image.Image):
        return imageio.from_pil(image, upright=False)  # the caller expects the size and orientation it gave
    if isinstance(image, np.ndarray):
        return imageio.from_array(image)
    raise InputError(f"picture: a {type(image).__name__} cannot be used; give a NumPy array, a PIL image or a Picture.")


def _cut(index: int, face: Face, pixels: NDArray[Any], network: Network) -> _Job:
    started = time.perf_counter()
    matrix = alignment.face_transform(face, network.size, TEMPLATES[network.template](network.size))
    crop = alignment.crop_face(pixels, matrix, network.size)
    return _Job(index, face, matrix, crop, {"align": time.perf_counter() - started})


def _shrink(factor: float) -> NDArray[np.float64]:
    """From the enlarged picture's pixels to the input's (pixel centres are whole numbers)."""
    return np.array([[1 / factor, 0, 0.5 / factor - 0.5], [0, 1 / factor, 0.5 / factor - 0.5]], np.float64)


def _result(
    image: Image,
    picture: Picture,
    canvas: NDArray[Any],
    reports: list[FaceReport],
    faces: list[Face],
    model: str,
    options: Options,
    detecting: float,
) -> Result:
    reports.sort(key=lambda report: report.number)
    notes = [f"there is no face {number}" for number in missing_numbers(faces, options)]
    if not faces:
        notes.append("no face was found")
    timings = {"detect": detecting}
    for report in reports:
        for stage, seconds in report.timings.items():
            timings[stage] = timings.get(stage, 0.0) + seconds
    output: Any
    if not any(report.applied for report in reports) and options.upscale == 1:
        output = image if isinstance(image, Picture) else image.copy()
    else:
        changed = imageio.replace_pixels(picture, canvas)
        if isinstance(image, Picture):
            output = changed
        elif isinstance(image, PIL.Image.Image):
            output = imageio.to_pil(changed)
        else:
            output = imageio.to_array(changed)
    return Result(output, reports, model, tuple(notes), timings)


__all__ = ["FaceRestoreError", "FaceRestorer", "Image", "Result", "choose_device"]
