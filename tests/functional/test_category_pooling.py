import numpy as np
import pytest
import torch

from luss_mm.functional.guided_filter import pool_categories


def slow_decision(logits, radius):
    """Object by all categories together, category by their mean probability around the pixel."""
    exponents = np.exp(logits - logits.max(0))
    probabilities = exponents / exponents.sum(0)
    _, height, width = logits.shape
    labels = np.zeros((height, width), dtype=int)
    for i in range(height):
        for j in range(width):
            window = probabilities[
                1:, max(0, i - radius) : i + radius + 1, max(0, j - radius) : j + radius + 1
            ]
            if 1 - probabilities[0, i, j] > 0.5:
                labels[i, j] = 1 + window.mean((1, 2)).argmax()
    return labels


@pytest.mark.parametrize('window, radius', [(0.0, 0), (0.25, 2), (5.0, 40)])
@pytest.mark.parametrize('num_categories', [1, 3, 300])
def test_argmax_equals_deciding_in_two_steps(window, radius, num_categories):
    logits = 2 * torch.randn(2, num_categories + 1, 8, 11)
    logits[:, 0] += np.log(num_categories)
    labels = pool_categories(logits, window).argmax(dim=1).numpy()
    assert 0 < (labels == 0).mean() < 1
    for found, given in zip(labels, logits.double().numpy(), strict=True):
        np.testing.assert_array_equal(found, slow_decision(given, radius))


def test_half_precision_and_large_logits_stay_finite():
    logits = torch.tensor([[90.0, -90.0, -89.0]]).view(1, 3, 1, 1).bfloat16()
    for window in (0.0, 1.0):
        assert pool_categories(logits, window).isfinite().all()
