import pytest
import torch

from luss_mm.functional.ranks import (
    gather_rows,
    max_over_ranks,
    one_rank,
    sum_over_ranks,
    world_size,
)
from tests.two_ranks import run_on_two_ranks


@pytest.mark.parametrize('reduce', [sum_over_ranks, max_over_ranks, gather_rows])
def test_one_process_gets_a_copy_without_gradient(reduce):
    tensor = torch.randn(4, 3, requires_grad=True)
    result = reduce(tensor)
    assert torch.equal(result, tensor) and not result.requires_grad
    result.zero_()  # a reduction must never write into its argument
    assert tensor.abs().sum() > 0


def test_one_process_is_a_world_of_one():
    assert world_size() == 1


# ---------------------------------------------------------------- two processes


def reduce_on_rank(rank, parts):
    part = parts[rank].requires_grad_(parts[rank].is_floating_point())
    before = part.detach().clone()
    results = [sum_over_ranks(part), max_over_ranks(part), gather_rows(part)]
    untouched = torch.equal(part, before) and not any(r.requires_grad for r in results)
    return [world_size(), untouched, *results]


@pytest.mark.parametrize(
    'whole',
    [
        torch.randn(6, 3, generator=torch.Generator().manual_seed(0)),
        torch.randn(6, 4, generator=torch.Generator().manual_seed(1)).double().T[:2],
        torch.arange(8).reshape(2, 2, 2) - 3,
        torch.tensor([-torch.inf, 2.0]),
    ],
    ids=['rows', 'not contiguous', 'integers', 'an empty slice has no maximum'],
)
def test_two_ranks_equal_loops(whole):
    parts = whole.chunk(2)
    for world, untouched, total, largest, rows in run_on_two_ranks(reduce_on_rank, parts):
        assert world == 2 and untouched
        first, second = (part.flatten().tolist() for part in parts)
        assert total.flatten().tolist() == pytest.approx(
            [a + b for a, b in zip(first, second, strict=True)], rel=1e-6
        )
        assert largest.flatten().tolist() == [max(p) for p in zip(first, second, strict=True)]
        assert torch.equal(rows, whole)  # rank 0 first


def reduce_scalar(rank):
    return sum_over_ranks(torch.tensor(rank + 1.0)), max_over_ranks(torch.tensor(-rank))


def test_scalars_of_two_ranks():
    assert run_on_two_ranks(reduce_scalar) == [(3, 0)] * 2


def reduce_on_first_rank_alone(rank):
    """The second rank does not take part, so that a collective would wait for ever."""
    if rank == 0:
        with one_rank():
            tensor = torch.tensor([2.0])
            found = (
                world_size(),
                *(f(tensor) for f in (sum_over_ranks, max_over_ranks, gather_rows)),
            )
    return (found if rank == 0 else ()), sum_over_ranks(torch.tensor(1.0))


def test_within_one_rank_nobody_is_waited_for():
    first, second = run_on_two_ranks(reduce_on_first_rank_alone)
    assert first == ((1, 2, 2, 2), 2) and second == ((), 2)
