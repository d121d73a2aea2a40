import math

import pytest
import torch

from luss_mm.functional.swapped_prediction import (
    assignment_cross_entropy,
    deep_to_shallow_loss,
    swapped_prediction_loss,
)


def slow_cross_entropy(assignment, scores, temperature=0.1):
    """-sum_p q_p log softmax(s / t)_p, number by number in float64, mean over samples."""
    per_sample = []
    for q, s in zip(assignment.tolist(), scores.tolist(), strict=True):
        highest = max(s)
        normaliser = math.fsum(math.exp((v - highest) / temperature) for v in s)
        log_softmax = [(v - highest) / temperature - math.log(normaliser) for v in s]
        per_sample.append(-math.fsum(a * b for a, b in zip(q, log_softmax, strict=True)))
    return math.fsum(per_sample) / len(per_sample)


def slow_swapped_prediction(assignments, scores, temperature=0.1):
    total = 0
    for i in range(len(assignments)):
        others = 0
        for v in range(len(scores)):
            if v != i:
                others += slow_cross_entropy(assignments[i], scores[v], temperature)
        total += others / (len(scores) - 1)
    return total / len(assignments)


def made_up(views, batch=6, prototypes=11, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    assignments = [
        torch.randn(batch, prototypes, generator=generator).mul(3).softmax(dim=1) for _ in range(2)
    ]
    scores = [
        torch.rand(batch, prototypes, generator=generator).mul(2).sub(1).to(dtype)
        for _ in range(views)
    ]
    return assignments, scores


def difference(value, expected):
    return abs(float(value) - expected)


@pytest.mark.parametrize('temperature', [0.1, 1.0, 0.003])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.bfloat16])
def test_cross_entropy_equals_numbers(temperature, dtype):
    assignments, scores = made_up(1, dtype=dtype)
    loss = assignment_cross_entropy(assignments[0], scores[0], temperature)
    assert loss.dtype == torch.float32 and loss.shape == ()
    expected = slow_cross_entropy(assignments[0], scores[0], temperature)
    assert difference(loss, expected) < 1e-6 * max(1, expected)


@pytest.mark.parametrize('views', [2, 3, 8])
def test_swapped_prediction_equals_loops(views):
    assignments, scores = made_up(views)
    loss = swapped_prediction_loss(assignments, scores)
    assert difference(loss, slow_swapped_prediction(assignments, scores)) < 1e-6


def test_swapped_prediction_needs_two_views():
    assignments, scores = made_up(1)
    with pytest.raises(ValueError, match='two views or more, got 1'):
        swapped_prediction_loss(assignments[:1], scores)


def test_deep_to_shallow_predicts_the_other_view():
    assignments, scores = made_up(2)
    loss = deep_to_shallow_loss(assignments, scores)
    pairs = {
        (i, v): slow_cross_entropy(assignments[i], scores[v]) for i in range(2) for v in range(2)
    }
    assert difference(loss, (pairs[0, 1] + pairs[1, 0]) / 2) < 1e-6
    assert difference(loss, (pairs[0, 0] + pairs[1, 1]) / 2) > 0.1


@pytest.mark.parametrize('num_assignments, num_scores', [(1, 2), (2, 1), (2, 3), (0, 0)])
def test_deep_to_shallow_needs_two_global_views(num_assignments, num_scores):
    assignments, scores = made_up(3)
    with pytest.raises(ValueError, match=f'got {num_assignments} assignments and {num_scores}'):
        deep_to_shallow_loss(assignments[:num_assignments], scores[:num_scores])
