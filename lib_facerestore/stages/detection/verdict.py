"""The score of a face of `lite`, from what its first two stages say: a logistic regression.

Its weights come from `tools/fit_lite_score.py`, which fits them to faces and mistakes of the training photographs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

SAME = 0.6
"""Proposals whose refined boxes overlap by more than this (intersection over union) are of the same face."""
FARTHEST = 0.15
"""Landmarks that are farther apart than this share of the box's longer side count as so far apart."""
SUREST = 6.0
"""Logits beyond this, up or down, count as this: surer is sure enough."""
ODDS = (-1.1, 2.0)
"""The same for the log odds of proposals: a poor proposal of a face that the border cuts says little."""
FEATURES = ("log odds of the proposal", "first logit", "later logits", "apart", "company")
"""What the columns of `evidence` are."""
WEIGHTS = (1.281, 0.284, 0.267, -19.034, 1.849)
"""Weight of each of the `FEATURES`,"""
BIAS = -1.183
"""and what is added."""
AGREED = 0.02
"""Landmarks of the plain and the mirrored run that are farther apart than this share"""
DISAGREE = 40.0
"""lower the logit of `agreed_logits`, by this for each box's side."""


LARGE = 64.0
"""Faces whose box's longer side has this many pixels,"""
SHARP = 0.25
"""that are not blurred (see `clearly_shown`) and whole in the picture, show the refiner all that it needs,"""
LEAST = 2.0
"""so a logit of `agreed_logits` below this keeps their score below a half, whatever else speaks for them: an animal."""


@dataclass(frozen=True, eq=False)
class Seen:
    """What both stages say of K proposals.

    Attributes:
        proposed: K scores of the first stage, 0 to 1.
        logits: K×3, those of the refiner's first run, and of its runs on the upright face, plain and mirrored.
        apart: K mean distances of the landmarks of the last two runs, as shares of the box's longer side.
        boxes: K×4 in pixels of the picture.
        points: K×5×2 landmarks in pixels of the picture.
    """

    proposed: NDArray[np.float64]
    logits: NDArray[np.float64]
    apart: NDArray[np.float64]
    boxes: NDArray[np.float64]
    points: NDArray[np.float64]

    @staticmethod
    def join(parts: Sequence[Seen]) -> Seen:
        """All proposals of one part or more, in their order."""
        fields = ("proposed", "logits", "apart", "boxes", "points")
        return Seen(*(np.concatenate([getattr(part, field) for part in parts]) for field in fields))

    @property
    def broken(self) -> NDArray[np.bool_]:
        """K booleans: whether the refiner gave anything that is not finite."""
        parts = (self.logits, self.apart[:, None], self.boxes, self.points.reshape(-1, 10))
        return ~np.all([np.isfinite(part).all(1) for part in parts], 0)


def evidence(seen: Seen) -> NDArray[np.float64]:
    """The `FEATURES` of K proposals, K×5.

    "Company" is how surely other proposals turn into the same face: the logarithm of one more than the sum of their
    scores. A face draws bad proposals to itself; on anything else, what they turn into differs.
    """
    odds = np.clip(seen.proposed, 1e-3, 1 - 1e-3)
    same = _overlaps(seen.boxes) > SAME
    np.fill_diagonal(same, False)
    columns = (
        np.clip(np.log(odds / (1 - odds)), *ODDS),
        np.clip(seen.logits[:, 0], -SUREST, SUREST),
        np.clip(seen.logits[:, 1:].mean(1), -SUREST, SUREST),
        np.minimum(seen.apart, FARTHEST),
        np.log1p(same @ seen.proposed),
    )
    return np.stack(columns, 1)


def scores(seen: Seen, image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The scores of K proposals of an image (H×W×3 uint8 RGB), 0 to 1.

    Those of the first stage where the refiner gave nothing finite.
    """
    result = seen.proposed.astype(np.float64)
    sound = ~seen.broken
    part = Seen(*(value[sound] for value in (seen.proposed, seen.logits, seen.apart, seen.boxes, seen.points)))
    logits = evidence(part) @ np.array(WEIGHTS) + BIAS
    lacking = np.clip(agreed_logits(part) - LEAST, -30, None)  # below 0: the score is below a half
    for row in np.flatnonzero((lacking < 0) & (lacking < logits)):
        if clearly_shown(image, part.boxes[row]):
            logits[row] = lacking[row]
    result[sound] = 1 / (1 + np.exp(-logits))
    return result


def clearly_shown(image: NDArray[np.uint8], box: NDArray[np.float64]) -> bool:
    """Whether a box (4, in pixels of the H×W×3 image) is large, whole in the picture, and not blurred.

    Blurred is what has, reduced to the refiner's 96 pixels, little contrast below a radius of 1 pixel, compared with
    that from there to a radius of 4: 0.12 to 0.23 for portraits blurred by σ8 or reduced to a twelfth, 0.28 to 0.47
    for usual damage, 0.42 to 0.65 for none.
    """
    height, width = image.shape[:2]
    x0, y0, x1, y1 = (round(float(value)) for value in box)
    slack = 0.02 * max(x1 - x0, y1 - y0)
    if max(x1 - x0, y1 - y0) < LARGE or min(x0, y0, width - x1, height - y1) < -slack:
        return False
    part = image[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)]
    if not part.size:  # a line
        return False
    small = cv2.resize(part.astype(np.float32), (96, 96), interpolation=cv2.INTER_AREA)
    grey = np.asarray(small.mean(axis=2))
    fine, coarse = cv2.GaussianBlur(grey, (0, 0), 1), cv2.GaussianBlur(grey, (0, 0), 4)
    return bool((grey - fine).std() >= SHARP * (fine - coarse).std())


def agreed_logits(seen: Seen) -> NDArray[np.float64]:
    """The mean logits (K) of the refiner alone, lower where its last two runs disagree.

    On a face the plain and the mirrored look agree; on anything else they rarely do.
    """
    return np.asarray(seen.logits.mean(1) - DISAGREE * np.maximum(seen.apart - AGREED, 0), np.float64)


def _overlaps(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union of each two of K boxes, K×K."""
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    common = np.maximum(np.minimum(boxes[:, None, 2:], boxes[None, :, 2:]) - low, 0).prod(2)
    areas = np.maximum(boxes[:, 2:] - boxes[:, :2], 0).prod(1)
    return np.asarray(common / np.maximum(areas[:, None] + areas - common, 1e-6), np.float64)
