"""Face restorers as `.onnx` files, such as FaceFusion's and ReActor's. They need the optional package onnxruntime.

The graph says what a file takes and returns: one picture, in some exports one number (the fidelity weight of CodeFormer
and VQFR), and an output of the picture's shape. All public ones take and return RGB in [-1, 1]. A batch size or side
that the graph leaves open is chosen here.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..catalogue.fingerprints import format_of
from ..catalogue.peek import check_file
from ..errors import InputError, ModelFileError
from ..wording import pip_install
from .archs.family import Restorer

logger = logging.getLogger(__name__)

FLOATS = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}
NUMBERS = {**FLOATS, "tensor(int64)": np.int64, "tensor(int32)": np.int32}
OPEN_SIDE = 512
"""Side of the crop in pixels for a graph that takes any side; nearly all restorers were trained with it."""

MAIN_OUTPUT = "main_dec"
"""Name of the output with the restored face in VQFR's export; in the others it is the first output that fits."""


class OnnxRestorer(Restorer):
    """A restoration network that runs in an onnxruntime session.

    Args:
        session: an `onnxruntime.InferenceSession`, or an object with the same get_inputs, get_outputs and run.
        name: name of the file in error messages.

    Raises:
        ModelFileError: the graph is not a face restorer; the message lists its inputs or outputs.
    """

    family = "onnx"
    side_by_side = 1  # onnxruntime uses several threads itself

    def __init__(self, session: Any, name: str) -> None:
        super().__init__()
        self._session = session
        inputs, outputs = session.get_inputs(), session.get_outputs()
        pictures = [one for one in inputs if len(one.shape) == 4]
        numbers = [one for one in inputs if one not in pictures]
        self._outputs = [one.name for one in sorted(outputs, key=lambda one: one.name != MAIN_OUTPUT) if _may_fit(one)]
        taken = [length for one in pictures for length in one.shape[2:]]
        given = [length for one in outputs if one.name in self._outputs for length in one.shape[2:]]
        # a graph that leaves its input's side open may still fix that of its output
        sides = _known(taken) or _known(given) or {OPEN_SIDE}
        fits = (
            len(pictures) == 1 and len(numbers) <= 1 and len(sides) == 1 and _length(pictures[0].shape[1]) in (0, 3)
            and pictures[0].type in FLOATS
            and all(one.type in NUMBERS and all(_length(length) <= 1 for length in one.shape) for one in numbers)
        )  # fmt: skip
        if not fits:
            seen = ", ".join(f"{one.name} {list(one.shape)} {one.type}" for one in inputs) or "none"
            raise ModelFileError(
                f"{name}: not a face restorer that can be run: its inputs are {seen}; they must be one square picture "
                "(N×3×side×side, float) and at most one number. Choose another model file."
            )
        self.size = sides.pop()
        self._picture, self._number = pictures[0], numbers[0] if numbers else None
        self.knobs = frozenset({"fidelity"} if numbers else ())
        # The only public ONNX restorer of 256 px is GPEN's; its publishers crop to arcface's points in 128 px.
        self.template = "arcface" if self.size == 256 else "ffhq"
        self._batch = _length(self._picture.shape[0])
        """Faces that the graph takes in one call; 0 means any number."""
        if not self._outputs:
            seen = ", ".join(f"{one.name} {list(one.shape)}" for one in outputs) or "nothing"
            raise ModelFileError(
                f"{name}: not a face restorer: its outputs are {seen}, none of them a picture. Choose another model "
                "file."
            )
        self._chosen = ""
        self._name = name

    def forward(self, faces: torch.Tensor, *, fidelity: float = 0.5) -> torch.Tensor:
        """Restore aligned faces.

        Args:
            faces: B×3×size×size, RGB in [-1, 1].
            fidelity: from 0 (best quality) to 1 (closest to the input); no effect if it is not in `knobs`.

        Returns:
            float32 tensor of the same shape on the device of `faces`, RGB, nominally in [-1, 1].

        Raises:
            InputError: onnxruntime failed on these faces.
            ModelFileError: no output has the shape of `faces`.
        """
        pixels = faces.detach().float().cpu().numpy().astype(FLOATS[self._picture.type])
        feeds: dict[str, Any] = {}
        if self._number is not None:
            kind = NUMBERS[self._number.type]
            number = round(fidelity) if issubclass(kind, np.integer) else fidelity
            feeds[self._number.name] = np.full([1] * len(self._number.shape), number, kind)
        try:
            joined = self._restore(pixels, feeds, self._batch or max(len(pixels), 1))
        except (InputError, ModelFileError) as error:
            if self._batch or len(pixels) < 2:
                raise
            # Some exports declare any batch size, although the inside of the graph works for one face only.
            joined = self._restore(pixels, feeds, 1)
            self._batch = 1
            logger.info("%s: takes one face at a time from now on (%s)", self._name, error)
        return torch.from_numpy(np.ascontiguousarray(joined, np.float32)).to(faces.device)

    def _restore(self, pixels: np.ndarray, feeds: dict[str, Any], step: int) -> np.ndarray:
        """Restore B×3×size×size pixels, `step` faces in a call; `feeds` are the graph's other inputs by name."""
        parts = []
        for start in range(0, len(pixels), step):
            part = pixels[start : start + step]
            short = step - len(part)  # a graph with a fixed batch size takes exactly that many faces
            feeds[self._picture.name] = np.concatenate([part, np.repeat(part[-1:], short, 0)]) if short else part
            parts.append(self._run(feeds)[: len(part)])
        return np.concatenate(parts) if parts else pixels

    def _run(self, feeds: dict[str, Any]) -> np.ndarray:
        wanted = feeds[self._picture.name].shape
        names = [self._chosen] if self._chosen else self._outputs
        try:
            answers = self._session.run(names, feeds)
        except Exception as error:  # onnxruntime's exceptions have no common class but Exception
            raise InputError(f"{self._name}: onnxruntime failed ({str(error).splitlines()[0]}).") from error
        for name, answer in zip(names, answers, strict=True):
            if answer.shape == wanted:
                self._chosen = name
                return np.asarray(answer)
        seen = ", ".join(f"{name} {answer.shape}" for name, answer in zip(names, answers, strict=True))
        raise ModelFileError(
            f"{self._name}: its outputs are {seen}, none has the shape {wanted}; choose another model file."
        )


def _length(given: Any) -> int:
    """A dimension's length; 0 if the graph leaves it open, which it writes as a name, None or -1."""
    return max(given, 0) if isinstance(given, int) else 0


def _known(lengths: Iterable[Any]) -> set[int]:
    return {_length(given) for given in lengths} - {0}


def _may_fit(output: Any) -> bool:
    """Whether an output can be the restored face: it has 3 channels, or their number is not known before it runs."""
    return (
        output.type in FLOATS
        and (len(output.shape) == 4 or not output.shape)
        and (not output.shape or _length(output.shape[1]) in (0, 3))
    )


def load_onnx(path: Path, device: str | torch.device = "cpu") -> OnnxRestorer:
    """Open an `.onnx` restorer.

    Args:
        path: the model file.
        device: a CUDA device is used if the installed onnxruntime supports CUDA; otherwise the CPU is used.

    Raises:
        ModelFileError: the file is missing, unreadable, damaged or no restorer, or onnxruntime is not installed.
    """
    check_file(path)
    try:
        runtime = importlib.import_module("onnxruntime")
    except ImportError as error:
        raise ModelFileError(
            f"{path}: an .onnx file needs the package onnxruntime; install it with `{pip_install('onnxruntime')}`, or "
            "choose another model."
        ) from error
    format_of(path)  # tells an unreadable file from a damaged one
    settings = runtime.SessionOptions()
    settings.intra_op_num_threads = torch.get_num_threads()
    settings.log_severity_level = 3
    wanted = ["CUDAExecutionProvider"] if torch.device(device).type == "cuda" else []
    there = runtime.get_available_providers()
    if wanted and wanted[0] not in there:
        logger.warning(
            "%s: runs on the CPU, because this onnxruntime does not support CUDA; install onnxruntime-gpu", path.name
        )
    providers = [*(name for name in wanted if name in there), "CPUExecutionProvider"]
    try:
        return OnnxRestorer(_session(runtime, path, settings, providers), str(path))
    except ModelFileError:
        raise
    except Exception as error:  # as in `_run`: no common class; names that are no text raise only when they are read
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelFileError(f"{path}: damaged, or not an ONNX file ({reason}); get it again.") from error


def _session(runtime: Any, path: Path, settings: Any, providers: list[str]) -> Any:
    """An InferenceSession; on the CPU, with a warning, where CUDA does not work.

    onnxruntime would do the same, and tell it on standard output, where it damages the output of `--json`.
    """
    try:
        return _quiet_session(runtime, path, settings, providers)
    except Exception as error:
        if len(providers) == 1:
            raise
        on_cpu = _quiet_session(runtime, path, settings, providers[-1:])  # fails again if it is the file's fault
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        logger.warning("%s: runs on the CPU, because onnxruntime cannot use CUDA (%s)", path.name, reason)
        return on_cpu


def _quiet_session(runtime: Any, path: Path, settings: Any, providers: list[str]) -> Any:
    session = runtime.InferenceSession(str(path), settings, providers=providers, enable_fallback=0)
    session.disable_fallback()  # versions up to 1.14 do not know the argument
    return session
