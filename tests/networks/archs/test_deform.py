"""Deformable convolution against a direct loop over every output, group and tap."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from lib_facerestore.networks.archs.deform import DeformableConv2d, deform_conv2d


def bilinear(plane: np.ndarray, y: float, x: float) -> float:
    height, width = plane.shape
    top, left = math.floor(y), math.floor(x)
    total = 0.0
    for row in (top, top + 1):
        for column in (left, left + 1):
            if 0 <= row < height and 0 <= column < width:
                total += plane[row, column] * (1 - abs(y - row)) * (1 - abs(x - column))
    return total


def direct(
    x: np.ndarray, offsets: np.ndarray, mask: np.ndarray, weight: np.ndarray, bias: np.ndarray, groups: int
) -> np.ndarray:
    batch, channels, height, width = x.shape
    result = np.zeros((batch, len(weight), height, width))
    for b, i, j in np.ndindex(batch, height, width):
        columns = np.zeros((channels, 3, 3))
        for c, u, v in np.ndindex(channels, 3, 3):
            tap = (c // (channels // groups)) * 9 + u * 3 + v
            y = i + u - 1 + offsets[b, 2 * tap, i, j]
            z = j + v - 1 + offsets[b, 2 * tap + 1, i, j]
            columns[c, u, v] = mask[b, tap, i, j] * bilinear(x[b, c], y, z)
        result[b, :, i, j] = (weight * columns).sum((1, 2, 3)) + bias
    return result


def inputs(groups: int, dtype: torch.dtype, spread: float) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(groups)
    batch, channels, height, width = 2, 8, 6, 7
    return (
        torch.randn(batch, channels, height, width, dtype=dtype),
        torch.randn(batch, groups * 18, height, width, dtype=dtype) * spread,
        torch.rand(batch, groups * 9, height, width, dtype=dtype),
        torch.randn(5, channels, 3, 3, dtype=dtype),
        torch.randn(5, dtype=dtype),
    )


@pytest.mark.parametrize(("groups", "spread"), [(4, 1.5), (4, 9.0), (1, 0.4), (2, 3.0)])
def test_it_equals_a_direct_loop(groups: int, spread: float) -> None:
    x, offsets, mask, weight, bias = inputs(groups, torch.float64, spread)
    expected = direct(x.numpy(), offsets.numpy(), mask.numpy(), weight.numpy(), bias.numpy(), groups)
    result = deform_conv2d(x, offsets, mask, weight, bias, groups)
    assert np.abs(result.numpy() - expected).max() < 1e-12
    single = deform_conv2d(x.float(), offsets.float(), mask.float(), weight.float(), bias.float(), groups)
    assert single.dtype == torch.float32
    assert np.abs(single.numpy() - expected).max() < 1e-4


def test_without_offsets_it_is_a_plain_convolution() -> None:
    x, offsets, mask, weight, _ = inputs(4, torch.float32, 0.0)
    result = deform_conv2d(x, offsets, torch.ones_like(mask), weight, None, 4)
    torch.testing.assert_close(result, functional.conv2d(x, weight, padding=1), atol=1e-4, rtol=0)


def test_places_stay_exact_in_bfloat16() -> None:
    """A shift by whole pixels moves pixel 300 of a wide picture to pixel 301 in bfloat16 too."""
    x = torch.zeros(1, 1, 4, 400, dtype=torch.bfloat16)
    x[..., 301] = 1
    offsets = torch.zeros(1, 18, 4, 400, dtype=torch.bfloat16)
    offsets[:, 1::2] = 1
    weight = torch.zeros(1, 1, 3, 3, dtype=torch.bfloat16)
    weight[0, 0, 1, 1] = 1
    result = deform_conv2d(x, offsets, torch.ones(1, 9, 4, 400, dtype=torch.bfloat16), weight, None, 1)
    assert result.dtype == torch.bfloat16
    expected = torch.zeros_like(x)
    expected[..., 300] = 1
    torch.testing.assert_close(result, expected, atol=1e-2, rtol=0)


def test_faces_of_a_batch_do_not_meet() -> None:
    torch.manual_seed(0)
    layer = DeformableConv2d(8, 4)
    x, guide = torch.randn(3, 8, 9, 8), 3 * torch.randn(3, 8, 9, 8)
    with torch.no_grad():
        together = layer(x, guide)
        alone = torch.cat([layer(x[i : i + 1], guide[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
