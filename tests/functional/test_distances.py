import numpy as np
import pytest

from luss_mm.functional.kmeans import squared_distances


def slow_distances(embeddings, centroids):
    return [[sum((float(a) - float(b)) ** 2 for a, b in zip(x, c, strict=True)) for c in centroids]
            for x in embeddings]  # fmt: skip


@pytest.mark.parametrize('rows, clusters, channels', [(1, 1, 1), (5, 3, 7), (3, 40, 16)])
def test_equals_summing_by_hand(rows, clusters, channels):
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(rows, channels)).astype(np.float32)
    centroids = rng.normal(size=(clusters, channels)).astype(np.float32)
    found = squared_distances(embeddings, centroids)
    assert found.dtype == np.float32 and found.shape == (rows, clusters)
    np.testing.assert_allclose(found, slow_distances(embeddings, centroids), rtol=1e-6)


def test_half_precision_points_on_centroids_have_no_negative_distance():
    points = np.random.default_rng(1).normal(size=(50, 64)).astype(np.float16)
    found = squared_distances(points, points)
    assert (found >= 0).all() and found.diagonal().max() < 1e-9
