import numpy as np
import pytest
import torch

from luss_mm.functional import guided_filter as module
from luss_mm.functional.guided_filter import box_mean, guided_filter


def slow_box_mean(maps, radius):
    result = np.empty_like(maps)
    for i in range(maps.shape[-2]):
        for j in range(maps.shape[-1]):
            rows = slice(max(0, i - radius), i + radius + 1)
            columns = slice(max(0, j - radius), j + radius + 1)
            result[..., i, j] = maps[..., rows, columns].mean((-2, -1))
    return result


def slow_guided_filter(score, guide, cells, epsilon):
    """He, Sun and Tang's equations window by window, at one resolution."""
    height, width = score.shape
    slopes, offsets = np.empty((3, height, width)), np.empty((height, width))
    for i in range(height):
        for j in range(width):
            window = np.s_[
                ..., max(0, i - cells) : i + cells + 1, max(0, j - cells) : j + cells + 1
            ]
            colours, values = guide[window].reshape(3, -1), score[window].ravel()
            covariance = np.cov(colours, bias=True) + epsilon * np.eye(3)
            shared = (colours * values).mean(1) - colours.mean(1) * values.mean()
            slopes[:, i, j] = np.linalg.solve(covariance, shared)
            offsets[i, j] = values.mean() - slopes[:, i, j] @ colours.mean(1)
    smooth = (slow_box_mean(slopes, cells) * guide).sum(0) + slow_box_mean(offsets, cells)
    return smooth.clip(score.min(), score.max())


@pytest.mark.parametrize('height, width, radius', [(1, 1, 3), (7, 12, 0), (7, 12, 2), (9, 5, 20)])
def test_box_mean_equals_a_loop(height, width, radius):
    maps = torch.randn(2, 3, height, width)
    expected = slow_box_mean(maps.double().numpy(), radius)
    np.testing.assert_allclose(box_mean(maps, radius).numpy(), expected, atol=1e-6)


@pytest.mark.parametrize('height, width, radius', [(1, 1, 0.5), (8, 11, 0.25), (13, 6, 0.5)])
def test_equals_the_equations_window_by_window(height, width, radius):
    score, guide = torch.rand(2, height, width), torch.rand(2, 3, height, width)
    found = guided_filter(score, guide, radius, 1e-3).numpy()
    cells = max(1, round(radius * min(height, width)))
    for i in range(2):
        expected = slow_guided_filter(
            score[i].double().numpy(), guide[i].double().numpy(), cells, 1e-3
        )
        np.testing.assert_allclose(found[i], expected, atol=1e-5)


def test_a_flat_guide_smooths_and_stays_finite():
    smooth = guided_filter(torch.rand(1, 8, 8), torch.zeros(1, 3, 64, 64), 0.25)
    assert smooth.isfinite().all()
    assert smooth.std() < 0.2


def test_half_precision_scores_give_float32(monkeypatch):
    monkeypatch.setattr(module, 'GUIDE_CELLS', 8)
    score, guide = torch.rand(1, 4, 4), torch.rand(1, 3, 32, 32)
    found = guided_filter(score.bfloat16(), guide, 0.3)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, guided_filter(score, guide, 0.3), atol=0.01, rtol=0)
