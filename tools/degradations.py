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
