import math

import pytest
import torch

from luss_mm.functional.pixel_attention import foreground_score, gated_embedding, upsample_features


def slow_upsample(features, scale):
    """Bilinear about pixel centres, the outer cells repeated; pixel by pixel in float64."""
    batch, channels, rows, columns = features.shape
    values = features.tolist()
    enlarged = torch.zeros(batch, channels, rows * scale, columns * scale, dtype=torch.float64)
    for y in range(rows * scale):
        for x in range(columns * scale):
            v = min(max((y + 0.5) / scale - 0.5, 0), rows - 1)
            u = min(max((x + 0.5) / scale - 0.5, 0), columns - 1)
            top, left = math.floor(v), math.floor(u)
            bottom, right = min(top + 1, rows - 1), min(left + 1, columns - 1)
            for b in range(batch):
                for c in range(channels):
                    cells = values[b][c]
                    upper = cells[top][left] * (1 - u + left) + cells[top][right] * (u - left)
                    lower = cells[bottom][left] * (1 - u + left) + cells[bottom][right] * (u - left)
                    enlarged[b, c, y, x] = upper * (1 - v + top) + lower * (v - top)
    return enlarged


def slow_gated_embedding(features, gates):
    batch, channels, rows, columns = features.shape
    f, g = features.tolist(), gates.tolist()
    pixels = [(y, x) for y in range(rows) for x in range(columns)]
    return torch.tensor(
        [
            [
                math.fsum(f[b][c][y][x] * g[b][c][y][x] for y, x in pixels) / len(pixels)
                for c in range(channels)
            ]
            for b in range(batch)
        ],
        dtype=torch.float64,
    )


def slow_foreground_score(gates):
    batch, channels, rows, columns = gates.shape
    g = gates.tolist()
    return torch.tensor(
        [
            [
                [
                    math.fsum(g[b][c][y][x] for c in range(channels)) / channels
                    for x in range(columns)
                ]
                for y in range(rows)
            ]
            for b in range(batch)
        ],
        dtype=torch.float64,
    )


def made_up(*shape):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(shape, generator=generator), torch.rand(shape, generator=generator)


def difference(result, expected):
    assert result.shape == expected.shape
    return (result.double() - expected).abs().max().item()


@pytest.mark.parametrize('shape', [(1, 1, 1, 1), (2, 3, 4, 5), (1, 2, 7, 1)])
@pytest.mark.parametrize('scale', [1, 2, 4])
def test_upsampling_equals_loops(shape, scale):
    features, _ = made_up(*shape)
    assert difference(upsample_features(features, scale), slow_upsample(features, scale)) < 1e-6


@pytest.mark.parametrize('shape', [(1, 1, 1, 1), (2, 5, 3, 7)])
def test_pooling_equals_loops(shape):
    features, gates = made_up(*shape)
    embedding = gated_embedding(features, gates)
    assert difference(embedding, slow_gated_embedding(features, gates)) < 1e-6


@pytest.mark.parametrize('shape', [(1, 1, 1, 1), (2, 5, 3, 7)])
def test_foreground_score_equals_loops(shape):
    _, gates = made_up(*shape)
    assert difference(foreground_score(gates), slow_foreground_score(gates)) < 1e-6
