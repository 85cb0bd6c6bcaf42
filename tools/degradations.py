"""Blind degradations for training and measuring `lite`: what cameras, codecs and diffusion models do to faces.

The chain follows the usual recipe of blind face restoration (blur → downscale → noise → JPEG → upscale; Wang et al.,
GFPGAN, CVPR 2021, section 3.5) plus a second kind of our own: the melted features, smeared texture and waxy skin that
latent diffusion leaves on small faces.
"""

from __future__ import annotations

import cv2
import numpy as np

from tools.photographs import through_jpeg

_DOWN = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC)
_UP = (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)


def anisotropic_kernel(rng: np.random.Generator, smallest: float, largest: float) -> np.ndarray:
    """A normalised Gaussian kernel (odd side, float32) with two random widths in pixels and a random angle."""
    first, second = rng.uniform(smallest, largest, 2)
    if rng.random() < 0.4:
        second = first
    angle = rng.uniform(0, np.pi)
    radius = int(np.ceil(2.5 * max(first, second))) or 1
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1].astype(np.float32)
    along, across = x * np.cos(angle) + y * np.sin(angle), -x * np.sin(angle) + y * np.cos(angle)
    kernel = np.exp(-0.5 * ((along / first) ** 2 + (across / second) ** 2))
    return (kernel / kernel.sum()).astype(np.float32)


def melt(face: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What diffusion does to a small face: features shift by a smooth random field, texture is smeared or waxy.

    Args:
        face: S×S×3 float32 RGB in [0, 255].
    """
    side = face.shape[0]
    cells = int(rng.integers(5, 12))
    field: np.ndarray = rng.normal(0, 1, (cells, cells, 2)).astype(np.float32)
    field = cv2.resize(field, (side, side), interpolation=cv2.INTER_CUBIC) * rng.uniform(0.2, 1.3) * side / 256
    y, x = np.mgrid[0:side, 0:side].astype(np.float32)
    out: np.ndarray = cv2.remap(
        face, x + field[..., 0], y + field[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    if rng.random() < 0.6:
        whole = np.clip(out, 0, 255).astype(np.uint8)
        waxy = cv2.bilateralFilter(whole, 5, float(rng.uniform(10, 40)), float(rng.uniform(1, 3)))
        out = waxy.astype(np.float32)
    if rng.random() < 0.4:  # the over-sharp halo of a high guidance scale
        out = out + rng.uniform(0.2, 0.8) * (out - cv2.GaussianBlur(out, (0, 0), float(rng.uniform(0.8, 2))))
    return out


def degrade(face: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random degradation of an aligned face.

    Args:
        face: S×S×3 uint8 RGB.
        rng: the source of every random choice; the same state gives the same picture.

    Returns:
        S×S×3 uint8 RGB of the same size.
    """
    side = face.shape[0]
    unit = side / 256
    out: np.ndarray = face.astype(np.float32)
    if rng.random() < 0.25:
        out = melt(out, rng)
    factor = float(np.exp(rng.uniform(0, np.log(8))))
    if rng.random() < 0.75:
        kernel = anisotropic_kernel(rng, 0.3 * unit, (0.6 + 0.45 * factor) * unit)
        out = cv2.filter2D(out, -1, kernel, borderType=cv2.BORDER_REFLECT_101)
    small = max(16, round(side / factor))
    if small < side:
        out = cv2.resize(out, (small, small), interpolation=_DOWN[int(rng.integers(len(_DOWN)))])
    if rng.random() < 0.8:
        sigma = rng.uniform(0, 20)
        shape = out.shape if rng.random() < 0.6 else (*out.shape[:2], 1)
        out = out + rng.normal(0, sigma, shape).astype(np.float32)
    out = np.clip(np.rint(out), 0, 255).astype(np.uint8)
    if rng.random() < 0.7:
        out = np.ascontiguousarray(through_jpeg(out[..., ::-1], int(rng.uniform(30, 96)))[..., ::-1])
    if out.shape[0] != side:
        out = cv2.resize(out, (side, side), interpolation=_UP[int(rng.integers(len(_UP)))])
    return out


def spoil(face: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random degradation for training: none, a mild one, that of `degrade`, or one or two strong ones.

    Faces without damage, and with so little of it that nobody sees it, teach the network to leave them alone.

    Args:
        face: S×S×3 uint8 RGB.
        rng: the source of every random choice; the same state gives the same picture.

    Returns:
        S×S×3 uint8 RGB of the same size.
    """
    kind = rng.random()
    if kind < 0.08:
        return face
    if kind < 0.36:
        return mild(face, rng)
    if kind < 0.58:
        return degrade(face, rng)
    steps = rng.choice(len(STRONG), 1 if rng.random() < 0.65 else 2, replace=False, p=SHARES)
    out = face
    for step in sorted(steps):  # in the order in which they happen: optics, size, sensor or print, file
        out = STRONG[step](out, rng)
    return out


def mild(face: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What an ordinary camera and a usual JPEG do to a face (S×S×3 uint8 RGB): one of blur, noise and JPEG, or more.

    Alone they are what a plain filter is made for, so the network has to learn each of them alone too.
    """
    out: np.ndarray = face.astype(np.float32)
    several = rng.random() < 0.5
    only = int(rng.integers(3))
    if rng.random() < 0.4 if several else only == 0:
        out = cv2.GaussianBlur(out, (0, 0), float(rng.uniform(0.3, 1.8)) * face.shape[0] / 256)
    if rng.random() < 0.4 if several else only == 1:
        out = out + rng.normal(0, rng.uniform(0.5, 9), out.shape).astype(np.float32)
    out = np.clip(np.rint(out), 0, 255).astype(np.uint8)
    return jpeg(out, int(rng.integers(40, 99))) if (rng.random() < 0.7 if several else only == 2) else out


def blur(face: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Out of focus, or moved: a Gaussian, a disc or a line, up to a twentieth of the crop's side wide."""
    unit, kind = face.shape[0] / 256, rng.random()
    if kind < 0.6:
        kernel = anisotropic_kernel(rng, 0.6 * unit, 5 * unit)
    else:
        radius = float(rng.uniform(1, 7)) * unit
        reach = int(np.ceil(radius)) + 1
        y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float32)
        if kind < 0.8:
            kernel = np.clip(radius + 0.5 - np.hypot(x, y), 0, 1)
        else:
            angle = float(rng.uniform(0, np.pi))
            along, across = x * np.cos(angle) + y * np.sin(angle), -x * np.sin(angle) + y * np.cos(angle)
            kernel = np.clip(radius + 0.5 - np.abs(along), 0, 1) * np.clip(1 - np.abs(across), 0, 1)
        kernel = (kernel / kernel.sum()).astype(np.float32)
    return cv2.filter2D(face, -1, kernel, borderType=cv2.BORDER_REFLECT_101)


def small(face: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Reduced to a face of 14 to 110 pixels, and enlarged."""
    side = face.shape[0]
    little = max(16, round(side / float(np.exp(rng.uniform(np.log(2), np.log(14))))))
    out = cv2.resize(face, (little, little), interpolation=_DOWN[int(rng.integers(len(_DOWN)))])
    if rng.random() < 0.4:
        out = jpeg(out, int(rng.integers(40, 97)))
    return cv2.resize(out, (side, side), interpolation=_UP[int(rng.integers(len(_UP)))])


def grain(face: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Noise of a sensor (white, up to a deviation of 50 levels) or of film (correlated, mostly without colour)."""
    shape = face.shape if rng.random() < 0.6 else (*face.shape[:2], 1)
    noise: np.ndarray = rng.normal(0, 1, shape).astype(np.float32)
    if rng.random() < 0.5:
        noise = cv2.GaussianBlur(noise, (0, 0), float(rng.uniform(0.4, 1.8))).reshape(shape)
        noise = noise / noise.std()
    strength = float(np.exp(rng.uniform(np.log(3), np.log(50))))
    picture = face.astype(np.float32)
    if rng.random() < 0.4:  # shot noise: stronger where it is bright
        noise = noise * np.sqrt(picture / 128 + 0.05)
    return np.clip(np.rint(picture + strength * noise), 0, 255).astype(np.uint8)


def printed(face: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An old print: a halftone screen at some angle, or faded, with scratches and specks."""
    side = face.shape[0]
    picture = face.astype(np.float32)
    if rng.random() < 0.5:
        picture = np.repeat(picture.mean(2, keepdims=True), 3, axis=2)
    if rng.random() < 0.5:
        y, x = np.mgrid[0:side, 0:side].astype(np.float32)
        angle, period = float(rng.uniform(0, np.pi)), float(rng.uniform(2.2, 5.0)) * side / 256
        u = (x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / period
        v = (-x * np.sin(angle) + y * np.cos(angle)) * 2 * np.pi / period
        screen = (np.cos(u) + np.cos(v))[..., None] * 0.25 + 0.5
        hard: np.ndarray = 255 / (1 + np.exp(-(picture / 255 - screen) * float(rng.uniform(4, 14))))
        picture = np.asarray(cv2.GaussianBlur(hard, (0, 0), float(rng.uniform(0.4, 1.2)) * side / 256), np.float32)
    else:
        low, high = float(rng.uniform(0, 50)), float(rng.uniform(180, 255))
        picture = picture * np.float32((high - low) / 255) + np.float32(low)
        for _ in range(int(rng.integers(1, 12))):
            start, end = rng.integers(0, side, (2, 2)).tolist()
            if rng.random() < 0.6:
                end = start
            colour = (float(rng.uniform(150, 255)) if rng.random() < 0.7 else float(rng.uniform(0, 80)),) * 3
            picture = np.ascontiguousarray(picture)
            cv2.line(picture, start, end, colour, int(rng.integers(1, 3)), cv2.LINE_AA)
    out = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
    return grain(out, rng) if rng.random() < 0.3 else out


def compressed(face: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """JPEG of a quality from 8 to 90, sometimes twice with shifted blocks."""
    out = jpeg(face, int(rng.integers(8, 91)))
    if rng.random() < 0.3:
        shift = tuple(rng.integers(1, 8, 2).tolist())
        out = np.roll(jpeg(np.roll(out, shift, (0, 1)), int(rng.integers(30, 96))), (-shift[0], -shift[1]), (0, 1))
    return out


def jpeg(picture: np.ndarray, quality: int) -> np.ndarray:
    """What a JPEG of this quality keeps of a picture (H×W×3 uint8 RGB)."""
    return np.ascontiguousarray(through_jpeg(np.ascontiguousarray(picture[..., ::-1]), quality)[..., ::-1])


STRONG = (blur, small, grain, printed, compressed)
"""The strong degradations of `spoil`, in the order in which they happen."""
SHARES = (0.24, 0.2, 0.18, 0.14, 0.24)
"""How often `spoil` takes each of them."""
