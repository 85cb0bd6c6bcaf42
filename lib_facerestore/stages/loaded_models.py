"""`LoadedModels`: loads the networks of all stages when they are first needed, and keeps them for later calls."""

from __future__ import annotations

import logging
from collections.abc import Sequence
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
from .lite_parser import load_lite_parser
from .parsing import Parser, create_parser, find_file

logger = logging.getLogger(__name__)

ENOUGH = 0.75
"""Least side of a face's aligned square for a larger crop, as a share of that crop's."""

Version = tuple[tuple[Path, Stamp], ...]
"""Paths and stamps of the files that a network was loaded from. If they change, it is loaded again."""


@dataclass(frozen=True)
class ChosenRestorer:
    """A restorer that a call uses, without its network: `LoadedModels.network` returns that before each use.

    Attributes:
        id: id, name or path that the options give, or the id that auto has chosen.
        path: file of the model.
        size: as in `Network`.
        template: as in `Network`.
        knobs: as in `Network`.
        larger: as in `Network`.
    """

    id: str
    path: Path
    size: int
    template: str
    knobs: frozenset[str]
    larger: tuple[int, ...] = ()

    def size_for(self, square: float) -> int:
        """Side of the crop for a face whose aligned square has sides of `square` pixels in the picture."""
        return crop_side(self.size, self.larger, square)


def crop_side(size: int, larger: Sequence[int], square: float) -> int:
    """Side of a face's crop in pixels.

    Args:
        size: the side that the restorer always takes.
        larger: the others that it takes.
        square: side of the face's aligned square in the picture, in pixels.
    """
    return max([size, *(side for side in larger if square >= ENOUGH * side)])


class LoadedModels:
    """The networks that one `FaceRestorer` has loaded. Files that are added, replaced or removed later are noticed.

    Args:
        device: device that the networks run on.
        precision: as in `Shelf`.
        detector: path of a RetinaFace file, or any `Detector`, used in place of the one that the options name.

    Raises:
        OptionError: `precision` is not one of the allowed values.
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
        """Load a restorer.

        Args:
            model: id, file name or path; "auto" means the best installed one that can be used.
            there: the files in the model folders.

        Raises:
            ModelFileError: the file is missing or damaged.
        """
        if model != "auto":
            return self._load(model, there.find(model))
        for name, fault in there.faults().items():
            self._warn(f"auto skips {name}: {fault}")
        for name, path in there.usable().items():
            try:
                return self._load(name, path)
            except ModelFileError as error:
                if name == BUILT_IN:
                    raise
                self._warn(f"auto skips {name}: {error}")
        raise ModelFileError("no restorer is installed, not even the built-in one; install Face Restore again.")

    def network(self, restorer: ChosenRestorer) -> Network:
        """The restorer's network, on the device. Raises ModelFileError."""
        return self._shelf.network(restorer.path)

    def detector(self, options: Options, there: Inventory) -> Detector:
        """The detector given at construction, else the one that the options name ("auto": the best installed one).

        Raises:
            OptionError: the name is not known.
            ModelFileError: the detector's file is missing or damaged.
            FaceRestoreError: a package that it needs cannot be imported.
        """
        if self.own_detector is not None and not isinstance(self.own_detector, (str, Path)):
            return self.own_detector
        name = options.detector if self.own_detector is None else str(self.own_detector)
        files = find_files(there)
        version = _version(*files.values()) if name == "auto" else _version(files.get(name, Path(name)))
        kept = self._detectors.get(name)
        if kept is None or kept[0] != version:
            with torch.inference_mode(False):  # parameters created in a WebUI's inference mode could not be moved
                kept = version, create_detector(name, there, self.device)
            self._detectors[name] = kept
        return kept[1]

    def upscaler(self, options: Options, there: Inventory) -> Upscaler | None:
        """The network that enlarges the background; None if the upscaler is "none" or `upscale` is 1.

        Raises:
            ModelFileError: the file is missing or damaged.
        """
        if options.upscaler == "none":
            return None
        path = there.find(options.upscaler, "upscaler")  # a misspelt name is an error even if it is not used
        if options.upscale == 1:
            return None
        kept = self._upscalers.get(path)
        if kept is None or kept[0] != _version(path):
            with torch.inference_mode(False):
                kept = _version(path), load_upscaler(path, self.device)
            self._upscalers[path] = kept
        return kept[1]

    def parser(self, there: Inventory) -> tuple[Parser | None, str]:
        """The best installed parser.

        A parser that cannot be used is no error: the built-in one is used then. If that cannot be used either, masks
        are ellipses. A parser is not tried again until its file changes or `unload` is called.

        Returns:
            The parser or None, and why the best one cannot be used, or "".
        """
        path = find_file(there)
        version = _version(path) if path is not None else ()
        if self._parser is None or self._parser[0] != version:
            self._parser = version, *self._load_parser(there)
        return self._parser[1:]

    def free_cache(self) -> None:
        """See `Shelf.free_cache`."""
        self._shelf.free_cache()

    def unload(self) -> None:
        """Free the device: restorers move to the computer's memory, other networks are dropped until needed."""
        self._detectors.clear()
        self._upscalers.clear()
        self._parser = None
        self._shelf.free_device()

    def _load(self, name: str, path: Path) -> ChosenRestorer:
        network = self._shelf.network(path)
        return ChosenRestorer(name, path, network.size, network.template, network.knobs, network.larger)

    def _load_parser(self, there: Inventory) -> tuple[Parser | None, str]:
        fault = ""
        with torch.inference_mode(False):
            try:
                return create_parser(there, self.device), ""
            except FaceRestoreError as error:
                fault = f"masks are made by lite, because the parsing model cannot be used: {error}"
            try:
                built_in = load_lite_parser(self.device)
            except FaceRestoreError as error:
                fault = f"masks are ellipses and hair cannot be kept, because no parsing model can be used: {error}"
                built_in = None
        self._warn(fault)
        return built_in, fault

    def _warn(self, message: str) -> None:
        """Log a warning, but only once: otherwise every call would repeat it."""
        if message not in self._warned:
            self._warned.add(message)
            logger.warning("%s", message)


def _version(*paths: Path) -> Version:
    return tuple((path, stamp(path)) for path in paths)
