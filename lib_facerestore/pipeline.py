"""`FaceRestorer`: detects, selects, crops, restores, enlarges and pastes the faces of many pictures at once.

Faces of all pictures in a call share the network's batches. Detector, networks and parser are loaded on first use and
kept. Options are arguments; no global state is read. Methods may be called from several threads.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
import torch
from numpy.typing import NDArray

from .catalogue import Inventory, Store
from .errors import FaceRestoreError, OptionError
from .faces.face import Face, number_faces
from .images.files import Picture
from .images.modes import to_eight_bit
from .networks.failures import NOT_NUMBERS, why
from .networks.load import Network
from .networks.shelf import choose_device
from .options.per_face import Overrides, OverridesLike, check_plans
from .options.table import Options
from .results import (
    Found,
    Image,
    ImageT,
    Result,
    add_timings,
    as_given,
    as_picture,
    failures_on,
    give_back,
    hints_on,
    notes_on,
)
from .stages import face_job
from .stages.detection import Detector, reach
from .stages.detection.stopping import StoppableDetector
from .stages.face_job import FaceJob
from .stages.loaded_models import ChosenRestorer, LoadedModels
from .stages.parsing import Parser
from .stages.picture_work import Caller, PictureWork, Progress, cut_faces, enlarge_pictures
from .wording import shown

logger = logging.getLogger(__name__)

LeaveAlone: TypeAlias = Callable[[int, Face], str]
"""Function of a picture's index and a face in pixels of the input; returns why the face is left alone, or ""."""

DETECT_TOGETHER = 4
"""Pictures in one call of the detector; `stop` is called between the calls."""


class FaceRestorer:
    """Restores faces in pictures.

    Args:
        models: the model folder or folders; None means FACERESTORE_MODELS, else the user's data folder.
        device: device that the networks run on: "auto" (CUDA or MPS if available, else the CPU), or a torch device.
        batch_size: most faces in one call of a network.
        detector: path of a RetinaFace file, or any `Detector`, used in place of the one that `Options.detector` names.
        precision: "auto", "float32" or "bfloat16"; networks that do not allow bfloat16 run in float32.
        webui: models folder of a WebUI; its sub-folders are searched after `models`.
        paths: whether `Options.model` and `Options.upscaler` may be the path of any file; otherwise an id or the name
            of a file in the model folders.

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
        *,
        paths: bool = True,
    ) -> None:
        folders = [models] if isinstance(models, (str, Path)) else models
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise OptionError(f"batch_size: {shown(batch_size)} is not allowed; give a whole number from 1.")
        self.store = Store(
            [Path(folder) for folder in folders] if folders else None, webui, paths=paths, required=False
        )
        self.device = choose_device(device)
        self.batch_size = batch_size
        self.loaded = LoadedModels(self.device, precision, detector)
        self._lock = threading.RLock()

    def detect(
        self, image: Image, options: Options | None = None, *, stop: Callable[[], bool] | None = None
    ) -> list[Face]:
        """Find the faces of a picture; see `search`.

        Returns:
            The faces, numbered by `options.order`, with boxes and landmarks in pixels of the input.
        """
        return self.search(image, options, stop=stop).faces

    def search(
        self,
        image: Image,
        options: Options | None = None,
        *,
        stop: Callable[[], bool] | None = None,
        reduced: float = 1.0,
    ) -> Found:
        """Find the faces of a picture, and say which may have been missed.

        Args:
            image: H×W×3 or H×W×4 uint8 or uint16 RGB(A) array, PIL image, or `Picture`.
            options: None means the defaults.
            stop: called between the parts of the picture that the detector looks at, where it allows that. Once it
                returns true, no face is returned.
            reduced: how many times larger the picture was before the caller reduced it; `Found.missed` is on that one.

        Raises:
            InputError: the picture cannot be used.
            ModelFileError: the detector is not installed, or its file is damaged.
        """
        options = _checked(options)
        with self._lock:
            picture = as_picture(image)
            detector = self.loaded.detector(options, self.store.scan())
            found = _faces_of([picture], detector, options, stop or (lambda: False))
            if not found:
                return Found([])
            missed = reach.remark(detector, picture.pixels, found[0], reduced)
            return Found(as_given(found[0], image, picture), missed)

    def restore(
        self,
        image: ImageT,
        options: Options | None = None,
        *,
        overrides: OverridesLike | None = None,
        progress: Progress | None = None,
        stop: Callable[[], bool] | None = None,
    ) -> Result[ImageT]:
        """Restore the faces of one picture; see `restore_many`. `overrides` are those of this picture."""
        plans = None if overrides is None else [overrides]
        return self.restore_many([image], options, overrides=plans, progress=progress, stop=stop)[0]

    def restore_many(
        self,
        images: Sequence[ImageT],
        options: Options | None = None,
        *,
        overrides: Sequence[OverridesLike] | None = None,
        progress: Progress | None = None,
        stop: Callable[[], bool] | None = None,
        leave_alone: LeaveAlone | None = None,
    ) -> list[Result[ImageT]]:
        """Restore the faces of several pictures, which share batches. The inputs are never changed.

        Args:
            images: H×W×3 or H×W×4 uint8 or uint16 RGB(A) arrays, PIL images, or `Picture`s.
            options: options of all pictures; None means the defaults.
            overrides: for each picture, options of single faces by number; see `options.per_face`.
            progress: called during the work; see `Progress`.
            stop: called between the batches of each network and the tiles of an upscaler. Once it returns true,
                faces that are not restored yet are left alone, with that reason. Restored faces are still pasted,
                but a picture that the upscaler has not finished is returned unchanged.
            leave_alone: called for every face; returns why it must not be changed, or "".

        Returns:
            A `Result` for each picture, in order. Pixels outside the paste masks are bit-identical to the input.

        Raises:
            InputError: a picture cannot be used, or the number of overrides is not that of the pictures.
            OptionError: the options are not `Options`, or an override is not allowed.
            ModelFileError: a model, detector or upscaler is missing or damaged.
            FaceRestoreError: the detector or the upscaler failed. A restorer that fails costs its faces only: they are
                left alone, and `Result.failures` says why.
        """
        options = _checked(options)
        plans = check_plans(overrides, len(images))
        works = [PictureWork(as_picture(image), plan) for image, plan in zip(images, plans, strict=True)]
        caller = Caller(progress, stop)
        with self._lock:
            there = self.store.scan()
            restorers = self._choose(options, plans, there)
            upscaler = self.loaded.upscaler(options, there)
            self._detect(works, options, there, caller)
            jobs = cut_faces(works, options, restorers, _reasons_of(leave_alone, images, works))
            self._restore(works, jobs, caller)
            enlarge_pictures(works, jobs, options.upscale, upscaler, caller)
            self._paste(works, jobs, there, caller)
        model = restorers[options.model].id
        outputs = []
        for index, (image, work) in enumerate(zip(images, works, strict=True)):
            own = [job for job in jobs if job.picture == index]
            hints = hints_on(own, options, work.missed)
            outputs.append(replace(_result(image, work, own, options, model, hints), failures=failures_on(own)))
        return cast("list[Result[ImageT]]", outputs)

    def check(self, options: Options) -> None:
        """Load the model, detector and upscaler of `options`, so that errors are found before the work begins.

        Raises:
            ModelFileError: the model, the detector or the upscaler is missing or damaged.
        """
        with self._lock:
            there = self.store.scan()
            self.loaded.restorer(_checked(options).model, there)
            self.loaded.detector(options, there)
            self.loaded.upscaler(options, there)

    def unload(self) -> None:
        """Free the device: restorers move to the computer's memory, other networks are loaded again when needed."""
        with self._lock:
            self.loaded.unload()

    def _choose(self, options: Options, plans: Sequence[Overrides], there: Inventory) -> dict[str, ChosenRestorer]:
        """The restorers of the call by the values of `Options.model`. All are loaded, so that errors come first."""
        changes = [change for plan in plans for change in plan.values()]
        names = dict.fromkeys([options.model, *(str(change.get("model", options.model)) for change in changes)])
        return {name: self.loaded.restorer(name, there) for name in names}

    def _detect(self, works: Sequence[PictureWork], options: Options, there: Inventory, caller: Caller) -> None:
        """Find the faces, `DETECT_TOGETHER` pictures at a time."""
        caller.report("detect", 0, len(works))
        for start in range(0, len(works), DETECT_TOGETHER):
            if caller.stopped():
                return
            started = time.perf_counter()
            group = works[start : start + DETECT_TOGETHER]
            detector = self.loaded.detector(options, there)
            found = _faces_of([work.picture for work in group], detector, options, caller.stopped)
            if not found:
                return
            seconds = (time.perf_counter() - started) / len(group)
            for work, faces in zip(group, found, strict=True):
                work.faces, work.detecting = faces, seconds
                work.missed = reach.remark(detector, work.picture.pixels, faces)
            caller.report("detect", start + len(group), len(works))

    def _restore(self, works: Sequence[PictureWork], jobs: Sequence[FaceJob], caller: Caller) -> None:
        """Restore the crops of all jobs, at most `batch_size` at a time."""
        groups: dict[tuple[ChosenRestorer, int, float | None], list[FaceJob]] = {}
        for job in jobs:
            groups.setdefault((job.restorer, len(job.crop), job.fidelity), []).append(job)
        done = 0
        for (restorer, _, fidelity), group in groups.items():
            for start in range(0, len(group), self.batch_size):
                batch = group[start : start + self.batch_size]
                caller.report("restore", done, len(jobs))
                if caller.stopped():
                    for job in batch:
                        job.stop()
                        works[job.picture].stopped = True
                    continue
                self._run(restorer, batch, fidelity)
                done += len(batch)
        caller.report("restore", done, len(jobs))

    def _run(self, restorer: ChosenRestorer, batch: Sequence[FaceJob], fidelity: float | None) -> None:
        """Restore the crops of the jobs together; if that fails, one by one. Faces that fail alone are left alone."""
        try:
            _restore(self.loaded.network(restorer), batch, fidelity)
            return
        except Exception as error:  # a network may raise anything, and its file may have been replaced
            reason = why(error)
            logger.warning("%s failed on %d face(s): %s", restorer.id, len(batch), reason)
            logger.debug("%s failed", restorer.id, exc_info=True)
        self.loaded.free_cache()  # after the error is gone, which holds on to what the network was computing
        for job in batch:
            if len(batch) == 1:
                job.fail(reason)
            else:
                self._run(restorer, [job], fidelity)

    def _paste(self, works: Sequence[PictureWork], jobs: Sequence[FaceJob], there: Inventory, caller: Caller) -> None:
        """Blend the restored faces into the canvases. Each job is told why the best parser was not used for it."""
        ready = [job for job in jobs if job.restored is not None]
        parser: Parser | None = None
        fault = ""
        if any(job.wants_parsing for job in ready):
            parser, fault = self.loaded.parser(there)
        for job in jobs:
            job.parser_fault = fault
        caller.report("mask", 0, len(ready))
        for start in range(0, len(ready), self.batch_size):
            batch = ready[start : start + self.batch_size]
            started = time.perf_counter()
            try:
                parsed = _parse(batch, parser)
            except Exception as error:  # as in `_run`
                fault = f"masks are ellipses, because the parser {getattr(parser, 'name', '')} failed ({why(error)})"
                logger.warning("%s", fault)
                parser, parsed = None, [None] * len(batch)
            parsing = (time.perf_counter() - started) / len(batch)
            for done, (job, labels) in enumerate(zip(batch, parsed, strict=True), start + 1):
                job.parser_fault = fault
                job.timings["parse"] = parsing
                covers_known = parser is not None and parser.knows_covers
                face_job.prepare(job, labels, *_canvas(works[job.picture]), covers_known)
                caller.report("mask", done, len(ready))
        done = 0
        caller.report("paste", 0, len(ready))
        for index in dict.fromkeys(job.picture for job in ready):
            canvas = _canvas(works[index])
            for group in face_job.touching([job for job in ready if job.picture == index], *canvas):
                face_job.paste(group, *canvas)
                done += len(group)
                caller.report("paste", done, len(ready))


def _checked(options: object) -> Options:
    """The options of a call, None for the defaults. Raises OptionError if they are something else, such as a dict."""
    if options is None:
        return Options()
    if not isinstance(options, Options):
        raise OptionError(
            f"options: {shown(options)} is not allowed; give Options(visibility=0.8), or Options.from_mapping(…) for a "
            "dict."
        )
    return options


def _reasons_of(
    leave_alone: LeaveAlone | None, images: Sequence[Image], works: Sequence[PictureWork]
) -> list[dict[int, str]]:
    """For each picture, why the caller wants faces to be left alone, by their numbers."""
    found: list[dict[int, str]] = [{} for _ in works]
    if leave_alone is not None:
        for index, (image, work) in enumerate(zip(images, works, strict=True)):
            for face in as_given(work.faces or [], image, work.picture):
                if reason := leave_alone(index, face):
                    found[index][face.number] = reason
    return found


def _faces_of(
    pictures: Sequence[Picture], detector: Detector, options: Options, stop: Callable[[], bool] = lambda: False
) -> list[list[Face]]:
    """The numbered faces of the pictures; none of any if `stop`, which the detector calls if it can, returned true.

    Raises:
        FaceRestoreError: the detector fails, whatever it raises.
    """
    pixels = [to_eight_bit(picture.pixels) for picture in pictures]
    try:
        if isinstance(detector, StoppableDetector):
            found = detector.detect_until(pixels, options.confidence, stop) or []
        else:
            found = detector.detect(pixels, options.confidence)
    except FaceRestoreError:
        raise
    except Exception as error:
        raise FaceRestoreError(f"the detector {detector.name} failed ({why(error)}); choose another.") from error
    return [number_faces(faces, options.order) for faces in found]


def _restore(network: Network, batch: Sequence[FaceJob], fidelity: float | None) -> None:
    """Restore the crops of the jobs in one call of the network."""
    started = time.perf_counter()
    crops = torch.from_numpy(np.stack([job.crop for job in batch])).permute(0, 3, 1, 2) * 2 - 1
    output = ((network(crops, fidelity=fidelity).clamp(-1, 1) + 1) / 2).permute(0, 2, 3, 1).cpu().numpy()
    seconds = (time.perf_counter() - started) / len(batch)
    for job, restored in zip(batch, output, strict=True):
        job.timings["restore"] = seconds
        if np.isfinite(restored).all():
            job.restored = np.ascontiguousarray(restored)
        else:
            job.fail(NOT_NUMBERS)


def _canvas(work: PictureWork) -> tuple[NDArray[Any], tuple[int, int]]:
    """The pixels of the result, and the picture's width and height before it was enlarged."""
    assert work.canvas is not None
    return work.canvas, (work.picture.width, work.picture.height)


def _parse(jobs: Sequence[FaceJob], parser: Parser | None) -> list[NDArray[np.uint8] | None]:
    """The parsing classes of the restored crops, None for those that do not need them."""
    labels: list[NDArray[np.uint8] | None] = [None] * len(jobs)
    wanting = [i for i, job in enumerate(jobs) if job.wants_parsing and job.restored is not None]
    if parser is None or not wanting:
        return labels
    restored = [crop for i in wanting if (crop := jobs[i].restored) is not None]
    for i, found in zip(wanting, parser.masks(restored, [jobs[i].crop for i in wanting]), strict=True):
        labels[i] = found
    return labels


def _result(
    image: Image, work: PictureWork, jobs: Sequence[FaceJob], options: Options, model: str, hints: tuple[str, ...]
) -> Result[Image]:
    """The result of one picture, its faces in order."""
    reports = work.reports | {job.face.number: job.report for job in jobs}
    faces = [reports[number] for number in sorted(reports)]
    output = give_back(image, work.picture, work.canvas, faces, options)
    notes = notes_on(work.faces or [], work.plan, options, work.stopped)
    if isinstance(image, Picture):
        notes += image.faults if output is image else (*image.faults, *image.losses)
    timings = add_timings(work.detecting, faces)
    return Result(output, as_given(faces, image, work.picture), model, notes, timings, hints)


__all__ = ["FaceRestoreError", "FaceRestorer", "Found", "Image", "Progress", "Result"]
