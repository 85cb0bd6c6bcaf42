"""`LoadedModels`: the networks of every stage, loaded when they are first needed and kept for later calls."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import torch

from ..catalogue import BUILT_IN, Inventory
from ..catalogue.fingerprints import Stamp, stamp
from ..errors import FaceRestoreError, ModelFileError
from ..networks.load import Network
from ..networks.shelf import Shelf
from ..options.table import Options
from .background import Upscaler, load_upscaler
from .detection import Detector, create_detector, find_files
from .parsing import Parser, create_parser, find_file

logger = logging.getLogger(__name__)

Version = tuple[tuple[Path, Stamp], ...]
"""The files that something was loaded from, and how they were then: once this differs, it is loaded again."""


@dataclass(frozen=True)
class ChosenRestorer:
    """A restorer that a call uses. Its network is asked for again before each use, since it may be moved or let go.

    Attributes:
        id: id of the model that was asked for, or chosen by auto.
        path: its file.
        size, template, knobs: as in `Network`.
    """

    id: str
    path: Path
    size: int
    template: str
    knobs: frozenset[str]


class LoadedModels:
    """What one `FaceRestorer` has loaded. A file that was added, replaced or removed since is noticed.

    Args:
        device: where the networks run.
        precision: as in `Shelf`.
        detector: path of a RetinaFace file, or any `Detector`, to use in place of what the options name.

    Raises:
        OptionError: there is no such precision.
    """

    def __init__(self, device: torch.device, precision: str, detector: Path | str | Detector | None = None) -> None:
        self.device = device
        self.own_detector = detector
        self._shelf = Shelf(device, precision)
        self._detectors: dict[str, tuple[Version, Detector]] = {}
        self._upscalers: dict[Path, tuple[Version, Upscaler]] = {}
        self._parser: tuple[Version, Parser | None, str] | None = None
        self._warned: set[str] = set()

    def restorer(self, model: str, there: Inventory) -> ChosenRestorer:
        """The restorer of that id, name or path; auto takes the best one that can be used. It is loaded.

        Raises:
            ModelFileError: it is missing or damaged.
        """
        if model != "auto":
            return self._load(model, there.find(model))
        for name, fault in there.faults().items():
            self._warn(f"auto passes over {name}: {fault}")
        for name, path in there.usable().items():
            try:
                return self._load(name, path)
            except ModelFileError as error:
                if name == BUILT_IN:
                    raise
                self._warn(f"auto passes over {name}: {error}")
        raise ModelFileError("no restorer is installed; install lib_facerestore again, it ships one.")

    def network(self, restorer: ChosenRestorer) -> Network:
        """Its network, on the device. Raises ModelFileError."""
        return self._shelf.network(restorer.path)

    def detector(self, options: Options, there: Inventory) -> Detector:
        """The detector that the options name, or the own one; auto takes the best one that is installed.

        Raises:
            OptionError: there is no such detector.
            ModelFileError: its file is missing or damaged.
            FaceRestoreError: a package that it needs cannot be imported.
        """
        if self.own_detector is not None and not isinstance(self.own_detector, (str, Path)):
            return self.own_detector
        name = options.detector if self.own_detector is None else str(self.own_detector)
        files = find_files(there)
        version = _version(*files.values()) if name == "auto" else _version(files.get(name, Path(name)))
        kept = self._detectors.get(name)
        if kept is None or kept[0] != version:
            with torch.inference_mode(False):  # what is built inside a host's inference mode could never be moved
                kept = version, create_detector(name, there, self.device)
            self._detectors[name] = kept
        return kept[1]

    def upscaler(self, options: Options, there: Inventory) -> Upscaler | None:
        """What enlarges the background; None where nothing does: upscale 1 leaves every pixel alone.

        Raises:
            ModelFileError: it is missing or damaged.
        """
        if options.upscaler == "none":
            return None
        path = there.find(options.upscaler, "upscaler")  # a misspelt name is an error even where it is not used
        if options.upscale == 1:
            return None
        kept = self._upscalers.get(path)
        if kept is None or kept[0] != _version(path):
            with torch.inference_mode(False):
                kept = _version(path), load_upscaler(path, self.device)
            self._upscalers[path] = kept
        return kept[1]

    def parser(self, there: Inventory) -> tuple[Parser | None, str]:
        """The best parser, or None, and why the one that is installed cannot be used, else "".

        A parser that cannot be used is not worth the restored faces: ellipses serve as masks, as they do without one.
        It is not tried again until its file changes, or `unload`.
        """
        path = find_file(there)
        version = _version(path) if path is not None else ()
        if self._parser is None or self._parser[0] != version:
            self._parser = version, *self._load_parser(there)
        return self._parser[1:]

    def unload(self) -> None:
        """Free the device: restorers wait in the computer's memory, small networks are read again when needed."""
        self._detectors.clear()
        self._upscalers.clear()
        self._parser = None
        self._shelf.free_device()

    def _load(self, name: str, path: Path) -> ChosenRestorer:
        network = self._shelf.network(path)
        return ChosenRestorer(name, path, network.size, network.template, network.knobs)

    def _load_parser(self, there: Inventory) -> tuple[Parser | None, str]:
        try:
            with torch.inference_mode(False):
                return create_parser(there, self.device), ""
        except FaceRestoreError as error:
            fault = f"masks are ellipses, since the parsing model cannot be used: {error}"
            self._warn(fault)
            return None, fault

    def _warn(self, message: str) -> None:
        """Log a warning once: what is wrong with a file would otherwise be repeated for each call."""
        if message not in self._warned:
            self._warned.add(message)
            logger.warning("%s", message)


def _version(*paths: Path) -> Version:
    return tuple((path, stamp(path)) for path in paths)
