"""Damage of known kind and strength for `bench --quality`: noise, compression, blur, grain, and things before a face.

Pictures are H×W×3 uint8 RGB. Every random choice comes from the generator that is given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .metrics import FloatImage, Pixels

Rng = np.random.Generator
Damage = Callable[[Pixels, Rng], Pixels]
Grain = Literal["white", "film", "jpeg", "enlarged"]
Occluder = Literal["hand", "sunglasses", "stain", "fringe"]


def to_pixels(values: NDArray[np.floating]) -> Pixels:
    """Rounded and clipped to uint8."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def noise(pixels: Pixels, sigma: float, rng: Rng) -> Pixels:
    """White Gaussian noise, `sigma` in levels of 255, independent in each channel."""
    return to_pixels(pixels + rng.normal(0, sigma, pixels.shape))


def blur(pixels: Pixels, sigma: float) -> Pixels:
    """Gaussian blur, `sigma` in pixels."""
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101), np.uint8)


def resized(pixels: Pixels, width: int, height: int) -> Pixels:
    """Resized: averaged when it becomes smaller, bicubic when larger."""
    smaller = width < pixels.shape[1]
    method = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=method), np.uint8)


def coarse(pixels: Pixels, factor: float) -> Pixels:
    """Reduced by `factor` and enlarged to its old size."""
    height, width = pixels.shape[:2]
    small = resized(pixels, max(round(width / factor), 1), max(round(height / factor), 1))
    return resized(small, width, height)


def jpeg(pixels: Pixels, quality: int) -> Pixels:
    """What a JPEG file of this quality keeps. Raises InputError if it cannot be written or read."""
    written, data = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    read = cv2.imdecode(data, cv2.IMREAD_COLOR) if written else None
    if read is None:
        raise InputError(f"bench: a picture of {pixels.shape[1]}×{pixels.shape[0]} cannot be stored as JPEG")
    return np.ascontiguousarray(read[..., ::-1]).astype(np.uint8, copy=False)


def ordinary(pixels: Pixels, rng: Rng) -> Pixels:
    """What an old phone or a web page does: a little blur, half the size and enlarged again, noise, JPEG."""
    return jpeg(noise(coarse(blur(pixels, 1.2), 2.5), 6, rng), 60)


def heavy(pixels: Pixels, rng: Rng) -> Pixels:
    """What years of copying do: blur, a quarter of the size and enlarged again, noise, JPEG 30."""
    return jpeg(noise(coarse(blur(pixels, 3), 4), 15, rng), 30)


DAMAGES: dict[str, Damage] = {
    "noise σ14": lambda pixels, rng: noise(pixels, 14, rng),
    "JPEG 30": lambda pixels, _: jpeg(pixels, 30),
    "JPEG 90": lambda pixels, _: jpeg(pixels, 90),
    "blur σ2": lambda pixels, _: blur(pixels, 2),
    "÷4": lambda pixels, _: coarse(pixels, 4),
    "÷8": lambda pixels, _: coarse(pixels, 8),
    "ordinary": ordinary,
    "clean": lambda pixels, _: pixels.copy(),
}
"""The damage of the restorer's table. Lengths are pixels, so the size of the face matters."""


def grain(pixels: Pixels, kind: Grain, rng: Rng) -> Pixels:
    """The same amount of noise (standard deviation about 9) of four kinds.

    Args:
        pixels: the clean picture.
        kind: "white"; "film": clumps of 1.2 pixels, mostly in brightness; "jpeg": white, then JPEG 85; "enlarged":
            white in a picture of half the size.
        rng: the source of the noise.
    """
    height, width = pixels.shape[:2]
    if kind == "enlarged":
        small = resized(pixels, width // 2, height // 2).astype(np.float32)
        field = rng.normal(0, 12, small.shape).astype(np.float32)
        return to_pixels(pixels + cv2.resize(field, (width, height), interpolation=cv2.INTER_CUBIC))
    field = rng.normal(0, 1, pixels.shape).astype(np.float32)
    if kind == "film":
        field = 0.35 * field + 0.94 * rng.normal(0, 1, (height, width, 1)).astype(np.float32)
        field = np.asarray(cv2.GaussianBlur(field, (0, 0), 1.2), np.float32)
        field /= field.std()
    noisy = to_pixels(pixels + 9 * field)
    return jpeg(noisy, 85) if kind == "jpeg" else noisy


def occlude(pixels: Pixels, landmarks: NDArray[np.floating], kind: Occluder) -> tuple[Pixels, FloatImage]:
    """Draw something before a face.

    Args:
        pixels: the picture.
        landmarks: 5×2, the face's eyes, nose and mouth corners.
        kind: "hand": fingers over the mouth, in the skin's colour; "sunglasses": dark glasses; "stain": a blot of ink
            through which the face is seen; "fringe": hair over the forehead, of about the skin's colour in the shade.

    Returns:
        The picture, and how opaque the thing is in each pixel (H×W, 0 to 1).
    """
    points = np.asarray(landmarks, np.float64)
    eyes, mouth = (points[0] + points[1]) / 2, (points[3] + points[4]) / 2
    down = mouth - eyes
    unit = max(float(np.hypot(*down)), 1.0)
    down /= unit
    right = np.array([down[1], -down[0]])
    at_y, at_x = np.mgrid[0 : pixels.shape[0], 0 : pixels.shape[1]]
    dx, dy = (at_x - mouth[0]) / unit, (at_y - mouth[1]) / unit
    u, v = dx * right[0] + dy * right[1], dx * down[0] + dy * down[1]  # the face's own axes, from the mouth
    edge = 0.6 + 0.012 * unit  # softness of outlines in pixels
    cover = np.zeros(pixels.shape[:2])
    colour = np.zeros(pixels.shape)

    def draw(inside: NDArray[np.floating], tone: NDArray[np.floating]) -> None:
        """Draw a shape over the others; `inside` is the distance to its outline, positive within, in units."""
        opacity = np.clip(inside * unit / edge + 0.5, 0, 1)
        colour[:] += opacity[..., None] * (tone - colour)
        cover[:] = np.maximum(cover, opacity)

    x, y = (
        int(np.clip(value, 3, top - 4))
        for value, top in zip(points[2], (pixels.shape[1], pixels.shape[0]), strict=True)
    )
    skin = np.median(pixels[y - 3 : y + 4, x - 3 : x + 4].reshape(-1, 3), axis=0) * np.array([0.9, 0.85, 0.82])
    if kind == "hand":
        palm = (1.15, 0.75)
        tubes = [(palm, (1.9, 1.5), 0.5)]
        tubes += [((1.0, 0.3 + 0.2 * k), (-0.5 + 0.09 * abs(k - 1), -0.3 + 0.2 * k), 0.105) for k in (3, 2, 1, 0)]
        for start, end, radius in tubes:
            along = np.array(end) - start
            share = np.clip(((u - start[0]) * along[0] + (v - start[1]) * along[1]) / float(along @ along), 0, 1)
            distance = np.hypot(u - start[0] - share * along[0], v - start[1] - share * along[1])
            wide = radius * (1.3 - 0.3 * share) if radius < 0.2 else radius  # fingers are thicker at the palm
            light = 0.68 + 0.34 * np.sqrt(np.clip(1 - (distance / wide) ** 2, 0, 1))
            draw(wide - distance, skin * light[..., None])
    elif kind == "fringe":
        across = u + 0.25 * (v + 1.4)  # strands are slanted
        strands = sum(np.sin(rate * across + 2.1 * rate**2) for rate in (23, 47, 89, 151))
        draw(
            np.minimum(0.85 - np.hypot(u, 0.6 * np.maximum(-1.9 - v, 0)), -1.42 - v + 0.02 * strands),
            skin * np.array([0.74, 0.7, 0.6]) * (1 + 0.09 * np.asarray(strands))[..., None],
        )
    elif kind == "sunglasses":
        dark = np.array([22.0, 20.0, 24.0])
        for eye in points[:2]:
            from_eye = eye + down * 0.05 * unit - mouth
            eye_u, eye_v = float(from_eye @ right) / unit, float(from_eye @ down) / unit
            draw(0.25 - 0.25 * np.hypot((u - eye_u) / 0.36, (v - eye_v) / 0.25), dark)
        draw(np.minimum(0.035 - np.abs(v + 1), 0.75 - np.abs(u)), dark)
    else:
        nose = points[2] + right * 0.35 * unit - mouth
        distance = np.hypot(u - float(nose @ right) / unit, 0.8 * (v - float(nose @ down) / unit))
        cover = 0.6 * np.clip((0.42 - distance) / 0.06, 0, 1)
        colour = np.broadcast_to(np.array([24.0, 30.0, 90.0]), pixels.shape)
    blended = pixels + cover[..., None] * (colour - pixels)
    return to_pixels(blended), cover.astype(np.float32)
