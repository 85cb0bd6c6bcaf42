"""Removes noise and JPEG blocks from a part of a picture whose noise was measured."""

from __future__ import annotations

import numpy as np

from .filters import FloatImage
from .noise import BLOCK, OPPONENT, dct_matrix

_DCT = dct_matrix()
# Coefficients below this many standard deviations of the noise are set to 0.
_THRESHOLD = 2.7
# Up to this many pixels every second position of a block is used, else every fourth, which loses 0.5 to 1 dB.
_SMALL = 640 * 640


def without_noise(image: FloatImage, variance: FloatImage) -> FloatImage:
    """Remove noise by thresholding the DCT coefficients of overlapping blocks.

    After Yu and Sapiro, "DCT image denoising: a simple and effective image denoising algorithm", IPOL 2011. Blocks with
    fewer coefficients left count more (Guleryuz, "Weighted averaging for denoising with overcomplete dictionaries",
    2007). For JPEG blocks it is Nosratinia's averaging of shifted blocks.

    Args:
        image: H×W×3 float32, RGB in [0, 1].
        variance: 3×8×8, variance of the coefficients of the noise, as `Noise.dct`.

    Returns:
        H×W×3 float32.
    """
    height, width = image.shape[:2]
    step = 2 if height * width <= _SMALL else 4
    pad = BLOCK
    padded = np.pad(image, ((pad, pad + step), (pad, pad + step), (0, 0)), mode="symmetric") @ OPPONENT.T
    total, weights = np.zeros_like(padded), np.zeros_like(padded)
    limit = np.asarray(_THRESHOLD * np.sqrt(variance), np.float32)
    limit[:, 0, 0] = 0.0
    for row in range(0, padded.shape[0] - BLOCK + 1, step):
        blocks = np.lib.stride_tricks.sliding_window_view(padded[row : row + BLOCK], BLOCK, axis=1)[:, ::step]
        coefficients = (np.tensordot(_DCT, blocks, (1, 0)) @ _DCT.T).transpose(1, 2, 0, 3)  # block, colour, 8, 8
        kept = np.abs(coefficients) >= limit
        weight = 1 / np.maximum(kept.sum(axis=(2, 3)), 1).astype(np.float32)
        filtered = (_DCT.T @ (coefficients * kept) @ _DCT) * weight[..., None, None]
        across = step * len(filtered)
        for column in range(BLOCK):
            total[row : row + BLOCK, column : column + across : step] += filtered[..., column].transpose(2, 0, 1)
            weights[row : row + BLOCK, column : column + across : step] += weight
    result = (total / np.maximum(weights, 1e-9)) @ OPPONENT
    return np.asarray(result[pad : pad + height, pad : pad + width], np.float32)
