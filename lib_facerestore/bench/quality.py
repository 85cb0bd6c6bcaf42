"""The paste's table of `bench --quality`: ours beside facexlib's and a plain square, with the same restored crops.

In most cases the restored crop is the truth: a restorer without error. So what differs from the truth is the paste's.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence

import cv2
import numpy as np
import torch

from ..faces.face import Face
from ..networks.load import Network
from ..options.table import Options
from ..stages.detection import Detector
from ..stages.loaded_models import crop_side
from . import metrics, pastes
from .degradations import Grain, Occluder, grain, jpeg, noise, occlude, ordinary
from .metrics import FloatImage, Pixels, Region
from .pastes import OURS, OurPaste, Paste
from .portraits import Portrait
from .quality_table import Collected, Line
from .sheet import Sheet

SEED = 2026
CROP = 512
"""Side of the given crops in pixels, that of most restorers."""
TINY = 40
"""Side of a tiny face's aligned square in pixels."""
SIDES = (256, 512, 1024, 1500)
"""Sides of the aligned square for which the built-in restorer is measured."""
_CASTS = (((1.1, 1.0, 0.88), 0.02), ((0.9, 0.98, 1.08), -0.03))
_GRAINS: tuple[Grain, ...] = ("white", "film", "jpeg", "enlarged")
_OCCLUDERS: tuple[Occluder, ...] = ("hand", "sunglasses", "stain")

Restore = Callable[[Pixels, Face], Pixels]
"""Restores a picture whose face is known, with the options of a fresh install."""


def generator(case: str, index: int) -> np.random.Generator:
    """The source of random numbers for one face in one case: the same in every run."""
    return np.random.default_rng([SEED, index, zlib.crc32(case.encode())])


def run_network(network: Network, crop: FloatImage) -> FloatImage:
    """What a network makes of a crop, size×size×3 float32 in [0, 1]."""
    faces = torch.from_numpy(np.ascontiguousarray(crop)).permute(2, 0, 1)[None] * 2 - 1
    output = (network(faces)[0].clamp(-1, 1) + 1) / 2
    return np.ascontiguousarray(output.permute(1, 2, 0).cpu().numpy())


class PasteBench:
    """Measures the pastes on portraits, one after the other.

    Args:
        pastes: the pastes by name; `OURS` is the first.
        network: the restorer, for the cases in which its own output is pasted.
        restore: this package's whole job with that restorer.
        detector: finds the landmarks of the results.
        sheet: gets pictures of the first portrait's cases.
    """

    def __init__(
        self, pastes: Mapping[str, Paste], network: Network, restore: Restore, detector: Detector, sheet: Sheet
    ) -> None:
        self.pastes, self.network, self.restore, self.detector, self.sheet = pastes, network, restore, detector, sheet
        self.found = Collected()

    def measure(self, portrait: Portrait, index: int, sides: Sequence[int] = SIDES) -> None:
        """Measure all cases on a portrait; `index` is its place, which decides the random numbers.

        Args:
            portrait: the truth.
            index: its place in the list.
            sides: sides of the aligned square at which the restorer's own output is pasted.
        """
        self._clean(portrait, index)
        self._damaged(portrait, index)
        self._fringe(portrait, index)
        self._cast(portrait, index)
        for kind in _OCCLUDERS:
            self._removed(portrait, index, kind)
        self._tiny(portrait, index)
        for side in sides:
            self._restored(portrait, index, side)
        for noise_kind in _GRAINS:
            self._grain(portrait, index, noise_kind)

    def lines(self) -> list[Line]:
        """The lines of the table so far."""
        return self.found.lines()

    def _pasted(
        self, case: str, index: int, portrait: Portrait, before: Pixels, crop: FloatImage, truth: Pixels | None = None
    ) -> dict[str, Pixels]:
        results = {name: paste(before, portrait.face, crop) for name, paste in self.pastes.items()}
        self._show(case, index, portrait, truth if truth is not None else portrait.pixels, before, results)
        return results

    def _show(
        self, case: str, index: int, portrait: Portrait, truth: Pixels, before: Pixels, results: Mapping[str, Pixels]
    ) -> None:
        if index == 0:
            self.sheet.add(case, portrait.face, {"truth": truth, "before": before, **results})

    def _db(self, case: str, measure: str, results: Mapping[str, Pixels], truth: Pixels, where: Region) -> None:
        values = {name: metrics.psnr(result, truth, where) for name, result in results.items()}
        self.found.add(case, measure, "dB", "higher", values)

    def _clean(self, portrait: Portrait, index: int) -> None:
        case, truth = "clean picture, its own crop pasted", portrait.pixels
        results = self._pasted(case, index, portrait, truth, pastes.cut(truth, portrait.face, CROP))
        self._db(case, "face", results, truth, portrait.region)
        self._outside(case, portrait, truth, results)

    def _outside(self, case: str, portrait: Portrait, before: Pixels, results: Mapping[str, Pixels]) -> None:
        changed = {
            name: float(metrics.changed_outside(result, before, portrait.box)) for name, result in results.items()
        }
        self.found.add(case, "changed outside 1.5× the box", "px", "lower", changed)

    def _damaged(self, portrait: Portrait, index: int) -> None:
        case, truth, face = "ordinary damage, the true crop pasted", portrait.pixels, portrait.face
        before = ordinary(truth, generator(case, index))
        crop = pastes.cut(truth, face, CROP)
        results = self._pasted(case, index, portrait, before, crop)
        self._db(case, "face", results, truth, portrait.region)
        self._db(case, "ring around it", results, truth, portrait.oval(1.35) & ~portrait.oval())
        self._colours(case, portrait, results, before, crop, self._alphas(portrait, before, crop))
        self._outside(case, portrait, before, results)

    def _alphas(self, portrait: Portrait, before: Pixels, crop: FloatImage) -> dict[str, FloatImage]:
        """Opacity of each paste; also measures how much of the face, and of the whole oval, is not covered."""
        alphas = {name: pastes.opacity(name, self.pastes, before, portrait.face, crop) for name in self.pastes}
        for part, where in (("face", portrait.region), ("oval, with hair and background,", portrait.oval())):
            thin = {name: 100 * float((alpha[where] < 0.9).mean()) for name, alpha in alphas.items()}
            self.found.add("the mask", f"{part} with opacity < 0.9", "%", "lower", thin)
            turned = thin if portrait.turned else {}
            self.found.add("the mask, turned faces", f"{part} with opacity < 0.9", "%", "lower", turned)
        return alphas

    def _fringe(self, portrait: Portrait, index: int) -> None:
        """How much of a fringe is replaced. In a noisy picture it shows: a replaced part is smooth, the rest is not."""
        drawn, cover = occlude(portrait.pixels, portrait.landmarks, "fringe")
        before = noise(drawn, 25, generator("fringe", index))
        crop = run_network(self.network, pastes.cut(before, portrait.face, self.network.size))
        where = (cover > 0.9) & portrait.oval()
        shares = {}
        for name in self.pastes:
            alpha = pastes.opacity(name, self.pastes, before, portrait.face, crop)
            shares[name] = 100 * float(alpha[where].mean()) if where.any() else None
        self.found.add("a fringe and noise σ25", "fringe that is replaced", "%", "lower", shares)

    def _colours(
        self,
        case: str,
        portrait: Portrait,
        results: Mapping[str, Pixels],
        before: Pixels,
        crop: FloatImage,
        alphas: Mapping[str, FloatImage],
    ) -> None:
        """Shift of colour in the face, and the seam."""
        face, sigma = portrait.region, portrait.side / 24
        shift = {name: metrics.low_band_delta_e(one, portrait.pixels, face, sigma) for name, one in results.items()}
        self.found.add(case, "low-band colour shift", "ΔE00", "lower", shift)
        sources = before, pastes.whole(before, portrait.face, crop)
        seams = {name: metrics.seam_delta_e(one, sources, alphas[name]) for name, one in results.items()}
        self.found.add(case, "seam", "ΔE00", "lower", seams)

    def _cast(self, portrait: Portrait, index: int) -> None:
        case, truth = "colour cast of the restored crop", portrait.pixels
        gain, offset = _CASTS[index % len(_CASTS)]
        crop = np.clip(pastes.cut(truth, portrait.face, CROP) * np.array(gain, np.float32) + np.float32(offset), 0, 1)
        results = self._pasted(case, index, portrait, truth, crop)
        self._db(case, "face", results, truth, portrait.region)
        alphas = {name: pastes.opacity(name, self.pastes, truth, portrait.face, crop) for name in self.pastes}
        self._colours(case, portrait, results, truth, crop, alphas)

    def _removed(self, portrait: Portrait, index: int, kind: Occluder) -> None:
        case, truth = f"{kind} in the picture, not in the crop", portrait.pixels
        before, cover = occlude(truth, portrait.landmarks, kind)
        results = self._pasted(case, index, portrait, before, pastes.cut(truth, portrait.face, CROP))
        reach = max(round(0.04 * portrait.side), 1)
        near = cv2.dilate((cover > 0.5).astype(np.uint8), np.ones((2 * reach + 1,) * 2, np.uint8)) > 0
        where = near & portrait.oval()
        self._db(case, "there, to the truth", results, truth, where)
        values = {}
        for name, result in results.items():
            to_truth, to_before = (np.abs(result.astype(np.float32) - other) for other in (truth, before))
            nearer = (to_truth**2).sum(axis=2) <= (to_before**2).sum(axis=2)
            values[name] = metrics.psnr(result, np.where(nearer[..., None], truth, before), where)
        self.found.add(case, "there, to the nearer of truth and input", "dB", "higher", values)

    def _tiny(self, portrait: Portrait, index: int) -> None:
        small, crop = portrait.scaled(TINY), pastes.cut(portrait.pixels, portrait.face, CROP)
        for case, before in (
            ("tiny face, clean", small.pixels),
            ("tiny face, noise and JPEG", jpeg(noise(small.pixels, 6, generator("tiny", index)), 75)),
        ):
            results = self._pasted(case, index, small, before, crop, small.pixels)
            self._db(case, "face", results, small.pixels, small.region)

    def _restored(self, portrait: Portrait, index: int, side: int) -> None:
        """What the restorer itself makes of a face of this size."""
        sized = portrait.scaled(side)
        truth, face, where = sized.pixels, sized.face, sized.region
        damages = {
            "noise σ14": noise(truth, 14, generator(f"noise {side}", index)),
            "JPEG 30": jpeg(truth, 30),
            "clean": truth,
        }
        if side == CROP:
            damages["ordinary damage"] = ordinary(truth, generator("restored", index))
        for damage, before in damages.items():
            case = f"restored, {damage}, side {side}"
            network = self.network
            crop = run_network(network, pastes.cut(before, face, crop_side(network.size, network.larger, side)))
            others = {name: paste(before, face, crop) for name, paste in self.pastes.items() if name != OURS}
            results = {OURS: self.restore(before, face), **others}
            self._show(case, index, sized, truth, before, results)
            if damage == "clean":
                self._db(case, "face, to itself", results, truth, where)
                continue
            was = metrics.psnr(before, truth, where) or metrics.SAME
            gains = {name: (metrics.psnr(one, truth, where) or metrics.SAME) - was for name, one in results.items()}
            self.found.add(case, "gain in the face", "dB", "higher", gains)
            if damage == "ordinary damage":
                self._landmarks(case, truth, face, {"before": before, **results})

    def _landmarks(self, case: str, truth: Pixels, face: Face, results: Mapping[str, Pixels]) -> None:
        """How far the detector's landmarks move, in percent of the distance of the eyes; 100 if it finds no face."""
        expected = self._nearest(truth, face)
        if expected is None:
            return
        shifts: dict[str, float | None] = {}
        for name, result in results.items():
            found = self._nearest(result, face)
            shift = 1.0 if found is None else metrics.landmark_shift(found.landmarks, expected.landmarks)
            if name != "before":
                shifts[name] = 100 * shift
        self.found.add(case, "landmark shift", "%", "lower", shifts)

    def _nearest(self, image: Pixels, face: Face) -> Face | None:
        found = self.detector.detect([image], 0.5)[0]
        best = max(found, key=lambda other: metrics.overlap(other.box, face.box), default=None)
        return best if best is not None and metrics.overlap(best.box, face.box) > 0.3 else None

    def _grain(self, portrait: Portrait, index: int, kind: Grain) -> None:
        case, truth, face = f"{kind} grain, clean crop", portrait.pixels, portrait.face
        before = grain(truth, kind, generator(case, index))
        crop = pastes.cut(truth, face, CROP)
        outside = np.asarray(pastes.whole(np.zeros_like(truth), face, np.ones_like(crop)).max(axis=2) == 0)
        if int(outside.sum()) < 1000:
            return
        results = self._pasted(case, index, portrait, before, crop)
        ours = self.pastes[OURS]
        if isinstance(ours, OurPaste):
            self._ratios(case + ", grain 1", truth, before, {OURS: ours(before, face, crop, _GRAIN)}, portrait, outside)
        self._ratios(case, truth, before, results, portrait, outside)

    def _ratios(
        self,
        case: str,
        truth: Pixels,
        before: Pixels,
        results: Mapping[str, Pixels],
        portrait: Portrait,
        outside: Region,
    ) -> None:
        inside = portrait.oval(0.8)
        power: dict[str, float | None] = {}
        spectrum: dict[str, float | None] = {}
        for name, result in results.items():
            power[name], spectrum[name] = metrics.grain_ratios(result, before, truth, inside, outside)
        self.found.add(case, "noise inside ÷ outside", "×", "near 1", power)
        self.found.add(case, "its worst band is off by", "×", "lower", spectrum)


_GRAIN = Options.from_mapping({"grain": 1})
