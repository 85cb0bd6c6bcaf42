"""Crops, pictures and labels for the tests of blending."""

from __future__ import annotations

import math

import cv2
import numpy as np

from lib_facerestore.faces import alignment
from lib_facerestore.faces.alignment import PixelBox
from lib_facerestore.stages import blending, masks, parsing
from lib_facerestore.stages.surroundings import Surroundings

SIZE = 256
TEMPLATE = alignment.ffhq_template(SIZE)


def placed(scale: float, x: float, y: float, degrees: float = 0.0) -> np.ndarray:
    """Matrix picture → crop for a crop whose pixels are `scale` picture pixels wide, centred at (x, y)."""
    c, s = scale * math.cos(math.radians(degrees)), scale * math.sin(math.radians(degrees))
    linear = np.array([[c, -s], [s, c]])
    shift = np.array([x, y]) - linear @ np.full(2, (SIZE - 1) / 2)
    return alignment.invert_affine(np.concatenate([linear, shift[:, None]], axis=1))


def smooth_picture(height: int, width: int, seed: int = 0, noise: float = 0.0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    coarse = generator.random((6, 6, 3), np.float32) * 0.6 + 0.2
    picture = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    picture += generator.standard_normal(picture.shape, np.float32) * noise
    return np.clip(picture, 0, 1)


def drawn_picture(side: int, texture: float = 0.0, seed: int = 2) -> np.ndarray:
    """A clean picture with what a portrait has: soft shading, sharp edges, fine lines and a flat background."""
    picture = smooth_picture(side, side, seed)
    large = np.ascontiguousarray(cv2.resize(picture, (2 * side, 2 * side), interpolation=cv2.INTER_CUBIC))
    unit = side / 200
    for x, y, width, height, colour in (
        (100, 105, 55, 72, (0.75, 0.58, 0.5)), (80, 90, 10, 6, (0.2, 0.15, 0.1)), (120, 90, 10, 6, (0.2, 0.15, 0.1)),
        (100, 145, 22, 7, (0.6, 0.25, 0.25)),
    ):  # fmt: skip
        centre, axes = (round(2 * unit * x), round(2 * unit * y)), (round(2 * unit * width), round(2 * unit * height))
        cv2.ellipse(large, centre, axes, 0, 0, 360, colour, -1, cv2.LINE_AA)
    for k in range(24):  # hair
        start, end = ((round(2 * unit * (60 + 3 * k + d)), round(2 * unit * y)) for d, y in ((0, 55), (5, 30)))
        cv2.line(large, start, end, (0.25, 0.18, 0.12), 2, cv2.LINE_AA)
    picture = np.asarray(cv2.resize(large, (side, side), interpolation=cv2.INTER_AREA), np.float32)
    if texture:
        noise = np.random.default_rng(seed).standard_normal(picture.shape)
        picture = picture + 5 * texture * np.asarray(cv2.GaussianBlur(noise, (0, 0), 1.5))
    return np.clip(picture, 0, 1).astype(np.float32)


def white(picture: np.ndarray, sigma: float, seed: int = 1) -> np.ndarray:
    """The picture with noise of `sigma` levels of 255 in each pixel and channel."""
    noise = np.random.default_rng(seed).standard_normal(picture.shape, np.float32)
    return np.clip(picture + noise * np.float32(sigma / 255), 0, 1)


def film(picture: np.ndarray, sigma: float, seed: int = 1, grey: bool = False) -> np.ndarray:
    """The picture with noise of `sigma` levels that was blurred by one pixel, the same in all channels if grey."""
    noise = np.random.default_rng(seed).standard_normal(picture.shape, np.float32)
    if grey:
        noise = np.repeat(noise[..., :1], 3, axis=2)
    return np.clip(picture + cv2.GaussianBlur(noise, (0, 0), 1) * np.float32(sigma / 255), 0, 1)


def jpeg(picture: np.ndarray, quality: int) -> np.ndarray:
    """The picture after a compression, float32."""
    _, data = cv2.imencode(".jpg", to_uint8(picture)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))
    return np.asarray(decoded[..., ::-1] / np.float32(255), np.float32)


def to_uint8(picture: np.ndarray) -> np.ndarray:
    return np.rint(picture * 255).astype(np.uint8)


def labels_with(*areas: tuple[int, tuple[slice, slice]]) -> np.ndarray:
    labels = np.zeros((SIZE, SIZE), np.uint8)
    labels[parsing.ellipse_mask(TEMPLATE, SIZE) > 0.5] = 1
    for number, where in areas:
        labels[where] = number
    return labels


MASK = masks.build_mask(SIZE, TEMPLATE)


def paste(
    image: np.ndarray,
    restored: np.ndarray,
    original: np.ndarray,
    mask: np.ndarray,
    matrix: np.ndarray,
    visibility: float = 1.0,
    detail: float = 0.0,
    grain: blending.Grain = 0.0,
    surroundings: Surroundings | None = None,
) -> PixelBox:
    """Paste one face into the picture, in place, as `face_job.paste` does; the box of the changed pixels, or zeros."""
    found = blending.layer(image, restored, original, mask, matrix, visibility, detail, grain, surroundings)
    blending.apply(image, [] if found is None else [found])
    return (0, 0, 0, 0) if found is None else found.box
