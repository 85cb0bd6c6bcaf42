"""Which pixels of a portrait's oval are the face: not the hair over it, a hat, or what is beside a turned head.

This is for measuring masks, so it uses no parser of this package: colours and edges of the undamaged picture decide.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from .metrics import Pixels, Region

_STEPS = 5
# The middle of the face that is certain: the landmarks' hull, shrunk towards its centre by this factor, without discs
# of this radius around the eyes (in distances between eyes and mouth), whose dark colours are also those of hair.
_CORE, _EYE = 0.8, 0.22
# Above this line (in distances between eyes and mouth below the eyes), what is outside the oval is certainly no face.
# Below, there is the neck, which has the face's colours.
_NECK = 0.3
# Gaps up to twice as wide, such as a dark brow at the outline, are closed.
_GAP = 0.15


def face_region(pixels: Pixels, landmarks: NDArray[np.float64], oval: Region, wide: Region) -> Region:
    """The part of a face's oval that shows face, by GrabCut (Rother, Kolmogorov and Blake, SIGGRAPH 2004).

    GrabCut fits mixtures of colours to the face and to the rest, and cuts along edges. It starts from the middle of the
    face, which is certain, and from the oval, which is probable. The largest piece is taken, with its holes.

    Args:
        pixels: H×W×3, the undamaged picture; the face upright, about 200 pixels high.
        landmarks: 5×2.
        oval: H×W, where the face may be.
        wide: H×W, outside of which there is no face.

    Returns:
        H×W, inside the oval.
    """
    eyes, mouth = landmarks[:2].mean(axis=0), landmarks[3:].mean(axis=0)
    length = max(float(np.hypot(*(mouth - eyes))), 1.0)
    down = (mouth - eyes) / length
    y, x = np.mgrid[0 : oval.shape[0], 0 : oval.shape[1]]
    below = ((x - eyes[0]) * down[0] + (y - eyes[1]) * down[1]) / length
    middle = landmarks.mean(axis=0)
    hull = cv2.convexHull((middle + _CORE * (landmarks - middle)).round().astype(np.int32))
    core = cv2.fillConvexPoly(np.zeros(oval.shape, np.uint8), hull, (1,)) > 0
    near_eyes = np.minimum(*(np.hypot(x - eye[0], y - eye[1]) for eye in landmarks[:2])) < _EYE * length
    state = np.where(oval, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    state[~wide & (below < _NECK)] = cv2.GC_BGD
    state[core & ~near_eyes] = cv2.GC_FGD
    if not (state == cv2.GC_FGD).any() or not (state == cv2.GC_BGD).any():
        return oval
    cv2.setRNGSeed(0)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(np.ascontiguousarray(pixels[..., ::-1]), state, (0, 0, 1, 1), *models, _STEPS, cv2.GC_INIT_WITH_MASK)
    found = ((state == cv2.GC_FGD) | (state == cv2.GC_PR_FGD) | core).astype(np.uint8)
    side = 2 * round(_GAP * length) + 1
    found = cv2.morphologyEx(found, cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))
    outlines, _ = cv2.findContours(found * oval, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    largest = max(outlines, key=cv2.contourArea, default=None)
    if largest is None:
        return oval
    return (cv2.drawContours(np.zeros(oval.shape, np.uint8), [largest], -1, (1,), -1) > 0) & oval
