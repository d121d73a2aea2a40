from decimal import Decimal

import pytest
import torch
from torch.nn import functional as F

from luss_mm.functional.swapped_prediction import sinkhorn
from tests.two_ranks import run_on_two_ranks


def slow_sinkhorn(scores, epsilon=0.05, iterations=3):
    """SwAV's loop number by number, in decimals of 28 digits whose exponents never overflow."""
    epsilon = Decimal(epsilon)
    plan = [[(Decimal(value) / epsilon).exp() for value in row] for row in scores.tolist()]
    samples, prototypes = len(plan), len(plan[0])
    total = sum(map(sum, plan))
    plan = [[value / total for value in row] for row in plan]
    for _ in range(iterations):
        for p in range(prototypes):
            mass = sum(row[p] for row in plan)
            for row in plan:
                row[p] /= mass * prototypes
        for row in plan:
            mass = sum(row)
            row[:] = [value / (mass * samples) for value in row]
    return torch.tensor([[float(v * samples) for v in row] for row in plan], dtype=torch.float64)


def cosines(samples, prototypes, channels=16, seed=0):
    """Cosines of unit vectors; the prototypes lie among the samples, so some are close to 1."""
    generator = torch.Generator().manual_seed(seed)
    vectors = F.normalize(torch.randn(samples + prototypes, channels, generator=generator), dim=1)
    near = F.normalize(vectors[samples:] + vectors[torch.arange(prototypes) % samples], dim=1)
    return vectors[:samples] @ near.T


def difference(plan, expected):
    return (plan.double() - expected).abs().max().item()


@pytest.mark.parametrize('samples, prototypes', [(1, 1), (1, 7), (9, 1), (50, 20), (30, 90)])
@pytest.mark.parametrize('epsilon, iterations', [(0.05, 3), (0.05, 1), (0.02, 10), (0.5, 3)])
def test_equals_the_slow_loop(samples, prototypes, epsilon, iterations):
    scores = cosines(samples, prototypes)
    plan = sinkhorn(scores, epsilon, iterations)
    assert plan.dtype == torch.float32 and plan.shape == scores.shape
    assert difference(plan, slow_sinkhorn(scores, epsilon, iterations)) < 5e-6


@pytest.mark.parametrize('epsilon', [0.01, 0.003, 0.0005])
def test_small_epsilon_loses_no_sample(epsilon):
    scores = cosines(40, 12)
    plan = sinkhorn(scores, epsilon)
    torch.testing.assert_close(plan.sum(dim=1), torch.ones(40))
    # float32 scores of size 1 divided by epsilon are known to 6e-8 / epsilon
    assert difference(plan, slow_sinkhorn(scores, epsilon)) < 4e-7 / epsilon


@pytest.mark.parametrize('size', [1e2, 1e4, 1e30])
def test_huge_scores_stay_finite(size):
    scores = cosines(20, 8) * size
    plan = sinkhorn(scores)
    torch.testing.assert_close(plan.sum(dim=1), torch.ones(20))
    if size == 1e2:
        assert difference(plan, slow_sinkhorn(scores)) < 1e-3


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_any_float_is_worked_on_in_float32(dtype):
    scores = cosines(16, 5).to(dtype)
    plan = sinkhorn(scores)
    assert plan.dtype == torch.float32
    assert difference(plan, slow_sinkhorn(scores)) < 5e-6


def test_no_gradient_and_the_scores_stay_as_they_are():
    scores = cosines(16, 5).requires_grad_()
    before = scores.detach().clone()
    assert not sinkhorn(scores).requires_grad
    assert torch.equal(scores, before)


# ---------------------------------------------------------------- two processes


def assign_on_rank(rank, parts, epsilon):
    return sinkhorn(parts[rank], epsilon)


@pytest.mark.parametrize('rows', [(32, 32), (5, 43), (0, 16), (16, 0), (1, 1)])
@pytest.mark.parametrize('epsilon', [0.05, 0.005])
def test_two_ranks_equal_one(rows, epsilon):
    scores = cosines(sum(rows), 20, seed=1)
    scores[: rows[0]] += 0.1  # otherwise two halves of one distribution would hide a lack of sums
    scores[:, 7] -= 0.5
    parts = scores.split(rows)
    plans = torch.cat(run_on_two_ranks(assign_on_rank, parts, epsilon))
    assert difference(plans, sinkhorn(scores, epsilon).double()) < 1e-5
    assert difference(plans, slow_sinkhorn(scores, epsilon)) < 1e-4
    if min(rows) > 1:  # each rank for itself would be something else
        alone = torch.cat([sinkhorn(part, epsilon) for part in parts])
        assert difference(alone, plans.double()) > 0.05
