import math

import numpy as np
import pytest
import torch

from luss_mm.functional.clustering_scores import (
    CHUNK_ROWS,
    mean_silhouette,
    suggest_number,
)


def slow_silhouette(points, clusters):
    """Sample by sample, as Rousseeuw writes it."""
    points = np.asarray(points, dtype=np.float64)
    values = []
    for i, own in enumerate(clusters):
        distances = {}
        for j, other in enumerate(clusters):
            if i != j:
                distances.setdefault(other, []).append(math.dist(points[i], points[j]))
        if own not in distances:
            values.append(0.0)
            continue
        a = np.mean(distances.pop(own))
        b = min(np.mean(d) for d in distances.values())
        values.append((b - a) / max(a, b) if max(a, b) else 0.0)
    return np.mean(values)


@pytest.mark.parametrize('num_clusters', [2, 3, 17])
def test_equals_the_slow_silhouette(num_clusters):
    rng = np.random.default_rng(num_clusters)
    points = rng.normal(size=(60, 5)).astype(np.float32)
    clusters = rng.integers(num_clusters, size=60)
    clusters[0] = num_clusters + 3  # alone, and numbers between are left out
    found = mean_silhouette(torch.from_numpy(points), torch.from_numpy(clusters))
    assert found == pytest.approx(slow_silhouette(points, clusters), abs=1e-6)


def test_chunks_change_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    points = torch.from_numpy(rng.normal(size=(50, 3)).astype(np.float32))
    clusters = torch.from_numpy(rng.integers(4, size=50))
    whole = mean_silhouette(points, clusters)
    assert len(points) < CHUNK_ROWS
    monkeypatch.setattr('luss_mm.functional.clustering_scores.CHUNK_ROWS', 7)
    assert mean_silhouette(points, clusters) == pytest.approx(whole, abs=1e-12)


def test_the_largest_good_number_is_suggested():
    assert suggest_number([2, 4, 8, 16], [0.5, 0.4, 0.41, 0.1]) == 8
    assert suggest_number([2, 4, 8], [0.1, 0.9, 0.8]) == 4  # strong: no need for more
    assert suggest_number([2, 4, 8], [-0.1, -0.2, -0.05]) == 8  # the best, though it is bad
