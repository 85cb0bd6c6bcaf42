"""`FaceRestorer`: detect → select → align and crop → restore → match → paste, in that order, for many pictures at once.

Faces of all pictures of a call share the network's batches. Everything is chosen lazily and kept: detector, networks
and parser are loaded on first use. Options come in as arguments; no global state is read. Safe to call from threads.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import PIL.Image
import torch
from numpy.typing import NDArray

from .catalogue import BUILT_IN, Store, misfit_message
from .errors import FaceRestoreError, InputError, ModelFileError, OptionError
from .faces.face import Face, FaceReport, number_faces, select_faces
from .images import files as image_files
from .images.files import Picture
from .images.modes import to_eight_bit
from .networks.load import Network
from .networks.shelf import Shelf, choose_device
from .options.per_face import SKIP, Overrides, check_overrides, for_face
from .options.table import SPECS, Options
from .results import Image, Result, as_given, give_back, make_result, notes_on
from .stages import face_job
from .stages.background import Upscaler, enlarge, load_upscaler
from .stages.detection import Detector, create_detector
from .stages.face_job import Job
from .stages.parsing import Parser, create_parser

logger = logging.getLogger(__name__)


class Progress(Protocol):
    """What is told of the way that a call has come."""

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Called before and after each unit of work, from the calling thread.

        Args:
            stage: "detect" (units are pictures), "restore" or "paste" (units are faces).
            done: units that are finished.
            total: units in all.
        """
        ...


class FaceRestorer:
    """Restores faces in pictures.

    Args:
        models: the model folder, or several; None means FACERESTORE_MODELS, else the user's data folder.
        device: where the networks run: "auto" (CUDA or MPS if there is one, else the CPU), or a torch device.
        batch_size: the most faces that go through a network at once.
        detector: path of a RetinaFace file, or any `Detector`, to use in place of what `Options.detector` names.
        precision: "auto", "float32" or "bfloat16"; networks for which bfloat16 is not safe keep float32.
        webui: the models root of a WebUI, whose folders are searched after `models`.

    Raises:
        OptionError: the device, precision or batch size cannot be used.
    """

    def __init__(
        self,
        models: Path | str | Sequence[Path | str] | None = None,
        device: str = "auto",
        batch_size: int = 4,
        detector: Path | str | Detector | None = None,
        precision: str = "auto",
        webui: Path | None = None,
    ) -> None:
        folders = [models] if isinstance(models, (str, Path)) else models
        if batch_size < 1:
            raise OptionError(f"batch_size: {batch_size} is not allowed; give a whole number from 1.")
        self.store = Store([Path(folder) for folder in folders] if folders else None, webui)
        self.device = choose_device(device)
        self.batch_size = batch_size
        self._detector_file = str(detector) if isinstance(detector, (str, Path)) else ""
        self._own_detector = None if isinstance(detector, (str, Path)) else detector
        self._detectors: dict[str, Detector] = {}
        self._shelf = Shelf(self.device, precision)
        self._upscalers: dict[Path, Upscaler] = {}
        self._parser: Parser | None = None
        self._parser_loaded = False
        self._parser_fault = ""
        self._told: set[str] = set()
        self._lock = threading.RLock()

    def detect(self, image: Image, options: Options | None = None) -> list[Face]:
        """The faces of a picture, numbered by `options.order`; boxes and landmarks in pixels of the input.

        Raises:
            InputError: the picture cannot be used.
            ModelFileError: the detector asked for is not installed.
        """
        options = options or Options()
        with self._lock:
            picture = _as_picture(image)
            return as_given(self._detect([picture.pixels], options)[0], image, picture)

    def restore(
        self,
        image: Image,
        options: Options | None = None,
        *,
        overrides: Mapping[Any, Any] | None = None,
        progress: Progress | None = None,
        stop: Callable[[], bool] | None = None,
    ) -> Result:
        """Restore the faces of one picture; see `restore_many`. overrides: the plan of this picture."""
        plans = None if overrides is None else [overrides]
        return self.restore_many([image], options, overrides=plans, progress=progress, stop=stop)[0]

    def restore_many(
        self,
        images: Sequence[Image],
        options: Options | None = None,
        *,
        overrides: Sequence[Mapping[Any, Any]] | None = None,
        progress: Progress | None = None,
        stop: Callable[[], bool] | None = None,
    ) -> list[Result]:
        """Restore the faces of several pictures, which share batches. The inputs are never changed.

        Args:
            images: H×W×3 or H×W×4 uint8 or uint16 RGB(A) arrays, PIL images, or `Picture`s.
            options: the same for all; None means the defaults.
            overrides: for each picture, what is to be done otherwise with the faces of some numbers; see `overrides`.
            progress: told how far the work has come.
            stop: asked between faces; once it says True, the faces that are not restored yet are left alone, with
                that reason, and those that are restored are still pasted.

        Returns:
            A `Result` each, in order. Pixels outside of the paste masks are bit-identical to the input.

        Raises:
            InputError: a picture cannot be used, or there are more or fewer overrides than pictures.
            OptionError: an override is not allowed.
            ModelFileError: a model or upscaler asked for is missing or damaged.
        """
        options = options or Options()
        pictures = [_as_picture(image) for image in images]
        plans = _plans(overrides, len(pictures))
        watch = _Watch(progress, stop)
        with self._lock:
            if self._parser is None:
                self._parser_loaded = False  # a good one may have been put there since the last call
            model, network = self._network(options.model)
            networks = {options.model: (model, network)}
            for plan in plans:
                for changes in plan.values():
                    wanted = str(changes.get("model", options.model))
                    if wanted not in networks:
                        networks[wanted] = self._network(wanted)
            upscaler = self._upscaler(options)
            watch("detect", 0, len(pictures))
            started = time.perf_counter()
            found = [] if watch.stopped else self._detect([picture.pixels for picture in pictures], options)
            unseen = watch.stopped and not found
            found = found or [[] for _ in pictures]
            detecting = (time.perf_counter() - started) / max(len(pictures), 1)
            watch("detect", len(pictures), len(pictures))
            reports: list[dict[int, FaceReport]] = [{} for _ in pictures]
            jobs: list[Job] = []
            for index, (picture, faces) in enumerate(zip(pictures, found, strict=True)):
                for face, reason in select_faces(faces, options):
                    changes = plans[index].get(face.number, {})
                    own = for_face(options, changes)
                    name, runs = networks[own.model]
                    reason = reason or _left_alone(face, own, bool(changes.get(SKIP)))
                    if reason:
                        reports[index][face.number] = FaceReport.of(face, name, False, reason)
                    else:
                        jobs.append(face_job.cut(index, face, name, own, picture.pixels, runs.size, runs.template))
            unfinished = self._run(dict(networks.values()), jobs, watch)
            canvases = [enlarge(picture.pixels, options.upscale, upscaler) for picture in pictures]
            self._paste(jobs, canvases, options.upscale, watch)
        for job in jobs:
            reports[job.picture][job.face.number] = job.report
        results = []
        for index, image in enumerate(images):
            remarks = list(reports[index].values())
            output = give_back(image, pictures[index], canvases[index], remarks, options)
            notes = notes_on(found[index], plans[index], options, unseen or index in unfinished)
            if output is not image and isinstance(image, Picture):
                notes += image.losses
            hints = self._hints(model, network, options) if remarks else ()
            remarks = as_given(remarks, image, pictures[index])
            results.append(make_result(output, remarks, model, notes, detecting, hints))
        return results

    def check(self, options: Options) -> None:
        """Load what `options` asks for, so that what is missing is found before any picture is touched.

        Raises:
            ModelFileError: the model, the detector or the upscaler is missing or damaged.
        """
        with self._lock:
            self._network(options.model)
            self._detector(options)
            self._upscaler(options)

    def unload(self) -> None:
        """Free the device: restorers wait in the computer's own memory, small networks are read again when needed."""
        with self._lock:
            self._detectors.clear()
            self._upscalers.clear()
            self._parser, self._parser_loaded = None, False
            self._shelf.park()

    def _detector(self, options: Options) -> Detector:
        if self._own_detector is not None:
            return self._own_detector
        name = self._detector_file or options.detector
        if name not in self._detectors:
            with torch.inference_mode(False):  # what is built inside a host's inference mode could never be moved
                self._detectors[name] = create_detector(name, self.store.folders, self.device)
        return self._detectors[name]

    def _detect(self, pixels: Sequence[NDArray[Any]], options: Options) -> list[list[Face]]:
        eight_bit = [to_eight_bit(array) for array in pixels]
        found = self._detector(options).detect(eight_bit, options.confidence)
        return [number_faces(faces, options.order) for faces in found]

    def _network(self, model: str) -> tuple[str, Network]:
        """The model's id and its network; `auto` takes the best installed one that loads."""
        if model != "auto":
            return model, self._shelf.network(self.store.find(model))
        for name, misfit in self.store.misfits().items():
            self._warn(f"auto passes over {name}: {misfit_message(misfit)}")
        for name, path in self.store.installed().items():
            try:
                return name, self._shelf.network(path)
            except ModelFileError as error:
                if name == BUILT_IN:
                    raise
                self._warn(f"auto passes over {name}: {error}")
        raise ModelFileError("no restorer is installed; install lib_facerestore again, it ships one.")

    def _upscaler(self, options: Options) -> Upscaler | None:
        """What enlarges the background; None where nothing does: upscale 1 leaves every pixel alone."""
        if options.upscaler == "none":
            return None
        path = self.store.find(options.upscaler, "upscaler")  # a misspelt name is told even where it would not be used
        if options.upscale == 1:
            return None
        if path not in self._upscalers:
            with torch.inference_mode(False):
                self._upscalers[path] = load_upscaler(path, self.device)
        return self._upscalers[path]

    def _parse(self, jobs: Sequence[Job]) -> list[NDArray[np.uint8] | None]:
        """The parsing classes of the restored crops that need them, None for the others."""
        labels: list[NDArray[np.uint8] | None] = [None] * len(jobs)
        wanted = [i for i, job in enumerate(jobs) if job.options.mask == "parsing" or job.options.keep_parts]
        if not wanted:
            return labels
        if not self._parser_loaded:
            self._load_parser()
        if self._parser is not None:
            crops = [crop for i in wanted if (crop := jobs[i].restored) is not None]
            for i, found in zip(wanted, self._parser.masks(crops), strict=True):
                labels[i] = found
        return labels

    def _load_parser(self) -> None:
        """The best parser there is. One that cannot be used is not worth the restored faces: ellipses serve, as they do
        without a parser, and the results say so."""
        self._parser, self._parser_loaded, self._parser_fault = None, True, ""
        try:
            with torch.inference_mode(False):
                self._parser = create_parser(self.store.scan(), self.device)
        except FaceRestoreError as error:
            self._parser_fault = f"masks are ellipses, since the parsing model cannot be used: {error}"
            self._warn(self._parser_fault)

    def _warn(self, message: str) -> None:
        """Log a warning, once: what is wrong with a file would otherwise be said again for each picture."""
        if message not in self._told:
            self._told.add(message)
            logger.warning("%s", message)

    def _hints(self, model: str, network: Network, options: Options) -> tuple[str, ...]:
        """Options that could have no effect, or not their usual one."""
        found = []
        if options.fidelity != SPECS["fidelity"].default and "fidelity" not in network.knobs:
            found.append(f"fidelity {options.fidelity:g} has no effect: {model} has no such knob")
        if self._parser_fault and (options.mask == "parsing" or options.keep_parts):
            found.append(self._parser_fault)
        elif "hair" in options.keep_parts and self._parser_loaded and self._parser is None:
            found.append("keep hair has no effect without a parsing model (`facerestore models download bisenet`)")
        return tuple(found)

    def _run(self, networks: Mapping[str, Network], jobs: list[Job], watch: _Watch) -> set[int]:
        """Put every job's crop through its network, at most `batch_size` at a time; the pictures that a stop left."""
        unfinished: set[int] = set()
        groups: dict[tuple[str, float | None], list[Job]] = {}
        for job in jobs:
            fidelity = job.options.fidelity if "fidelity" in networks[job.model].knobs else None
            groups.setdefault((job.model, fidelity), []).append(job)
        done = 0
        for (model, fidelity), group in groups.items():
            for start in range(0, len(group), self.batch_size):
                batch = group[start : start + self.batch_size]
                watch("restore", done, len(jobs))
                if watch.stopped:
                    for job in batch:
                        job.reason = f"face {job.face.number}: skipped, stopped"
                        unfinished.add(job.picture)
                    continue
                _restore(networks[model], batch, fidelity)
                done += len(batch)
        watch("restore", done, len(jobs))
        return unfinished

    def _paste(self, jobs: list[Job], canvases: Sequence[NDArray[Any]], upscale: float, watch: _Watch) -> None:
        ready = [job for job in jobs if job.restored is not None]
        for start in range(0, len(ready), self.batch_size):
            watch("paste", start, len(ready))
            batch = ready[start : start + self.batch_size]
            started = time.perf_counter()
            parsed = self._parse(batch)
            parsing = (time.perf_counter() - started) / len(batch)
            for job, labels in zip(batch, parsed, strict=True):
                job.timings["parse"] = parsing
                face_job.paste(job, labels, canvases[job.picture], upscale)
        watch("paste", len(ready), len(ready))


class _Watch:
    """Tells how far a call has come, and remembers that it was asked to stop."""

    def __init__(self, progress: Progress | None, stop: Callable[[], bool] | None) -> None:
        self._progress, self._stop = progress, stop
        self._stopped = False

    def __call__(self, stage: str, done: int, total: int) -> None:
        if self._progress is not None:
            self._progress(stage, done, total)

    @property
    def stopped(self) -> bool:
        self._stopped = self._stopped or (self._stop is not None and self._stop())
        return self._stopped


def _plans(overrides: Sequence[Mapping[Any, Any]] | None, pictures: int) -> list[Overrides]:
    if overrides is None:
        return [{} for _ in range(pictures)]
    if len(overrides) != pictures:
        raise InputError(f"overrides: {len(overrides)} for {pictures} pictures; give one for each, {{}} for none.")
    return [check_overrides(plan) for plan in overrides]


def _left_alone(face: Face, options: Options, skip: bool) -> str:
    """Why a face that was selected is still not restored, or ""."""
    if skip:
        return f"face {face.number}: skipped, as its override says"
    return f"face {face.number}: skipped, visibility is 0" if options.visibility == 0 else ""


def _restore(network: Network, batch: Sequence[Job], fidelity: float | None) -> None:
    """Put the crops of the jobs through the network at once."""
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


def _as_picture(image: Image) -> Picture:
    if isinstance(image, Picture):
        return image
    if isinstance(image, PIL.Image.Image):
        return image_files.from_pil(image)  # upright, for no detector finds a face that lies; give_back turns it back
    if isinstance(image, np.ndarray):
        return image_files.from_array(image)
    raise InputError(f"picture: a {type(image).__name__} cannot be used; give a NumPy array, a PIL image or a Picture.")


__all__ = ["FaceRestoreError", "FaceRestorer", "Image", "Progress", "Result"]
