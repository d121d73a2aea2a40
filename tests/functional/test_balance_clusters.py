from statistics import median

import numpy as np
import pytest

from luss_mm.functional.sample_selection import balance_clusters


def slow_balance(assignment, quality, kept, num_clusters, cap, floor):
    """Who takes part at all, and how many rows each cluster has in the end."""
    members = [
        [i for i in range(len(assignment)) if kept[i] and assignment[i] == k]
        for k in range(num_clusters)
    ]
    middle = median(len(m) for m in members if m)
    remaining, sizes = set(), []
    for own in members:
        if cap is not None:
            own = sorted(own, key=lambda i: (-quality[i], i))[: int(cap * middle)]
        wanted = int(floor * middle) if floor is not None and own else 0
        remaining |= set(own)
        sizes.append(max(len(own), wanted))
    return remaining, sizes


@pytest.mark.parametrize(
    'cap, floor', [(None, None), (1, None), (None, 1.5), (1.5, 0.7), (2, 2), (1, 1)]
)
@pytest.mark.parametrize('number, clusters', [(1, 1), (60, 9), (2000, 40), (1200, 919)])
def test_equals_the_slow_reference(number, clusters, cap, floor):
    rng = np.random.default_rng(number)
    assignment = np.minimum(rng.geometric(min(1, 3 / clusters), number) - 1, clusters - 1)
    quality = rng.integers(0, 20, number) / 20
    kept = rng.random(number) < 0.7
    kept[0] = True
    rows = balance_clusters(assignment, quality, kept, clusters, cap, floor, seed=3)
    members, sizes = slow_balance(assignment, quality, kept, clusters, cap, floor)
    assert set(rows.tolist()) == members  # draws come from what is there and lose nothing
    assert np.bincount(assignment[rows], minlength=clusters).tolist() == sizes
    assert (np.diff(rows) >= 0).all()


def test_draws_are_uniform_and_seeded():
    assignment = np.repeat([0, 1], [4, 4000])
    arguments = (assignment, np.zeros(4004), np.ones(4004, bool), 2, None, 1.9999)
    first, again, other = (balance_clusters(*arguments, seed=s) for s in (5, 5, 6))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    counts = np.bincount(first[first < 4])  # 4003 rows of four samples
    assert counts.sum() == 4003 and (np.abs(counts - 1000) < 150).all()
