from math import log

import numpy as np
import pytest

from luss_mm.functional.clustering_scores import effective_number, has_collapsed


def slow_effective_number(counts):
    """2^(entropy in bits), the entropy summed cluster by cluster."""
    total = sum(counts)
    bits = 0.0
    for count in counts:
        if count:
            bits -= count / total * log(count / total, 2)
    return 2**bits


@pytest.mark.parametrize('num_clusters', [1, 2, 50, 919])
def test_equals_the_slow_reference(num_clusters):
    counts = np.random.default_rng(0).integers(0, 50, num_clusters) + np.arange(num_clusters) % 2
    counts[0] = 3
    assert effective_number(counts) == pytest.approx(slow_effective_number(counts.tolist()))


def test_collapse_is_a_share_of_all_clusters():
    assert has_collapsed([100, 1, 1, 1], 0.5)
    assert not has_collapsed([100, 100, 1, 1], 0.5)
    assert has_collapsed([100, 100, 1, 1], 0.9)
    assert has_collapsed([0, 0], 0.5)
