import math
from collections import Counter
from itertools import permutations

import numpy as np
import pytest

from luss_mm.functional.clustering_scores import (
    clustering_accuracy,
    contingency,
    normalized_mutual_information,
)


def slow_contingency(clusters, categories, num_clusters, num_categories):
    pairs = Counter(zip(map(int, clusters), map(int, categories), strict=True))
    return [[pairs[k, c] for c in range(num_categories)] for k in range(num_clusters)]


def slow_accuracy(clusters, categories, num_clusters, num_categories):
    """All one-to-one matchings, counting samples one by one."""
    side = max(num_clusters, num_categories)
    best = 0
    for match in permutations(range(side)):
        best = max(best, sum(match[k] == c for k, c in zip(clusters, categories, strict=True)))
    return best / len(clusters)


def slow_information(clusters, categories):
    n = len(clusters)
    pairs = Counter(zip(map(int, clusters), map(int, categories), strict=True))
    by_cluster, by_category = Counter(map(int, clusters)), Counter(map(int, categories))

    def entropy(counter):
        return -sum(v / n * math.log(v / n) for v in counter.values())

    mutual = 0.0
    for (k, c), v in pairs.items():
        mutual += v / n * math.log(n * v / (by_cluster[k] * by_category[c]))
    return mutual / ((entropy(by_cluster) + entropy(by_category)) / 2)


def labels(n, k, c, seed=0, agreement=0.6):
    rng = np.random.default_rng(seed)
    categories = rng.integers(c, size=n)
    clusters = np.where(
        rng.random(n) < agreement, (categories * 2 + 1) % k, rng.integers(k, size=n)
    )
    return clusters, categories


@pytest.mark.parametrize(('n', 'k', 'c'), [(1, 1, 1), (60, 5, 5), (60, 6, 4), (60, 3, 6)])
def test_equals_counting_by_hand(n, k, c):
    clusters, categories = labels(n, k, c)
    counts = contingency(clusters, categories, k, c)
    assert counts.dtype == np.int64
    np.testing.assert_array_equal(counts, slow_contingency(clusters, categories, k, c))
    expected = slow_accuracy(clusters, categories, k, c)
    assert clustering_accuracy(counts) == pytest.approx(expected, abs=1e-12)
    if n > 1:
        expected = slow_information(clusters, categories)
        assert normalized_mutual_information(counts) == pytest.approx(expected, abs=1e-12)


def test_919_categories_in_small_dtypes():
    clusters, categories = labels(5000, 919, 919)
    counts = contingency(clusters.astype(np.uint16), categories.astype(np.int32), 919, 919)
    np.testing.assert_array_equal(counts, slow_contingency(clusters, categories, 919, 919))
    small = contingency(np.full(3, 200, np.uint8), np.full(3, 199, np.uint8), 256, 200)
    assert small[200, 199] == 3
    expected = slow_information(clusters, categories)
    assert normalized_mutual_information(counts) == pytest.approx(expected, abs=1e-12)
