"""Grain: noise with the strength, colours and spectrum of that around a face, so that the face does not look smooth."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from .filters import FloatImage, smoothstep
from .noise import OPPONENT, SIDE, Noise, flat_pairs

_WINDOW = np.sqrt(np.outer(np.hanning(SIDE + 2)[1:-1], np.hanning(SIDE + 2)[1:-1])).astype(np.float32)
_MEAN_OF_95_PERCENT = (1 - 0.05 * (1 + np.log(20))) / 0.95
_SHARPENING = 4
_LINES = np.fft.fftfreq(SIDE) * SIDE
_RADIUS = np.hypot(_LINES, _LINES[:, None])
"""Frequency of each element of a spectrum, in cycles for 16 pixels."""
_DFT = np.exp(-2j * np.pi / SIDE * np.outer(np.arange(SIDE), np.arange(SIDE))).astype(np.complex64)
_COARSEST, _COARSE = _RADIUS < 1.75, (_RADIUS >= 1.75) & (_RADIUS < 2.75)
"""Frequencies that patches without their mean and slope do not show, and the next ones."""


def coarse_share(around: Noise) -> float:
    """How much a picture's noise looks like the grain of film, print or a scan: 0 to 1.

    It is 0 for clean pictures, and for noise that differs from pixel to pixel, as cameras make it.

    Args:
        around: the noise around the face.
    """
    if len(around.patches) == 0:
        return 0.0
    power = _spectrum(around.patches)[0]
    level = 255 * np.sqrt(power.mean())
    neighbours = float((power * np.cos(2 * np.pi * _LINES / SIDE)).sum() / max(float(power.sum()), 1e-12))
    visible = smoothstep((level - 2.0) / 1.5) * smoothstep((around.share - 0.17) / 0.1)
    return float(visible * smoothstep((neighbours - 0.35) / 0.15))


def grain(
    before: FloatImage,
    after: FloatImage,
    inside: FloatImage,
    alpha: FloatImage,
    around: Noise,
    amount: float,
    seed: int,
) -> FloatImage:
    """Noise that raises the pasted face's noise to that of the picture around it.

    White noise is filtered with the root of the power that is missing in the face, frequency by frequency, in the
    colours in which the noise around is uncorrelated. Missing is what is there around the face and not in it, or what
    the face had before the paste and has no more, but never more than there is around. The second counts because the
    flat patches of a face have a texture of their own, which is not noise.

    Args:
        before: H×W×3, the picture before the paste.
        after: H×W×3, the picture after a paste at visibility 1, which tells what the face lost.
        inside: H×W, opacity of the mask in the picture, at visibility 1.
        alpha: H×W, opacity of the paste.
        around: the noise around the face.
        amount: factor of the noise, 0 to 1.
        seed: the same seed gives the same noise.

    Returns:
        H×W×3, to be added to the picture after the paste; zeros if there was nothing to measure around the face.
    """
    if len(around.patches) == 0 or amount <= 0:
        return np.zeros_like(after)
    _, axes = np.linalg.eigh(np.einsum("nayx,nbyx->ab", around.patches, around.patches))
    wanted = _spectrum(_turned(around.patches, axes))
    had, has = flat_pairs(before, after, inside > 0.5)
    missing = wanted
    if len(had):
        spectrum = _spectrum(_turned(has, axes))
        lost = _spectrum(_turned(had, axes)) - spectrum
        missing = np.clip(np.maximum(wanted - spectrum, lost), 0.0, wanted)
        share = missing[:, _COARSE].mean(axis=1) / np.maximum(wanted[:, _COARSE].mean(axis=1), 1e-12)
        missing[:, _COARSEST] = share[:, None] * wanted[:, _COARSEST]
    missing = _sharpened(missing)
    kernels = np.fft.fftshift(np.fft.ifft2(np.sqrt(missing)).real, axes=(1, 2))
    generator = np.random.default_rng(seed)
    noise = generator.standard_normal(after.shape, dtype=np.float32)
    for channel, kernel in enumerate(kernels):
        noise[..., channel] = cv2.filter2D(noise[..., channel], -1, kernel, borderType=cv2.BORDER_REFLECT_101)
    to_rgb = np.asarray(axes.T @ OPPONENT, np.float32)
    # The picture's own noise remains with the factor 1 - alpha; this adds the missing variance.
    return np.asarray(noise @ to_rgb * (np.sqrt(alpha * (2 - alpha)) * np.float32(amount))[..., None], np.float32)


def _turned(patches: FloatImage, axes: NDArray[np.float64]) -> FloatImage:
    return np.asarray(np.einsum("ca,ncyx->nayx", axes, patches), np.float32)


def _sharpened(power: NDArray[np.float64]) -> NDArray[np.float64]:
    """A spectrum (C×16×16) without the blur that the patches' window gave it.

    Multiplicative steps as in Richardson's and Lucy's deconvolution.
    """
    spread = np.square(np.abs(np.fft.fft2(_WINDOW)))
    transfer = np.fft.fft2(spread / spread.sum())
    sharp = power.copy()
    for _ in range(_SHARPENING):
        blurred = np.fft.ifft2(np.fft.fft2(sharp) * transfer).real
        sharp *= np.clip(power / np.maximum(blurred, 1e-12), 0.25, 4.0)
    return sharp


def _spectrum(patches: FloatImage) -> NDArray[np.float64]:
    """Power spectrum (C×16×16) of noise in patches (N×C×16×16); its mean is the variance.

    It is the mean over the patches without the strongest twentieth, in which there may be structure, divided by that of
    an exponential distribution with mean 1. (A median would miss noise that JPEG left in a few blocks only.) What is
    coarser than 3 cycles for 16 pixels is limited to what a Gaussian spectrum through the finer frequencies would have,
    because shading is left there. What patches without their mean and slope do not show is extrapolated likewise.
    """
    # As numpy.fft.rfft2(), which is slow on many small pictures.
    along = (patches * _WINDOW).reshape(-1, SIDE) @ _DFT[:, : SIDE // 2 + 1]
    half = (_DFT @ along.reshape(-1, SIDE, SIDE // 2 + 1)).reshape(*patches.shape[:3], -1)
    squares = np.ascontiguousarray(np.moveaxis(half.real**2 + half.imag**2, 0, -1))
    weaker = max(1, round(0.95 * len(patches)))
    means = np.partition(squares, weaker - 1, axis=-1)[..., :weaker].mean(axis=-1)
    # The spectrum of real numbers is symmetric: the other half is that of the opposite frequencies.
    opposite = np.roll(means[:, ::-1], 1, axis=1)[..., SIDE // 2 - 1 : 0 : -1]
    power = np.concatenate((means, opposite), axis=2, dtype=np.float64)
    power /= _MEAN_OF_95_PERCENT * float(np.square(_WINDOW).sum())
    for channel in power:
        low, high = (float(channel[(a <= _RADIUS) & (b > _RADIUS)].mean()) for a, b in ((2.75, 3.75), (4.5, 5.5)))
        ratio = float(np.clip(low / max(high, 1e-12), 1.0, 40.0))
        limit = (1 + 0.08 * math.log(ratio)) * low * ratio ** ((3.25**2 - _RADIUS**2) / (5.0**2 - 3.25**2))
        channel[_COARSE] = np.minimum(channel[_COARSE], limit[_COARSE])
        coarse = float(channel[_COARSE].mean())
        ratio = float(np.clip(coarse / max(low, 1e-12), 1.0, 4.0))
        further = coarse * ratio ** ((2.25**2 - _RADIUS**2) / (3.25**2 - 2.25**2))
        channel[_COARSEST] = np.minimum(limit, further)[_COARSEST]
    return np.asarray(power, np.float64)
